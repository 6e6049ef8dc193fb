"""Smooth normals, and the light of every drawn sample."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pix3d_onet.geometry.render.look import AMBIENT, GLOSS, HEAD, SHININESS, SKY
from pix3d_onet.types import Float32, Float64

Int32 = NDArray[np.int32]


@njit(cache=True, nogil=True)
def corner_normals(faces: Int32, face_normals: Float64, starts: Int32, incident: Int32, crease: float) -> Float32:
    """(F, 3, 3) normals at every corner of every face: the mean of the face normals around the vertex that are within
    the crease angle (cosine ``crease``) of the face's own; winding is ignored.

    ``face_normals`` (F, 3) have the face area as length; ``incident[starts[v]:starts[v + 1]]`` are the faces of
    vertex v.
    """
    count = faces.shape[0]
    result = np.zeros((count, 3, 3), dtype=np.float32)
    lengths = np.empty(count)
    for f in range(count):
        nx, ny, nz = face_normals[f, 0], face_normals[f, 1], face_normals[f, 2]
        lengths[f] = math.sqrt(nx * nx + ny * ny + nz * nz)
    for f in range(count):
        if lengths[f] == 0.0:
            continue
        nx, ny, nz = face_normals[f, 0], face_normals[f, 1], face_normals[f, 2]
        for k in range(3):
            sx, sy, sz = 0.0, 0.0, 0.0
            vertex = faces[f, k]
            for i in range(starts[vertex], starts[vertex + 1]):
                g = incident[i]
                dot = nx * face_normals[g, 0] + ny * face_normals[g, 1] + nz * face_normals[g, 2]
                if abs(dot) >= crease * lengths[f] * lengths[g]:
                    sign = 1.0 if dot >= 0.0 else -1.0
                    sx += sign * face_normals[g, 0]
                    sy += sign * face_normals[g, 1]
                    sz += sign * face_normals[g, 2]
            length = math.sqrt(sx * sx + sy * sy + sz * sz)
            if length > 0.0:
                result[f, k, 0], result[f, k, 1], result[f, k, 2] = sx / length, sy / length, sz / length
    return result


@njit(cache=True, nogil=True)
def _weights(screen: Float64, face: Int32, u: float, v: float, depth: float) -> tuple[float, float, float]:
    """Perspective-correct weights of a drawn face's corners at pixel position (u, v) and ``depth``."""
    a, b, c = face[0], face[1], face[2]
    xa, ya, xb, yb = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
    xc, yc = screen[c, 0], screen[c, 1]
    inverse = 1.0 / ((xb - xa) * (yc - ya) - (xc - xa) * (yb - ya))
    wa = ((xb - u) * (yc - v) - (xc - u) * (yb - v)) * inverse
    wb = ((xc - u) * (ya - v) - (xa - u) * (yc - v)) * inverse
    pa, pb = wa * screen[a, 2] * depth, wb * screen[b, 2] * depth
    return pa, pb, 1.0 - pa - pb


@njit(cache=True, nogil=True)
def _light(
    nx: float, ny: float, nz: float, up: float, dx: float, dy: float, ray: float, lights: Float64
) -> tuple[float, float]:
    """Diffuse and specular light on a surface with unit normal n (camera frame, facing the camera).

    ``up``: y of the normal in the model frame; (dx, dy, 1) / ``ray``: viewing direction.
    """
    light = AMBIENT + SKY * up + HEAD * -(nx * dx + ny * dy + nz) / ray
    for k in range(lights.shape[0]):
        dot = nx * lights[k, 0] + ny * lights[k, 1] + nz * lights[k, 2]
        wrap = lights[k, 4]
        light += lights[k, 3] * max((dot + wrap) / (1.0 + wrap), 0.0)
    hx, hy, hz = lights[0, 0] - dx / ray, lights[0, 1] - dy / ray, lights[0, 2] - 1.0 / ray
    h = math.sqrt(hx * hx + hy * hy + hz * hz)
    gloss = GLOSS * max((nx * hx + ny * hy + nz * hz) / h, 0.0) ** SHININESS if h > 0.0 else 0.0
    return light, gloss


@njit(cache=True, nogil=True)
def shade(
    ids: Int32,
    inverse_depth: Float32,
    screen: Float64,
    faces: Int32,
    source: Int32,
    normals: Float32,
    colours: Float32,
    rays: Float64,
    rotation: Float64,
    lights: Float64,
    out: Float32,
) -> None:
    """Shade every sample that a triangle covers: ``out`` (H, W, 3) linear light, white elsewhere.

    ``source`` (F,) maps a drawn (possibly clipped) triangle to its row of ``normals`` (F', 3, 3, model frame) and
    ``colours`` (F', 3); ``rays`` (3, 3) = inverse intrinsics; ``rotation`` (3, 3) model → camera. ``lights`` (L, 5):
    direction towards the light in the camera frame, diffuse strength, wrap. Both sides of a face are lit alike,
    because the winding of CAD models is unreliable.
    """
    height, width = ids.shape
    for y in range(height):
        for x in range(width):
            f = ids[y, x]
            if f < 0:
                out[y, x, 0], out[y, x, 1], out[y, x, 2] = 1.0, 1.0, 1.0
                continue
            u, v, s = x + 0.5, y + 0.5, source[f]
            pa, pb, pc = _weights(screen, faces[f], u, v, 1.0 / inverse_depth[y, x])
            mx = pa * normals[s, 0, 0] + pb * normals[s, 1, 0] + pc * normals[s, 2, 0]
            my = pa * normals[s, 0, 1] + pb * normals[s, 1, 1] + pc * normals[s, 2, 1]
            mz = pa * normals[s, 0, 2] + pb * normals[s, 1, 2] + pc * normals[s, 2, 2]
            nx = rotation[0, 0] * mx + rotation[0, 1] * my + rotation[0, 2] * mz
            ny = rotation[1, 0] * mx + rotation[1, 1] * my + rotation[1, 2] * mz
            nz = rotation[2, 0] * mx + rotation[2, 1] * my + rotation[2, 2] * mz
            dx = rays[0, 0] * u + rays[0, 1] * v + rays[0, 2]
            dy = rays[1, 0] * u + rays[1, 1] * v + rays[1, 2]
            ray = math.sqrt(dx * dx + dy * dy + 1.0)
            length = math.sqrt(nx * nx + ny * ny + nz * nz)
            scale = 0.0 if length == 0.0 else 1.0 / length
            if nx * dx + ny * dy + nz > 0.0:
                scale = -scale  # make the normal face the camera
            light, gloss = _light(nx * scale, ny * scale, nz * scale, my * scale, dx, dy, ray, lights)
            for k in range(3):
                out[y, x, k] = min(max(colours[s, k] * light + gloss, 0.0), 1.0)
