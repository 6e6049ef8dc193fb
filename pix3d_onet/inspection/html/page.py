"""The data set as one HTML file that works offline: shapes as cards, filters, histograms, 3D views, rejects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pix3d_onet.data.store.manifest import ShapeEntry, is_figure, named_warnings
from pix3d_onet.data.store.quality_figures import FIGURES, RULES, Figure, direction
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.data.store.rejects import scan_rejects
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Note, Progress, ignore
from pix3d_onet.files import write_text
from pix3d_onet.geometry.render import look
from pix3d_onet.inspection.html.shapes import affordable, shape_data, text
from pix3d_onet.inspection.summary import choose, summarise, worst_shapes
from pix3d_onet.pages.templating import PAGE_BUDGET, render

PACKAGE = "pix3d_onet.inspection.html"
"""Where this page's templates and assets lie."""
MOST_SHAPES = 400
"""More shapes are not on one page: their meshes would have too few faces. A random choice is."""
MOST_FIGURES = 48
"""Most quality figures per shape; ours are fewer."""
MOST_REJECTS = 500
"""Most rejects that are listed."""


def write_page(
    root: Path,
    path: Path,
    *,
    source_root: Path | None = None,
    shapes: int = MOST_SHAPES,
    worst: bool = False,
    split: str | None = None,
    seed: int = 0,
    emit: Emit = ignore,
) -> tuple[str, ...]:
    """Write the page of the data set in ``root`` to ``path``, and return the ids of the shapes on it.

    ``shapes``: most shapes; if there are more, a random choice or, with ``worst``, those of lowest quality. ``split``:
    only shapes and pictures of it. ``source_root``: folder of the source, to show the source's meshes. InputError if
    the data set or the source's folder cannot be read, or ``path`` cannot be written.
    """
    if source_root is not None and not source_root.is_dir():
        raise InputError(
            f"source not found: {source_root}.", hint="Give the folder that the data set was prepared from."
        )
    with Dataset(root) as dataset:
        chosen = choose(dataset.manifest, min(shapes, MOST_SHAPES), worst=worst, split=split, seed=seed)
        if not chosen:
            raise InputError(f"the {split} split of {root} has no shapes.")
        entries = [entry for entry, _ in chosen]
        names = _figure_names(entries)
        shown = _shapes(dataset, entries, names, split, source_root, emit)
    entries = entries[: len(shown)]
    choice = "the worst" if worst else f"chosen at random with seed {seed}"
    data = {
        "look": look.to_json(),
        "colours": {"mesh": look.PREDICTION_COLOUR, "source": look.TRUTH_COLOUR},
        "figures": [_about(name, entries) for name in names],
        "rules": {rule.name: rule.meaning for rule in RULES},
        "shapes": shown,
    }
    try:
        write_text(path, _page(root, entries, split, choice, data))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.", hint="Name another file.") from None
    return tuple(entry.object_id for entry in entries)


def _shapes(
    dataset: Dataset,
    entries: Sequence[ShapeEntry],
    names: Sequence[str],
    split: str | None,
    source_root: Path | None,
    emit: Emit,
) -> list[dict[str, Any]]:
    """The shapes for JSON, as many as fit into the budget; one is in memory at a time."""
    detail = affordable(len(entries), sources=source_root is not None)
    ranked = {e.object_id: (rank, why) for rank, (e, why) in enumerate(worst_shapes(dataset.manifest))}
    shown: list[dict[str, Any]] = []
    size = 0
    for number, entry in enumerate(entries, 1):
        data = shape_data(dataset.sample(entry, split), entry, detail, source_root)
        rank, why = ranked[entry.object_id]
        data |= {"rank": rank, "why": _reasons(entry, why), "qc": _figures(entry, names)}
        size += len(json.dumps(data))
        if size > PAGE_BUDGET:
            emit(Note(f"the page has {len(shown)} of {len(entries)} shapes, to stay below 10 MB.", "warning"))
            break
        shown.append(data)
        emit(Progress("inspect", number, len(entries), item=entry.object_id))
    return shown


