"""Sample a field on a lattice near its iso-surface: the same mesh as from the dense lattice, with far fewer samples.

The idea is that of MISE (Mescheder et al., CVPR 2019, section 3.3): sample a coarse lattice and refine where the
surface is. MISE halves cells level by level and samples all 27 points of each. Here, instead, every coarse edge with a
sign change is sampled along its length; from each crossing the surface is followed on the fine lattice, from cell to
cell through faces with a sign change (a flood fill). So only corners of cells that the surface crosses are sampled: 16
to 21 % fewer points than MISE on a sphere, a torus and a chair at 128³, and parts of the surface that enter a coarse
cell without crossing its edges are not cut off. Coarse cells without a sign change, whose corner values suggest one
inside, are also examined. This finds boards and rods thinner than a coarse cell, which MISE misses.

Guarantee: every component of the dense lattice's surface is sampled either completely or not at all. It is sampled if
it crosses a coarse edge with a sign change. It can be missed only if it is thinner than a coarse cell and the values at
the coarse points around it give no hint: fields with a jump give none, but those of networks do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from pix3d_onet.config import MAX_RESOLUTION, POINTS_HALF_SIDE

Field = Callable[[Tensor], Tensor]
"""Points (T, 3) float32 in the normalised frame → logits (T,): positive inside."""

FAR = 1e6
"""Replaces infinite logits; its negative is the value beyond the box (the original's padding value)."""
OUTSIDE_ZERO = -1e-30
"""Stored for a value of exactly 0, because 0 means "not sampled"; a point on the surface counts as outside."""
CPU_CHUNK = 1 << 17
"""Points per call of the field on a CPU; the decoder divides them into its own chunks."""
GPU_CHUNK = 1 << 18
"""Points per call of the field on a GPU: 268 MB per activation in fp32."""
NEAR_LEVEL = 0.6
"""A coarse cell is examined if a corner is nearer to the level than this fraction of the field's range around the
cell."""
CURVED = 0.1
"""It is then subdivided if its centre is nearer to the level than the mean of its corners by this fraction of the
range."""
SUBDIVISION = 4
"""Number of cells per axis into which it is subdivided."""
_BIT = torch.arange(2)
FACES = tuple(
    (axis, side, tuple(c for c in range(8) if (c >> (2 - axis)) & 1 == side)) for axis in range(3) for side in (0, 1)
)
"""Axis, side and the indices (bits x, y, z) of the four corners of each of a cell's six faces."""


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """A field sampled around its surface on the corners of ``resolution``³ cells over [-0.55, 0.55]³.

    ``values`` (R+3, R+3, R+3) float32, logit minus level: the (R+1)³ corners and one layer beyond the box, −``FAR``
    where it is needed; 0 means "not sampled". ``cells`` (M, 3) int64: the cells (0 to R+1, outer layer included) that
    the surface crosses, ascending; all their corners are sampled. ``queries``: number of points at which the field was
    evaluated; ``undefined``: number of these with NaN, which counts as outside; ``highest``: the highest value.
    """

    values: Tensor
    cells: Tensor
    resolution: int
    queries: int
    undefined: int
    highest: float

    def inside(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(R+1, R+1, R+1) bool: whether each corner is inside, sampled or not."""
        values = self.values.cpu().numpy()
        position = np.where(values != 0, np.arange(values.shape[2]), 0)
        np.maximum.accumulate(position, axis=2, out=position)  # signs change only between two sampled corners
        return (np.take_along_axis(values, position, axis=2) > 0)[1:-1, 1:-1, 1:-1]


def _zeros(count: int, dtype: type[np.generic], device: torch.device) -> Tensor:
    """(count,) zeros. On a CPU from numpy, whose zeroed pages cost nothing until used; PyTorch would write them all."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(count, dtype))
    return torch.zeros(count, dtype=torch.float32 if dtype is np.float32 else torch.bool, device=device)


class Sampler:
    """A lattice that is being filled: evaluates the field in chunks and stores the values."""

    def __init__(self, field: Field, resolution: int, level: float, device: torch.device, chunk: int | None) -> None:
        self.field = field
        self.resolution = resolution
        self.side = resolution + 3
        self.level = level
        self.chunk = chunk or (CPU_CHUNK if device.type == "cpu" else GPU_CHUNK)
        self.values = _zeros(self.side**3, np.float32, device)
        self.queries = 0
        self.undefined = torch.zeros((), dtype=torch.int64, device=device)
        self.highest = torch.full((), -FAR, device=device)

    def step(self, axis: int) -> int:
        """Difference of the flat indices of neighbours along ``axis``."""
        return int(self.side ** (2 - axis))

    def code(self, index: Tensor) -> Tensor:
        """Lattice coordinates (..., 3) int64 → flat indices (...)."""
        return (index[..., 0] * self.side + index[..., 1]) * self.side + index[..., 2]

    def index(self, codes: Tensor) -> Tensor:
        """Flat indices (N,) → lattice coordinates (N, 3) int64."""
        side = self.side
        return torch.stack([codes // (side * side), codes // side % side, codes % side], dim=1)

    def sample(self, codes: Tensor) -> None:
        """Evaluate the field at the lattice points ``codes`` (N,): distinct, not yet sampled, inside the box."""
        for part in torch.split(codes, self.chunk) if len(codes) else ():
            points = ((self.index(part) - 1).to(torch.float32) / self.resolution - 0.5) * (2 * POINTS_HALF_SIDE)
            logits = self.field(points).to(torch.float32)
            self.undefined += torch.isnan(logits).sum()
            value = torch.nan_to_num(logits - self.level, nan=-FAR, posinf=FAR, neginf=-FAR)
            self.values[part] = torch.where(value == 0, OUTSIDE_ZERO, value)
            self.highest = torch.maximum(self.highest, value.amax())
        self.queries += codes.numel()

    def sample_new(self, codes: Tensor) -> None:
        """Sample those of ``codes`` (N,) not sampled yet, duplicates allowed; points beyond the box are outside."""
        codes = torch.unique(codes[self.values[codes] == 0])
        index = self.index(codes)
        beyond = ((index == 0) | (index == self.side - 1)).any(dim=1)
        self.values[codes[beyond]] = -FAR
        self.sample(codes[~beyond])


def coarse_steps(resolution: int, coarse: int) -> Tensor:
    """Positions of the coarse lattice on the fine one: 0, s, 2s, ..., R, at least ``coarse`` intervals."""
    stride = max(1, resolution // max(1, coarse))
    steps = torch.arange(0, resolution + 1, stride)
    return steps if int(steps[-1]) == resolution else torch.cat([steps, torch.tensor([resolution])])


def sample_surface(
    field: Field,
    resolution: int,
    *,
    coarse: int = 32,
    level: float = 0.0,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
) -> Lattice:
    """Sample ``field`` near its ``level`` set, on a lattice of ``resolution`` cells per axis.

    ``coarse``: least number of cells per axis of the coarse lattice; with ``coarse >= resolution`` all points are
    sampled. ``chunk``: points per call of the field (None = by device). Points beyond the box count as outside, so that
    the surface is closed there. ValueError unless the resolution is between 1 and ``MAX_RESOLUTION``.
    """
    if not 1 <= resolution <= MAX_RESOLUTION:
        raise ValueError(f"resolution must be between 1 and {MAX_RESOLUTION}, not {resolution}")
    device = torch.device(device)
    sampler = Sampler(field, resolution, level, device, chunk)
    steps = coarse_steps(resolution, coarse).to(device)
    sampler.sample(sampler.code(torch.cartesian_prod(steps + 1, steps + 1, steps + 1)))
    seeds = torch.cat([_edge_seeds(sampler, steps), _interior_seeds(sampler, steps)])
    cells = _flood(sampler, torch.unique(seeds))
    values = sampler.values.view((sampler.side,) * 3)
    return Lattice(
        values, sampler.index(cells), resolution, sampler.queries, int(sampler.undefined), float(sampler.highest)
    )


def _edge_seeds(sampler: Sampler, steps: Tensor) -> Tensor:
    """Flat indices of the fine cells around every sign change on coarse edges, and on edges that leave the box."""
    beyond = torch.full_like(steps[:1], -1), torch.full_like(steps[:1], sampler.resolution + 1)
    ends = torch.cat([beyond[0], steps, beyond[1]]) + 1
    found = []
    for axis in range(3):
        axes = [steps + 1] * 3
        axes[axis] = ends
        points = sampler.code(torch.cartesian_prod(*axes)).view([len(a) for a in axes]).movedim(axis, 0)
        inside = sampler.values[points] > 0  # points beyond the box are not sampled: 0, outside
        differ = inside[1:] != inside[:-1]
        length = (ends[1:] - ends[:-1]).view(-1, 1, 1).expand_as(differ)[differ]
        start = points[:-1][differ]
        found.append(_crossings(sampler, start, length, axis))
    return torch.cat(found)


def _interior_seeds(sampler: Sampler, steps: Tensor) -> Tensor:
    """Flat indices of fine cells with boards, rods or slits inside coarse cells without a sign change.

    A coarse cell is examined if a corner is near the level, compared with the field's range around the cell. First its
    centre is sampled. If that has the other sign, or is nearer to the level than a linear field would be, the cell is
    sampled on a lattice of ``SUBDIVISION`` cells per axis.
    """
    middle = (steps[:-1] + steps[1:]) // 2
    if len(steps) < 2 or bool((middle == steps[:-1]).all()):
        return steps[:0]
    values = sampler.values[sampler.code(torch.cartesian_prod(*[steps + 1] * 3))].view([len(steps)] * 3)
    change = _pooled(values, 4, padding=1) + _pooled(
        -values, 4, padding=1
    )  # (n, n, n): range over a cell and its neighbours
    most, least = _pooled(values, 2), -_pooled(-values, 2)
    nearest = torch.minimum(most.abs(), least.abs())
    suspect = ((most > 0) == (least > 0)) & (nearest <= NEAR_LEVEL * change)
    cells = suspect.nonzero()  # (K, 3)
    centre = sampler.code(middle[cells] + 1)
    sampler.sample_new(centre)
    corners = torch.stack(
        [values[tuple((cells + bit).T)] for bit in torch.cartesian_prod(*[_BIT.to(cells.device)] * 3)]
    )
    side = torch.sign(corners[0])
    bent = side * (corners.mean(dim=0) - sampler.values[centre]) > CURVED * change[suspect]
    cells = cells[bent | (side * sampler.values[centre] < 0)]
    parts = torch.arange(SUBDIVISION + 1, device=cells.device)
    first, length = steps[cells], (steps[1:] - steps[:-1])[cells]  # (K, 3)
    along = first[:, :, None] + length[:, :, None] * parts // SUBDIVISION + 1  # (K, 3, P)
    x, y, z = along[:, 0, :, None, None], along[:, 1, None, :, None], along[:, 2, None, None, :]
    points = (x * sampler.side + y) * sampler.side + z  # (K, P, P, P) flat indices
    sampler.sample_new(points.reshape(-1))
    found = [cells.new_empty(0)]
    for axis in range(3):
        lines = points.movedim(axis + 1, 0)
        inside = sampler.values[lines] > 0
        differ = inside[1:] != inside[:-1]
        start = lines[:-1][differ]
        found.append(_crossings(sampler, start, (lines[1:][differ] - start) // sampler.step(axis), axis))
    return torch.cat(found)


def _pooled(values: Tensor, width: int, padding: int = 0) -> Tensor:
    """The maximum over every ``width``³ window of (N, N, N) values."""
    return max_pool3d(values[None, None], width, stride=1, padding=padding)[0, 0]


def _crossings(sampler: Sampler, start: Tensor, length: Tensor, axis: int) -> Tensor:
    """Sample edges (E,) along their ``length``; return the fine cells around each fine edge with a sign change."""
    if not len(start):
        return start
    along = torch.arange(int(length.max()) + 1, device=start.device)
    line = start[:, None] + torch.minimum(along, length[:, None]) * sampler.step(
        axis
    )  # (E, L+1); shorter edges repeat their end
    sampler.sample_new(line.reshape(-1))
    inside = sampler.values[line] > 0
    edge = line[:, :-1][inside[:, 1:] != inside[:, :-1]]
    first, second = (sampler.step(a) for a in range(3) if a != axis)
    return torch.cat([edge, edge - first, edge - second, edge - first - second])


def _flood(sampler: Sampler, todo: Tensor) -> Tensor:
    """All cells of the surface components through ``todo`` (flat, distinct), ascending; their corners are sampled.

    A cell's index is that of its lowest corner. Two cells are connected if their common face has a sign change, because
    then triangles of marching cubes meet there. Faces on the outside of the outer layer never have one.
    """
    bits = torch.arange(8, device=todo.device)
    offsets = (bits >> 2) * sampler.step(0) + ((bits >> 1) & 1) * sampler.step(1) + (bits & 1)
    taken = _zeros(len(sampler.values), np.bool_, sampler.values.device)
    done = [todo]
    while len(todo):
        taken[todo] = True
        corners = todo[:, None] + offsets  # (A, 8)
        sampler.sample_new(corners.view(-1))
        inside = sampler.values[corners] > 0
        near = []
        for axis, side, face in FACES:
            on_face = inside[:, face]
            crossed = on_face.any(dim=1) & ~on_face.all(dim=1)
            near.append(todo[crossed] + (2 * side - 1) * sampler.step(axis))
        new = torch.cat(near)
        todo = torch.unique(new[~taken[new]])
        done.append(todo)
    return torch.sort(torch.cat(done)).values
