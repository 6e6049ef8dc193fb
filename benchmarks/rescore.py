"""Add the IoUs at a run's own best threshold to records that were written before they were kept.

    python benchmarks/rescore.py RUN ... --data DATASET [--records DIR]

For each run folder: its best network is scored on the validation and test pictures, as training does it after the last
step, and ``run.json`` gets the scores at ``val_threshold``. A run whose IoUs at the threshold of training, or whose
best threshold, are not those of its record is left as it was, and named; so is one that cannot be read.

``--records DIR``: also add them to the records of the same runs below DIR (stored results).
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch

from pix3d_onet.config import TrainConfig
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError, OnetError
from pix3d_onet.learning.batches.opening import has_pictures, open_split
from pix3d_onet.learning.batches.split import PictureFilter
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.learning.network.model import OccupancyNetwork
from pix3d_onet.learning.training.validate import THRESHOLDS, Scores, evaluate_split
from pix3d_onet.runs.record import RunRecord, read_run, write_run

TOLERANCE = 1e-3
"""Of an IoU: another machine's matrix products move a few of 20,000 points across the threshold."""


def score(model: OccupancyNetwork, dataset: Dataset, split: str, config: TrainConfig) -> Scores:
    """The scores of one split at all candidate thresholds, as at the end of training."""
    wanted = PictureFilter(model.config.needs_pose, "prefer-photos")
    pictures = open_split(dataset, split, config, torch.device("cpu"), wanted, masks=model.config.needs_mask)
    thresholds = tuple(sorted({*THRESHOLDS, config.threshold}))
    return evaluate_split(model, pictures, thresholds=thresholds, points=config.val_points)


def own_scores(run: Path, record: RunRecord, dataset: Dataset) -> dict[str, Any]:
    """The fields of the record at its best threshold. InputError if what is stored is not found again."""
    if record.data.get("data_hash") != dataset.manifest.data_hash:
        raise InputError("it was trained on other data")
    model, config = load_model(run), TrainConfig.from_json(dict(record.train))
    needs_pose = model.config.needs_pose
    found = {
        split: score(model, dataset, split, config)
        for split in ("val", "test")
        if has_pictures(dataset, split, need_pose=needs_pose)
    }
    for split, stored in (("val", record.val_scores), ("test", record.test_scores)):
        now = found[split].by_record(config.threshold) if split in found else {}
        if now.keys() != stored.keys():
            raise InputError(f"its {split} pictures are not those of the record")
        if (furthest := max((abs(now[name] - stored[name]) for name in now), default=0.0)) > TOLERANCE:
            raise InputError(f"a {split} IoU differs from the record's by {furthest:.4f}")
    chosen, mean = found["val"].best_threshold()
    if chosen != record.val_threshold:
        raise InputError(f"its best threshold is {chosen:g}, in the record {record.val_threshold}")
    return {
        "val_iou_at_threshold": mean,
        "val_scores_at_threshold": found["val"].by_record(chosen),
        "test_scores_at_threshold": found["test"].by_record(chosen) if "test" in found else {},
        "constant_at_threshold": found["val"].constant(chosen),
    }


def copies_below(folder: Path | None) -> dict[Path, RunRecord]:
    """The records of all runs below ``folder``, by the run's folder; damaged ones are named and left out."""
    found: dict[Path, RunRecord] = {}
    for path in sorted(folder.rglob("run.json")) if folder else ():
        try:
            found[path.parent] = read_run(path.parent)
        except OnetError as error:
            print(f"{path}: {error}")
    return found


def main() -> None:
    """Parse, score, write and print; status 1 if a run was left as it was."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--records", type=Path)
    arguments = parser.parse_args()
    copies = copies_below(arguments.records)
    failed = 0
    with Dataset(arguments.data) as dataset:
        for run in arguments.runs:
            try:
                record = read_run(run)
                fields = own_scores(run, record, dataset)
            except OnetError as error:
                failed += 1
                print(f"{run}: left as it was: {error}")
                continue
            write_run(run, dataclasses.replace(record, **fields))
            for folder, copy in copies.items():
                same = (copy.run_id, copy.val_scores, copy.test_scores)
                if same == (record.run_id, record.val_scores, record.test_scores):
                    write_run(folder, dataclasses.replace(copy, **fields))
            own = fields["test_scores_at_threshold"].values()
            mean = f", test IoU there {sum(own) / len(own):.4f}" if own else ""
            print(f"{run}: threshold {record.val_threshold}{mean}")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
