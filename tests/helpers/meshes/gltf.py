"""Valid glTF files for all combinations of geometry features, with their true geometry; written without the library."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from scipy.spatial.transform import Rotation

CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass
class Writer:
    """A document under construction: JSON and one binary buffer."""

    json: dict[str, Any] = field(default_factory=lambda: {"asset": {"version": "2.0"}})
    data: bytearray = field(default_factory=bytearray)

    def add(self, key: str, item: dict[str, Any]) -> int:
        """Append an object to a list of the document; its index."""
        self.json.setdefault(key, []).append(item)
        return len(self.json[key]) - 1

    def use(self, name: str, required: bool = True) -> None:
        for key in ("extensionsUsed", "extensionsRequired")[: 1 + required]:
            if name not in self.json.setdefault(key, []):
                self.json[key].append(name)

    def view(self, data: bytes, **more: Any) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        offset = len(self.data)
        self.data += data
        return self.add("bufferViews", {"buffer": 0, "byteOffset": offset, "byteLength": len(data), **more})

    def accessor(
        self, values: Any, kind: str, code: str, *, stride: int = 0, sparse: Any = None, offset: int = 0, **more: Any
    ) -> int:
        """Values (N, width); ``stride`` bytes apart; with ``sparse`` (a generator) some of them stand apart."""
        values = np.ascontiguousarray(values, dtype=f"<{code}").reshape(len(values), WIDTHS[kind])
        item: dict[str, Any] = {"componentType": CODES[code], "count": len(values), "type": kind, **more}
        base, apart = values, np.zeros(0, dtype=np.int64)
        if sparse is not None:
            apart = np.flatnonzero(sparse.random(len(values)) < 0.5)
            if len(apart) == 0:
                apart = np.array([len(values) - 1])
            base = values.copy()
            base[apart] = 0
        if sparse is None or base.any():
            width = values.dtype.itemsize * WIDTHS[kind]
            raw, step = base.tobytes(), max(stride, width)
            if step > width:
                rows = np.full((len(values), step), 0xEE, dtype=np.uint8)
                rows[:, :width] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, width)
                raw = rows.tobytes()
            item["bufferView"] = self.view(b"\xdd" * offset + raw, **({"byteStride": step} if stride else {}))
            item["byteOffset"] = offset
        if sparse is not None:
            size = "u2" if len(values) > 255 else "u1"
            item["sparse"] = {
                "count": len(apart),
                "indices": {"bufferView": self.view(apart.astype(f"<{size}").tobytes()), "componentType": CODES[size]},
                "values": {"bufferView": self.view(values[apart].tobytes())},
            }
        return self.add("accessors", item)

    def save(self, folder: Path, how: str, rng: np.random.Generator) -> Path:
        """Write it as ``glb``, ``embedded``, ``file`` or ``above`` (a buffer in the folder above); the mesh's path."""
        document, data = dict(self.json), bytes(self.data)
        buffer: dict[str, Any] = {"byteLength": len(data)}
        if how == "glb":
            document["buffers"] = [buffer]
            text = json.dumps(document).encode()
            text += b" " * (-len(text) % 4)
            data += b"\0" * (-len(data) % 4)
            chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
            path = folder / "a.glb"
            path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
            return path
        if how == "embedded":
            buffer["uri"] = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
            path = folder / "a.gltf"
        elif how == "file":
            name = f"my chair ü{rng.integers(9)}.bin"
            (folder / name).write_bytes(data)
            buffer["uri"], path = quote(name), folder / "a.gltf"
        else:
            (folder / "inner").mkdir(exist_ok=True)
            (folder / "b.bin").write_bytes(data)
            buffer["uri"], path = "../b.bin", folder / "inner" / "a.gltf"
        document["buffers"] = [buffer]
        path.write_text(json.dumps(document))
        return path


@dataclass
class Truth:
    """Closed-form figures of everything in the scene: signed volume, and the box."""

    volume: float = 0.0
    points: list[np.ndarray] = field(default_factory=list)

    @property
    def bounds(self) -> np.ndarray:
        points = np.concatenate(self.points)
        return np.stack([points.min(axis=0), points.max(axis=0)])


