"""Overfit a few shapes, to test that model, labels, normalisation and decoder fit together.

    python benchmarks/overfit.py DATASET OUT [--shapes 8] [--steps 600] [--image-size 64] [--schedule cosine]

Uses the shapes of the training split with the largest volume, which need the fewest steps (``--first``: the first
ones). They are written as a data set with the same pictures for training and validation. Output: OUT/run (a normal
run), OUT/overfit.json and OUT/overfit.png, the IoU over the first 20,000 stored points of the training shapes by step.
With an error in the pipeline it does not reach 0.85.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from pix3d_onet.ablation.variants import variant
from pix3d_onet.config import TrainConfig
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry, ShardEntry, manifest_to_json
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.data.store.writer import write_shard
from pix3d_onet.events import Event, TrainStep
from pix3d_onet.files import write_json
from pix3d_onet.preparation.reopen import stored_outcome
from pix3d_onet.runs.record import HistoryRow
from pix3d_onet.types import MANIFEST


def train_as_val(source: Path, out: Path, shapes: int, *, first: bool) -> Path:
    """A data set of a few training shapes, each of them in both the train and the val split."""
    with Dataset(source) as dataset:
        ranked = sorted(dataset.entries("train"), key=lambda e: 0.0 if first else -float(e.qc["occupied"]))
        entries = ranked[:shapes]
        prepared = [stored_outcome(dataset, entry, (), {}).prepared for entry in entries]
        base = dataset.manifest
    kept = [shape for shape in prepared if shape is not None]
    rows: list[ShapeEntry] = []
    shards: list[ShardEntry] = []
    for split in ("train", "val"):
        named = [
            dataclasses.replace(
                shape,
                identity=dataclasses.replace(shape.identity, object_id=f"{shape.identity.object_id}-{split}"),
            )
            for shape in kept
        ]
        shards.append(write_shard(out / f"{split}.h5", named))
        for row, (entry, shape) in enumerate(zip(entries, named, strict=True)):
            changes = {"object_id": shape.identity.object_id, "split": split, "shard": f"{split}.h5", "row": row}
            splits = tuple(split for _ in entry.image_splits)
            rows.append(dataclasses.replace(entry, **changes, image_splits=splits))
    counts = {"shapes": len(rows)}
    write_json(
        out / MANIFEST,
        manifest_to_json(Manifest(base.config, base.config_hash, base.source, tuple(rows), tuple(shards), counts)),
    )
    return out


def plot(history: tuple[HistoryRow, ...], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.plot([row.step for row in history], [row.val_iou for row in history], color="#0072B2", marker=".")
    axes.axhline(0.85, color="#999999", linestyle="--", linewidth=1)
    axes.set(xlabel="step", ylabel="IoU on the training shapes", ylim=(0, 1), title=title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    from pix3d_onet.learning.training.run import train

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shapes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--points", type=int, default=2048)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--schedule", choices=["constant", "cosine"], default="constant")
    parser.add_argument("--variant", default="resnet18")
    parser.add_argument("--first", action="store_true", help="the first shapes instead of the most solid ones")
    options = parser.parse_args()
    data = train_as_val(options.dataset, options.out / "data", options.shapes, first=options.first)
    config = TrainConfig(
        steps=options.steps,
        batch_size=options.shapes,
        points_per_shape=options.points,
        image_size=options.image_size,
        lr=options.lr,
        schedule=options.schedule,
        val_every=50,
        val_points=20_000,
        pretrained=False,
    )

    def show(event: Event) -> None:
        if isinstance(event, TrainStep) and event.val_iou is not None:
            print(f"step {event.step}: loss {event.loss:.2f}, IoU {event.val_iou:.4f}", flush=True)

    name = options.variant
    record = train(
        variant(name).model, config, data, options.out / "run", name=f"overfit-{name}", resume=True, emit=show
    )
    write_json(
        options.out / "overfit.json",
        {
            "dataset": options.dataset.name,
            "variant": name,
            "shapes": options.shapes,
            "config": config.to_json(),
            "best_iou": record.best_val_iou,
            "history": [[row.step, row.train_loss, row.val_iou] for row in record.history],
        },
    )
    plot(
        record.history, f"{name} on {options.shapes} shapes, {options.image_size}² pixels", options.out / "overfit.png"
    )
    print(f"best IoU {record.best_val_iou:.4f} at step {record.best_step} of {options.steps}")


if __name__ == "__main__":
    main()
