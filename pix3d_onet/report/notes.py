"""What stands below a table: what its numbers may be taken for, one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pix3d_onet.ablation.unfinished import CONTINUE
from pix3d_onet.runs.record import CONSTANT, FEW_PICTURES

if TYPE_CHECKING:  # the table has its notes
    from pix3d_onet.report.table import Table


def table_notes(table: Table) -> tuple[str, ...]:
    """Further notes below the caption, one sentence each."""
    base = table.called(table.base)
    notes = [table.smoke_test] if table.smoke_test else []
    for kind, does in CONSTANT.items():
        if same := [table.called(r.variant) for r in table.rows if any(cell.constant == kind for cell in r.runs)]:
            notes.append(f"Has learnt no shape, since it {does}: {', '.join(same)}.")
    if 0 < (count := table.counts.get("val", 0)) < FEW_PICTURES:
        notes.append(f"Only {count} validation picture{'' if count == 1 else 's'}: too few to rank variants.")
    if table.reference and any(r.val_iou_paper is not None for r in table.rows):
        notes.append("“report”: the course report that is reproduced (Pix3D chairs, 3000 steps).")
    if len(table.seeds) > 1:
        notes.append("±: 95 % Student-t interval of the mean over seeds.")
    partial = [table.called(r.variant) for r in table.rows if r.seeds and set(r.seeds) != set(table.seeds)]
    if partial:
        notes.append(f"Fewer seeds than the others: {', '.join(partial)}; compared over shared seeds only.")
    if longer := [f"{table.called(r.variant)} {r.steps}" for r in table.rows if r.runs and r.steps != table.steps]:
        notes.append(f"Other numbers of steps than {table.steps}: {', '.join(longer)}.")
    if len(devices := _devices(table)) > 1:
        listing = "; ".join(f"{device}: {', '.join(names)}" for device, names in devices.items())
        notes.append(
            f"Trained on different devices or in different precisions ({listing}): their speeds, times and memory do "
            "not compare."
        )
    if fewer := _fewer_pictures(table):
        notes.append(
            f"Scored on fewer pictures, those with a camera: {'; '.join(fewer)}. Their own means are over these; "
            f"what compares them with {base} is over shared pictures only."
        )
    if depends := _order_depends(table):
        notes.append(depends)
    if table.own_thresholds:
        notes.append(
            "Each run's threshold is the best one on its validation pictures, its checkpoint the best one there at "
            "the threshold of training: Val IoU is too high for both reasons."
        )
    if table.tested_shapes and table.tested_on == "val":
        chosen = "checkpoints and thresholds" if table.own_thresholds else "checkpoints"
        notes.append(f"The tests are on the pictures on which {chosen} were chosen: take p as optimistic.")
    if table.tested_shapes:
        notes.append(
            f"*+ and *−: better and worse than {base} over {table.tested_shapes} {table.tested_on} shapes "
            f"(sign-flip permutation test) and over seeds (Welch's t test), both with Holm-corrected "
            f"p < {table.significance:g}."
        )
        if any(r.difference is not None and r.p_seeds is None for r in table.rows):
            notes.append(
                f"A row has no mark without two runs whose seeds {base} has as well: other seeds could change "
                "which is better."
            )
    if table.marks_differ:
        differing = ", ".join(map(table.called, table.marks_differ))
        notes.append(f"At each run's own best threshold the marks differ: {differing}.")
    if table.unscored:
        notes.append(f"Without scores on {table.tested_on}, left out of the tests: {', '.join(table.unscored)}.")
    if table.unfinished:
        notes.append(f"Unfinished, not in the table: {'; '.join(r.summary for r in table.unfinished)}. {CONTINUE}")
    begun = {r.variant for r in table.unfinished}
    missing = [table.called(r.variant) for r in table.rows if not r.runs and r.variant not in begun]
    if missing:
        notes.append(f"No finished run, left blank: {', '.join(missing)}.")
    return tuple(notes)


def _devices(table: Table) -> dict[str, list[str]]:
    """Device with its precision → labels of the variants with a run on it."""
    found: dict[str, list[str]] = {}
    for row in table.rows:
        for device in sorted({cell.device for cell in row.runs}):
            found.setdefault(device, []).append(table.called(row.variant))
    return found


def _order_depends(table: Table) -> str:
    """The note for a table whose best row is another one at each run's own threshold; else empty.

    Only rows with all seeds and all pictures are compared, and only in the digits that the table shows.
    """
    most = max((r.val_pictures or 0 for r in table.rows), default=0)
    rows = {
        r.variant: (round(r.val_iou, 4), round(r.val_iou_best_threshold, 4))
        for r in table.rows
        if r.val_iou is not None
        and r.val_iou_best_threshold is not None
        and set(r.seeds) == set(table.seeds)
        and (r.val_pictures or 0) == most
    }
    if not rows:
        return ""
    here, there = (max(rows, key=lambda name: rows[name][column]) for column in (0, 1))
    (at_here, here_own), (at_there, there_own) = rows[here], rows[there]
    if there_own <= here_own or at_here <= at_there:
        return ""
    first, second = table.called(here), table.called(there)
    return (
        f"Which Val IoU is highest depends on the threshold: at that of training {first} has {at_here:.4f} and "
        f"{second} {at_there:.4f}, at the one that is best for each run {here_own:.4f} and {there_own:.4f}."
    )


def _fewer_pictures(table: Table) -> list[str]:
    """``variant: N of M val`` for every row that was scored on fewer pictures than another."""
    found: dict[str, list[str]] = {}
    for split in ("val", "test"):
        counts = {r.variant: getattr(r, f"{split}_pictures") or 0 for r in table.rows}
        most = max(counts.values(), default=0)
        for name, count in counts.items():
            if 0 < count < most:
                found.setdefault(name, []).append(f"{count} of {most} {split}")
    return [f"{table.called(name)}: {', '.join(parts)}" for name, parts in found.items()]
