"""``tight`` on furniture whose exact solid is known whatever was done to its faces: the planes of its convex parts."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("trimesh")
pytest.importorskip("numba")
pytest.importorskip("open3d")

from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.sampling import sample_surface
from pix3d_onet.geometry.mesh.topology import is_watertight, volume
from pix3d_onet.geometry.synth.furniture import chair, table
from pix3d_onet.geometry.synth.solids import DEFECTS, Part, assemble
from pix3d_onet.geometry.watertight.methods import make_watertight
from pix3d_onet.types import Float64, Mesh

RESOLUTION = 256
HARMLESS = sorted(set(DEFECTS) - {"open-solid"})
POINTS = 40_000


def solids(design: str, seed: int) -> list[Part]:
    """The solid parts of one design: sheets have no inside to compare with."""
    parts = {"chair": chair, "table": table}[design](np.random.default_rng(seed))
    return [part for part in parts if part.solid]


def margin(parts: list[Part], points: Float64) -> Float64:
    """(N,) how deep points lie in the union of the parts: positive inside, at most the distance to the surface."""
    depth = np.stack([(part.planes[:, 3] - points @ part.planes[:, :3].T).min(axis=1) for part in parts])
    deepest: Float64 = depth.max(axis=0)
    return deepest


def voxel(mesh: Mesh) -> float:
    return float(np.ptp(mesh.bounds, axis=0).max()) / (RESOLUTION - 20)


@pytest.mark.parametrize("defect", ["none", *HARMLESS])
@pytest.mark.parametrize(("design", "seed"), [("chair", 1), ("table", 2)])
def test_winding_doubling_and_splitting_do_not_matter(design: str, seed: int, defect: str) -> None:
    exact = solids(design, seed)
    rng = np.random.default_rng(seed)
    mesh, _ = assemble(exact if defect == "none" else [DEFECTS[defect](part, rng) for part in exact])
    made = make_watertight(mesh, resolution=RESOLUTION)
    assert is_watertight(made)
    assert volume(made) > 0
    low, high = mesh.bounds
    points = rng.uniform(low - 0.02, high + 0.02, (POINTS, 3))
    inside, wanted = contains(made, points), margin(exact, points) >= 0
    # Even parts of one or two voxels weigh in fully here, and so do the filled crevices where parts meet.
    assert (inside & wanted).sum() / (inside | wanted).sum() > 0.99
    surely = margin(exact, points) > voxel(mesh) / 2
    assert inside[surely].all()


@pytest.mark.parametrize(("design", "seed"), [("chair", 1), ("table", 2)])
def test_an_open_solid_costs_no_part_of_the_surface(design: str, seed: int) -> None:
    """A missing face is an open sheet, not a gap to be closed: walls stay, and so does every other part."""
    exact = solids(design, seed)
    rng = np.random.default_rng(seed)
    spoilt = [DEFECTS["open-solid"](part, rng) if index % 2 else part for index, part in enumerate(exact)]
    mesh, _ = assemble(spoilt)
    made = make_watertight(mesh, resolution=RESOLUTION)
    assert is_watertight(made)
    sound = [part for index, part in enumerate(exact) if index % 2 == 0]
    points = rng.uniform(*mesh.bounds, (POINTS, 3))
    assert contains(made, points[margin(sound, points) > voxel(mesh) / 2]).all()
    for part in spoilt:  # the wall of every part has solid within a voxel, but for a sample or two on its open rim
        wall, normals = sample_surface(Mesh(part.vertices, part.triangles), 200, 0)
        steps = np.linspace(-1.0, 1.0, 9) * voxel(mesh)
        probes = wall[:, None] + steps[None, :, None] * normals[:, None]
        assert contains(made, probes.reshape(-1, 3)).reshape(len(wall), -1).any(axis=1).mean() > 0.98
