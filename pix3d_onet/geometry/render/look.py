"""How a mesh is shown to a person: one camera, one light, one colour each, for previews, reports and the 3D views.

Numpy alone, so that a report needs no numba. ``_kernels`` draws this for previews, ``report.shade`` for thumbnails and
``viewer.js`` in a browser; a test holds the first two equal, and the third gets these numbers with its page.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pix3d_onet.types import Float64, Int64

AZIMUTH, ELEVATION = 35.0, 22.0
"""Degrees of the three-quarter view: right of the front, above the seat."""
FIELD_OF_VIEW = 26.5
"""Degrees; long, as in product photographs, so that proportions stay true."""
DISTANCE = 4.0
"""From the centre of the box, in its longest sides. A cube of side 1.1, what a network can fill, just fits."""
CREASE = math.cos(math.radians(35))
"""Faces whose normals differ by less than this angle are shaded as one smooth surface."""
LIGHTS = np.array([[0.45, 0.75, -0.55, 0.80, 0.0], [-0.75, 0.15, -0.45, 0.22, 0.2]])
"""Key and fill light: direction towards it in the camera frame (left, up, forward), strength, wrap."""
AMBIENT, SKY, HEAD = 0.16, 0.16, 0.08
"""Light from everywhere, more of it from above (less from below), and a little from the eye."""
GLOSS, SHININESS = 0.06, 16
"""Strength and exponent of the key light's highlight (Blinn 1977)."""
GAMMA = 2.2
"""Linear light → display code."""
TRUTH_COLOUR = (0.64, 0.66, 0.69)
"""Ground truth is grey in every picture (linear RGB)."""
PREDICTION_COLOUR = (0.36, 0.62, 0.84)
"""Reconstructions are blue in every picture (linear RGB)."""
WELD = 1e-6
"""Vertices closer than this fraction of the longest side share a normal."""


def intrinsics(size: int) -> Float64:
    """(3, 3) of a ``size``² picture in Pix3D's convention (camera axes left, up, forward)."""
    focal = size / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2))
    return np.array([[-focal, 0.0, size / 2], [0.0, -focal, size / 2], [0.0, 0.0, 1.0]])


def brightness(normals: Float64, up: Float64, sight: Float64) -> tuple[Float64, Float64]:
    """(K,) diffuse light and (K,) gloss: what ``_kernels`` computes of a sample, here of all.

    ``normals`` (K, 3) and ``sight`` (K, 3) unit vectors in the camera frame, normals turned towards the eye, sight
    away from it; ``up`` (K,) the y of the normals in the model's frame.
    """
    lights = LIGHTS.copy()
    lights[:, :3] /= np.linalg.norm(lights[:, :3], axis=1, keepdims=True)
    light = AMBIENT + SKY * up - HEAD * (normals * sight).sum(axis=1)
    for *direction, strength, wrap in lights:
        light += strength * np.maximum((normals @ direction + wrap) / (1 + wrap), 0)
    half = lights[0, :3] - sight
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    return light, GLOSS * np.maximum((normals * half).sum(axis=1), 0) ** SHININESS


def welded(vertices: Float64) -> Int64:
    """(V,) number of every vertex's place: OBJ exporters split vertices that a smooth surface shares."""
    grid = WELD * max(float(np.ptp(vertices, axis=0).max()), np.finfo(np.float64).tiny)
    keys = np.round(vertices / grid).astype(np.int64)
    order = np.lexsort(keys.T)
    fresh = np.concatenate([[True], (np.diff(keys[order], axis=0) != 0).any(axis=1)])
    places = np.empty(len(keys), dtype=np.int64)
    places[order] = np.cumsum(fresh) - 1
    return places


def to_json() -> dict[str, Any]:
    """The numbers that ``viewer.js`` draws by; directions in WebGL's axes (right, up, towards the viewer)."""
    flipped = LIGHTS * [-1, 1, -1, 1, 1]
    return {
        "azimuth": AZIMUTH,
        "elevation": ELEVATION,
        "fov": FIELD_OF_VIEW,
        "distance": DISTANCE,
        "crease": CREASE,
        "ambient": [AMBIENT, SKY, HEAD],
        "gloss": [GLOSS, SHININESS],
        "lights": [[float(x) for x in light] for light in flipped],
        "gamma": GAMMA,
    }
