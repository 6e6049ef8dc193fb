"""``onet evaluate``: runs and baselines against the stored truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from onet_cli import ui
from onet_cli.scores import render, to_document
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.files import check_writable, write_json, write_text

if TYPE_CHECKING:
    from pix3d_onet.data.store.reader import Dataset
    from pix3d_onet.evaluation.evaluate import Evaluation
    from pix3d_onet.events import Emit
    from pix3d_onet.learning.extraction.predictor import NetworkPredictor, Predictor

COUNT = click.IntRange(min=1)
PROTOCOLS = ("onet", "pix3d")
BASELINE_NAMES = ("mean-shape", "retrieval", "oracle")
PROTOCOL_MESH = 32
"""Cells an axis of the mesh under Pix3D's protocol, which compares volumes: only whether there is a surface counts."""
ONLY_ONET = ("resolution", "coarse", "threshold", "samples", "seed", "precision")
ONLY_PIX3D = ("voxels",)
"""Options that the other protocol does not look at."""
FEW_SAMPLES = 0.99
"""F-score of a chair against itself below which the samples are too few to trust distances."""


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
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="onet", show_default=True, help="See above.")
@click.option("--baselines", is_flag=True, help="Add mean shape, retrieval and oracle as rows.")
@click.option("--baseline", multiple=True, help="Add one: mean-shape, retrieval or oracle.")
@click.option("--against", metavar="ROW", help="Compare all rows with this one [default: retrieval, or the first].")
@click.option("--threshold", type=float, help="Occupancy probability of the surface [default: the run's, 0.2].")
@click.option(
    "--resolution", type=int, default=128, show_default=True, help="Cells an axis of the extracted mesh, 8 to 1024."
)
@click.option(
    "--coarse",
    type=COUNT,
    default=32,
    show_default=True,
    help="Cells an axis of the first lattice: thinner parts can be missed.",
)
@click.option("--samples", type=COUNT, default=100_000, show_default=True, help="Samples of each surface.")
@click.option(
    "--voxels",
    type=COUNT,
    default=128,
    show_default=True,
    help="Samples along the unit cube under pix3d (fewer are faster, and not official).",
)
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Only the first N shapes of the split; 0 = all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the surface samples.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of the decoder's products; bf16 is meant for GPUs.",
)
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
    against: str | None,
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
    names = tuple(dict.fromkeys((*(BASELINE_NAMES if baselines else ()), *baseline)))
    check_options(runs, names, protocol, options)
    for place in (csv_file, out):
        if place is not None:
            check_writable(place, file=True)
    if csv_file is not None and out is not None and csv_file.absolute() == out.absolute():
        raise ConfigError(f"--csv and --out are both {out}.", hint="Name two files.")

    from pix3d_onet.evaluation.evaluate import rows_csv
    from pix3d_onet.evaluation.paired import differences

    results: list[Evaluation] = []
    failed: list[BaseException] = []
    with ui.live(quiet=quiet, verbose=verbose) as emit:
        for outcome in score(
            runs, names, data, split=split, protocol=protocol, against=against, options=options, emit=emit
        ):
            if isinstance(outcome, BaseException):
                failed.append(outcome)
            else:
                results.append(outcome)
    if not results:
        raise joined(failed)
    if against is not None and all(e.name != against for e in results):
        against = None  # that row failed, which is said at the end
    base = against or next((e.name for e in results if e.name == "retrieval"), results[0].name)
    scores = {e.name: {metric: e.by_record(metric) for metric in e.means} for e in results}
    objects = {row.record_id: row.object_id for e in results for row in e.rows}
    found = differences(scores, objects, base, list(results[0].means))
    document = to_document(results, found, split=split, protocol=protocol)
    if csv_file is not None:  # before anything is printed: a closed pipe must not cost the files
        write_text(csv_file, rows_csv(results))
    if out is not None:
        write_json(out, document)
    if as_json:
        ui.print_json(document)
    else:
        render(results, found, protocol=protocol)
    if failed:
        raise joined(failed)


def joined(failed: Sequence[BaseException]) -> BaseException:
    """One error for all rows that failed; Ctrl-C stays what it is."""
    if len(failed) == 1 or isinstance(failed[-1], KeyboardInterrupt):
        return failed[-1]
    return InputError(" ".join(str(error) for error in failed))


def check_options(runs: Sequence[Path], names: Sequence[str], protocol: str, options: dict[str, Any]) -> None:
    """ConfigError for what cannot be meant: said before anything is loaded."""
    from pix3d_onet.config import check_extraction

    if unknown := [name for name in names if name not in BASELINE_NAMES]:
        raise ConfigError(f"--baseline must be one of {', '.join(BASELINE_NAMES)}, not {unknown[0]!r}.")
    if not runs and not names:
        raise ConfigError("nothing to evaluate.", hint="Give a RUN, --baselines or --baseline NAME.")
    check_extraction(resolution=options["resolution"], threshold=options["threshold"], coarse=options["coarse"])
    given = click.get_current_context().get_parameter_source
    for name in ONLY_PIX3D if protocol == "onet" else ONLY_ONET:
        if given(name) is ParameterSource.COMMANDLINE:
            raise ConfigError(f"--{name} means nothing under --protocol {protocol}.", hint="Leave it out.")


