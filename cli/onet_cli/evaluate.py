"""``onet evaluate``: runs and baselines against the stored truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onet_cli import ui
from pix3d_onet.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from pix3d_onet.events import Emit
    from pix3d_onet.learning.evaluate import Evaluation, Predictor
    from pix3d_onet.metrics import Interval

COUNT = click.IntRange(min=1)
PROTOCOLS = ("onet", "pix3d")
BASELINE_NAMES = ("mean-shape", "retrieval", "oracle")
PROTOCOL_MESH = 32
"""Cells an axis of the mesh under Pix3D's protocol, which compares volumes: only whether there is a surface counts."""
SPARED = ("chamfer_l1_x10", "accuracy", "completeness")
"""Columns that a terminal too narrow for all goes without; the JSON and CSV documents have them always."""


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN]...")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("data/prepared/pix3d-chair"),
    show_default=True,
    help="Prepared data set.",
)
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True, help="Pictures."
)
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="onet", show_default=True, help="See below.")
@click.option("--baselines", is_flag=True, help="Add mean shape, retrieval and oracle as rows.")
@click.option("--baseline", multiple=True, help="Add one: mean-shape, retrieval or oracle.")
@click.option("--threshold", type=float, help="Occupancy probability of the surface [default: the run's, 0.2].")
@click.option("--resolution", type=int, default=128, show_default=True, help="Cells an axis of the extracted mesh.")
@click.option("--samples", type=COUNT, default=100_000, show_default=True, help="Samples of each surface.")
@click.option(
    "--voxels",
    type=COUNT,
    default=64,
    show_default=True,
    help="Samples an axis of a field under pix3d.",
)
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Only the first N shapes of the split.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the surface samples.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Decoder.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write one line a picture to this file.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON document to this file.")
@ui.common_options
def evaluate(
    *,
    runs: tuple[Path, ...],
    data: Path,
    split: str,
    protocol: str,
    baselines: bool,
    baseline: tuple[str, ...],
    csv_file: Path | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Score trained RUNs and baselines on a split: IoU, Chamfer-L1, normal consistency, F-score.

    Protocol "onet" is that of Occupancy Networks: the continuous field on the stored points, and the extracted mesh.
    Protocol "pix3d" is the official one of Pix3D: 32³ voxels, boxes aligned, one threshold for all pictures searched
    on the split itself; its numbers are never comparable with the other's and stand alone.

    \b
    Example:
      onet evaluate runs/convnext --data data/prepared/pix3d-chair --baselines
      onet evaluate --baseline retrieval --split val --csv scores.csv
      onet evaluate runs/resnet18 --protocol pix3d --json
    """
    from pix3d_onet.config import check_extraction
    from pix3d_onet.files import check_writable, write_json, write_text
    from pix3d_onet.learning.evaluate import rows_csv

    names = tuple(dict.fromkeys((*(BASELINE_NAMES if baselines else ()), *baseline)))
    if unknown := [name for name in names if name not in BASELINE_NAMES]:
        raise ConfigError(f"--baseline must be one of {', '.join(BASELINE_NAMES)}, not {unknown[0]!r}.")
    if not runs and not names:
        raise ConfigError("nothing to evaluate.", hint="Give a RUN, --baselines or --baseline NAME.")
    check_extraction(resolution=options["resolution"], threshold=options["threshold"])
    for place in (csv_file, out):
        if place is not None:
            check_writable(place)
    with ui.live(quiet=quiet, verbose=verbose) as emit:
        results = score(runs, names, data, split=split, protocol=protocol, options=options, emit=emit)
    document = to_document(results, split, protocol)
    if csv_file is not None:
        write_text(csv_file, rows_csv(results))
    if out is not None:
        write_json(out, document)
    render(results, document, as_json=as_json)


def score(
    runs: Sequence[Path],
    names: Sequence[str],
    data: Path,
    *,
    split: str,
    protocol: str,
    options: dict[str, Any],
    emit: Emit,
) -> list[Evaluation]:
    """Baselines first, then the runs, in the order given."""
    from pix3d_onet.data.shards import Dataset
    from pix3d_onet.geometry.sample import contains, sample_surface
    from pix3d_onet.learning.baselines import baseline, build_library
    from pix3d_onet.learning.evaluate import evaluate as evaluate_one
    from pix3d_onet.learning.evaluate import nearest_on
    from pix3d_onet.learning.pix3d_protocol import ProtocolSettings, evaluate_pix3d
    from pix3d_onet.learning.runtime import choose_device

    with Dataset(data) as dataset:
        if protocol == "pix3d":
            options = options | {"resolution": PROTOCOL_MESH}
        # What can be wrong with a run is found before the library is built, which takes a minute.
        trained = [open_run(run, dataset.manifest.data_hash, options, emit) for run in runs]
        library = build_library(dataset, contains, emit=emit) if names else None
        rows: list[Predictor] = [baseline(name, library) for name in names if library is not None] + trained
        if protocol == "pix3d":
            settings = ProtocolSettings(predicted_voxels=options["voxels"])
            return [
                evaluate_pix3d(row, dataset, split, contains, settings=settings, limit=options["limit"], emit=emit)
                for row in rows
            ]
        return [
            evaluate_one(
                row,
                dataset,
                split,
                contains=contains,
                sample_surface=sample_surface,
                samples=options["samples"],
                limit=options["limit"],
                seed=options["seed"],
                search=nearest_on(choose_device(options["device"])),
                emit=emit,
            )
            for row in rows
        ]


def open_run(run: Path, data_hash: str, options: dict[str, Any], emit: Emit) -> Predictor:
    """Load a run's network; a warning when it was trained on other data."""
    from pix3d_onet.events import Note
    from pix3d_onet.learning.evaluate import network_predictor, run_settings
    from pix3d_onet.learning.runtime import choose_device

    trained_on = run_settings(run).data_hash
    if trained_on and trained_on != data_hash:
        emit(
            Note(f"{run} was trained on other data ({trained_on}): its training shapes may be among these.", "warning")
        )
    keys = ("threshold", "resolution", "precision")
    return network_predictor(run, device=choose_device(options["device"]), **{k: options[k] for k in keys})


def to_document(results: Sequence[Evaluation], split: str, protocol: str) -> dict[str, Any]:
    """The machine-readable form: metric definitions, then one entry a row."""
    from pix3d_onet.metrics import METRICS

    defined = [
        {
            "name": m.name,
            "label": m.label,
            "unit": m.unit,
            "higher_is_better": m.higher_is_better,
            "definition": m.definition,
            "source": m.source,
        }
        for m in METRICS
    ]
    return {
        "dataset": results[0].data,
        "split": split,
        "protocol": protocol,
        "metrics": defined if protocol == "onet" else [],
        "rows": [e.to_json() for e in results],
    }


def render(results: Sequence[Evaluation], document: dict[str, Any], *, as_json: bool) -> None:
    """Print the JSON document, or the means with half the width of their intervals."""
    if as_json:
        ui.print_json(document)
        return
    first, screen = results[0], ui.out()
    most = max(len(e.rows) for e in results)
    title = f"{first.data}, {first.split}: {ui.counted(most, 'picture')}, protocol {document['protocol']}"
    shown = scores_table(title, results, list(first.means))
    if ui.natural_width(shown) > screen.width:
        shown = scores_table(title, results, [name for name in first.means if name not in SPARED])
    screen.print(shown)
    fewer = [f"{e.name}: {len(e.rows)}" for e in results if len(e.rows) < most]
    if fewer:
        screen.print(f"Scored on fewer pictures, those with a camera: {', '.join(fewer)}.")
    if document["protocol"] == "pix3d":
        found = ", ".join(f"{e.name} {e.settings['threshold']:.2f}" for e in results)
        screen.print(f"Threshold found on these pictures: {found}. Not comparable with continuous IoU.")
    else:
        screen.print("± half of the 95 % interval over shapes; lengths in longest sides of the true box.")


def scores_table(title: str, results: Sequence[Evaluation], columns: Sequence[str]) -> Table:
    """One line a predictor: the means of ``columns``, and how many of its predictions were empty."""
    rows = [[e.name, *(cell(e.means[c]) for c in columns), e.empty or None] for e in results]
    table = ui.table(title, ["row", *(f">{heading(c)}" for c in columns), ">empty"], rows)
    for column in table.columns:
        column.no_wrap = True
    return table


def heading(column: str) -> str:
    """The label of a metric and which way is better; a protocol's own column keeps its name."""
    from pix3d_onet.metrics import METRICS

    return next((f"{m.label} {m.arrow}" for m in METRICS if m.name == column), "IoU 32³ ↑")


def cell(interval: Interval) -> str:
    """Mean above half the width of its interval, which is left out where there is none."""
    if math.isnan(interval.mean):
        return ""
    half = (interval.high - interval.low) / 2
    return f"{interval.mean:.3f}" + ("" if math.isnan(half) else f"\n±{half:.3f}")
