"""Time of a training step on the CPU: ours against a float32 step written like the original, and with pixel features.

    python benchmarks/train_step.py --rounds 5 --threads 2 --json benchmarks/results/train_step.json
    python benchmarks/train_step.py --sides ours pixel --json benchmarks/results/train_step_pixel.json

All have the same network (ResNet-18, conditional batch norm), shapes, pictures, batch size and points. The reference
loads each object from its own .npz and .jpg, uses Conv1d in float32 and PyTorch's default Adam; ours is
``learning.training.trainer``, as in ``onet train``. Each runs in its own process (allocator settings are global), and
they alternate step by step, so that other load slows both equally.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
SIDES = ("reference", "ours", "pixel")
"""The step written like the original's, that of ``onet train``, and that of ``onet train --conditioning pixel``."""
SETTINGS = ("batch", "points", "image_size", "threads", "rounds", "precision", "compile")


# -- data: the same analytic shapes in both layouts --


def write_data(folder: Path, shapes: int, points: int, side: int) -> None:
    """A prepared data set (ours) and the original layout of the same shapes, under ``folder``."""
    from PIL import Image

    sys.path.insert(0, str(HERE.parents[1] / "tests"))
    from helpers.datasets import make_dataset

    from pix3d_onet.data.store.reader import load_dataset

    prepared = make_dataset(folder / "prepared", shapes=max(3, round(shapes * 1.5)), points=points, image_size=side)
    for index, sample in enumerate(load_dataset(prepared, "train")):
        target = folder / "original" / f"{index:04d}"
        (target / "img_choy2016").mkdir(parents=True)
        packed = np.packbits(sample.occupancy)
        np.savez(target / "points.npz", points=sample.points.astype(np.float16), occupancies=packed)
        Image.fromarray(sample.images[0].rgb).save(target / "img_choy2016" / "000.jpg", quality=95)


# -- the reference --


def reference_step(options: argparse.Namespace) -> Callable[[], float]:
    """A step like the original's: one file per object, float32, Conv1d, default Adam."""
    import timm
    import torch
    from PIL import Image
    from torch import Tensor, nn
    from torch.nn import functional

    class Norm(nn.Module):
        def __init__(self, c_dim: int, features: int) -> None:
            super().__init__()
            self.conv_gamma, self.conv_beta = nn.Conv1d(c_dim, features, 1), nn.Conv1d(c_dim, features, 1)
            self.bn = nn.BatchNorm1d(features, affine=False)
            for layer, bias in ((self.conv_gamma, 1.0), (self.conv_beta, 0.0)):
                nn.init.zeros_(layer.weight)
                nn.init.constant_(layer.bias, bias)

        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            c = c.unsqueeze(2)
            return self.conv_gamma(c) * self.bn(x) + self.conv_beta(c)

    class Block(nn.Module):
        def __init__(self, c_dim: int, features: int) -> None:
            super().__init__()
            self.bn_0, self.bn_1 = Norm(c_dim, features), Norm(c_dim, features)
            self.fc_0, self.fc_1 = nn.Conv1d(features, features, 1), nn.Conv1d(features, features, 1)
            nn.init.zeros_(self.fc_1.weight)

        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            inner = self.fc_0(functional.relu(self.bn_0(x, c)))
            return x + self.fc_1(functional.relu(self.bn_1(inner, c)))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = timm.create_model("resnet18", num_classes=0)
            self.fc = nn.Linear(512, 256)
            self.fc_p, self.fc_out = nn.Conv1d(3, 256, 1), nn.Conv1d(256, 1, 1)
            self.blocks = nn.ModuleList(Block(256, 256) for _ in range(5))
            self.bn = Norm(256, 256)

        def forward(self, images: Tensor, points: Tensor) -> Tensor:
            mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
            std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
            c = self.fc(self.features((images - mean) / std))
            x = self.fc_p(points.transpose(1, 2))
            for block in self.blocks:
                x = block(x, c)
            return self.fc_out(functional.relu(self.bn(x, c))).squeeze(1)

    def load(folder: Path, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        with np.load(folder / "points.npz") as stored:
            points = stored["points"].astype(np.float32)
            points += 1e-4 * rng.standard_normal(points.shape).astype(np.float32)
            occupancy = np.unpackbits(stored["occupancies"])[: len(points)].astype(np.float32)
        chosen = rng.integers(0, len(points), size=options.points)
        with Image.open(folder / "img_choy2016" / "000.jpg") as picture:
            image = picture.convert("RGB").resize((options.image_size, options.image_size))
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)
        return pixels, torch.from_numpy(points[chosen]), torch.from_numpy(occupancy[chosen])

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = Network().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    folders = sorted((options.folder / "original").iterdir())[: options.batch]

    def step() -> float:
        images, points, occupancy = (torch.stack(parts) for parts in zip(*(load(f, rng) for f in folders), strict=True))
        optimizer.zero_grad()
        logits = network(images, points)
        loss = functional.binary_cross_entropy_with_logits(logits, occupancy, reduction="none").sum(-1).mean()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


