"""Training speed on a machine with other load: fixed numbers of threads against ``--threads auto``.

    python benchmarks/shared_machine.py [--seconds 20] [--rounds 2] [--json benchmarks/results/shared_machine.json]

Small steps of ``onet train`` (8 pictures of 64², 512 points, ResNet18 with random weights), alone, with one busy loop
and with two in other processes. Each setting runs in its own process, since OpenMP reads its environment once. It warms
up under the same load, for longer than ``auto`` needs to adapt. All settings are measured in turn, ``--rounds`` times,
and the fastest round of each counts, because other processes can only slow it down.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
BATCH, SIDE, POINTS = 8, 64, 512
LOADS = {"alone": 0, "beside one loop": 1, "beside two loops": 2}
"""Column → busy loops beside."""
SETTINGS: dict[str, tuple[int, dict[str, str]]] = {
    "two threads": (2, {}),
    "one thread": (1, {}),
    "two threads, passive": (2, {"OMP_WAIT_POLICY": "passive"}),
    "auto": (0, {}),
}
"""Row → what ``--threads`` gets (0 = auto), and OpenMP's variables."""
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "GOMP_SPINCOUNT")
"""Removed from the environment of a measured process, unless its setting gives them."""


def work(threads: int, seconds: float, warm_up: float) -> dict[str, Any]:
    """Train small steps and give shapes per second after the warm-up, and the numbers of threads used."""
    import torch

    sys.path.insert(0, str(HERE.parents[1] / "tests"))
    from helpers.datasets import make_dataset

    from pix3d_onet.config import ModelConfig, TrainConfig
    from pix3d_onet.data.store.reader import Dataset
    from pix3d_onet.events import ignore
    from pix3d_onet.learning.batches.split import PictureFilter, ResidentSplit
    from pix3d_onet.learning.device import choose_precision, cpu_tuning
    from pix3d_onet.learning.distributed import Group
    from pix3d_onet.learning.network.model import build_model
    from pix3d_onet.learning.torch_threads import Threads
    from pix3d_onet.learning.training.trainer import Setup, Trainer

    cpu = torch.device("cpu")
    config = TrainConfig(
        steps=10**6, batch_size=BATCH, points_per_shape=POINTS, image_size=SIDE, pretrained=False, val_every=10**6
    )
    with tempfile.TemporaryDirectory() as name, cpu_tuning(), Threads(threads, cpu) as team:
        folder = Path(name)
        prepared = make_dataset(folder / "prepared", shapes=round(BATCH * 1.5), points=20_000, image_size=SIDE)
        with Dataset(prepared) as dataset:
            train, val = (ResidentSplit(dataset, split, SIDE, PictureFilter()) for split in ("train", "val"))
        torch.manual_seed(0)
        network = build_model(ModelConfig("resnet18"), pretrained=False).to(memory_format=torch.channels_last)
        precision = choose_precision(config.precision, cpu)
        trainer = Trainer(network, Setup(config, folder, {}, cpu, precision, Group(), train, val, ignore, threads=team))
        trainer.set_training()
        run_for(trainer, warm_up)
        trainer.progress.threads.clear()
        rate = run_for(trainer, seconds)
        trainer.close()
    return {"shapes_per_second": rate, "threads": sorted(trainer.progress.threads)}


def run_for(trainer: Any, seconds: float) -> float:
    """Make steps like the training loop for some seconds; returns shapes per second."""
    begin, steps = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds:
        trainer.update_threads()
        trainer.step(trainer.progress.step + 1)
        trainer.pending.clear()
        steps += 1
    return steps * BATCH / spent


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Run ``count`` busy processes while in the block."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def measured(threads: int, variables: dict[str, str], seconds: float, warm_up: float) -> dict[str, Any]:
    """Measure one setting in its own process."""
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    code = f"from shared_machine import child; child({threads}, {seconds}, {warm_up}, {sorted(variables)})"
    paths = [str(HERE.parent), str(HERE.parents[1]), environment.get("PYTHONPATH", "")]
    environment |= variables | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def child(threads: int, seconds: float, warm_up: float, given: list[str]) -> None:
    """Print what ``work`` gives. What Python's own start-up put into the environment is taken out again."""
    for name in set(VARIABLES) - set(given):
        os.environ.pop(name, None)
    print(json.dumps(work(threads, seconds, warm_up)))


def compare(seconds: float, warm_up: float, rounds: int) -> dict[str, Any]:
    """All settings under all loads, in turn."""
    rows: list[dict[str, Any]] = []
    for number in range(rounds):
        for load, loops in LOADS.items():
            for setting, (threads, variables) in SETTINGS.items():
                with busy_loops(loops):
                    row = measured(threads, variables, seconds, warm_up)
                rows.append({"round": number, "load": load, "setting": setting, **row})
    best = {
        setting: {
            load: max(r["shapes_per_second"] for r in rows if (r["load"], r["setting"]) == (load, setting))
            for load in LOADS
        }
        for setting in SETTINGS
    }
    fixed = {load: max(best[setting][load] for setting in SETTINGS if setting != "auto") for load in LOADS}
    import torch

    return {
        "step": {"pictures": BATCH, "image_size": SIDE, "points": POINTS, "encoder": "resnet18"},
        "seconds": seconds,
        "warm_up": warm_up,
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "shapes_per_second": best,
        "auto_against_best_fixed": {load: best["auto"][load] / fixed[load] for load in LOADS},
        "auto_against_two_threads": {load: best["auto"][load] / best["two threads"][load] for load in LOADS},
        "rows": rows,
    }


def table(result: dict[str, Any]) -> str:
    """Shapes per second: one row per setting, one column per load."""
    lines = ["| shapes/s | " + " | ".join(LOADS) + " |", "|---" * (len(LOADS) + 1) + "|"]
    for setting, rates in result["shapes_per_second"].items():
        lines.append(f"| {setting} | " + " | ".join(f"{rates[load]:.1f}" for load in LOADS) + " |")
    for name in ("auto_against_best_fixed", "auto_against_two_threads"):
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(f"{result[name][k]:.0%}" for k in LOADS) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parse, compare, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of measured steps per setting and load")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds of steps before them")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where to store the result")
    options = parser.parse_args()
    result = compare(options.seconds, options.warm_up, options.rounds)
    print(table(result))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
