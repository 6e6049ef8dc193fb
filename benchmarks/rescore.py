"""Add the IoUs at a run's own best threshold to records that were written before they were kept.

    python benchmarks/rescore.py RUN ... --data DATASET [--records DIR]

For each run folder: its best network is scored on the validation and test pictures, as training does it after the last
step, and ``run.json`` gets ``val_scores_at_threshold`` and ``test_scores_at_threshold``. A run whose IoUs at the
threshold of training, or whose best threshold, are not those in its record is left as it was, and named.

``--records DIR``: also write the record to every folder below DIR that has one of the same run (stored results).
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from pix3d_onet.config import TrainConfig
from pix3d_onet.data.store.reader import Dataset
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


def rescored(run: Path, dataset: Dataset) -> RunRecord:
    """The record of ``run`` with both scores. ValueError if what was stored is not found again."""
    record, model = read_run(run), load_model(run)
    config = TrainConfig.from_json(dict(record.train))
    if record.data["data_hash"] != dataset.manifest.data_hash:
        raise ValueError("it was trained on other data")
    needs_pose = model.config.needs_pose
    found = {
        split: score(model, dataset, split, config)
        for split in ("val", "test")
        if has_pictures(dataset, split, need_pose=needs_pose)
    }
    for split, stored in (("val", record.val_scores), ("test", record.test_scores)):
        now = found[split].by_record(config.threshold) if split in found else {}
        if now.keys() != stored.keys():
            raise ValueError(f"its {split} pictures are not those of the record")
        if (furthest := max((abs(now[name] - stored[name]) for name in now), default=0.0)) > TOLERANCE:
            raise ValueError(f"a {split} IoU differs from the record's by {furthest:.4f}")
    chosen, _ = found["val"].best_threshold()
    if chosen != record.val_threshold:
        raise ValueError(f"its best threshold is {chosen:g}, in the record {record.val_threshold}")
    own = {split: scores.by_record(chosen) for split, scores in found.items()}
    return dataclasses.replace(record, val_scores_at_threshold=own["val"], test_scores_at_threshold=own.get("test", {}))


def main() -> None:
    """Parse, score, write and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--records", type=Path)
    arguments = parser.parse_args()
    copies = (
        {p.parent: read_run(p.parent).run_id for p in arguments.records.rglob("run.json")} if arguments.records else {}
    )
    failed = 0
    with Dataset(arguments.data) as dataset:
        for run in arguments.runs:
            try:
                record = rescored(run, dataset)
            except ValueError as error:
                failed += 1
                print(f"{run}: left as it was: {error}")
                continue
            for folder in (run, *(place for place, run_id in copies.items() if run_id == record.run_id)):
                write_run(folder, record)
            own = record.test_scores_at_threshold.values()
            mean = f", test IoU there {sum(own) / len(own):.4f}" if own else ""
            print(f"{run}: threshold {record.val_threshold}{mean}")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
