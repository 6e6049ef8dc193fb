"""Does bfloat16 converge like float32? The same run in both, and in float32 with other seeds for comparison.

    python benchmarks/precision.py DATASET OUT [--shapes 16] [--steps 150] [--seeds 0,1] [--json FILE]

The first shapes of the training split are used for training and validation (``overfit.train_as_val``), so that the
curves show only optimisation. A difference between precisions matters only if it exceeds the difference between seeds.
Output: a run per precision and seed in OUT, and a JSON file with the curves.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from overfit import train_as_val

from pix3d_onet.ablation.variants import variant
from pix3d_onet.config import TrainConfig
from pix3d_onet.files import write_json
from pix3d_onet.learning.training.run import train
from pix3d_onet.runs.record import RunRecord

PRECISIONS = ("fp32", "bf16")


def curve(record: RunRecord) -> dict[str, Any]:
    """The compared figures of a run: training loss (mean since the row before) and IoU on the training shapes."""
    rows = [{"step": row.step, "train_loss": row.train_loss, "iou": row.val_iou} for row in record.history]
    return {"precision": record.device["precision"], "seed": record.seed, "best_iou": record.best_val_iou, "rows": rows}


def main() -> None:
    """Train, store, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variant", default="resnet18")
    parser.add_argument("--shapes", type=int, default=16)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--points", type=int, default=512)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="where to store the curves [default: OUT/precision.json]")
    options = parser.parse_args()
    data = options.out / "data"
    if not data.exists():
        train_as_val(options.dataset, data, options.shapes, first=True)
    config = TrainConfig(
        steps=options.steps, batch_size=options.shapes, points_per_shape=options.points, lr=options.lr,
        image_size=options.image_size, val_every=25, val_points=20_000, pretrained=False,
    )  # fmt: skip
    curves: list[dict[str, Any]] = []
    for seed in (int(s) for s in options.seeds.split(",")):
        for precision in PRECISIONS:
            recipe = dataclasses.replace(config, precision=precision, seed=seed)
            out = options.out / f"{precision}-{seed}"
            record = train(
                variant(options.variant).model, recipe, data, out, name=precision, resume=True, device=options.device
            )
            curves.append(curve(record))
            losses = ", ".join(f"{row['step']}: {row['train_loss']:.2f}" for row in curves[-1]["rows"])
            print(f"{precision} seed {seed}: best IoU {record.best_val_iou:.4f}; loss {losses}", flush=True)
            document = {
                "dataset": options.dataset.name,
                "config": config.to_json(),
                "device": dict(record.device),
                "versions": dict(record.versions),
                "curves": curves,
            }
            write_json(options.json or options.out / "precision.json", document)


if __name__ == "__main__":
    main()
