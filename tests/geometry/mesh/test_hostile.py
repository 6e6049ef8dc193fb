"""Meshes made to break the road from a file to labels: each ends in a closed result or in one line that says why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# ruff: noqa: E402 - the geometry libraries are an extra
trimesh = pytest.importorskip("trimesh")
pytest.importorskip("numba")
pytest.importorskip("open3d")

from pix3d_onet import Mesh
from pix3d_onet.config import PrepareConfig
from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.topology import is_watertight, volume
from pix3d_onet.preparation.from_mesh import GeometryResult, shape_geometry

RESOLUTION = 32
MEMORY_BOUND = 50 << 20
"""Bytes that a small mesh of any size in units may add to the peak; a grid that grew with the units takes far more."""

BOX = trimesh.creation.box((1.0, 0.6, 0.4))
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=np.float64)
HALVES = np.array([[0, 1, 2], [0, 2, 3]])


def obj(vertices: np.ndarray, faces: np.ndarray) -> str:
    """OBJ text with every digit, ``nan`` and ``inf`` as they are."""
    lines = ["v " + " ".join(f"{x:.17g}" for x in v) for v in vertices]
    return "\n".join(lines + ["f " + " ".join(str(i + 1) for i in f) for f in faces]) + "\n"


def spoilt(value: float) -> str:
    """A box one of whose corners is ``value``."""
    vertices = BOX.vertices.copy()
    vertices[0, 1] = value
    return obj(vertices, BOX.faces)


def doubled(opposite: bool) -> str:
    again = BOX.faces[:, ::-1] if opposite else BOX.faces
    return obj(BOX.vertices, np.concatenate([BOX.faces, again]))


def bad_indices() -> str:
    return obj(BOX.vertices, BOX.faces) + "f 1 2 999999999\nf 0 1 2\nf -99 1 2\nf 1 2 99999999999999999999\nf 1\nf\n"


def zero_area() -> str:
    """Faces between points in line, between equal points, and needles, on top of a box."""
    middle = BOX.vertices[BOX.faces[0, :2]].mean(axis=0)
    vertices = np.concatenate([BOX.vertices, [middle, middle]])
    extra = [[*BOX.faces[0, :2], 8], [8, 9, 8], [8, 9, 0], [3, 3, 3]]
    return obj(vertices, np.concatenate([BOX.faces, extra]))


def polygons() -> str:
    """A prism whose caps are polygons of forty corners."""
    turn = 2 * np.pi * np.arange(40) / 40
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    vertices = np.concatenate([np.c_[ring, np.zeros(40)], np.c_[ring, np.ones(40)]])
    text = obj(vertices, np.zeros((0, 3), dtype=np.int64))
    walls = [f"f {k + 1} {(k + 1) % 40 + 1} {(k + 1) % 40 + 41} {k + 41}" for k in range(40)]
    caps = ["f " + " ".join(str(k + 1) for k in reversed(range(40))), "f " + " ".join(str(k + 41) for k in range(40))]
    return text + "\n".join(walls + caps) + "\n"


def many(count: int) -> str:
    """``count`` tetrahedra of their own on a lattice."""
    corner = np.array([[0, 0, 0], [0.6, 0, 0], [0, 0.6, 0], [0, 0, 0.6]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    side = int(np.ceil(count ** (1 / 3)))
    at = np.argwhere(np.ones((side,) * 3, dtype=np.bool_))[:count]
    vertices = (at[:, None] + corner).reshape(-1, 3)
    return obj(vertices, (faces + 4 * np.arange(count)[:, None, None]).reshape(-1, 3))


CLOSED: dict[str, Callable[[], str]] = {
    "one triangle": lambda: obj(SQUARE, HALVES[:1]),
    "all coplanar": lambda: obj(SQUARE * 3, HALVES),
    "1e38": lambda: obj(BOX.vertices * 1e38, BOX.faces),
    "1e-30": lambda: obj(BOX.vertices * 1e-30, BOX.faces),
    "polygons": polygons,
    "doubled faces": lambda: doubled(opposite=False),
    "opposite faces": lambda: doubled(opposite=True),
    "zero-area faces": zero_area,
    "duplicate vertices": lambda: obj(BOX.triangles.reshape(-1, 3), np.arange(36).reshape(-1, 3)),
    "far from the origin": lambda: obj(BOX.vertices + 1e6, BOX.faces),
}
REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "nan vertex": (lambda: spoilt(np.nan), "damaged-mesh"),
    "infinite vertex": (lambda: spoilt(np.inf), "damaged-mesh"),
    "bad indices": (bad_indices, "damaged-mesh"),
    "no face": (lambda: obj(SQUARE, HALVES[:0]), "empty-mesh"),
    "nothing but nan": (lambda: obj(SQUARE * np.nan, HALVES), "empty-mesh"),
    "a point": (lambda: obj(SQUARE * 0 + 5, HALVES), "bad-extent"),
    "beyond squares": (lambda: obj(SQUARE * 1e200, HALVES), "empty-mesh"),
    "lost to rounding": (lambda: obj(SQUARE * 1e-9 + 1e6, HALVES), "bad-extent"),
}


def prepared(folder: Path, text: str, method: str = "tight", resolution: int = RESOLUTION) -> GeometryResult:
    """The whole road: load, watertight, labels, surface, decimate, qc."""
    path = folder / "model.obj"
    path.write_text(text)
    config = PrepareConfig(watertight=method, resolution=resolution, points=2000, surface_points=500)
    return shape_geometry(path, "hostile", config, root=folder)


GROWTH = """
import resource, sys
from pathlib import Path
from pix3d_onet.config import PrepareConfig
from pix3d_onet.preparation.from_mesh import shape_geometry

