"""What runs on a GPU, without one: every variant's arithmetic stays on the device, copies nothing, waits for nothing.

Gradients are not followed (PyTorch needs a card for them). Of code that takes another way on a GPU, ``BRANCHES`` says
where it is held.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import pix3d_onet
from pix3d_onet.ablation.variants import VARIANTS, Variant
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.evaluation.evaluate import nearest_of_all
from pix3d_onet.learning.batches.augment import color, crop, flip
from pix3d_onet.learning.batches.batch import Batch, Decoding, RawBatch
from pix3d_onet.learning.device import devices_of_jobs, nth_device
from pix3d_onet.learning.extraction.refine import value_and_gradient
from pix3d_onet.learning.extraction.surface_sampling import Sampler
from pix3d_onet.learning.network.camera import TURNS, Camera, camera_loss
from pix3d_onet.learning.network.model import OccupancyNetwork, build_model
from pix3d_onet.learning.training.optim import make_optimizer, moving_average
from pix3d_onet.learning.training.trainer import occupancy_loss
from pix3d_onet.learning.training.validate import count_overlap

CUDA = torch.device("cuda", 0)
PICTURES, POINTS, SIDE = 2, 16, 224
COPY_IN = "aten._to_copy.default cpu+cuda"

HERE = "this file"
CARD = "needs a card"
OWN = "the CPU's way has tests of its own"
BRANCHES = {
    ("evaluation/evaluate.py", 'device.type == "cpu"'): f"nearest neighbours of all pairs: {HERE}",
    ("learning/torch_threads.py", 'device.type == "cpu"'): f"threads are chosen on a CPU only: {CARD}",
    ("learning/device.py", 'device.type != "cpu"'): f"refusing other devices: {OWN}",
    ("learning/device.py", 'device.type != "cuda"'): f"fp16 on a CPU is refused: {OWN}",
    ("learning/device.py", 'device.type == "cuda"'): f"names, memory and capability of the card: {CARD}",
    ("learning/distributed.py", 'device.type == "cuda"'): f"NCCL, device ids of DDP: {CARD}",
    ("learning/extraction/refine.py", 'device.type == "cpu"'): f"points per call: {HERE}",
    ("learning/extraction/surface_sampling.py", 'device.type == "cpu"'): f"zeroed pages, points per call: {HERE}",
    ("learning/network/decoder.py", 'kind in ("cpu", "cuda")'): f"autocast: {HERE}",
    ("learning/network/decoder.py", 'device.type == "cpu"'): f"layers instead of one fused step: {HERE}",
    ("learning/network/decoder_inference.py", 'device.type == "cpu"'): f"large chunks, no places: {HERE}",
    ("learning/batches/split.py", 'device.type == "cpu"'): f"blocks by indexing: {CARD} (pinned memory)",
    ("learning/batches/split.py", 'device.type == "cuda"'): f"pinned memory: {CARD}",
    ("learning/batches/opening.py", 'device.type == "cuda"'): f"the data set in the card's memory: {CARD}",
    ("learning/training/profile.py", 'device.type == "cuda"'): f"the card's activities in the trace: {CARD}",
    ("learning/training/run.py", 'where.type == "cuda"'): f"freeing the cache after out of memory: {CARD}",
    ("learning/training/trainer.py", 'device.type == "cuda"'): f"mode of compilation, pinned memory: {CARD}",
    (
        "learning/training/trainer.py",
        "CHECK_EVERY[self.setup.device.type]",
    ): f"steps between checks of the loss: {CARD}",
    ("learning/training/trainer.py", "CHECK_EVERY[device.type]"): f"steps between checks of the loss: {CARD}",
}
PATTERN = re.compile(
    r"""(?:device|where)\.type (?:==|!=) "\w+"|kind in \("cpu", "cuda"\)|CHECK_EVERY\[[\w.]+\]|is_cuda\b"""
)


def test_every_branch_on_the_device_is_named() -> None:
    root = Path(pix3d_onet.__file__).parent
    found = {
        (path.relative_to(root).as_posix(), match)
        for room in ("learning", "evaluation", "reconstruction")
        for path in sorted((root / room).rglob("*.py"))
        for match in PATTERN.findall(path.read_text(encoding="utf-8"))
    }
    assert found == set(BRANCHES)


class Crossings(TorchDispatchMode):
    """Writes down every operation that leaves its device: a copy to another, a mix of two, a number for Python."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
        kinds = sorted({t.device.type for t in tensors})
        if len(kinds) > 1 or "_local_scalar_dense" in str(func):
            self.found.append(f"{func} {'+'.join(kinds)}")
        return result


@contextmanager
def fake_cuda() -> Iterator[Crossings]:
    """In the block tensors made on ``CUDA`` are fake ones, and the crossings that operations on them make are noted."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), Crossings() as crossings:
        yield crossings


def on_cuda(module: nn.Module) -> nn.Module:
    """``module``, made on the meta device, with fake parameters and buffers; to be called in the block."""

    def empty(value: torch.Tensor) -> torch.Tensor:
        return torch.empty(value.shape, dtype=value.dtype, device=CUDA)

    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(empty(value), requires_grad=value.requires_grad))
        for name, value in part.named_buffers(recurse=False):
            setattr(part, name, empty(value))
    return module


@contextmanager
def bf16() -> Iterator[None]:
    """Autocast on ``cuda``, which ``torch.autocast`` itself turns off where there is no card."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)


