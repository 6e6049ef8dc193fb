"""Score the networks after the last step, each at the threshold that is best on its validation pictures.

    python benchmarks/last_scores.py RUN ... --data DATASET [--out FILE]

A run's record has the scores of its best network, which was chosen at the threshold of training. Where that threshold
suits some runs and not others, the choice says more of the threshold than of the networks; after the last step nothing
was chosen. Prints IoU on val and test, and the paired difference from the first run over the shapes of the test split.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rescore import score

from pix3d_onet.config import TrainConfig
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.files import write_json
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.report.statistics import paired_test, per_shape
from pix3d_onet.runs.folder import RunFolder
from pix3d_onet.runs.record import read_run


def last_scores(run: Path, dataset: Dataset) -> dict[str, Any]:
    """The scores of one run's last network. ValueError if it was trained on other data."""
    record = read_run(run)
    if record.data["data_hash"] != dataset.manifest.data_hash:
        raise ValueError(f"{run} was trained on other data.")
    model, config = load_model(RunFolder(run).last), TrainConfig.from_json(dict(record.train))
    val, test = (score(model, dataset, split, config) for split in ("val", "test"))
    threshold, val_iou = val.best_threshold()
    return {
        "name": record.name,
        "run_id": record.run_id,
        "step": record.steps_done,
        "val_threshold": threshold,
        "val_iou": val_iou,
        "test_iou": test.mean_iou(threshold),
        "test_shapes": per_shape(test.by_record(threshold), record.objects),
    }


def main() -> None:
    """Parse, score, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with Dataset(arguments.data) as dataset:
        for run in arguments.runs:
            row = last_scores(run, dataset)
            test = paired_test(row["test_shapes"], rows[0]["test_shapes"]) if rows else None
            if test is not None:
                row["minus_first"] = {"iou": test.difference, "low": test.low, "high": test.high, "p": test.p}
            rows.append(row)
            found = (
                "" if test is None else f" {test.difference:+.4f} ({test.low:+.4f} … {test.high:+.4f}; p {test.p:.4f})"
            )
            print(
                f"{row['name']}, step {row['step']}: val {row['val_iou']:.4f}, test {row['test_iou']:.4f} "
                f"at {row['val_threshold']:g}{found}",
                flush=True,
            )
    if arguments.out is not None:
        write_json(arguments.out, {"data_hash": dataset.manifest.data_hash, "rows": rows})


if __name__ == "__main__":
    main()