# -- ours --


def our_step(options: argparse.Namespace) -> Callable[[], float]:
    """The step of ``onet train``, including data loading."""
    import torch

    from pix3d_onet.config import ModelConfig, TrainConfig
    from pix3d_onet.data.store.reader import Dataset
    from pix3d_onet.events import Event, TrainStep
    from pix3d_onet.learning import device
    from pix3d_onet.learning.batches.split import PictureFilter, ResidentSplit
    from pix3d_onet.learning.distributed import Group
    from pix3d_onet.learning.network.model import build_model
    from pix3d_onet.learning.training.trainer import Setup, Trainer

    device.keep_freed_memory()
    torch.set_flush_denormal(True)
    network = ModelConfig("resnet18", conditioning="pixel" if options.worker == "pixel" else "global")
    config = TrainConfig(
        steps=10**6, batch_size=options.batch, points_per_shape=options.points, image_size=options.image_size,
        pretrained=False, precision=options.precision,
    )  # fmt: skip
    cpu = torch.device("cpu")
    torch.manual_seed(0)
    model = build_model(network).to(memory_format=torch.channels_last)
    with Dataset(options.folder / "prepared") as dataset:
        train, val = (
            ResidentSplit(dataset, name, options.image_size, PictureFilter(), masks=network.needs_mask)
            for name in ("train", "val")
        )
    losses: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, TrainStep):
            losses.append(event.loss)

    precision = device.choose_precision(config.precision, cpu)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            Setup(config, Path(folder), {}, cpu, precision, Group(), train, val, emit),
            compiled=options.compile,
        )
    trainer.set_training()

    def step() -> float:
        trainer.step(trainer.progress.step + 1)
        trainer.check_losses()
        return losses[-1]

    return step


# -- taking turns --


def work(options: argparse.Namespace) -> None:
    """In a side's process: for each line on stdin make a step and print its times."""
    import torch

    torch.set_num_threads(options.threads)
    step = reference_step(options) if options.worker == "reference" else our_step(options)
    out, sys.stdout = sys.stdout, io.StringIO()
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        loss = step()
        row = {
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
            "loss": loss,
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        out.write(json.dumps(row) + "\n")
        out.flush()


def start(side: str, options: argparse.Namespace, folder: Path) -> subprocess.Popen[str]:
    """A side's process."""
    command = [sys.executable, str(HERE), "--worker", side, "--folder", str(folder), "--precision", options.precision]
    for name in ("batch", "points", "image_size", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    command += ["--compile"] if options.compile else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ask(process: subprocess.Popen[str]) -> dict[str, float]:
    """One step of a side."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("step\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a side died with status {process.wait()}")
    row: dict[str, float] = json.loads(line)
    return row


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Interleaved steps of both sides; medians and ratios."""
    with tempfile.TemporaryDirectory() as name:
        write_data(Path(name), options.batch, options.stored_points, options.image_size)
        sides = {side: start(side, options, Path(name)) for side in options.sides}
        rows: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for number in range(options.warmup + options.rounds):
            for side, process in sides.items():
                row = ask(process)
                if number >= options.warmup:
                    rows[side].append(row)
        for process in sides.values():
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
    medians = {s: {k: statistics.median(r[k] for r in rows[s]) for k in ("wall", "cpu", "rss")} for s in rows}
    first, second = options.sides[:2]
    ratios = {k: medians[first][k] / medians[second][k] for k in ("wall", "cpu")}
    paired = [r["cpu"] / o["cpu"] for r, o in zip(rows[first], rows[second], strict=True)]
    import timm
    import torch

    from pix3d_onet.learning.device import cpu_capabilities

    return {
        "settings": {name: getattr(options, name) for name in (*SETTINGS, "sides")},
        "machine": {"cpu": str(cpu_capabilities().get("cpu_name") or platform.processor()), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
        "load_average": os.getloadavg()[0],
        "median_seconds": medians,
        "speedup": ratios,
        "speedup_cpu_paired_median": statistics.median(paired),
        "rows": rows,
    }  # fmt: skip


def main() -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16, help="shapes and pictures")
    parser.add_argument("--points", type=int, default=2048, help="points per shape and step")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--stored-points", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES[:2], help="the ratio is first over second")
    parser.add_argument("--json", type=Path, help="where to store the result")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    result = compare(options)
    for side, row in result["median_seconds"].items():
        print(f"{side:10} {row['wall']:.2f} s wall, {row['cpu']:.2f} s CPU, {row['rss'] / 2**30:.2f} GiB peak")
    print(f"ratio      {result['speedup']['wall']:.2f}x wall, {result['speedup']['cpu']:.2f}x CPU")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