def distinct() -> list[Variant]:
    """One variant of each architecture; all that change the recipe's arithmetic."""
    found = {(tuple(v.model.to_json().items()), tuple(sorted(v.train))): v for v in VARIANTS.values()}
    return list(found.values())


def shapes_of(variant: Variant) -> OccupancyNetwork:
    with torch.device("meta"):
        return build_model(variant.model)


def inputs(config: ModelConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.rand(PICTURES, 3 + config.needs_mask, SIDE, SIDE, device=CUDA),
        torch.rand(PICTURES, POINTS, 3, device=CUDA),
        torch.rand(PICTURES, 4, 4, device=CUDA),
        torch.rand(PICTURES, 3, 3, device=CUDA),
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("variant", distinct(), ids=lambda v: v.name)
def test_training_arithmetic_stays_on_the_device(
    variant: Variant, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = torch.Generator()
    monkeypatch.setattr(torch, "Generator", lambda device: host)  # the average's, which float32 does not use
    config = variant.recipe(TrainConfig())
    model = shapes_of(variant).train()
    with fake_cuda() as crossings:
        on_cuda(model)
        images, points, pose, intrinsics = inputs(model.config)
        with bf16() if precision == "bf16" else nullcontext():
            made = model(images, points, pose, intrinsics)
        logits, camera = made if model.config.predicts_camera else (made, None)
        loss = occupancy_loss(logits, torch.zeros(PICTURES, POINTS, device=CUDA))
        if camera is not None:
            symmetric = torch.ones(PICTURES, TURNS, dtype=torch.bool, device=CUDA)
            loss = loss + camera_loss(camera, Camera(pose, intrinsics), symmetric)
        optimizer = make_optimizer(model, config)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        if config.ema:
            moving_average(model, config.ema).update(model, 3)
        assert (logits.device, logits.shape, loss.device) == (CUDA, (PICTURES, POINTS), CUDA)
    assert crossings.found == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("variant", distinct(), ids=lambda v: v.name)
def test_scores_and_extraction_s_chunks_stay_on_the_device(variant: Variant, dtype: torch.dtype) -> None:
    model = shapes_of(variant).eval()
    with fake_cuda() as crossings:
        on_cuda(model)
        images, points, pose, intrinsics = inputs(model.config)
        code = model.encode(images, pose, intrinsics)
        assert model.decode(points, code).device == CUDA
        field = model.fold(code.picture(0), dtype)
        logits = field(points[0])
        occupied = torch.rand(POINTS, device=CUDA) > 0.5
        counts = count_overlap(logits, occupied, torch.rand(3, device=CUDA))
        loss = functional.binary_cross_entropy_with_logits(logits, occupied.float())
        by_torch = model.pixels or model.config.norm == "layer"  # PyTorch's own gradients need a card
        slopes = () if by_torch else value_and_gradient(field, points[0], 0.01)
        assert {t.device for t in (logits, *counts, loss, *slopes)} == {CUDA}
        sampler = Sampler(field, 8, 0.0, CUDA, None)
        sampler.sample(torch.arange(100, device=CUDA))
        assert {t.device for t in (sampler.values, sampler.undefined, sampler.highest)} == {CUDA}
    assert crossings.found == []


def test_stored_batches_are_decoded_and_augmented_on_the_device() -> None:
    with fake_cuda() as crossings:
        decoding = Decoding(CUDA)
        assert crossings.found == [COPY_IN]  # the table, once a run
        images, _, pose, intrinsics = inputs(ModelConfig(conditioning="pixel"))
        cells = torch.zeros(PICTURES, POINTS, 3, dtype=torch.int16, device=CUDA)
        labels = torch.zeros(PICTURES, POINTS // 8, dtype=torch.uint8, device=CUDA)
        raw = RawBatch(images.to(torch.uint8), cells, labels, pose, intrinsics)
        batch = decoding.batch(replace(raw, further=raw), POINTS)
        u = torch.rand(PICTURES, 9, device=CUDA)
        batch = replace(batch, images=color(batch.images, u[:, 0], u[:, 1:4], u[:, 4]))
        moved = flip(crop(batch, u[:, 5] + 1, u[:, 6], u[:, 8]), u[:, 7] < 0.5)
        assert moved.further is not None
        names = set(Batch.__slots__) - {"further"}
        assert {getattr(part, name).device for part in (moved, moved.further) for name in names} == {CUDA}
        assert moved.further.points.shape == (PICTURES, 0, 3)
    assert crossings.found == [COPY_IN]


def test_nearest_neighbours_stay_on_the_device() -> None:
    with fake_cuda() as crossings:
        distance, row = nearest_of_all(torch.rand(50, 3, device=CUDA), torch.rand(70, 3, device=CUDA))
        assert (distance.device, row.device, distance.shape) == (CUDA, CUDA, (50,))
    assert crossings.found == []


def test_the_watch_sees_what_it_is_for() -> None:
    """A mixed operation raises; a copy and a number that is fetched are noted."""
    with fake_cuda() as crossings:
        here, there = torch.rand(3), torch.rand(3, device=CUDA)
        with pytest.raises(RuntimeError, match="device"):
            _ = here + there
        _ = there.to("cpu")
        assert crossings.found == [COPY_IN]
        with pytest.raises(Exception, match=r"data-dependent|item|scalar"):
            there.sum().item()


def test_processes_of_a_machine_take_its_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [nth_device("auto", i) for i in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [nth_device(name, 1) for name in ("cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:0", "cpu"]
    assert devices_of_jobs("auto", 1) == ("auto",)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices_of_jobs("auto", 2) == ("auto", "auto")
