"""One table from stored evaluations: runs that differ only in their seed are averaged picture by picture.

    python benchmarks/seed_table.py EVALUATION.json ... [--against ROW ...] [--json FILE]

The files are documents of ``onet evaluate --out`` on one data set, of any number of runs and baselines; a row that is
in several files is taken once. Rows are grouped by the run's name: the documents do not say how a run was trained, so
runs of different recipes need different names. For each group: mean over shapes with the 95 % interval of
``pix3d_onet.metrics``, of IoU also each seed's. For each ``--against``: paired differences over shapes, tested and
corrected as ``onet evaluate`` does. Thresholds are those that each run was scored with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.evaluation.paired import Difference, differences
from pix3d_onet.files import write_json
from pix3d_onet.metrics import Interval, mean_rows

SHOWN = ("iou", "chamfer_l1", "f_score", "normal_consistency")
DIGITS = {"iou": 4, "chamfer_l1": 4, "f_score": 3, "normal_consistency": 3}


def read_rows(files: Sequence[Path]) -> dict[str, list[Mapping[str, Any]]]:
    """Name of a group → its rows, one for each seed. ValueError for files of different data or samples."""
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    kinds = set()
    for file in files:
        for row in json.loads(file.read_text())["rows"]:
            settings = row["settings"]
            kinds.add((row["data_hash"], row["split"], settings["samples"], settings["seed"], settings["align"]))
            groups.setdefault(settings.get("run", row["name"]), {})[settings.get("run_id", "")] = row
    if len(kinds) != 1:
        raise ValueError(f"the evaluations are not of one kind: {sorted(map(str, kinds))}")
    return {name: list(rows.values()) for name, rows in groups.items()}


def averaged(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Rows of a group → metric → record id → mean over rows, and record id → shape. ValueError if records differ."""
    by_record = [{shape["record_id"]: shape for shape in row["shapes"]} for row in rows]
    if any(set(shapes) != set(by_record[0]) for shapes in by_record):
        raise ValueError(f"the runs of {rows[0]['name']} were scored on different pictures")
    scores = {
        metric: {record: float(np.mean([shapes[record][metric] for shapes in by_record])) for record in by_record[0]}
        for metric in SHOWN
    }
    return scores, {record: shape["object_id"] for record, shape in by_record[0].items()}


def plus_minus(interval: Interval, metric: str) -> str:
    """Mean and half the width of its interval."""
    half = (interval.high - interval.low) / 2
    return f"{interval.mean:.{DIGITS[metric]}f} ± {half:.{DIGITS[metric]}f}"


def signed(found: Difference) -> str:
    """Difference, its interval, its corrected p value."""
    assert found.test is not None
    assert found.corrected is not None
    digits = DIGITS[found.metric]
    interval = f"{found.test.low:+.{digits}f} … {found.test.high:+.{digits}f}"
    return f"{found.test.difference:+.{digits}f} ({interval}; p {found.corrected:.4f})".replace("-", "−")


def main() -> None:
    """Read, average, compare, print markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--against", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    groups = read_rows(args.files)
    found = {name: averaged(rows) for name, rows in groups.items()}
    scores = {name: values for name, (values, _) in found.items()}
    objects = {record: shape for _, named in found.values() for record, shape in named.items()}
    lines = [
        "| row | seeds | IoU of each | IoU ↑ | Chamfer-L1 ↓ | F@1 % ↑ | NC ↑ |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    document: dict[str, Any] = {"rows": [], "differences": []}
    for name, rows in groups.items():
        records = list(scores[name][SHOWN[0]])
        means = mean_rows(
            [{metric: scores[name][metric][r] for metric in SHOWN} for r in records], [objects[r] for r in records]
        )
        each = [row["means"]["iou"]["mean"] for row in rows]
        cells = [plus_minus(means[metric], metric) for metric in SHOWN]
        trained = [f"{value:.4f}" for value in each] if "run" in rows[0]["settings"] else []
        lines.append(f"| {name} | {len(trained) or ''} | {', '.join(trained)} | {' | '.join(cells)} |")
        document["rows"].append(
            {
                "name": name,
                "run_ids": [row["settings"].get("run_id") for row in rows],
                "thresholds": [row["settings"].get("threshold") for row in rows],
                "iou_of_each": each,
                "pictures": len(records),
                "means": {metric: [i.mean, i.low, i.high] for metric, i in means.items()},
                "cameras": [row["cameras"] for row in rows if "cameras" in row],
            }
        )
    for base in args.against:
        tests = differences(scores, objects, base, SHOWN)
        lines += ["", f"| minus {base} | IoU | Chamfer-L1 | F@1 % | NC |", "|---|---|---|---|---|"]
        for name in dict.fromkeys(d.name for d in tests):
            lines.append(f"| {name} | {' | '.join(signed(d) for d in tests if d.name == name)} |")
        document["differences"] += [
            {"name": d.name, "against": base, "metric": d.metric, "p_corrected": d.corrected}
            | {key: getattr(d.test, key) for key in ("difference", "low", "high", "p", "shapes")}
            for d in tests
        ]
    print("\n".join(lines))
    if args.json is not None:
        write_json(args.json, document)


if __name__ == "__main__":
    main()
