"""Mesh extraction from a trained network: dense grid, MISE as the original calls it, and ours, in one run.

    python benchmarks/extraction.py RUN [--data DATASET] [--pictures 1] [--repeats 3] [--threads 1] [--out FILE]

Compared at 128 cells per axis, with the same pictures, network and machine:

* ``dense``: all 129³ lattice points, with the original's decoder (Conv1d layers, conditional batch norm evaluated from
  the code at each call, 100,000 points per call);
* ``mise``: the original's algorithm (32³, two halvings, all new points of every active cell) with the same decoder;
* ``mise-folded``: the same queries with our decoder (norms folded once per picture): the decoder's part of the gain;
* ``ours``: surface following with our decoder; ``ours-bf16``: the same in bfloat16.

The dense grid runs once (about 100 s on one core), the others ``--repeats`` times, interleaved. Medians are reported,
with the number of queries and of the 2.1 million signs that differ from the dense grid. With one thread, seconds are
the process's CPU time. Without ``--data`` the picture is a grey square, which a trained network has never seen: give a
data set for meaningful figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pix3d_onet.config import POINTS_HALF_SIDE
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.learning.checkpoint import load_model
from pix3d_onet.learning.device import describe_device
from pix3d_onet.learning.extraction.extract import image_field, logit, march
from pix3d_onet.learning.extraction.predictor import run_settings
from pix3d_onet.learning.extraction.surface_sampling import CPU_CHUNK, Field, Lattice, sample_surface
from pix3d_onet.learning.network.model import OccupancyNetwork
from pix3d_onet.learning.pictures import relative_intrinsics
from pix3d_onet.types import View

RESOLUTION = 128
COARSE = 32
ORIGINAL_CHUNK = 100_000
"""Points a decoder call in the original's mesh generator."""


class OriginalNorm(nn.Module):
    """Conditional batch norm on (1, F, T): scale and shift computed from the code at every call."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        features, c_dim = source.conv_gamma.weight.shape
        self.conv_gamma, self.conv_beta = nn.Conv1d(c_dim, features, 1), nn.Conv1d(c_dim, features, 1)
        self.bn = nn.BatchNorm1d(features, affine=False)
        with torch.no_grad():
            for mine, other in ((self.conv_gamma, source.conv_gamma), (self.conv_beta, source.conv_beta)):
                mine.weight.copy_(other.weight[..., None])
                mine.bias.copy_(other.bias)
            self.bn.running_mean.copy_(source.running_mean)
            self.bn.running_var.copy_(source.running_var)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return self.conv_gamma(code[..., None]) * self.bn(x) + self.conv_beta(code[..., None])


def conv(linear: nn.Linear) -> nn.Conv1d:
    """The same product on (1, F, T)."""
    layer = nn.Conv1d(linear.in_features, linear.out_features, 1)
    with torch.no_grad():
        layer.weight.copy_(linear.weight[..., None])
        layer.bias.copy_(linear.bias)
    return layer


class OriginalDecoder(nn.Module):
    """Our decoder's weights in the original's layers and order of operations."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.fc_p, self.fc_out = conv(source.fc_p), conv(source.fc_out)
        self.blocks = nn.ModuleList(
            nn.ModuleList([OriginalNorm(b.bn_0), conv(b.fc_0), OriginalNorm(b.bn_1), conv(b.fc_1)])
            for b in source.blocks
        )
        self.bn = OriginalNorm(source.bn)

    def forward(self, points: Tensor, code: Tensor) -> Tensor:
        """points (1, T, 3), code (1, C) → logits (1, T)."""
        x = self.fc_p(points.transpose(1, 2))
        for bn_0, fc_0, bn_1, fc_1 in self.blocks:
            x = x + fc_1(torch.relu(bn_1(fc_0(torch.relu(bn_0(x, code))), code)))
        return self.fc_out(torch.relu(self.bn(x, code))).squeeze(1)


