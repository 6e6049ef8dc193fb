"""A fast, forgiving Wavefront OBJ reader: only vertices and faces; materials and everything else are skipped.

OBJ is what Pix3D, ShapeNet and most CAD exports use; most of the time of a general reader goes to material groups
that an occupancy data set has no use for.
"""

from __future__ import annotations

import numpy as np

from pix3d_onet.geometry.mesh._obj_kernels import scan_obj
from pix3d_onet.types import Mesh


def parse_obj(data: bytes) -> Mesh:
    """Vertices (V, 3) and faces (F, 3) of an OBJ file's bytes; polygons become fans, negative indices count back.

    Unparsable numbers become NaN and indices that point nowhere are kept as they are; ``mesh.clean`` drops both.
    """
    if b"\\\n" in data or b"\\\r\n" in data:  # a line may be continued
        data = data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    vertices, faces = scan_obj(np.frombuffer(data, dtype=np.uint8))
    return Mesh(vertices, faces)
