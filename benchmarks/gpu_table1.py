"""Train all seven variants of Table 1 on one machine: total time, speed, and utilisation of the GPU.

    python benchmarks/gpu_table1.py DATASET OUT [--compile] [--jobs N] [--json FILE]
    python benchmarks/gpu_table1.py DATASET OUT --steps 4 --batch-size 4 --image-size 32 --points 64 --device cpu

The runs are those of ``onet bench`` (``ablation.bench`` with ``learning.training.run``), in OUT/runs. A finished run is
not trained again; then the total time does not cover all runs (``trained`` is the number of those it covers). Needs
only the train extra. For each variant:

* ``steps_per_second``: without validation, from the first validation to the end, so without start-up and compilation
  (``overall_steps_per_second`` includes them);
* ``data_wait_share``: fraction of the time in steps in which no batch was ready (or queued on the GPU);
* ``flop_utilisation``: FLOP of the network per second, 3 × forward (forward, and backward with respect to activations
  and weights), divided by that of the fastest matrix product of the same type on the same device just before;
* ``seconds``: of the run with its validations; ``peak_memory_bytes``: allocated on the GPU; on a CPU the process's
  resident memory, which never decreases from one variant to the next.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pix3d_onet.ablation.bench import bench, plan_runs
from pix3d_onet.ablation.variants import suite, variant
from pix3d_onet.config import TrainConfig
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.events import Event, Note, RunFinished, RunStarted
from pix3d_onet.files import write_json
from pix3d_onet.learning.device import (
    PRECISIONS,
    choose_device,
    choose_precision,
    describe_device,
    devices_of_jobs,
    versions,
)
from pix3d_onet.learning.training.run import run_identity, train
from pix3d_onet.runs.record import HistoryRow, RunRecord

BACKWARD = 3
"""A training step's arithmetic over its forward pass: the backward pass multiplies twice as much."""
CEILING_SIDES = {"cuda": 8192, "cpu": 1024}
"""Side of the square matrices whose product is the ceiling: large enough to be bound by arithmetic."""
CEILING_SECONDS = 2.0
"""How long products are timed."""


def product_ceiling(device: torch.device, precision: str, seconds: float = CEILING_SECONDS) -> float:
    """FLOP/s of the fastest of several rounds of square matrix products on ``device``, without gradients."""
    side = CEILING_SIDES[device.type]
    a, b = (torch.randn(side, side, device=device).to(PRECISIONS[precision]) for _ in range(2))
    out = torch.empty_like(a)
    best, repeats, end = 0.0, 4, time.perf_counter() + seconds
    torch.matmul(a, b, out=out)
    while best == 0.0 or time.perf_counter() < end:
        synchronise(device)
        begin = time.perf_counter()
        for _ in range(repeats):
            torch.matmul(a, b, out=out)
        synchronise(device)
        best = max(best, repeats * 2 * side**3 / (time.perf_counter() - begin))
    return best


