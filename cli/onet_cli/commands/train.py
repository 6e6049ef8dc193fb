"""``onet train``: train one network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from onet_cli import ui
from onet_cli.options import DATA, FOLDER, Count, setting, settings, threads_option
from pix3d_onet.config import ModelConfig, RecipeName, Residence, TrainConfig
from pix3d_onet.events import Note
from pix3d_onet.files import check_writable
from pix3d_onet.runs.arguments import stored_arguments

if TYPE_CHECKING:
    from pix3d_onet.runs.record import RunRecord

DOCUMENTED = (
    "name", "run_id", "params", "best_val_iou", "best_step", "last_val_iou", "val_threshold", "val_iou_at_threshold",
    "test_iou", "stopped", "seconds", "shapes_per_second", "data_wait_share", "peak_memory_bytes",
)  # fmt: skip
"""Values of a run's record in the JSON document."""


@click.command()
@click.option(
    "--recipe",
    type=click.Choice(get_args(RecipeName)),
    default="paper",
    show_default=True,
    help="Network and training settings by name; other options override it. The defaults shown are those of paper.",
)
@settings(ModelConfig, "encoder", "scales", "pyramid", "pose", "conditioning")
@setting(ModelConfig, "mirror", "--mirror/--no-mirror")
@settings(ModelConfig, "norm", "tta", "camera_encoder")
@click.option("--data", type=FOLDER, default=DATA, show_default=True, help="Prepared data set.")
@click.option("--out", type=FOLDER, help="Run folder [default: runs/NAME/SEED].")
@click.option("--name", help="Name of the run [default: from encoder, scales and pose].")
@settings(TrainConfig, "steps", "batch_size", batch_size={"type": Count()})
@settings(TrainConfig, "points_per_shape", "near", "image_size", "lr", "weight_decay", "schedule", "warmup", "ema")
@settings(TrainConfig, "backbone_lr", "camera_weight", "camera_pictures", "augment")
@settings(TrainConfig, "views", "photo_share", views={"metavar": "all|photos|N"})
@settings(TrainConfig, "patience", "freeze_encoder", "pretrained")
@click.option("--weights", type=FOLDER, help="Load the encoder's weights from this file instead.")
@click.option("--init-from", type=FOLDER, help="Start from the best network of another run.")
@settings(TrainConfig, "val_every", "val_points", "threshold", "seed")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@threads_option
@setting(TrainConfig, "precision")
@click.option("--compile", "compiled", is_flag=True, help="Compile the network: the start is slower, each step faster.")
@click.option(
    "--data-in",
    "residence",
    type=click.Choice(get_args(Residence)),
    default="auto",
    show_default=True,
    help="Where to keep the training data; auto = the fastest place where they fit.",
)
@click.option(
    "--examples/--no-examples", default=True, show_default=True, help="Reconstruct pictures for the figures at the end."
)
@click.option(
    "--profile", type=click.IntRange(min=0), default=0, help="Trace N steps and print the time per operation."
)
@click.option("--resume", is_flag=True, help="Continue the run in --out where it stopped; it knows its other options.")
@click.option("--overwrite", is_flag=True, help="Also write to a folder that onet did not make.")
@ui.common_options
def train(
    recipe: RecipeName,
    data: Path,
    out: Path | None,
    name: str | None,
    weights: Path | None,
    init_from: Path | None,
    device: str,
    threads: int,
    compiled: bool,
    residence: Residence,
    profile: int,
    examples: bool,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Train one network. Ctrl-C or SIGTERM saves it and stops; onet train --out RUN --resume continues exactly there.

    On several GPUs: torchrun --nproc-per-node 8 $(which onet) train ...

    \b
    Example:
      onet train --encoder convnext --data data/prepared/pix3d-chair --out runs/convnext
      onet train --recipe best --no-pretrained --steps 1500
      onet train --encoder resnet18 --no-pretrained --steps 300 --image-size 96 --device cpu
    """
    from pix3d_onet.ablation.recipes import RECIPES
    from pix3d_onet.learning.training.run import train as run

    named = RECIPES[recipe]
    options |= not_given({**asdict(named.model), **asdict(named.train)})
    model, config = settings_of(options)
    folder = out or Path("runs") / (name or model.default_name) / str(config.seed)
    stored: dict[str, Any] = {}
    if resume:
        stored = not_given(stored_arguments(folder))
        model, config = settings_of({**options, **stored})
        data, name = stored.get("data", data), stored.get("name", name)
        weights, init_from = stored.get("weights", weights), stored.get("init_from", init_from)
    name = name or model.default_name
    check_writable(folder)
    silent = quiet or os.environ.get("RANK", "0") != "0"
    with ui.live(quiet=silent, verbose=verbose) as emit:
        if resume and not stored and not folder.exists():
            emit(Note(f"{folder} has no run to continue; a new one is started."))
        record = run(
            model, config, data, folder, name=name, resume=resume, overwrite=overwrite, init_from=init_from,
            weights=weights, device=device, threads=threads, compile=compiled, residence=residence, profile=profile,
            examples=examples, emit=emit,
        )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":
        render(record, folder, as_json=as_json, quiet=quiet)


def settings_of(values: Mapping[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    """The settings among the values."""
    model, config = (
        {f.name: values[f.name] for f in fields(k) if f.name in values} for k in (ModelConfig, TrainConfig)
    )
    return ModelConfig(**model), TrainConfig(**config)


def not_given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options that are not on the command line."""
    source = click.get_current_context().get_parameter_source
    return {name: value for name, value in values.items() if source(name) is not ParameterSource.COMMANDLINE}


def render(record: RunRecord, folder: Path, *, as_json: bool, quiet: bool) -> None:
    """Print the summary panel, or the JSON document."""
    if as_json:
        ui.print_json(document(record, folder))
    elif not quiet:
        ui.out().print(ui.panel(record.name, summary(record, folder)))


def document(record: RunRecord, folder: Path) -> dict[str, Any]:
    """The JSON document of a run: the record without its long lists."""
    values = {name: getattr(record, name) for name in DOCUMENTED}
    groups = {name: dict(getattr(record, name)) for name in ("device", "data", "model", "train")}
    return {"run": str(folder), **values, "steps": record.steps_done, **groups}


def summary(record: RunRecord, folder: Path) -> list[tuple[str, object]]:
    """Names and values for the summary panel."""
    minutes, seconds = divmod(round(record.seconds), 60)
    chosen = f"{record.val_iou_at_threshold:.4f} at {record.val_threshold}" if record.val_iou_at_threshold else "-"
    rows: list[tuple[str, object]] = [
        ("val IoU", f"{record.best_val_iou:.4f} (step {record.best_step}, threshold {record.train['threshold']})"),
        ("val IoU, threshold chosen on val", chosen),
        ("test IoU", "-" if record.test_iou is None else f"{record.test_iou:.4f}"),
        ("parameters", f"{record.params:,}"),
        ("steps", f"{record.steps_done} ({record.stopped})"),
        ("time", f"{minutes} min {seconds} s with scoring; training: {record.shapes_per_second:.3g} shapes/s"),
        ("waiting for data", f"{record.data_wait_share:.1%}"),
        ("peak memory", f"{record.peak_memory_bytes / 2**30:.2f} GiB"),
        ("device", f"{record.device['name']}, {record.device['precision']}, {record.device['processes']} process(es)"),
        ("threads", record.device.get("threads", "-")),
        ("run", f"{folder} ({record.run_id})"),
    ]
    return rows