def score(
    runs: Sequence[Path],
    names: Sequence[str],
    data: Path,
    *,
    split: str,
    protocol: str,
    against: str | None,
    options: dict[str, Any],
    emit: Emit,
) -> Iterator[Evaluation | InputError | KeyboardInterrupt]:
    """Baselines first, then the runs, in the order given. What becomes of a row costs no other: an error stands in
    for it, and after Ctrl-C the rows that are done are kept.
    """
    from pix3d_onet.data.store.reader import Dataset
    from pix3d_onet.evaluation.baselines import baseline, build_library
    from pix3d_onet.evaluation.evaluate import evaluate as evaluate_one
    from pix3d_onet.evaluation.evaluate import nearest_on
    from pix3d_onet.evaluation.pix3d_protocol import Lattice, evaluate_pix3d
    from pix3d_onet.events import Note
    from pix3d_onet.geometry.mesh.sampling import contains, sample_surface
    from pix3d_onet.learning.device import choose_device

    with Dataset(data) as dataset:
        if protocol == "pix3d":
            options = options | {"resolution": PROTOCOL_MESH}
        lattice = Lattice(options["voxels"])
        # What can be wrong with a run is found before the library is built, which takes a while.
        trained = apart([open_run(run, dataset.manifest.data_hash, options, emit) for run in runs], runs)
        if against is not None and against not in (known := [*names, *(network.name for network in trained)]):
            raise ConfigError(f"--against must be one of the rows ({', '.join(known)}), not {against!r}.")
        if protocol == "onet":
            warn_of_few_samples(dataset, split, options["samples"], emit)
        library = build_library(dataset, contains, emit=emit) if names else None
        rows: list[Predictor] = [baseline(name, library) for name in names if library is not None] + list(trained)
        for row in rows:
            try:
                if protocol == "pix3d":
                    yield evaluate_pix3d(
                        row, dataset, split, contains, lattice=lattice, limit=options["limit"], emit=emit
                    )
                else:
                    yield evaluate_one(
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
            except InputError as error:
                emit(Note(f"{row.name}: {error}", "warning"))
                yield error
            except KeyboardInterrupt as stop:
                yield stop
                return


def apart(trained: Sequence[NetworkPredictor], runs: Sequence[Path]) -> list[NetworkPredictor]:
    """The networks, those that share a name told apart by as much of their folder as it takes."""
    from dataclasses import replace

    names = [network.name for network in trained]
    if len(set(names) | set(BASELINE_NAMES)) == len(names) + len(BASELINE_NAMES):
        return list(trained)
    for depth in range(1, max(len(run.parts) for run in runs) + 1):
        ends = [Path(*run.parts[-depth:]).as_posix() for run in runs]
        if len(set(ends)) == len(ends):
            break
    else:
        raise ConfigError("the same RUN is given twice.")
    told = [
        f"{name} ({end})" if names.count(name) > 1 or name in BASELINE_NAMES else name
        for name, end in zip(names, ends, strict=True)
    ]
    return [replace(network, name=name) for network, name in zip(trained, told, strict=True)]


def warn_of_few_samples(dataset: Dataset, split: str, samples: int, emit: Emit) -> None:
    """Say so where distances would measure the spacing of the samples rather than that of the surfaces."""
    from pix3d_onet.evaluation.evaluate import ideal_f_score, split_entries
    from pix3d_onet.events import Note

    stored = len(dataset.sample(split_entries(dataset, split)[0], split).surface_points)
    count = min(samples, stored)
    if count and (score := ideal_f_score(count)) < FEW_SAMPLES:
        message = f"{count} samples a surface are few: a chair against itself would have an F@1% of about {score:.2f}."
        emit(Note(message, "warning"))


def open_run(run: Path, data_hash: str, options: dict[str, Any], emit: Emit) -> NetworkPredictor:
    """Load a run's network; a warning when it was trained on other data."""
    from pix3d_onet.events import Note
    from pix3d_onet.learning.device import choose_device
    from pix3d_onet.learning.extraction.predictor import network_predictor, run_settings

    trained_on = run_settings(run).data_hash
    if trained_on and trained_on != data_hash:
        emit(
            Note(f"{run} was trained on other data ({trained_on}): its training shapes may be among these.", "warning")
        )
    keys = ("threshold", "resolution", "coarse", "precision")
    return network_predictor(run, device=choose_device(options["device"]), **{k: options[k] for k in keys})
