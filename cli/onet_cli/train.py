"""``onet train``: one run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onet_cli import ui
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.files import check_writable

if TYPE_CHECKING:
    from pix3d_onet.runs.record import RunRecord

MODEL = ModelConfig()
TRAIN = TrainConfig()
MODEL_FIELDS = ("encoder", "scales", "pose", "pyramid")
FOLDER = click.Path(path_type=Path)
DATA = Path("data/prepared/pix3d-chair")


class Count(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A whole number or ``auto``, which is passed on as 0."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse; a usage error for anything else."""
        if isinstance(value, int):
            return value
        if value == "auto":
            return 0
        if not str(value).isdecimal() or int(value) == 0:
            self.fail(f"{value!r} is neither a number above 0 nor auto.", param, ctx)
        return int(value)


def setting(flag: str, text: str, choices: Sequence[Any] = (), **options: Any) -> Callable[[Any], Any]:
    """An option whose default is the field's of the same name in ModelConfig or TrainConfig."""
    field = flag.split("/", maxsplit=1)[0].removeprefix("--").replace("-", "_")
    default = getattr(MODEL if field in MODEL_FIELDS else TRAIN, field)
    kind: Any = click.Choice(choices) if choices else options.pop("type", None)
    return click.option(flag, type=kind, default=default, show_default=True, help=text, **options)