def synchronise(device: torch.device) -> None:
    """Wait for the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_flops(cost: Mapping[str, float], config: TrainConfig) -> float:
    """Multiply-adds (as two) of one training step, by the counts that a run keeps of its forward pass."""
    forward = cost["gflops_image"] + cost["gflops_point"] * config.points_per_shape
    return BACKWARD * config.batch_size * forward * 1e9


def steady_rate(history: Sequence[HistoryRow], batch: int) -> float | None:
    """Steps per second between the first and the last validation; None with fewer than two.

    A row's ``shapes_per_second`` counts from the first step, so that its training seconds are batch · step / rate.
    """
    if len(history) < 2 or min(row.shapes_per_second for row in history) <= 0:
        return None
    first, last = (batch * row.step / row.shapes_per_second for row in (history[0], history[-1]))
    return (history[-1].step - history[0].step) / (last - first) if last > first else None


def row_of(record: RunRecord, ceiling: float) -> dict[str, Any]:
    """What is told of one run."""
    config = TrainConfig.from_json(record.train)
    overall = record.shapes_per_second / config.batch_size
    rate = steady_rate(record.history, config.batch_size) or overall
    return {
        "variant": record.name,
        "params": record.params,
        "val_iou": record.best_val_iou,
        "steps": record.steps_done,
        "seconds": record.seconds,
        "steps_per_second": rate,
        "overall_steps_per_second": overall,
        "data_wait_share": record.data_wait_share,
        "step_tflops": step_flops(record.cost, config) / 1e12,
        "flop_utilisation": rate * step_flops(record.cost, config) / ceiling,
        "peak_memory_bytes": record.peak_memory_bytes,
        "run_id": record.run_id,
    }


def show(event: Event) -> None:
    """A line as a run starts and ends; each starts with a peak memory of its own."""
    if isinstance(event, RunStarted) and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if isinstance(event, RunFinished):
        iou = "" if event.val_iou is None else f", IoU {event.val_iou:.4f}"
        print(f"{event.name} done{' before' if event.skipped else ''}{iou}", flush=True)
    if isinstance(event, Note) and event.level == "warning":
        print(event.message, flush=True)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train what is asked for and gather the figures."""
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    config = TrainConfig(
        steps=options.steps, batch_size=options.batch_size, points_per_shape=options.points,
        image_size=options.image_size, val_every=options.val_every, val_points=options.val_points,
        pretrained=options.pretrained, precision=precision, seed=options.seed,
    )  # fmt: skip
    ceiling = product_ceiling(device, precision)
    data_hash = read_manifest(options.dataset).data_hash
    variants = [variant(name) for name in options.variant or suite("table1").variants]
    plan = plan_runs(
        variants, (options.seed,), config, options.out / "runs", lambda v, c: run_identity(v.model, c, data_hash)
    )
    devices = devices_of_jobs(options.device, options.jobs)
    begin = time.perf_counter()
    result = bench(
        plan,
        options.dataset,
        functools.partial(train, compile=options.compile),
        out=options.out / "runs",
        devices=devices,
        emit=show,
    )
    wall = time.perf_counter() - begin
    return {
        "data": {"name": options.dataset.resolve().name, "data_hash": data_hash},
        "settings": {**config.to_json(), "compile": options.compile, "jobs": options.jobs},
        "device": describe_device(device, precision, 1, torch.get_num_threads()),
        "versions": {**versions(), "cuda": torch.version.cuda if device.type == "cuda" else None},
        "ceiling_tflops": ceiling / 1e12,
        "wall_seconds": wall,
        "trained": result.trained,
        "failed": [{"run": f.run.name, "error": str(f.error)} for f in result.failures],
        "rows": [row_of(run.record, ceiling) for run in result.runs],
    }


def lines(document: Mapping[str, Any]) -> list[str]:
    """The figures as a table for a terminal or a README."""
    device, rows = document["device"], document["rows"]
    head = f"{'variant':18}{'steps/s':>9}{'wait':>7}{'FLOP use':>10}{'memory':>11}{'seconds':>9}{'IoU':>8}"
    made = [
        f"{device['name']}, {device['precision']}, ceiling {document['ceiling_tflops']:.3g} TFLOP/s, "
        f"batch {document['settings']['batch_size']}, {document['settings']['image_size']}² px",
        head,
    ]
    for row in rows:
        made.append(
            f"{row['variant']:18}{row['steps_per_second']:9.2f}{row['data_wait_share']:7.1%}"
            f"{row['flop_utilisation']:10.1%}{row['peak_memory_bytes'] / 2**30:7.2f} GiB{row['seconds']:9.1f}"
            f"{row['val_iou']:8.4f}"
        )
    minutes, seconds = divmod(document["wall_seconds"], 60)
    made.append(f"{document['trained']} of {len(rows)} trained in this call, {minutes:.0f} min {seconds:.0f} s in all")
    return made + [f"failed: {f['run']}: {f['error']}" for f in document["failed"]]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    default = TrainConfig()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="prepared data set")
    parser.add_argument("out", type=Path)
    parser.add_argument("--variant", action="append", help="only this one; may be given several times")
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--batch-size", type=int, default=default.batch_size)
    parser.add_argument("--points", type=int, default=default.points_per_shape)
    parser.add_argument("--image-size", type=int, default=default.image_size)
    parser.add_argument("--val-every", type=int, default=default.val_every)
    parser.add_argument("--val-points", type=int, default=default.val_points, help="points per shape; 0 = all")
    parser.add_argument("--pretrained", action="store_true", help="start from published weights (a download)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["auto", *PRECISIONS])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--json", type=Path, help="where to store the figures [default: OUT/gpu_table1.json]")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, store, print."""
    options = parse()
    document = measure(options)
    write_json(options.json or options.out / "gpu_table1.json", document)
    print("\n".join(lines(document)))


if __name__ == "__main__":
    main()