def _page(root: Path, entries: Sequence[ShapeEntry], split: str | None, choice: str, data: Mapping[str, Any]) -> str:
    summary, name = summarise(root), root.resolve().name
    return render(
        PACKAGE,
        "dataset.html",
        title=f"{name}: {len(entries):,} of {summary.shapes:,} shapes",
        styles=("base.css", "viewer.css", "dataset.css"),
        scripts=("viewer.js", "histograms.js", "scroll.js", "dataset.js"),
        name=name,
        summary=summary,
        shown=len(entries),
        choice=choice,
        split=split,
        filters=_filters(entries),
        rejected=sum(summary.rejects.values()),
        rejects=_rejects(root),
        most_rejects=MOST_REJECTS,
        settings=[(text(key), text(value)) for key, value in summary.config.items()],
        data=data,
    )


def _figure_names(entries: Sequence[ShapeEntry]) -> list[str]:
    """The figures of any shape, in the order of their documentation, then those that this version does not know."""
    present = dict.fromkeys(name for entry in entries for name in entry.qc if name != "warnings")
    known = [name for name in FIGURES if name in present]
    return [*known, *(name for name in present if name not in FIGURES)][:MOST_FIGURES]


def _figures(entry: ShapeEntry, names: Sequence[str]) -> list[float | str | bool | None]:
    """The figures ``names`` of a shape; None where it has none."""
    return [_value(entry.qc.get(name)) for name in names]


def _reasons(entry: ShapeEntry, why: str) -> str:
    """The figures of ``why``, see :func:`worst_shapes`, without the warnings, which the page shows apart."""
    return text(", ".join(part for part in why.split(", ") if part not in named_warnings(entry)).replace("_", " "))


def _value(value: object) -> float | str | bool | None:
    if value is None or isinstance(value, bool):
        return value
    return float(f"{float(value):.6g}") if is_figure(value) else text(value)


def _about(name: str, entries: Sequence[ShapeEntry]) -> dict[str, Any]:
    """A figure for JSON; ``varies``: whether shapes can be compared by it."""
    known = FIGURES.get(name, Figure(name, "", ""))
    values = {v for entry in entries if is_figure(v := entry.qc.get(name))}
    return {
        "name": text(name),
        "label": text(name.replace("_", " ")),
        "unit": known.unit,
        "meaning": known.meaning,
        "ideal": known.ideal,
        "ratio": known.ratio,
        "better": direction(known),
        "limits": [f"{rule.condition}: {rule.name}" for rule in RULES if rule.figure == name],
        "varies": len(values) > 1,
    }


def _filters(entries: Sequence[ShapeEntry]) -> dict[str, list[tuple[str, str]]]:
    """Choices of the page's filters as (value, label with the number of shapes)."""
    warned = [named_warnings(entry) for entry in entries]
    kinds = Counter(name for names in warned for name in set(names))
    any_or_none = {"any": sum(map(bool, warned)), "none": len(warned) - sum(map(bool, warned))}
    return {
        "split": _choices(Counter(entry.split for entry in entries)),
        "category": _choices(Counter(entry.category for entry in entries)),
        "warning": [
            *((f"*{key}", f"{key} ({count})") for key, count in any_or_none.items()),
            *_choices(kinds),
        ],
    }


def _choices(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(text(name), f"{text(name)} ({count})") for name, count in sorted(counts.items())]


def _rejects(root: Path) -> list[tuple[str, list[tuple[str, ...]]]]:
    """The first rejects by stage and reason, most frequent first: shape, record and detail of each."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for row in islice(filter(None, scan_rejects(root)), MOST_REJECTS):
        cells = tuple(map(text, (row.object_id, row.record_id, row.detail)))
        groups.setdefault(text(f"{row.stage}: {row.reason}"), []).append(cells)
    return sorted(groups.items(), key=lambda group: -len(group[1]))