@click.command()
@setting("--encoder", "resnet18, …, convnext, or any timm:NAME.")
@setting("--scales", "3 = an image pyramid.", (1, 3))
@setting("--pyramid", "How three scales are encoded.", ("separate", "shared", "fpn"))
@setting("--pose", "The camera as a second input.", ("none", "matrix", "6d"))
@click.option("--data", type=FOLDER, default=DATA, show_default=True, help="Prepared data set.")
@click.option("--out", type=FOLDER, help="Run folder [default: runs/NAME/SEED].")
@click.option("--name", help="What the run is called [default: from encoder, scales and pose].")
@setting("--steps", "Optimiser steps.")
@setting("--batch-size", "Pictures a step; auto = what fits, 64 at most.", type=Count())
@setting("--points-per-shape", "Points drawn a shape and step.")
@setting("--image-size", "Side of the pictures, pixels.")
@setting("--lr", "Adam's learning rate.")
@setting("--weight-decay", "Above 0: AdamW.")
@setting("--schedule", "Learning rate over time.", ("constant", "cosine"))
@setting("--warmup", "Steps of linear warm-up.")
@setting("--ema", "Decay of the moving average of the weights; 0 = none.")
@click.option(
    "--augment",
    multiple=True,
    type=click.Choice(("color", "crop", "flip")),
    help="Image augmentation; may be given several times.",
)
@setting("--views", "photos = train without rendered views.", ("all", "photos"))
@setting("--patience", "Stop after so many validations without a better IoU; 0 = never.")
@click.option("--freeze-encoder", is_flag=True, help="Train only the projection and the decoder.")
@setting("--pretrained/--no-pretrained", "timm's published encoder weights.")
@click.option("--weights", type=FOLDER, help="Encoder weights from a file instead.")
@click.option("--init-from", type=FOLDER, help="Start from another run's best network.")
@setting("--val-every", "Steps between validations.")
@setting("--val-points", "Points a shape in validation; 0 = all.")
@setting("--threshold", "Occupancy probability above which a point counts as inside.")
@setting("--seed", "Seed of weights, order, points and augmentation.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@setting("--precision", "auto = bf16 where the hardware has it.", ("auto", "fp32", "bf16", "fp16"))
@click.option("--compile", "compiled", is_flag=True, help="Compile the network: a slow start, faster steps.")
@click.option(
    "--data-in",
    "residence",
    type=click.Choice(("auto", "device", "ram", "disk")),
    default="auto",
    show_default=True,
    help="Where the training data live; auto = wherever they fit.",
)
@click.option("--profile", type=click.IntRange(min=0), default=0, help="Trace N steps and print where the time goes.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run stopped, exactly.")
@click.option("--overwrite", is_flag=True, help="Replace files of a run's names in a strange folder.")
@ui.common_options
def train(
    data: Path,
    out: Path | None,
    name: str | None,
    weights: Path | None,
    init_from: Path | None,
    device: str,
    compiled: bool,
    residence: str,
    profile: int,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> None:
    """Train one network. Ctrl-C or SIGTERM saves and stops; --resume goes on exactly there.

    With several GPUs: torchrun --nproc-per-node 8 $(which onet) train ...

    \b
    Example:
      onet train --encoder convnext --data data/prepared/pix3d-chair --out runs/convnext
      onet train --encoder resnet18 --no-pretrained --steps 300 --image-size 96 --device cpu
    """
    from pix3d_onet.learning.training.run import train as run

    model = ModelConfig(**{key: settings.pop(key) for key in MODEL_FIELDS})
    config = TrainConfig(**settings)
    name = name or default_name(model)
    folder = out or Path("runs") / name / str(config.seed)
    check_writable(folder)
    silent = quiet or os.environ.get("RANK", "0") != "0"
    with ui.live(quiet=silent, verbose=verbose) as emit:
        record = run(
            model, config, data, folder, name=name, resume=resume, overwrite=overwrite, init_from=init_from,
            weights=weights, device=device, compile=compiled, residence=residence, profile=profile, emit=emit,
        )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":
        render(record, folder, as_json=as_json, quiet=quiet)


def default_name(model: ModelConfig) -> str:
    """What a run is called: ``convnext-fp3-pose`` for the last line of Table 1."""
    parts = [model.encoder.removeprefix("timm:")]
    if model.scales > 1:
        parts.append({"separate": "fp3", "shared": "fp3-shared", "fpn": "fpn"}[model.pyramid])
    if model.pose != "none":
        parts.append("pose" if model.pose == "matrix" else "pose6d")
    return "-".join(parts)


def render(record: RunRecord, folder: Path, *, as_json: bool, quiet: bool) -> None:
    """The summary panel, or one document."""
    if as_json:
        ui.print_json(document(record, folder))
    elif not quiet:
        ui.out().print(ui.panel(record.name, summary(record, folder)))


def document(record: RunRecord, folder: Path) -> dict[str, Any]:
    """The JSON document of a run: the record without its long lists."""
    return {
        "run": str(folder),
        "name": record.name,
        "run_id": record.run_id,
        "params": record.params,
        "best_val_iou": record.best_val_iou,
        "best_step": record.best_step,
        "last_val_iou": record.last_val_iou,
        "val_threshold": record.val_threshold,
        "val_iou_at_threshold": record.val_iou_at_threshold,
        "test_iou": test_iou(record),
        "steps": record.steps_done,
        "stopped": record.stopped,
        "seconds": record.seconds,
        "shapes_per_second": record.shapes_per_second,
        "data_wait_share": record.data_wait_share,
        "peak_memory_bytes": record.peak_memory_bytes,
        "device": dict(record.device),
        "data": dict(record.data),
        "model": dict(record.model),
        "train": dict(record.train),
    }


def test_iou(record: RunRecord) -> float | None:
    """Mean over the test pictures; None when there are none."""
    return sum(record.test_scores.values()) / len(record.test_scores) if record.test_scores else None


def summary(record: RunRecord, folder: Path) -> list[tuple[str, object]]:
    """Names and values of the panel."""
    minutes, seconds = divmod(round(record.seconds), 60)
    test = test_iou(record)
    chosen = f"{record.val_iou_at_threshold:.4f} at {record.val_threshold}" if record.val_iou_at_threshold else "-"
    rows: list[tuple[str, object]] = [
        ("val IoU", f"{record.best_val_iou:.4f} (step {record.best_step}, threshold {record.train['threshold']})"),
        ("val IoU, threshold chosen on val", chosen),
        ("test IoU", "-" if test is None else f"{test:.4f}"),
        ("parameters", f"{record.params:,}"),
        ("steps", f"{record.steps_done} ({record.stopped})"),
        ("time", f"{minutes} min {seconds} s, {record.shapes_per_second:.3g} shapes/s"),
        ("waiting for data", f"{record.data_wait_share:.1%}"),
        ("peak memory", f"{record.peak_memory_bytes / 2**30:.2f} GiB"),
        ("device", f"{record.device['name']}, {record.device['precision']}, {record.device['processes']} process(es)"),
        ("run", f"{folder} ({record.run_id})"),
    ]
    return rows
