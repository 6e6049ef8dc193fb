"""The judge itself: labels and meshes that are wrong on purpose are found, sound ones are not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

# ruff: noqa: E402 - the geometry libraries are an extra
trimesh = pytest.importorskip("trimesh")
pytest.importorskip("igl")
pytest.importorskip("open3d")
pytest.importorskip("numba")

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.mesh_folder import list_meshes
from pix3d_onet.data.store.encoding import decode_normals, encode_normals
from pix3d_onet.data.store.manifest import manifest_to_json, read_manifest
from pix3d_onet.files import file_digest, read_json, write_json
from pix3d_onet.inspection.labels import against_source
from pix3d_onet.inspection.verify import verify
from pix3d_onet.lattice import decode_points
from pix3d_onet.preparation.job import Execution, prepare
from pix3d_onet.types import Mesh

POINTS = 8000
OUTER = np.array([1.0, 0.8, 0.6])
HOLLOW = 0.5
"""The inner shell's size as a share of the outer one's."""


def hollow_and_bracket(folder: Path) -> Path:
    """A hollow box, its inner shell wound inward, and a lop-sided solid of two boxes that share a face."""
    outer, inner = trimesh.creation.box(OUTER), trimesh.creation.box(OUTER * HOLLOW)
    inner.invert()
    folder.mkdir()
    trimesh.util.concatenate([outer, inner]).export(folder / "hollow.obj")
    foot, post = trimesh.creation.box((1, 0.6, 0.2)), trimesh.creation.box((0.2, 0.3, 0.7))
    post.apply_translation((0.4, 0.15, 0.45))
    trimesh.util.concatenate([foot, post]).export(folder / "bracket.obj")
    return folder


@pytest.fixture(scope="module", params=["none", "tight"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The sources, their data set, and the method it was prepared with."""
    root = tmp_path_factory.mktemp("judge")
    source = hollow_and_bracket(root / "source")
    config = PrepareConfig(
        categories=("all",), points=POINTS, surface_points=512, image_size=32, resolution=64, watertight=request.param
    )
    out = root / "data"
    prepare(list_meshes(source, config), config, out, Execution(backend="inline"))
    return source, out, request.param


@pytest.fixture
def changed(sound: tuple[Path, Path, str], tmp_path: Path) -> Callable[..., set[str]]:
    """Names of the checks that fail once ``change(file, row, points)`` was done to one shape of the data set."""
    source, prepared, _ = sound

    def judge(name: str, change: Callable[[h5py.File, int, np.ndarray], None], *, root: bool = False) -> set[str]:
        data = Path(shutil.copytree(prepared, tmp_path / f"data-{root}"))
        entry = next(s for s in read_manifest(data).shapes if name in s.source_mesh)
        with h5py.File(data / entry.shard, "r+") as file:
            change(file, entry.row, decode_points(file["points"][entry.row]))
        document = read_json(data / "manifest.json")
        for shard in document["shards"]:
            path = data / shard["file"]
            shard["sha256"], shard["bytes"] = file_digest(path), path.stat().st_size
        write_json(data / "manifest.json", document)
        write_json(data / "manifest.json", manifest_to_json(read_manifest(data)))  # with the hash of the new data
        result = verify(data, source_root=source if root else None)
        return {c.name for c in result.checks if c.status == "failed"}

    return judge


def relabel(file: h5py.File, row: int, labels: np.ndarray) -> None:
    file["occupancy"][row] = np.packbits(labels)


def labels_of(file: h5py.File, row: int) -> np.ndarray:
    return np.unpackbits(file["occupancy"][row]).astype(bool)


def without_faces(file: h5py.File, row: int, gone: Callable[[np.ndarray], np.ndarray]) -> None:
    """Take faces out of a stored mesh; ``gone`` tells which from their corners (F, 3, 3)."""
    starts = file["mesh/face_offset"][:]
    vertices = file["mesh/vertices"][file["mesh/vertex_offset"][row] :]
    faces = file["mesh/faces"][:]
    mine = np.arange(starts[row], starts[row + 1])
    kept = np.delete(np.arange(len(faces)), mine[gone(vertices[faces[mine]])])
    starts[row + 1 :] -= len(faces) - len(kept)
    del file["mesh/faces"], file["mesh/face_offset"]
    file["mesh/faces"], file["mesh/face_offset"] = faces[kept], starts


def nothing(file: h5py.File, row: int, points: np.ndarray) -> None:
    pass