def prism(rng: np.random.Generator) -> tuple[np.ndarray, list[list[int]]]:
    """Vertices within [-1, 1]³ and convex polygons of a prism over a regular polygon."""
    n = int(rng.integers(3, 9))
    radius, height = rng.uniform(0.3, 0.9, 2)
    turn = 2 * np.pi * np.arange(n) / n
    ring = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    vertices = np.concatenate([np.c_[ring, np.full(n, -height)], np.c_[ring, np.full(n, height)]])
    walls = [[k, (k + 1) % n, (k + 1) % n + n, k + n] for k in range(n)]
    faces = [list(range(n))[::-1], list(range(n, 2 * n)), *walls]
    return vertices, faces


def exact_volume(vertices: np.ndarray, faces: list[list[int]]) -> float:
    """Signed volume of a closed solid of flat polygons."""
    total = 0.0
    for face in faces:
        a = vertices[face[0]]
        total += sum(np.dot(a, np.cross(vertices[b], vertices[c])) for b, c in pairwise(face[1:]))
    return total / 6


def corners_of(faces: list[list[int]], mode: int) -> list[list[int]]:
    """The index lists of the primitives that draw the polygons: one list of triangles, one strip, or a fan each."""
    if mode == 6:
        return faces
    if mode == 4:
        return [[v for face in faces for b, c in pairwise(face[1:]) for v in (face[0], b, c)]]
    strip: list[int] = []
    for face in faces:
        order = [face[0]]  # zigzag: 0, 1, n-1, 2, n-2, …
        low, high = 1, len(face) - 1
        while low <= high:
            order.append(face[low])
            if low < high:
                order.append(face[high])
            low, high = low + 1, high - 1
        if strip:
            strip += [strip[-1], order[0]]
            if len(strip) % 2:
                strip.append(order[0])
        strip += order
    return [strip]


def quantised(vertices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, str, bool, np.ndarray]:
    """Stored values, component type, ``normalized``, and the positions that a reader must give."""
    code = str(rng.choice(["f4", "f4", "i1", "u1", "i2", "u2"]))
    if code == "f4":
        stored = vertices.astype(np.float32)
        return stored, code, False, stored.astype(np.float64)
    top = np.iinfo(code).max
    shifted = vertices if code[0] == "i" else (vertices + 1) / 2
    stored, normalised = np.round(shifted * top).astype(code), bool(rng.random() < 0.5)
    return stored, code, normalised, stored.astype(np.float64) / (top if normalised else 1)


def placed_solid(writer: Writer, rng: np.random.Generator) -> tuple[int, np.ndarray, float]:
    """Add a mesh of one solid, drawn one of the many ways; its index, its positions and its volume."""
    vertices, faces = prism(rng)
    stored, code, normalised, points = quantised(vertices, rng)
    if code != "f4":
        writer.use("KHR_mesh_quantization")
    mode, indexed = int(rng.choice([4, 4, 5, 6])), bool(rng.random() < 0.7)
    more: dict[str, Any] = {"normalized": True} if normalised else {}
    options = {"stride": int(rng.choice([0, 16, 28])), "offset": int(rng.choice([0, 4, 12]))}
    sparse = rng if rng.random() < 0.3 else None
    primitives = []
    for corners in corners_of(faces, mode):
        if indexed:
            position = writer.accessor(stored, "VEC3", code, sparse=sparse, **options, **more)
            kind = str(rng.choice(["u1", "u2", "u4"]))
            apart = rng if rng.random() < 0.2 else None
            extra = {"indices": writer.accessor(np.array(corners)[:, None], "SCALAR", kind, sparse=apart)}
        else:
            position, extra = writer.accessor(stored[corners], "VEC3", code, sparse=sparse, **options, **more), {}
        if mode != 4 or rng.random() < 0.5:
            extra["mode"] = mode
        primitives.append({"attributes": {"POSITION": position}, **extra})
    if rng.random() < 0.2:
        primitives.append({"attributes": {"POSITION": position}, "mode": int(rng.choice([0, 1, 3]))})
    return writer.add("meshes", {"primitives": primitives}), points, exact_volume(points, faces)


