"""Small Pix3D releases of boxes, and replacements of the mesh stage that fail on demand."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pix3d_onet import lattice, seeding
from pix3d_onet.config import PrepareConfig
from pix3d_onet.errors import RejectError
from pix3d_onet.preparation.from_mesh import GeometryResult
from pix3d_onet.types import Mesh, Normalisation, ShapeGeometry, SourceShape

CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
QUADS = ((1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4))
WIDTH, HEIGHT = 64, 48


def rotation(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def write_box(path: Path, sides: Any, note: str = "") -> None:
    """An OBJ box with side lengths ``sides``; ``note`` is an instruction for the mesh stage below."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"# {note}"] + [f"v {x} {y} {z}" for x, y, z in CORNERS * np.asarray(sides)]
    path.write_text("\n".join(lines + ["f " + " ".join(map(str, q)) for q in QUADS]) + "\n")


def write_release(root: Path, count: int, *, category: str = "chair", per_object: int = 1) -> list[dict[str, Any]]:
    """``count`` boxes with ``per_object`` records each, in the release's layout; returns (and writes) the index."""
    records = []
    for index in range(count):
        name = f"BOX_{index:03d}"
        rng = np.random.default_rng(index)
        write_box(root / f"model/{category}/{name}/model.obj", rng.uniform(0.4, 1.0, 3))
        for shot in range(per_object):
            records.append(write_record(root, category, name, index * per_object + shot, rng))
    write_index(root, records)
    return records


def write_record(root: Path, category: str, name: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A picture, its mask, and the record that names them."""
    image, mask = f"img/{category}/{number:04d}.jpg", f"mask/{category}/{number:04d}.png"
    for folder in (image, mask):
        (root / folder).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(root / image, quality=90)
    covered = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    covered[10 : 40 - number % 5, 20 : 44 + number % 7] = 255
    Image.fromarray(covered).save(root / mask)
    return {
        "img": image,
        "category": category,
        "img_size": [WIDTH, HEIGHT],
        "2d_keypoints": [],
        "mask": mask,
        "img_source": "made",
        "model": f"model/{category}/{name}/model.obj",
        "model_raw": None,
        "model_source": "made",
        "3d_keypoints": f"model/{category}/{name}/3d_keypoints.txt",
        "voxel": f"model/{category}/{name}/voxel.mat",
        "rot_mat": rotation(0.3 * number).tolist(),
        "trans_mat": [0.05, -0.02, 2.5],
        "focal_length": 40.0,
        "cam_position": [0.0, 0.0, -2.5],
        "inplane_rotation": 0.0,
        "truncated": False,
        "occluded": False,
        "slightly_occluded": False,
        "bbox": [20, 10, 44, 40],
    }


def write_index(root: Path, records: Any) -> None:
    (root / "pix3d.json").write_text(json.dumps(records))


def box_from(path: Path, object_id: str, config: PrepareConfig) -> GeometryResult:
    """The result of ``shape_geometry`` for a box, read from its file."""
    lines = path.read_text().splitlines()
    vertices = np.array([[float(x) for x in line.split()[1:]] for line in lines if line.startswith("v ")])
    if not len(vertices):
        raise RejectError("empty-mesh", "no vertices", "mesh")
    quads = np.array([[int(i) - 1 for i in line.split()[1:]] for line in lines if line.startswith("f ")])
    sides = np.ptp(vertices, axis=0)
    normalisation = Normalisation(vertices.mean(axis=0), float(sides.max()))
    mesh = Mesh(normalisation.apply(vertices), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))
    rng = seeding.generator(config.seed, "fake", object_id)
    cells = rng.integers(0, lattice.LATTICE, (config.points, 3), dtype=np.uint16)
    half = sides / sides.max() / 2
    stored = ShapeGeometry(
        points_q=cells,
        occupancy=(np.abs(lattice.decode_points(cells)) <= half).all(axis=1),
        surface_points_q=rng.integers(0, lattice.LATTICE, (config.surface_points, 3), dtype=np.uint16),
        surface_normals_q=rng.integers(0, 255, (config.surface_points, 2), dtype=np.uint8),
        mesh=mesh,
        normalisation=normalisation,
        qc={"watertight": True, "volume": float(np.prod(2 * half))},
    )
    return GeometryResult(stored, mesh, {"watertight": 0.01})


def box_geometry(shape: SourceShape, config: PrepareConfig, root: Path) -> GeometryResult:
    """A mesh stage for tests; the first line of the OBJ may be an instruction to fail in some way."""
    note = shape.mesh.read_text().partition("\n")[0].removeprefix("#").split()
    match note:
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["hang"]:
            time.sleep(3600)
        case ["spin"]:  # in C, with the interpreter's lock held
            sum(range(10**15))
        case ["slow", seconds]:
            time.sleep(float(seconds))
        case ["greedy"]:
            np.ones((1 << 37,), dtype=np.uint8)
        case ["bug"]:
            raise ZeroDivisionError("a bug\nof ours")
        case ["reject"]:
            raise RejectError("empty-mesh", "nothing there", "mesh")
        case ["die-unless", flag] if not Path(flag).exists():
            Path(flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return box_from(shape.mesh, shape.object_id, config)
