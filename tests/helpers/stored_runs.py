"""Write finished runs in the format of training, with figures derived from their names; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pix3d_onet.ablation.variants import VARIANTS, variant
from pix3d_onet.config import TrainConfig
from pix3d_onet.files import write_json
from pix3d_onet.runs.examples import Example, store_examples
from pix3d_onet.runs.record import HistoryRow, RunRecord, write_run
from pix3d_onet.seeding import generator
from pix3d_onet.types import Mesh

TABLE1 = tuple(VARIANTS)[:7]
DATA_HASH = "0123456789ab"
STARTS = {"random": "", "weights": "a" * 64, "init_from": "run 0123456789ab, network 0123456789ab"}
"""A variant's ``start`` → ``RunRecord.weights``."""


def make_record(name: str, seed: int = 0, *, config: TrainConfig | None = None, shift: float = 0.0) -> RunRecord:
    """A plausible record: IoU near the report's, a peak before the end, 16 val and 33 test pictures."""
    known = variant(name)
    config = known.recipe(config or TrainConfig())
    config = TrainConfig.from_json({**config.to_json(), "seed": seed})
    rng = generator(seed, name)
    level = (known.val_iou_paper or 0.4) + shift + 0.004 * rng.standard_normal()
    steps = np.unique(np.append(np.arange(config.val_every, config.steps + 1, config.val_every), config.steps))
    fraction = steps / config.steps
    iou = level * (1 - np.exp(-6 * fraction)) * (
        1 - 0.05 * np.clip(fraction - 0.4, 0, None)
    ) + 0.002 * rng.standard_normal(len(steps))
    best = int(np.argmax(iou))
    history = tuple(
        HistoryRow(int(s), 300 * np.exp(-3 * f) + 40, 350 * np.exp(-3 * f) + 60, float(v), config.lr, 90.0, float(s))
        for s, f, v in zip(steps, fraction, iou, strict=True)
    )
    shapes = generator(7, "shapes").normal(0, 0.12, 33)
    test = {
        f"img/chair/{i:04d}.jpg": float(np.clip(iou[best] + shapes[i] + 0.02 * rng.standard_normal(), 0, 1))
        for i in range(33)
    }
    val = {f"img/chair/{900 + i:04d}.jpg": float(iou[best]) for i in range(16)}
    own = {record: value + 0.01 for record, value in val.items()}
    return RunRecord(
        name=name,
        run_id=f"{generator(seed, name, config.hash()).integers(16**12):012x}",
        model=known.model.to_json(),
        train=config.to_json(),
        data={"name": "pix3d-chair", "data_hash": DATA_HASH, "train": 114, "val": 16, "test": 33},
        params=known.params or 20_000_000,
        history=history,
        best_step=int(steps[best]),
        best_val_iou=float(iou[best]),
        last_val_iou=float(iou[-1]),
        val_scores=val,
        test_scores=test,
        objects={record: record.split("/")[-1] for record in (*test, *val)},
        val_threshold=0.3,
        val_iou_at_threshold=float(iou[best]) + 0.01,
        val_scores_at_threshold=own,
        test_scores_at_threshold={record: min(value + 0.02, 1) for record, value in test.items()},
        weights=STARTS.get(known.start, "pretrained" if config.pretrained else ""),
        device={"type": "cuda", "name": "Example GPU", "precision": "bf16"},
        versions={"onet": "0.1", "python": "3.11", "torch": "2.9", "timm": "1.0", "numpy": "2.3"},
        seconds=60.0 + known.model.scales,
        peak_memory_bytes=3 * 2**30,
        shapes_per_second=850.0,
        data_wait_share=0.01,
        steps_done=config.steps,
        cost={"gflops_image": 3.6, "gflops_point": 0.0042, "latency_seconds": 0.35},
    )


def without_own(record: RunRecord) -> RunRecord:
    """``record`` as it was before the scores at a run's own threshold were kept."""
    return replace(record, val_scores_at_threshold={}, test_scores_at_threshold={}, constant_at_threshold="")


def make_run(
    root: Path, name: str, seed: int = 0, *, config: TrainConfig | None = None, examples: int = 0, shift: float = 0.0
) -> Path:
    """Write one run as ``root/name/seed-id`` and return its folder."""
    record = make_record(name, seed, config=config, shift=shift)
    folder = root / name / f"{seed}-{record.run_id}"
    folder.mkdir(parents=True, exist_ok=True)
    if examples:
        write_examples(folder, name, examples)
    write_run(folder, record)
    return folder


def make_unfinished(folder: Path, name: str, seed: int = 0, *, saved: Sequence[int] = ()) -> Path:
    """The folder of an interrupted run with checkpoints after the steps ``saved``."""
    record = make_record(name, seed)
    write_json(folder / "config.json", {"run_id": record.run_id, "name": name, "train": dict(record.train)})
    (folder / "last").mkdir()
    for step in saved:
        (folder / "last" / f"step-{step:08d}.safetensors").touch()
    return folder


def make_runs(
    root: Path,
    names: Sequence[str] = TABLE1,
    seeds: Sequence[int] = (0,),
    *,
    config: TrainConfig | None = None,
    examples: int = 0,
) -> Path:
    """Write a whole ablation and return ``root``."""
    for name in names:
        for seed in seeds:
            make_run(root, name, seed, config=config, examples=examples)
    return root


def sphere(
    radius: float, rings: int = 12, centre: tuple[float, float, float] = (0, 0, 0)
) -> tuple[np.ndarray, np.ndarray]:
    """A closed sphere, (V, 3) float32 and (F, 3) uint32, counter-clockwise from outside."""
    theta, phi = np.linspace(0, np.pi, rings + 1)[1:-1], np.arange(2 * rings) * np.pi / rings
    ring = np.stack(
        [
            np.outer(np.sin(theta), np.cos(phi)),
            np.repeat(np.cos(theta)[:, None], 2 * rings, 1),
            np.outer(np.sin(theta), np.sin(phi)),
        ],
        -1,
    )
    vertices = np.concatenate([[[0, 1, 0]], ring.reshape(-1, 3), [[0, -1, 0]]]) * radius + np.array(centre)
    n, last, faces = 2 * rings, 1 + (rings - 1) * 2 * rings, []
    for k in range(n):
        nxt = (k + 1) % n
        faces.append((0, 1 + nxt, 1 + k))
        faces.append((last, last - n + k, last - n + nxt))
        for r in range(rings - 2):
            a, b = 1 + r * n, 1 + (r + 1) * n
            faces += [(a + k, a + nxt, b + k), (a + nxt, b + nxt, b + k)]
    return vertices.astype(np.float32), np.array(faces, dtype=np.uint32)


def write_examples(folder: Path, name: str, count: int) -> None:
    """``examples.npz`` as training writes it: spheres for truth, smaller ones for reconstructions."""
    rng = generator(0, name)
    y, x = np.mgrid[:64, :64]
    examples = []
    for i in range(count):
        truth, prediction = Mesh(*sphere(0.5 - 0.05 * (i % 4))), Mesh(*sphere(0.4 + 0.05 * rng.random(), 10))
        mask = (x - 32) ** 2 + (y - 32) ** 2 < (12 + 3 * i) ** 2
        rgb = np.where(mask[..., None], np.array([120, 90, 60]), 255).astype(np.uint8)
        iou = rng.uniform(0.3, 0.6)
        examples.append(Example(f"img/chair/{i:04d}.jpg", f"chair/EX_{i}", rgb, mask, iou, prediction, truth, "test"))
    store_examples(folder, examples, threshold=0.2)