def flip_one_percent(file: h5py.File, row: int, points: np.ndarray) -> None:
    labels = labels_of(file, row)
    labels[np.random.default_rng(0).choice(len(labels), len(labels) // 100, replace=False)] ^= True
    relabel(file, row, labels)


def remove_a_face(file: h5py.File, row: int, points: np.ndarray) -> None:
    without_faces(file, row, lambda corners: np.arange(len(corners)) == 0)


def fill_the_cavity(file: h5py.File, row: int, points: np.ndarray) -> None:
    """Labels and mesh agree with each other that there is none; only samples of its surface are left."""
    relabel(file, row, labels_of(file, row) | (np.abs(points) < OUTER * HOLLOW / 2 + 1e-3).all(axis=1))
    without_faces(file, row, lambda corners: (np.abs(corners) < OUTER * 0.4).all(axis=(1, 2)))


def mirror(file: h5py.File, row: int, points: np.ndarray) -> None:
    """As if a node's negative scale had been overlooked: points and mesh agree, in a world turned over."""
    for name in ("points", "surface/points"):
        cells = file[name][row]
        cells[:, 0] = 65535 - cells[:, 0]
        file[name][row] = cells
    normals = decode_normals(file["surface/normals"][row])
    file["surface/normals"][row] = encode_normals(normals * np.float32([-1, 1, 1]))
    span = slice(file["mesh/vertex_offset"][row], file["mesh/vertex_offset"][row + 1])
    vertices = file["mesh/vertices"][span]
    file["mesh/vertices"][span] = vertices * (-1, 1, 1)
    faces = slice(file["mesh/face_offset"][row], file["mesh/face_offset"][row + 1])
    file["mesh/faces"][faces] = file["mesh/faces"][faces][:, ::-1]


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("name", ["hollow", "bracket"])
def test_a_sound_shape_passes(changed: Callable[..., set[str]], name: str, root: bool) -> None:
    assert changed(name, nothing, root=root) == set()


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("change", [flip_one_percent, remove_a_face])
def test_wrong_labels_and_open_meshes_are_found(
    changed: Callable[..., set[str]], change: Callable[..., None], root: bool
) -> None:
    assert "labels" in changed("bracket", change, root=root)


def test_a_mirrored_shape_is_found_beside_its_source(changed: Callable[..., set[str]]) -> None:
    assert changed("bracket", mirror) == set()  # nothing in the data set itself tells
    assert changed("bracket", mirror, root=True) == {"source labels"}


def test_a_filled_cavity_is_found_beside_its_source(
    changed: Callable[..., set[str]], sound: tuple[Path, Path, str]
) -> None:
    if sound[2] == "tight":
        pytest.skip("tight fills cavities: there is none to be filled")
    assert changed("hollow", fill_the_cavity) == {"surface"}
    assert changed("hollow", fill_the_cavity, root=True) == {"surface", "source labels"}


def exchange(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File, int, np.ndarray], None]:
    def apply(file: h5py.File, row: int, points: np.ndarray) -> None:
        file[name][row] = change(file[name][row])

    return apply


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("surface/points", lambda cells: cells[:, [1, 2, 0]]),
        ("surface/points", lambda cells: np.clip(cells.astype(np.int64) + 600, 0, 65535)),
        ("surface/normals", lambda normals: normals[::-1]),
    ],
)
def test_wrong_surface_samples_are_found(
    changed: Callable[..., set[str]], name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert changed("bracket", exchange(name, change)) == {"surface"}


@pytest.mark.parametrize(("name", "change"), [("scale", lambda scale: scale * 1.01), ("loc", lambda loc: loc + 0.01)])
def test_a_wrong_normalisation_is_found_beside_its_source(
    changed: Callable[..., set[str]], name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert changed("bracket", exchange(name, change)) == set()
    assert changed("bracket", exchange(name, change), root=True) == {"source labels"}


def test_a_cage_whose_gaps_are_closed_is_sound(tmp_path: Path) -> None:
    """Many rays leave it, but only through gaps that ``tight`` closes; points outside of it are judged."""
    voxel = 1 / (0.9 * 64)
    width, pitch = 2 * voxel, 3.5 * voxel
    bars = [trimesh.creation.box(bounds=[(0, y, 0), (1, y + width, 1)]) for y in (0, 1 - width)]
    for start in np.arange(0, 1 - width, pitch):
        end = start + width
        bars += [trimesh.creation.box(bounds=[(start, 0, z), (end, 1, z + width)]) for z in (0, 1 - width)]
        bars += [trimesh.creation.box(bounds=[(x, 0, start), (x + width, 1, end)]) for x in (0, 1 - width)]
    cage = trimesh.util.concatenate(bars)
    source = Mesh(cage.vertices - 0.5, cage.faces)
    points = np.random.default_rng(0).uniform(-0.55, 0.55, (2000, 3)).astype(np.float32)
    filled = (np.abs(points) < 0.5).all(axis=1)
    judged, wrong = against_source(source, points, filled, "tight", voxel)
    assert wrong == 0
    assert judged < len(points) / 2
    judged, wrong = against_source(source, points, np.ones(len(points), dtype=bool), "tight", voxel)
    outside = np.linalg.norm(np.maximum(np.abs(points) - 0.5, 0), axis=1) > 2.5 * voxel
    assert outside.sum() > 50
    assert wrong == pytest.approx(outside.sum(), rel=0.05)
