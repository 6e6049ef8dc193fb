"""Collect the example pictures and meshes of runs for Figure 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pix3d_onet.ablation.stored_runs import StoredRun
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.runs.examples import Example, read_examples


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Content of Figure 5: the same ``records`` (ids) for every variant; ``inputs``: record id → its input."""

    records: tuple[str, ...]
    inputs: dict[str, Example]
    cells: dict[tuple[str, str], Example]
    """(variant, record id) → reconstruction by the variant's first run; some may be missing."""
    labels: Mapping[str, str]
    """Variant → label of its row."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Variants with at least one cell, in the order of the table."""
        return tuple(dict.fromkeys(v for v, _ in self.cells))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the records: one, unless the runs' files differ."""
        return tuple(dict.fromkeys(self.inputs[record].split for record in self.records))


def gallery(runs: Sequence[StoredRun], labels: Mapping[str, str], limit: int = 6, emit: Emit = ignore) -> Gallery:
    """Up to ``limit`` examples of the first run of each variant in ``labels``; a damaged file is a warning."""
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
