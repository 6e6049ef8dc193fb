"""Points near the surface and signed distances: exact, reproducible, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import trimesh
from helpers import preparing
from helpers.datasets import distance
from helpers.releases import write_box, write_release
from numpy.typing import NDArray

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.onet_layout import list_onet
from pix3d_onet.data.store.encoding import decode_distances
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.data.store.reader import load_dataset
from pix3d_onet.errors import ConfigError, InterruptedRunError, SettingError
from pix3d_onet.geometry.mesh.distances import independent_distances, surface_distances
from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.sampling import draw_near_cells
from pix3d_onet.geometry.mesh.writing import write_mesh
from pix3d_onet.lattice import LATTICE, decode_points
from pix3d_onet.preparation import from_mesh
from pix3d_onet.preparation.from_mesh import GeometryResult, shape_geometry
from pix3d_onet.types import Mesh, SourceShape

EXACT = PrepareConfig(watertight="none", points=4096, surface_points=64, near_points=4096, sdf=True, mesh_error=0.0)
SMALL = replace(preparing.SMALL, near_points=1024, near_sigma=(0.05, 0.005), sdf=True)
ROUNDING = 2.0**-15 + 1e-6
"""Half a step of stored distances, and the error of float32 queries."""


def test_distances_and_near_labels_of_a_box_are_those_of_its_formula(tmp_path: Path) -> None:
    sides = np.array([0.4, 1.0, 0.7])
    write_box(tmp_path / "box.obj", sides)
    made = shape_geometry(tmp_path / "box.obj", "box", EXACT, root=tmp_path).stored
    assert made.near_points_q is not None
    assert made.near_occupancy is not None
    pairs = ((made.points_q, made.occupancy, made.sdf_q), (made.near_points_q, made.near_occupancy, made.near_sdf_q))
    for cells, labels, codes in pairs:
        truth = distance(0, sides, decode_points(cells).astype(np.float64))
        assert codes is not None
        assert np.abs(decode_distances(codes) - truth).max() < ROUNDING
        assert (labels == (truth < 0))[np.abs(truth) > 1e-6].all()
        assert ((codes < 0) == labels).all()
    assert 0.4 < made.qc["near_occupied"] < 0.5  # outside a convex body there is more room
    assert made.qc["depth"] == pytest.approx(0.2, abs=0.02)


def test_distances_of_a_curved_mesh_agree_with_another_library(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(4, 0.5)
    write_mesh(tmp_path / "ball.ply", Mesh(ball.vertices, ball.faces))
    made = shape_geometry(tmp_path / "ball.ply", "ball", EXACT, root=tmp_path)
    assert made.stored.near_points_q is not None
    points = decode_points(np.concatenate([made.stored.points_q, made.stored.near_points_q]))
    truth = independent_distances(made.full_mesh, points)
    assert np.abs(surface_distances(made.full_mesh, points) - truth).max() < 1e-6
    codes = [made.stored.sdf_q, made.stored.near_sdf_q]
    stored = decode_distances(np.concatenate([c for c in codes if c is not None]))
    assert np.abs(np.abs(stored) - truth).max() < ROUNDING
    assert ((stored < 0) == contains(made.full_mesh, points)).all()


def test_near_points_are_a_truncated_mixture_in_random_order(tmp_path: Path) -> None:
    wall = Mesh([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], [[0, 1, 2], [0, 2, 3]])
    points = decode_points(draw_near_cells(wall, 40_000, (0.1, 0.01), 0))
    height = np.abs(points[:, 2])
    assert np.mean(height < 0.01) == pytest.approx(0.5 * 0.683 + 0.5 * 0.080, abs=0.01)
    assert np.mean(height[:2000] < 0.01) == pytest.approx(np.mean(height < 0.01), abs=0.04)
    wide = draw_near_cells(wall, 40_000, (0.5,), 0)
    assert ((wide > 0) & (wide < LATTICE - 1)).all(axis=1).mean() > 0.999  # drawn again, not moved to the border
    assert not np.array_equal(wide, draw_near_cells(wall, 40_000, (0.5,), 1))


def arrays(out: Path) -> dict[str, NDArray[np.generic]]:
    found: dict[str, NDArray[np.generic]] = {}

    def add(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = node[:]

    for path in sorted(out.glob("*.h5")):
        with h5py.File(path) as file:
            file.visititems(lambda name, node, path=path: add(f"{path.name}/{name}", node))
    return found


def test_everything_else_stays_as_it_was(tmp_path: Path) -> None:
    write_release(tmp_path / "release", 4)
    plain = arrays(preparing.prepared(tmp_path / "release", tmp_path / "plain"))
    both = arrays(preparing.prepared(tmp_path / "release", tmp_path / "both", SMALL))
    assert [read_manifest(tmp_path / name).version for name in ("plain", "both")] == [1, 2]
    assert {name.split("/", 1)[1] for name in both.keys() - plain.keys()} == {
        "near/points", "near/occupancy", "near/sdf", "sdf",
    }  # fmt: skip
    assert all(np.array_equal(plain[name], both[name]) for name in plain)
    assert "near" not in str(read_manifest(tmp_path / "plain").config)
    sample = load_dataset(tmp_path / "plain", None)[0]
    assert sample.sdf is sample.near_points is sample.near_occupancy is sample.near_sdf is None


@pytest.mark.parametrize("wanted", [{"sdf": True, "near_points": 0}, {"sdf": False}])
def test_each_works_without_the_other(tmp_path: Path, wanted: dict[str, object]) -> None:
    write_release(tmp_path / "release", 3)
    config = replace(SMALL, **wanted)  # type: ignore[arg-type]
    sample = load_dataset(preparing.prepared(tmp_path / "release", tmp_path / "out", config), None)[0]
    assert (sample.sdf is None) != config.sdf
    assert (sample.near_points is None) == (config.near_points == 0)
    assert sample.near_sdf is None


CALLS = {"left": -1}


def stopping(shape: SourceShape, config: PrepareConfig, root: Path) -> GeometryResult:
    """The real mesh stage; interrupted at the call at which ``CALLS`` reaches 0."""
    CALLS["left"] -= 1
    if CALLS["left"] == 0:
        raise KeyboardInterrupt
    return from_mesh.shape_geometry(shape.mesh, shape.object_id, config, root=root, voxel=shape.voxel)


def test_bytes_are_the_same_for_any_jobs_after_an_interruption_and_after_repair(tmp_path: Path) -> None:
    release = tmp_path / "release"
    write_release(release, 5)
    whole = preparing.contents(preparing.prepared(release, tmp_path / "whole", SMALL))
    two = preparing.run(release, tmp_path / "two", SMALL, backend="loky", jobs=2, geometry=None).out
    assert preparing.contents(two) == whole
    CALLS["left"] = 4
    with pytest.raises(InterruptedRunError):
        preparing.run(release, tmp_path / "cut", SMALL, geometry=stopping)
    again = preparing.run(release, tmp_path / "cut", SMALL, geometry=stopping)
    assert again.resumed == 3
    assert preparing.contents(again.out) == whole
    (again.out / "shard-00001.h5").unlink()
    preparing.run(release, again.out, SMALL, geometry=None)
    assert preparing.contents(again.out) == whole
    mesh = release / "model/chair/BOX_001/model.obj"
    mesh.write_text(mesh.read_text() + "# changed\n")
    changed = preparing.run(release, again.out, SMALL, geometry=None)  # the others are taken from the shards
    assert preparing.contents(changed.out) == preparing.contents(preparing.prepared(release, tmp_path / "anew", SMALL))


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for wrong in ({"near_points": 12}, {"near_sigma": (0.1, 0.0)}, {"near_sigma": ()}, {"near_sigma": (0.6,)}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            PrepareConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs a mesh"):
        list_onet(tmp_path, PrepareConfig(categories=("all",), near_points=8))
