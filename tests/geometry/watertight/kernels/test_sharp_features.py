"""Vertices of edges and corners, and the fans around them, against one loop at a time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from helpers.references import sharp_features as reference
from helpers.references.brick_grids import SIDE, random_bricks
from scipy import ndimage

pytest.importorskip("numba")

from pix3d_onet.geometry.watertight.kernels import cube_tables, marching_cubes, neighbours
from pix3d_onet.geometry.watertight.kernels import sharp_features as sharp

SEEDS = range(3)
EDGES = (cube_tables.EDGE_AXIS, cube_tables.EDGE_LOWER, cube_tables.EDGE_SIDES)


class Surface:
    """A surface with random signs on a random grid, planes at its vertices, and the steps of its loops."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.grid = random_bricks(rng)
        deep = ndimage.minimum_filter(self.grid.owned, 3)
        smooth = ndimage.gaussian_filter(rng.normal(size=deep.shape), 1.0)
        inside = (deep & (smooth > 0)).astype(np.uint8)
        fractions = rng.uniform(0.1, 0.9, (self.grid.count, 3, SIDE**3)).astype(np.float32)
        self.table = neighbours.neighbour_table(self.grid.slots, self.grid.count)
        self.cubes = marching_cubes.extract(
            self.grid.sparse(inside), np.zeros(self.grid.slots.size, np.uint8), self.table, self.grid.origins, fractions
        )
        self.walk = (self.cubes.cases, self.cubes.number, self.table)
        self.outward = self._outward()
        normals = self.outward + rng.normal(scale=0.5, size=self.outward.shape)
        self.normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        self.normals[rng.random(len(normals)) < 0.05] = 0

    def _outward(self) -> np.ndarray:
        """(V, 3) direction from the inside end to the outside end of every vertex's edge."""
        result = np.zeros((len(self.cubes.vertices), 3))
        for slot, axis, local in np.argwhere(self.cubes.number >= 0):
            sign = 1 if self.cubes.cases[slot, local] & 1 else -1
            result[self.cubes.number[slot, axis, local], axis] = sign
        return result

    def loops(self) -> list[list[int]]:
        """The vertices of every loop."""
        tables, found = cube_tables.tables(), []
        for slot, local in np.argwhere((self.cubes.cases > 0) & (self.cubes.cases < 255)):
            case = self.cubes.cases[slot, local]
            for loop, length in zip(tables.loops[case], tables.lengths[case], strict=True):
                edges = [(EDGES[0][e], EDGES[1][e]) for e in loop[:length]]
                vertices = [marching_cubes.vertex_on(self.cubes.number, self.table, slot, local, *e) for e in edges]
                found += [[int(v) for v in vertices]] if length else []
        return found

    def axis_across(self, v: int, w: int) -> int:
        """The axis across the cube face in which the step v-w lies: the one along which neither of its edges runs."""
        runs = {int(np.abs(self.outward[x]).argmax()) for x in (v, w)}
        p, q = self.cubes.vertices[v], self.cubes.vertices[w]
        return next(a for a in range(3) if a not in runs and p[a] == q[a])

    def meeting(self, v: int, w: int, axis: int) -> np.ndarray | None:
        p, n = self.cubes.vertices, self.normals
        return reference.meeting_edge(p[v], n[v], p[w], n[w], axis, sharp)


@pytest.mark.kernel("outward_normals")
def test_normals_point_out_of_the_solid() -> None:
    made = Surface(0)
    triangles = made.rng.normal(size=(40, 3, 3))
    crossed = made.rng.integers(-1, 40, len(made.cubes.vertices))
    found = sharp.outward_normals(triangles, crossed, made.cubes.cases, made.cubes.number)
    assert np.allclose(found, reference.outward_normals(triangles, crossed, made.outward))


@pytest.mark.kernel("meeting_edge", "meeting_corner")
@pytest.mark.parametrize("seed", SEEDS)
def test_planes_meet_where_linear_algebra_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    met = 0
    for _ in range(300):
        axis = int(rng.integers(3))
        points, normals = rng.random((5, 3)), rng.normal(size=(5, 3)) + np.eye(3)[0]
        points[:2, axis] = 0
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        place = np.empty(3)
        expected = reference.meeting_edge(points[0], normals[0], points[1], normals[1], axis, sharp)
        assert sharp.meeting_edge(normals, points, 0, 1, axis, place) == (expected is not None)
        if expected is not None:
            assert np.allclose(place, expected, atol=1e-6)
            met += 1
        near = points.mean(axis=0)
        corner = reference.meeting_corner(points, normals, near, sharp)
        volume = sharp.meeting_corner(normals, points, np.arange(5), 5, near, place)
        assert volume == pytest.approx(0.0 if corner is None else corner[1])
        if corner is not None:
            assert np.allclose(place, corner[0], atol=1e-6)
    assert 100 < met < 300


