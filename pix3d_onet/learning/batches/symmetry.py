"""Rotations about the up axis that map a shape onto itself, from its labelled points."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.learning.batches.batch import Decoding
from pix3d_onet.learning.batches.split import Split
from pix3d_onet.learning.network.camera import turns

LEAST_AGREEMENT = 0.95
"""Least agreement of a shape with itself turned, relative to that without a turn (1 but for the grid's cells)."""
POINTS_PER_CELL = 4
"""Labelled points per cell of the grid, on average."""
MOST_TURNED = 1 << 14
"""Most points that are turned: enough for an agreement to a hundredth."""


def symmetric_turns(points: Tensor, occupancy: Tensor) -> Tensor:
    """points (P, 3) in the normalised frame, occupancy (P,) 0 or 1 → (TURNS,) bool, the first one true.

    The labels of a part of the points, turned, are compared with the mean occupancy of a grid's cells, from the other
    points: the sum of minima over the sum of maxima, as an IoU.
    """
    cut = len(points) - min(len(points) // 2, MOST_TURNED)
    cells = max(1, round((cut / POINTS_PER_CELL) ** (1 / 3)))

    def cell(at: Tensor) -> Tensor:
        index = ((at / POINTS_HALF_SIDE + 1) / 2 * cells).floor().long().clamp(0, cells - 1)
        flat: Tensor = (index[..., 0] * cells + index[..., 1]) * cells + index[..., 2]
        return flat

    where = cell(points[:cut])
    count = torch.bincount(where, minlength=cells**3)
    grid = torch.bincount(where, occupancy[:cut], minlength=cells**3) / count.clamp(min=1)
    turned = points[cut:] @ turns(points).transpose(1, 2)  # (TURNS, P', 3)
    found = torch.where(turned.abs().amax(dim=-1) <= POINTS_HALF_SIDE, grid[cell(turned)], 0)
    labels = occupancy[cut:].expand_as(found)
    agreement = torch.minimum(found, labels).sum(dim=1) / torch.maximum(found, labels).sum(dim=1).clamp(min=1e-9)
    both_ways = torch.minimum(agreement, agreement.flip(0).roll(1))  # the inverse of a symmetry is one
    return both_ways >= LEAST_AGREEMENT * agreement[0]


def symmetries(split: Split) -> Tensor:
    """(S, TURNS) bool on the split's device: :func:`symmetric_turns` of each shape by its row."""
    decoding = Decoding(split.device)
    rows = []
    for shape in range(int(np.max(split.shapes)) + 1):
        cells, labels = split.shape_points(shape)
        rows.append(symmetric_turns(decoding.points(cells[: split.usable]), decoding.labels(labels, split.usable)))
    return torch.stack(rows)
