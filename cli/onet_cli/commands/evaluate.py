"""``onet evaluate``: score runs and baselines against the stored ground truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from onet_cli import ui
from onet_cli.options import DATA, FOLDER, Threshold, setting, settings, threads_option
from onet_cli.scores import is_score_document, is_score_table, render, to_document
from pix3d_onet.config import Baseline, EvaluationConfig, EvaluationProtocol, ExtractionConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.evaluation.request import Request
from pix3d_onet.files import check_writable, is_own_file, write_json, write_text

if TYPE_CHECKING:
    from pix3d_onet.evaluation.evaluate import Evaluation

EXTRACTION = ("threshold", "resolution", "coarse", "precision")
SCORING = ("split", "protocol", "samples", "voxels", "limit", "seed", "align", "mesh_frame")
UNUSED: dict[EvaluationProtocol, tuple[str, ...]] = {
    "onet": ("voxels",),
    "pix3d": ("resolution", "coarse", "threshold", "samples", "seed", "precision"),
}
"""Protocol → options that it does not use."""


class NamedFolder(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """``NAME=DIR``, passed on as a pair."""

    name = "NAME=DIR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Split at the first ``=``; a usage error without one."""
        name, equals, folder = str(value).partition("=")
        if not (name and equals and folder):
            self.fail(f"{value!r} is not NAME=DIR.", param, ctx)
        return name, Path(folder)


@click.command()
@click.argument("runs", nargs=-1, type=FOLDER, metavar="[RUN]...")
@click.option("--data", type=FOLDER, default=DATA, show_default=True, help="Prepared data set.")
@settings(EvaluationConfig, "split", "protocol")
@click.option("--baselines", "all_baselines", is_flag=True, help="Add all baselines that the pictures allow.")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    type=click.Choice(get_args(Baseline)),
    help="Add one baseline as a row; repeatable.",
)
@click.option("--meshes", multiple=True, type=NamedFolder(), help="Add another method's meshes as a row; repeatable.")
@settings(EvaluationConfig, "align", "mesh_frame")
@click.option("--against", metavar="ROW", help="Compare all rows with this one [default: retrieval, or the first].")
@settings(
    ExtractionConfig, "threshold", "resolution", "coarse", threshold={"type": Threshold(), "metavar": "NUMBER|val"}
)
@settings(EvaluationConfig, "samples", "voxels", "limit", "seed")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@threads_option
@setting(ExtractionConfig, "precision")
@click.option("--csv", "csv_file", type=FOLDER, help="Write one line per picture to this file.")
@click.option("--out", type=FOLDER, help="Write the JSON document to this file.")
@ui.common_options
def evaluate(
    *,
    runs: tuple[Path, ...],
    data: Path,
    all_baselines: bool,
    baselines: tuple[Baseline, ...],
    meshes: tuple[tuple[str, Path], ...],
    against: str | None,
    device: str,
    threads: int,
    csv_file: Path | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **fields: Any,
) -> None:
    """Score trained RUNs, baselines and other methods' meshes on a split: IoU, Chamfer-L1, normals, F-score.

    Protocol "onet" is that of Occupancy Networks: the field is scored on the stored points, the extracted mesh on
    surface samples. Protocol "pix3d" is the official one of Pix3D: IoU on 32³ voxels after aligning bounding boxes,
    with the one threshold that is best on the scored pictures. Do not compare numbers across protocols.

    Meshes of --meshes NAME=DIR are matched by the name of the picture or shape; missing and broken ones count as empty.
    --align uses the truth, and applies to every row, so that rows of one table can be compared.

    \b
    Example:
      onet evaluate runs/convnext --data data/prepared/pix3d-chair --baselines
      onet evaluate --baseline retrieval --split val --csv scores.csv
      onet evaluate runs/resnet18 --protocol pix3d --json
      onet evaluate runs/resnet18 --baselines --meshes triposr=out/triposr --align search
    """
    named = (*(get_args(Baseline) if all_baselines else ()), *baselines)
    config = EvaluationConfig(**{name: fields[name] for name in SCORING})
    extraction = ExtractionConfig(**{name: fields[name] for name in EXTRACTION})
    if len(dict(meshes)) < len(meshes):
        raise ConfigError("--meshes: two rows have the same name.", hint="Name them differently.")
    baseline_rows = tuple(dict.fromkeys(named))
    optional = all_baselines and not baselines
    request = Request(data, runs, baseline_rows, optional, dict(meshes), against, device, threads, config, extraction)
    check_options(config.protocol)
    if not meshes and click.get_current_context().get_parameter_source("mesh_frame") is ParameterSource.COMMANDLINE:
        raise ConfigError("--mesh-frame has no effect without --meshes.", hint="Leave it out.")
    check_places(csv_file, out)

    from pix3d_onet.evaluation.job import combined, evaluate_rows

    results: list[Evaluation] = []
    failed: list[InputError] = []
    try:
        with ui.live(quiet=quiet, verbose=verbose) as emit:
            for outcome in evaluate_rows(request, emit):
                if isinstance(outcome, InputError):
                    failed.append(outcome)
                else:
                    results.append(outcome)
    finally:  # show the finished rows also after Ctrl-C or a full disk
        if results:
            finish(results, request, as_json=as_json, csv_file=csv_file, out=out)
    if failed:
        raise combined(failed)


def check_options(protocol: EvaluationProtocol) -> None:
    """ConfigError if an option was given that the protocol does not use."""
    given = click.get_current_context().get_parameter_source
    for name in UNUSED[protocol]:
        if given(name) is ParameterSource.COMMANDLINE:
            raise ConfigError(f"--{name} has no effect with --protocol {protocol}.", hint="Leave it out.")


def check_places(csv_file: Path | None, out: Path | None) -> None:
    """InputError for a file that cannot be written, or holds anything but earlier scores (a data set's shard, say);
    ConfigError if both are the same file."""
    for place, are_scores in ((csv_file, is_score_table), (out, is_score_document)):
        if place is not None:
            check_writable(place, file=True)
            if os.path.lexists(place) and not (is_own_file(place) and (not place.stat().st_size or are_scores(place))):
                raise InputError(f"{place} holds no scores of onet evaluate.", hint="Name another file, or remove it.")
    if csv_file is not None and out is not None and csv_file.absolute() == out.absolute():
        raise ConfigError(f"--csv and --out are both {out}.", hint="Name two files.")


def finish(
    results: Sequence[Evaluation], request: Request, *, as_json: bool, csv_file: Path | None, out: Path | None
) -> None:
    """Print the tables or the JSON document, and write the requested files."""
    from pix3d_onet.evaluation.evaluate import rows_csv
    from pix3d_onet.evaluation.job import compare_rows

    split, protocol = request.config.split, request.config.protocol
    found = compare_rows(results, request.against)
    document = to_document(results, found, split=split, protocol=protocol)
    if csv_file is not None:  # before anything is printed: a closed pipe must not cost the files
        write_text(csv_file, rows_csv(results))
    if out is not None:
        write_json(out, document)
    if as_json:
        ui.print_json(document)
    else:
        render(results, found, protocol=protocol)
