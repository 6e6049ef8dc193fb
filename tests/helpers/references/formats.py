"""References of the kernels of ``geometry.mesh.formats``: line by line and face by face."""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
CORNER = re.compile(r"([+-]?\d+)(?:/\S*)?")


def scan_obj(text: str) -> tuple[Array, list[list[int]]]:
    """Vertices, and faces of at least 3 corners; NaN for what is no number, -1 for what is no index."""
    vertices, faces = [], []
    for line in re.split(r"[\n\r]", text):
        kind, *tokens = re.split(r"[ \t]+", line.strip(" \t")) if re.match(r"[ \t]*[vf][ \t]", line) else [""]
        if kind == "v":
            values = [float(t) if NUMBER.fullmatch(t) else np.nan for t in [*tokens, "", "", ""][:3]]
            vertices.append(values)
        elif kind == "f":
            corners = []
            for token in tokens:
                if token.startswith("#"):
                    break
                match = CORNER.fullmatch(token)
                index = int(match[1]) if match else 0
                corners.append(index - 1 if index > 0 else (len(vertices) + index if index else -1))
            if len(corners) >= 3:
                faces.append(corners)
    return np.array(vertices, dtype=float).reshape(-1, 3), faces


def newell(polygon: Array) -> Array:
    """(3,) twice the vector area of a polygon (n, 3)."""
    return np.cross(polygon, np.roll(polygon, -1, axis=0)).sum(axis=0)


def verdict(vertices: Array, faces: Array, normal: Array, overlap: float) -> int:
    """0: no triangle is turned over; 1: some are; 2: as much area one way round as the other."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    crosses = np.cross(b - a, c - a)
    seen, whole = crosses @ normal, np.linalg.norm(crosses, axis=1).sum()
    if whole == 0:
        return 0
    if np.linalg.norm(normal) <= overlap * whole:
        return 2
    return int(-seen[seen < 0].sum() > overlap * seen[seen > 0].sum())


def last_verdict(vertices: Array, faces: Array, normal: Array, overlap: float, sliver: float) -> int:
    """2 for triangles that overlap, unless all their area is below ``sliver`` of the square of the longest side."""
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max()
    return 2 * int(verdict(vertices, faces, normal, overlap) > 0 and area > sliver * longest**2)


def fans(vertices: Array, polygons: list[list[int]], overlap: float) -> tuple[list[list[int]], list[int]]:
    """Triangles of all polygons, and the verdict on each."""
    faces, verdicts = [], []
    for polygon in polygons:
        own = [[polygon[0], *pair] for pair in pairwise(polygon[1:])]
        bad = next((v for v in polygon if not 0 <= v < len(vertices)), None)
        if len(polygon) > 3 and bad is not None:
            own, found = [[-1] * 3 for _ in own], 0
        else:
            normal = newell(vertices[polygon])
            found = verdict(vertices, np.array(own), normal, overlap) if len(polygon) > 3 else 0
            if found == 1 and len(polygon) == 4:
                a, b, c, d = polygon
                own = [[b, c, d], [b, d, a]]
                found = 2 * (verdict(vertices, np.array(own), normal, overlap) > 0)
        faces += own
        verdicts.append(found)
    return faces, verdicts


def walk_rows(data: bytes, rows: int, properties: list[tuple[str, str]], order: str, wanted: int) -> list[list[Any]]:
    """The ``wanted`` list of every row; ``properties`` are (length code or empty, item code) of ``struct``."""
    at, lists = 0, []
    for _ in range(rows):
        for k, (length, item) in enumerate(properties):
            count = 1
            if length:
                (count,) = struct.unpack_from(order + length, data, at)
                at += struct.calcsize(order + length)
            values = struct.unpack_from(f"{order}{count}{item}", data, at)
            at += struct.calcsize(f"{order}{count}{item}")
            if k == wanted:
                lists.append(list(values))
    return lists