def peak():  # bytes; on Linux ru_maxrss begins with what the parent held
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

config = PrepareConfig(resolution=int(sys.argv[1]), points=2000, surface_points=500)
peaks = []
for path in map(Path, sys.argv[2:]):
    shape_geometry(path, "hostile", config, root=path.parent)
    peaks.append(peak())
print(max(peaks) - peaks[0])
"""
"""Prepares the named models in turn and prints by how much the later ones raised the peak of the first."""


def assert_sound(shape: GeometryResult) -> None:
    for mesh in (shape.full_mesh, shape.stored.mesh):
        assert is_watertight(mesh)
        assert np.isfinite(mesh.vertices).all()
        assert volume(mesh) > 0
    assert np.ptp(shape.full_mesh.bounds, axis=0).max() == pytest.approx(1.0)
    assert shape.stored.qc["label_agreement"] >= 0.999


@pytest.mark.parametrize("method", ["tight", "fusion"])
@pytest.mark.parametrize("name", CLOSED)
def test_what_has_a_surface_becomes_a_closed_solid(tmp_path: Path, name: str, method: str) -> None:
    assert_sound(prepared(tmp_path, CLOSED[name](), method))


@pytest.mark.parametrize("name", ["doubled faces", "opposite faces", "one triangle"])
def test_meshfix_mends_or_gives_way(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pymeshfix")
    assert_sound(prepared(tmp_path, CLOSED[name](), "meshfix"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_surface_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    text, reason = REFUSED[name]
    with pytest.raises(RejectError) as caught:
        prepared(tmp_path, text())
    assert caught.value.reason == reason
    assert caught.value.stage == "mesh"
    assert caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["duplicate vertices", "far from the origin", "1e38", "1e-30"])
def test_scale_and_place_do_not_change_a_box(tmp_path: Path, name: str) -> None:
    shape = prepared(tmp_path, CLOSED[name](), resolution=64)
    assert volume(shape.full_mesh) == pytest.approx(0.24, rel=0.01)


def test_extreme_units_do_not_take_memory(tmp_path: Path) -> None:
    """In a process of its own, whose peak no earlier test has raised; libraries and compiled code come with the box."""
    paths = [tmp_path / "box.obj", tmp_path / "huge.obj", tmp_path / "tiny.obj"]
    for path, text in zip(paths, [obj(BOX.vertices, BOX.faces), CLOSED["1e38"](), CLOSED["1e-30"]()], strict=True):
        path.write_text(text)
    command = [sys.executable, "-c", GROWTH, str(RESOLUTION), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < MEMORY_BOUND


@pytest.mark.slow
def test_many_components_are_all_kept(tmp_path: Path) -> None:
    shape = prepared(tmp_path, many(10_000), resolution=256)
    assert_sound(shape)
    assert shape.stored.qc["components_before"] == 10_000
    assert shape.stored.qc["components"] >= 9_990
    assert shape.stored.qc["lost_components"] == 0


@pytest.mark.slow
def test_two_million_faces(tmp_path: Path) -> None:
    around, across = 2000, 500
    u, v = np.meshgrid(2 * np.pi * np.arange(around) / around, 2 * np.pi * np.arange(across) / across, indexing="ij")
    ring = 1 + 0.3 * np.cos(v)
    vertices = np.stack([ring * np.cos(u), ring * np.sin(u), 0.3 * np.sin(v)], axis=-1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(around), np.arange(across), indexing="ij")
    a, b = i * across + j, (i + 1) % around * across + j
    c, d = (i + 1) % around * across + (j + 1) % across, i * across + (j + 1) % across
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    assert len(faces) == 2_000_000
    shape = prepared(tmp_path, obj(vertices, faces), resolution=128)
    assert_sound(shape)
    assert volume(shape.full_mesh) == pytest.approx(volume(Mesh(vertices, faces)) / 2.6**3, rel=0.01)
