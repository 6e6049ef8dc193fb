"""The pictures and meshes that a run left for the figures, read from ``examples.npz`` (no pickle, no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pix3d_onet.ablation.stored_runs import StoredRun
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.runs.examples import Example, read_examples
from pix3d_onet.types import Bool, UInt8

MASK_ALPHA = 0.3
"""Strength of the mask over the picture, as in the report's Figure 5."""
MASK_COLOUR = (213, 94, 0)
"""Okabe-Ito vermillion."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Figure 5 as data: the same pictures for every variant. ``columns`` are record ids; a missing cell is absent."""

    records: tuple[str, ...]
    inputs: dict[str, Example]
    cells: dict[tuple[str, str], Example]
    """(variant, record id) → what the variant's first run made of the picture."""
    labels: Mapping[str, str]
    """Variant → what its row is called."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Variants with at least one cell, in the order given."""
        return tuple(dict.fromkeys(v for v, _ in self.cells))


def gallery(runs: Sequence[StoredRun], labels: Mapping[str, str], limit: int = 6, emit: Emit = ignore) -> Gallery:
    """The examples of the first run of each variant in ``labels``; damaged files are skipped with a warning."""
    inputs: dict[str, Example] = {}
    cells: dict[tuple[str, str], Example] = {}
    for name in labels:
        mine = sorted((r for r in runs if r.variant == name), key=lambda r: r.seed)
        if not mine:
            continue
        try:
            examples = read_examples(mine[0].folder)
        except InputError as error:
            emit(Note(str(error), "warning"))
            continue
        for example in examples:
            inputs.setdefault(example.record_id, example)
            cells[name, example.record_id] = example
    records = tuple(inputs)[:limit]
    kept = {k: e for k, e in cells.items() if k[1] in records}
    return Gallery(records, {r: inputs[r] for r in records}, kept, labels)


def cut_out(rgb: UInt8, mask: Bool) -> UInt8:
    """``rgb`` (H, W, 3) on nothing, (H, W, 4): what is outside the mask is transparent."""
    return np.dstack([rgb, mask.astype(np.uint8) * np.uint8(255)])


def with_mask(rgb: UInt8, mask: Bool) -> UInt8:
    """``rgb`` (H, W, 3) with the mask laid over it at alpha 0.3."""
    tinted = rgb.astype(np.float64)
    tinted[mask] = (1 - MASK_ALPHA) * tinted[mask] + MASK_ALPHA * np.asarray(MASK_COLOUR)
    return np.rint(tinted).astype(np.uint8)