@pytest.mark.kernel("bent_steps", "middles", "place_steps", "keep_steps", "count_fans", "place_fans", "faces")
@pytest.mark.parametrize("seed", SEEDS)
def test_steps_and_fans_are_those_of_every_loop(seed: int) -> None:
    made = Surface(seed)
    tables, cubes, normals = cube_tables.tables(), made.cubes, made.normals
    p = cubes.vertices
    steps, step_of, touched = sharp.bent_steps(*made.walk, tables.segments, EDGES, normals, p)
    loops = made.loops()
    sides = Counter(frozenset((v, w)) for loop in loops for v, w in zip(loop, loop[1:] + loop[:1], strict=True))
    assert set(sides.values()) == {2}  # every step belongs to two loops
    axes = {pair: made.axis_across(*pair) for pair in sides}
    bent = {pair for pair, axis in axes.items() if made.meeting(*sorted(pair), axis) is not None}
    assert {frozenset(row[:2].tolist()) for row in steps} == bent
    assert len(steps) == len(bent) > 100
    assert {frozenset(r[:2].tolist()): int(r[2]) for r in steps} == {pair: axes[pair] for pair in bent}

    middles, to_planes = sharp.middles(steps, normals, p)
    assert np.allclose(middles, (p[steps[:, 0]] + p[steps[:, 1]]) / 2)
    shares = made.rng.choice([0.3, 0.6, 1.0], len(steps))
    tops, is_sharp, kept = sharp.place_steps(steps, normals, p, to_planes, shares**2 * to_planes)
    named = {}
    rows = zip(steps, shares, tops, is_sharp, to_planes, kept, strict=True)
    for (v, w, axis), share, top, flag, nearer, stays in rows:
        ends = p[v], normals[v], p[w], normals[w]
        assert np.sqrt(nearer) == pytest.approx(min(reference.off_planes(*ends)) / 2)
        place, expected = reference.place_step(*ends, int(axis), share, sharp)
        assert np.allclose(top, place, atol=1e-6)
        assert flag == expected
        slight = expected and normals[v] @ normals[w] >= sharp.SHALLOW and nearer <= sharp.SLIGHT**2
        assert stays == (not slight)
        if stays:
            named[frozenset((int(v), int(w)))] = top, bool(flag)
    assert 0 < len(named) < len(steps)
    sharp.keep_steps(step_of, kept)
    tops, is_sharp = tops[kept], is_sharp[kept]

    walk = (*made.walk, tables.lengths, tables.loops, tables.sides, EDGES, step_of)
    fan_offsets, face_offsets, fanned = sharp.count_fans(*walk, touched, tables.counts)
    fans = sharp.place_fans(*walk, fanned, fan_offsets, normals, p, tops, is_sharp)
    faces = sharp.faces(*walk, tables.pieces, fanned, fan_offsets, face_offsets, len(p), len(tops))
    expected_fans, expected_faces = [], 0
    for loop in loops:
        pairs = [frozenset(pair) for pair in zip(loop, loop[1:] + loop[:1], strict=True)]
        if any(pair in named for pair in pairs):
            peaks = [named[pair][0] if pair in named else None for pair in pairs]
            flags = [named[pair][1] for pair in pairs if pair in named]
            expected_fans.append(reference.fan(p[loop], normals[loop], peaks, flags, sharp))
            expected_faces += len(loop) + len(flags)
        else:
            expected_faces += len(loop) - 2
    assert np.allclose(fans, expected_fans, atol=1e-6)
    assert len(faces) == expected_faces

    directed = Counter((int(f[c]), int(f[(c + 1) % 3])) for f in faces for c in range(3))
    assert set(directed.values()) == {1}
    assert all(edge[::-1] in directed for edge in directed)
    assert set(range(len(p) + len(tops) + len(fans))) == set(faces.ravel().tolist())
