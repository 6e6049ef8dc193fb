"""A small test of the pipeline: an open box -> a closed mesh -> labels -> one training step."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pix3d_onet.machine.checks import ABSENT, FAILED, OK, Check, installed_version
from pix3d_onet.types import Mesh

RESOLUTION = 32
"""Voxels along the longest side of the grid; few, so that the test takes seconds."""
POINTS = 4096
IMAGE = 64
BOX_HALF = 0.25
"""Half the side of the test box; its volume is 1/8 of the unit cube."""
LABEL_TOLERANCE = 0.04
"""Allowed fraction of labels that differ from the exact box: about the points within a voxel of its faces."""


def box(half: float = BOX_HALF) -> Mesh:
    """A cube around the origin with one face missing: open, like many CAD models."""
    corners = [[x, y, z] for x in (-half, half) for y in (-half, half) for z in (-half, half)]
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]
    return Mesh(np.array(corners), np.array(faces))


def watertight_and_labels() -> str:
    """Close a box and label points; raises if too many labels are wrong."""
    from pix3d_onet import make_watertight, sample_occupancy

    mesh = make_watertight(box(), resolution=RESOLUTION)
    points, occupancy = sample_occupancy(mesh, POINTS, seed=0)
    wrong = float(np.mean(occupancy != np.all(np.abs(points) <= BOX_HALF, axis=1)))
    if wrong > LABEL_TOLERANCE:
        raise ValueError(f"{wrong:.1%} of the labels are wrong")
    return f"{len(mesh.faces)} faces, {POINTS} labels, {wrong:.2%} differ from the exact box"


def training_step() -> str:
    """One optimiser step of the base variant; raises if the loss is NaN or the weights do not change."""
    import torch

    from pix3d_onet import build_model

    torch.manual_seed(0)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-0.55, 0.55, (256, 3)).astype(np.float32))
    occupancy = (points.abs() <= BOX_HALF).all(dim=1).float()
    model: Any = build_model("resnet18").train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    images = torch.rand(2, 3, IMAGE, IMAGE)  # (B, 3, H, W)
    logits = model.decode(points.expand(2, -1, -1), model.encode(images))  # (B, T, 3) -> (B, T)
    loss: Any = torch.nn.functional.binary_cross_entropy_with_logits(logits, occupancy.expand(2, -1))
    loss.backward()
    optimiser.step()
    if not torch.isfinite(loss):
        raise ValueError("the loss is not a number")
    return f"loss {loss.item():.3f} (chance level {np.log(2):.3f})"


def cuda() -> tuple[bool, str] | None:
    """Whether PyTorch can use a GPU, and its CUDA version or the reason; None without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return None
    try:
        import torch
    except (ImportError, OSError) as error:
        return False, str(error).splitlines()[0]
    if torch.version.cuda is None:
        return False, "a CPU build"
    return torch.cuda.is_available(), torch.version.cuda


def run() -> list[Check]:
    """Run the parts whose extras are installed; a failing part is a failed check, not an exception."""
    return [
        _part("self-test: watertight, labels", watertight_and_labels, "geometry", "trimesh"),
        _part("self-test: training step", training_step, "train", "torch"),
    ]


def _part(name: str, part: Callable[[], str], extra: str, package: str) -> Check:
    fix = f"pip install 'pix3d-onet[{extra}]'"
    if installed_version(package) is None:
        return Check(name, ABSENT, f"[{extra}] is not installed", fix)
    start = time.perf_counter()
    try:
        detail = part()
    except Exception as error:  # noqa: BLE001 - the doctor reports every kind of failure
        line = (str(error).splitlines() or [""])[0]
        return Check(name, FAILED, f"{type(error).__name__}: {line}", _remedy(line, fix))
    return Check(name, OK, f"{detail}, {time.perf_counter() - start:.1f} s")


def _remedy(line: str, fix: str) -> str:
    """How to fix a failing part: install the missing system library, or else reinstall the extra."""
    library, _, rest = line.partition(": cannot open shared object file")
    if rest or line.endswith("cannot open shared object file"):
        return (
            f"Install the system package that holds {library.split()[-1]} (Debian, Ubuntu: apt-file search names it)."
        )
    return f"See the line above, then: {fix}"
