"""The z-buffer, and its samples averaged to pixels."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pix3d_onet.geometry.render.look import GAMMA
from pix3d_onet.types import Bool, Float32, Float64, UInt8

Int32 = NDArray[np.int32]

DEGENERATE_AREA = 1e-9
"""A projected triangle is skipped if twice its area, in pixels², is below this."""


@njit(cache=True, nogil=True)
def rasterise(screen: Float64, faces: Int32, inverse_depth: Float32, ids: Int32) -> None:
    """Draw triangles into a z-buffer.

    ``screen`` (V, 3): pixel u, v (sample centres at .5) and 1/Z, which is linear on the screen; ``faces`` (F, 3);
    ``inverse_depth`` (H, W) starts at 0 (nothing) and keeps the largest 1/Z; ``ids`` (H, W) starts at -1 and keeps
    its triangle. Edges are inclusive, so neighbours leave no gap; of equal depths the first triangle stays.
    """
    height, width = ids.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        xa, ya, xb, yb, xc, yc = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if not abs(area) > DEGENERATE_AREA:
            continue
        left, right = max(min(xa, xb, xc), 0.0), min(max(xa, xb, xc), float(width))
        top, bottom = max(min(ya, yb, yc), 0.0), min(max(ya, yb, yc), float(height))
        if left > right or top > bottom:
            continue
        x0, x1 = math.ceil(left - 0.5), math.floor(right - 0.5)
        y0, y1 = math.ceil(top - 0.5), math.floor(bottom - 0.5)
        inverse = 1.0 / area
        step_a, step_b = (yb - yc) * inverse, (yc - ya) * inverse  # d(weight)/du of corners a and b
        za, zb, zc = screen[a, 2], screen[b, 2], screen[c, 2]
        for y in range(y0, y1 + 1):
            py, px = y + 0.5, x0 + 0.5
            wa = ((xb - px) * (yc - py) - (xc - px) * (yb - py)) * inverse
            wb = ((xc - px) * (ya - py) - (xa - px) * (yc - py)) * inverse
            for x in range(x0, x1 + 1):
                wc = 1.0 - wa - wb
                if wa >= 0.0 and wb >= 0.0 and wc >= 0.0:
                    value = wa * za + wb * zb + wc * zc
                    if value > inverse_depth[y, x]:
                        inverse_depth[y, x] = value
                        ids[y, x] = f
                wa += step_a
                wb += step_b


@njit(cache=True, nogil=True)
def resolve(
    linear: Float32, ids: Int32, inverse_depth: Float32, factor: int, rgb: UInt8, mask: Bool, depth: Float32
) -> None:
    """Average ``factor``² samples per pixel: ``rgb`` (H, W, 3) display values, ``mask`` (H, W) at least half covered,
    ``depth`` (H, W) of the nearest sample, infinity if there is none."""
    height, width = mask.shape
    total = factor * factor
    for y in range(height):
        for x in range(width):
            hits = 0
            nearest = 0.0
            r, g, b = 0.0, 0.0, 0.0
            for j in range(factor):
                for i in range(factor):
                    sy, sx = y * factor + j, x * factor + i
                    if ids[sy, sx] >= 0:
                        hits += 1
                        nearest = max(nearest, inverse_depth[sy, sx])
                    r += linear[sy, sx, 0]
                    g += linear[sy, sx, 1]
                    b += linear[sy, sx, 2]
            mask[y, x] = 2 * hits >= total
            depth[y, x] = 1.0 / nearest if hits else np.inf
            if hits == 0:
                rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2] = 255, 255, 255
            else:
                rgb[y, x, 0] = int(255.0 * (r / total) ** (1.0 / GAMMA) + 0.5)
                rgb[y, x, 1] = int(255.0 * (g / total) ** (1.0 / GAMMA) + 0.5)
                rgb[y, x, 2] = int(255.0 * (b / total) ** (1.0 / GAMMA) + 0.5)