def transform(rng: np.random.Generator) -> tuple[dict[str, Any], np.ndarray]:
    """A node's transform as JSON, and as a matrix (4, 4); every third one mirrors."""
    translation, rotation = rng.uniform(-3, 3, 3), Rotation.random(random_state=int(rng.integers(1 << 30)))
    scale = rng.uniform(0.4, 2, 3) * np.where(rng.random(3) < 0.25, -1, 1)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.as_matrix() * scale
    matrix[:3, 3] = translation
    if rng.random() < 0.2:
        return {}, np.eye(4)
    if rng.random() < 0.4:
        return {"matrix": matrix.T.reshape(-1).tolist()}, matrix
    parts = {"translation": translation.tolist(), "rotation": rotation.as_quat().tolist(), "scale": scale.tolist()}
    return parts, matrix


def instances(writer: Writer, rng: np.random.Generator) -> tuple[dict[str, Any], np.ndarray]:
    """EXT_mesh_gpu_instancing as JSON, and the matrices (N, 4, 4)."""
    count = int(rng.integers(1, 6))
    matrices = np.tile(np.eye(4), (count, 1, 1))
    attributes: dict[str, int] = {}
    if rng.random() < 0.5 or count == 1:
        scale = (rng.uniform(0.3, 1.5, (count, 3)) * np.where(rng.random((count, 3)) < 0.2, -1, 1)).astype(np.float32)
        attributes["SCALE"] = writer.accessor(scale, "VEC3", "f4")
        matrices[:, :3, :3] *= scale.astype(np.float64)[:, None]
    if rng.random() < 0.5:
        quaternions = Rotation.random(count, random_state=int(rng.integers(1 << 30))).as_quat()
        code = str(rng.choice(["f4", "i1", "i2"]))
        top = 1.0 if code == "f4" else float(np.iinfo(code).max)
        stored = quaternions.astype("f4") if code == "f4" else np.round(quaternions * top).astype(code)
        more = {} if code == "f4" else {"normalized": True}
        attributes["ROTATION"] = writer.accessor(stored, "VEC4", code, **more)
        turned = Rotation.from_quat(stored.astype(np.float64) / top).as_matrix()
        matrices[:, :3, :3] = turned @ matrices[:, :3, :3]
    if rng.random() < 0.7 or not attributes:
        translation = rng.uniform(-5, 5, (count, 3)).astype(np.float32)
        attributes["TRANSLATION"] = writer.accessor(translation, "VEC3", "f4")
        matrices[:, :3, 3] = translation
    writer.use("EXT_mesh_gpu_instancing", required=bool(rng.random() < 0.5))
    return {"EXT_mesh_gpu_instancing": {"attributes": attributes}}, matrices


def random_scene(rng: np.random.Generator) -> tuple[Writer, Truth]:
    """A document with up to six meshes in a tree of nodes, and what it shows."""
    writer, truth = Writer(), Truth()
    meshes = [placed_solid(writer, rng) for _ in range(int(rng.integers(1, 4)))]
    worlds: list[np.ndarray] = []
    shown: list[bool] = []
    roots = []
    for k in range(int(rng.integers(1, 7))):
        parts, matrix = transform(rng)
        parent = int(rng.integers(k)) if k and rng.random() < 0.6 else None
        above = np.eye(4) if parent is None else worlds[parent]
        visible = (k == 0 or rng.random() < 0.8) if parent is None else shown[parent]
        node: dict[str, Any] = dict(parts)
        matrices = np.eye(4)[None]
        if k == 0 or rng.random() < 0.7:
            mesh, points, volume = meshes[0 if k == 0 else int(rng.integers(len(meshes)))]
            node["mesh"] = mesh
            if rng.random() < 0.3:
                node["extensions"], matrices = instances(writer, rng)
            for one in (above @ matrix @ matrices) if visible else ():
                truth.volume += abs(np.linalg.det(one[:3, :3])) * volume
                truth.points.append(points @ one[:3, :3].T + one[:3, 3])
        elif rng.random() < 0.5:
            node["camera"] = 0
        index = writer.add("nodes", node)
        worlds.append(above @ matrix)
        shown.append(visible)
        if parent is not None:
            writer.json["nodes"][parent].setdefault("children", []).append(index)
        elif visible:
            roots.append(index)
    if any("camera" in node for node in writer.json["nodes"]):
        writer.json["cameras"] = [{"type": "perspective", "perspective": {"yfov": 1.0, "znear": 0.1}}]
    if all(shown) and rng.random() < 0.2:
        return writer, truth  # no scenes: all nodes
    writer.json["scenes"] = [{"nodes": roots}]
    if rng.random() < 0.7:
        writer.json["scene"] = 0
    return writer, truth
