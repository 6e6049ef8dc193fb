"""Camera, lights and colours that previews, reports and 3D views share.

Only numpy, so that a report needs no numba. Used by ``kernels.shading`` for previews, ``report.shade`` for thumbnails
and ``viewer.js`` in a browser. A test compares the first two; the third gets these numbers with its page.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pix3d_onet.types import Float64, Int64

AZIMUTH, ELEVATION = 35.0, 22.0
"""Degrees of the three-quarter view: right of the front, above the seat."""
FIELD_OF_VIEW = 26.5
"""Degrees; a long lens, as in product photos, so that proportions are not distorted."""
DISTANCE = 4.0
"""From the centre of the box, in its longest sides. A cube of side 1.1, the network's box, just fits."""
CREASE = math.cos(math.radians(35))
"""Faces whose normals differ by less than this angle are shaded as one smooth surface."""
LIGHTS = np.array([[0.45, 0.75, -0.55, 0.80, 0.0], [-0.75, 0.15, -0.45, 0.22, 0.2]])
"""Key and fill light: direction towards it in the camera frame (left, up, forward), strength, wrap."""
AMBIENT, SKY, HEAD = 0.16, 0.16, 0.08
"""Ambient light, its increase from above (and decrease from below), and a light at the camera."""
GLOSS, SHININESS = 0.06, 16
"""Strength and exponent of the key light's highlight (Blinn 1977)."""
GAMMA = 2.2
"""Exponent of the display: linear light = display value ** GAMMA."""
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
    """(K,) diffuse and (K,) specular light of K samples, as ``kernels.shading`` computes them for one.

    ``normals`` and ``sight`` (K, 3): unit vectors in the camera frame, normals facing the camera, sight pointing away
    from it; ``up`` (K,): y of the normals in the model frame.
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
    """(V,) index of every vertex's position; equal positions are merged, because OBJ exporters split vertices."""
    grid = WELD * max(float(np.ptp(vertices, axis=0).max()), np.finfo(np.float64).tiny)
    keys = np.round(vertices / grid).astype(np.int64)
    order = np.lexsort(keys.T)
    fresh = np.concatenate([[True], (np.diff(keys[order], axis=0) != 0).any(axis=1)])
    places = np.empty(len(keys), dtype=np.int64)
    places[order] = np.cumsum(fresh) - 1
    return places


def to_json() -> dict[str, Any]:
    """The numbers for ``viewer.js``; directions in WebGL's axes (right, up, towards the viewer)."""
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