class Counted:
    """A field on lattice coordinates (N, 3) of ``RESOLUTION`` cells that counts its queries."""

    def __init__(self, field: Field, chunk: int) -> None:
        self.field, self.chunk, self.queries = field, chunk, 0

    def __call__(self, index: np.ndarray) -> np.ndarray:
        self.queries += len(index)
        points = (torch.from_numpy(index.astype(np.float32)) / RESOLUTION - 0.5) * (2 * POINTS_HALF_SIDE)
        with torch.no_grad():
            return torch.cat([self.field(part) for part in torch.split(points, self.chunk)]).numpy()


def dense(ask: Counted) -> np.ndarray:
    """Logits (129, 129, 129) of the whole lattice."""
    side = RESOLUTION + 1
    return ask(np.stack(np.unravel_index(np.arange(side**3), (side,) * 3), axis=1)).reshape((side,) * 3)


def mise(ask: Counted, level: float) -> np.ndarray:
    """The original's algorithm: halve every cell whose corners disagree, sample all its new points; fill the rest.

    Returns (129, 129, 129) logits; points never sampled have the value of the coarse point before them.
    """
    stride = RESOLUTION // COARSE
    n = COARSE
    lattice = np.stack(np.meshgrid(*[np.arange(n + 1) * stride] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    values = ask(lattice).reshape((n + 1,) * 3)
    while stride > 1:
        inside = values > level
        corners = np.stack([inside[x : n + x, y : n + y, z : n + z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
        active = np.argwhere(corners.any(axis=0) & ~corners.all(axis=0))
        stride, n = stride // 2, n * 2
        fine = values[np.ix_(*[np.arange(n + 1) // 2] * 3)]  # a point not sampled takes its neighbour's value
        known = np.zeros(fine.shape, np.bool_)
        known[::2, ::2, ::2] = True
        offsets = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        points = (active[:, None] * 2 + offsets).reshape(-1, 3)
        wanted = np.zeros(fine.shape, np.bool_)
        wanted[tuple(points.T)] = True
        new = np.argwhere(wanted & ~known)
        fine[tuple(new.T)] = ask(new * stride)
        values = fine
    return values


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result: CPU seconds of the process on one thread (others may be busy), wall clock on several."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    result = work()
    return clock() - start, result


def mesh_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes on a whole padded lattice, as the original does it."""
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(np.pad(values, 1, constant_values=-1e6), 0.0)
    return vertices, faces


def has_surface(model: OccupancyNetwork, view: View, size: int | None, level: float) -> bool:
    """Whether any point of the coarse lattice is inside: where none is, no method has anything to extract."""
    with image_field(model, view.rgb, **options_of(view, size)) as (field, _):
        ask = Counted(field, 4096)
        axis = np.arange(COARSE + 1) * (RESOLUTION // COARSE)
        return bool((ask(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)) > level).any())


def options_of(view: View, size: int | None) -> dict[str, Any]:
    """Arguments of ``image_field``."""
    intrinsics = relative_intrinsics(view.intrinsics, view.rgb.shape[1])
    return {"pose": view.pose if view.has_pose else None, "intrinsics": intrinsics, "image_size": size}


def compare(model: OccupancyNetwork, view: View, size: int | None, level: float, repeats: int) -> dict[str, Any]:
    """Seconds, queries and signs of every method on one picture."""
    fields: dict[str, Field] = {}
    options = options_of(view, size)
    with image_field(model, view.rgb, **options) as (folded, _):
        fields["folded"] = folded
    with image_field(model, view.rgb, precision="bf16", **options) as (folded, _):
        fields["bf16"] = folded
    code = _code(model, view, options)
    reference = OriginalDecoder(model.decoder).eval()
    original: Field = lambda points: reference(points[None], code)[0]  # noqa: E731
    probe = torch.rand(1000, 3) - 0.5
    with torch.no_grad():
        largest = float((original(probe) - fields["folded"](probe)).abs().max())

    def surface(field: Field) -> tuple[np.ndarray, int]:
        lattice: Lattice = sample_surface(field, RESOLUTION, coarse=COARSE, level=level)
        march(lattice)
        return lattice.inside(), lattice.queries

    def octree(field: Field, chunk: int) -> tuple[np.ndarray, int]:
        ask = Counted(field, chunk)
        values = mise(ask, level)
        mesh_of(values - level)
        return values > level, ask.queries

    def grid() -> tuple[np.ndarray, int]:
        ask = Counted(original, ORIGINAL_CHUNK)
        values = dense(ask)
        mesh_of(values - level)
        return values > level, ask.queries

    methods: dict[str, Callable[[], tuple[np.ndarray, int]]] = {
        "mise": lambda: octree(original, ORIGINAL_CHUNK),
        "mise-folded": lambda: octree(fields["folded"], CPU_CHUNK),
        "ours": lambda: surface(fields["folded"]),
        "ours-bf16": lambda: surface(fields["bf16"]),
    }
    rows: dict[str, Any] = {name: {"seconds": []} for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            seconds, (signs, queries) = timed(method)
            rows[name]["seconds"].append(seconds)
            rows[name] |= {"queries": queries, "signs": signs}
    seconds, (signs, queries) = timed(grid)
    rows["dense"] = {"seconds": [seconds], "queries": queries, "signs": signs}
    for row in rows.values():
        row["signs_differ"] = int(np.count_nonzero(row.pop("signs") != signs))
    return {
        "record_id": view.record_id,
        "inside_points": int(signs.sum()),
        "largest_difference": largest,
        "methods": rows,
    }


def _code(model: OccupancyNetwork, view: View, options: dict[str, Any]) -> Tensor:
    from pix3d_onet.learning.extraction.extract import camera_tensors, image_tensor

    camera = camera_tensors(model.config, options["pose"], options["intrinsics"], torch.device("cpu"))
    with torch.no_grad():
        return model.encode(image_tensor(view.rgb, options["image_size"]), *camera).vector


def pictures(data: Path | None, count: int) -> list[View]:
    """The first pictures of the test split, or a grey square."""
    if data is None:
        rgb = np.full((224, 224, 3), 255, np.uint8)
        rgb[50:170, 60:160] = 120
        return [
            View(rgb, rgb[..., 0] < 255, np.eye(4, dtype=np.float32), np.eye(3, dtype=np.float32) * 300, "grey square")
        ]
    with Dataset(data) as dataset:
        return [dataset.sample(entry, "test").images[0] for entry in dataset.entries("test")[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pictures", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = run_settings(options.run)
    model = load_model(options.run)
    level = logit(settings.threshold)
    results = []
    for view in pictures(options.data, options.pictures):
        if not has_surface(model, view, settings.image_size, level):
            print(f"{view.record_id}: the network sees nothing there; skipped")
            continue
        result = compare(model, view, settings.image_size, level, options.repeats)
        results.append(result)
        print(f"{result['record_id']}: {result['inside_points']} points inside")
        result["ratios"] = ratios(result["methods"])
        print(f"{'method':14}{'seconds':>10}{'queries':>10}{'signs':>7}{'vs dense':>10}{'vs mise':>9}")
        for name, row in sorted(result["methods"].items(), key=lambda item: -statistics.median(item[1]["seconds"])):
            against = result["ratios"][name]
            print(
                f"{name:14}{statistics.median(row['seconds']):10.3f}{row['queries']:10}{row['signs_differ']:7}"
                f"{against['dense']:9.1f}×{against['mise']:8.2f}×"
            )
    if not results:
        raise SystemExit("no picture in which the network sees something")
    print(f"over {len(results)} pictures, least / median / most:")
    for name in ("ours", "ours-bf16"):
        for base in ("dense", "mise"):
            found = sorted(r["ratios"][name][base] for r in results)
            print(f"{name} against {base}: {found[0]:.2f} / {statistics.median(found):.2f} / {found[-1]:.2f}")
    if options.out is not None:
        machine = describe_device(torch.device("cpu"), "fp32", 1, torch.get_num_threads())
        machine["torch"] = str(torch.__version__)
        document = {"run": settings.name, "run_id": settings.run_id, "machine": machine, "pictures": results}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1) + "\n")


def ratios(methods: dict[str, Any]) -> dict[str, dict[str, float]]:
    """How many times faster each method is than the dense grid and than the original's MISE: of median seconds."""
    median = {name: statistics.median(row["seconds"]) for name, row in methods.items()}
    return {name: {base: median[base] / s for base in ("dense", "mise")} for name, s in median.items()}


if __name__ == "__main__":
    main()
