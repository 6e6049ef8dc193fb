"""Speed of reading training samples: shards against the original Occupancy Networks layout, with the same shapes.

    python benchmarks/read_samples.py DATASET [--shapes 16] [--seconds 1.0] [--repeats 5] [--out FILE]

A sample is 2,048 labelled points of one shape, as float32 coordinates and boolean labels, ready for a network. Readers:

* ``original``: the original repository's loader, for each sample: ``np.load`` of ``points.npz`` (float16, packed
  labels), conversion of all 100,000 points to float32, normal noise on all of them ("break symmetry"), unpacking, then
  2,048 random rows;
* ``original-lean``: the same without the noise, the cheapest way to read that layout;
* ``hdf5``: one contiguous block of a shard (points are i.i.d., so a block is a sample) through h5py;
* ``mmap``: the same block through a memory map of the shard (the data set is contiguous in the file);
* ``torch``: an item of ``pix3d_onet.torch_dataset`` without pictures: float32 tensors, as a worker makes them;
* ``ram``: a batch of 64 blocks from the stored form in memory.

``onet export onet`` writes the layout to a temporary folder. Readers are interleaved; medians over the repeats. Bytes
per shape are of points, labels and surface samples, on disk.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pix3d_onet
from pix3d_onet import lattice
from pix3d_onet.data.store import encoding
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.export.original_layout import export_onet, model_names
from pix3d_onet.version import __version__

POINTS = 2048
BATCH = 64
NOISE = 1e-4
"""The original's noise on float16 points."""

Draw = Callable[[np.random.Generator], int]
"""Reads something and returns how many samples that were."""


def original(files: list[Path], *, lean: bool) -> Draw:
    """The original's PointsField and SubsamplePoints."""

    def draw(rng: np.random.Generator) -> int:
        with np.load(files[rng.integers(len(files))]) as archive:
            points = archive["points"].astype(np.float32)
            if not lean:
                points += NOISE * np.random.randn(*points.shape)  # noqa: NPY002 - as the original does it
            labels = np.unpackbits(archive["occupancies"])[: len(points)].astype(np.float32)
        chosen = rng.integers(len(points), size=POINTS)
        consume(points[chosen], labels[chosen] > 0)
        return 1

    return draw


def hdf5(data: Dataset, entries: list[ShapeEntry], count: int) -> Draw:
    """One block through h5py."""
    opened = [(data.shard(e.shard)["points"], data.shard(e.shard)["occupancy"], e.row) for e in entries]

    def draw(rng: np.random.Generator) -> int:
        points, labels, row = opened[rng.integers(len(opened))]
        start = block(rng, count)
        cells = points[row, start : start + POINTS]
        consume(
            lattice.decode_points(cells), encoding.unpack_bits(labels[row, start // 8 : (start + POINTS) // 8], POINTS)
        )
        return 1

    return draw


def mapped(data: Dataset, entries: list[ShapeEntry], count: int) -> Draw:
    """One block through a memory map of the file."""
    opened = []
    for e in entries:
        arrays = []
        for name in ("points", "occupancy"):
            found = data.shard(e.shard)[name]
            offset, path = found.id.get_offset(), data.root / e.shard
            arrays.append(np.memmap(path, found.dtype, "r", offset, found.shape)[e.row])
        opened.append(arrays)

    def draw(rng: np.random.Generator) -> int:
        points, labels = opened[rng.integers(len(opened))]
        start = block(rng, count)
        cells = np.asarray(points[start : start + POINTS])
        consume(lattice.decode_points(cells), encoding.unpack_bits(labels[start // 8 : (start + POINTS) // 8], POINTS))
        return 1

    return draw


def torch_items(path: Path) -> Draw:
    """An item of the data set for PyTorch."""
    items = pix3d_onet.torch_dataset(path, None, points=POINTS, image_size=0)

    def draw(rng: np.random.Generator) -> int:
        item = items[int(rng.integers(len(items)))]
        consume(item["points"].numpy(), item["occupancy"].numpy() > 0)
        return 1

    return draw


def in_memory(data: Dataset, entries: list[ShapeEntry], count: int) -> Draw:
    """A batch from memory, decoded at once; float32 arithmetic, as on the way to a network."""
    points = np.stack([data.shard(e.shard)["points"][e.row] for e in entries])
    labels = np.stack([data.shard(e.shard)["occupancy"][e.row] for e in entries])
    step, offset = np.float32(1.1 / lattice.LATTICE), np.float32(0.55 - 0.55 / lattice.LATTICE)
    cells = np.empty((BATCH, POINTS, 3), np.uint16)
    packed = np.empty((BATCH, POINTS // 8), np.uint8)

    def draw(rng: np.random.Generator) -> int:
        for k, shape in enumerate(rng.integers(len(points), size=BATCH)):
            start = block(rng, count)
            cells[k] = points[shape, start : start + POINTS]
            packed[k] = labels[shape, start // 8 : (start + POINTS) // 8]
        consume(cells * step - offset, np.unpackbits(packed, axis=-1).view(np.bool_))
        return BATCH

    return draw


def block(rng: np.random.Generator, count: int) -> int:
    """The first row of a random block that starts at a whole byte of labels."""
    return int(rng.integers((count - POINTS) // 8 + 1)) * 8


def consume(points: np.ndarray, labels: np.ndarray) -> None:
    """What every reader must deliver."""
    if points.dtype != np.float32 or labels.dtype != np.bool_ or points.shape[:-1] != labels.shape:
        raise TypeError((points.dtype, labels.dtype, points.shape, labels.shape))


def rate(draw: Draw, seconds: float, seed: int) -> float:
    """Samples per second, measured for about ``seconds``."""
    rng = np.random.default_rng(seed)
    draw(rng)
    done, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        done += draw(rng)
    return done / passed


def sizes(data: Dataset, entries: list[ShapeEntry], files: list[Path]) -> dict[str, float]:
    """Bytes per shape of points, labels and surface samples; and of shards with pictures and meshes."""
    names = ("points", "occupancy", "surface/points", "surface/normals")
    ours = [sum(data.shard(e.shard)[n][e.row].nbytes for n in names) for e in entries]
    theirs = [f.stat().st_size + f.with_name("pointcloud.npz").stat().st_size for f in files]
    whole = sum(s.bytes for s in data.manifest.shards) / len(data.manifest.shapes)
    return {
        "ours": statistics.mean(ours),
        "original": statistics.mean(theirs),
        "ours_with_pictures_and_mesh": whole,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--shapes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Dataset(options.dataset) as data:
        out = Path(folder) / "original"
        export_onet(options.dataset, out)
        entries = list(data.entries()[: options.shapes])
        names = model_names(data.entries())
        files = [out / names[e.object_id] / "points.npz" for e in entries]
        count = int(data.manifest.config["points"])
        readers = {
            "original": original(files, lean=False),
            "original-lean": original(files, lean=True),
            "hdf5": hdf5(data, entries, count),
            "mmap": mapped(data, entries, count),
            "torch": torch_items(options.dataset),
            "ram": in_memory(data, entries, count),
        }
        rates: dict[str, list[float]] = {name: [] for name in readers}
        for repeat in range(options.repeats):
            for name, draw in readers.items():
                rates[name].append(rate(draw, options.seconds, repeat))
        found = sizes(data, entries, files)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    document: dict[str, Any] = {
        "benchmark": "read_samples",
        "onet": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "points_a_shape": count,
        "points_a_sample": POINTS,
        "shapes": len(entries),
        "samples_per_second": {name: round(value, 1) for name, value in medians.items()},
        "times_original": {name: round(value / medians["original"], 1) for name, value in medians.items()},
        "bytes_per_shape": {name: round(value) for name, value in found.items()},
        "all_rates": {name: [round(v, 1) for v in values] for name, values in rates.items()},
    }
    for name, value in medians.items():
        print(f"{name:14} {value:12,.0f} samples/s {value / medians['original']:10,.1f} x original")
    print(f"bytes a shape (points, labels, surface): ours {found['ours']:,.0f}, original {found['original']:,.0f}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
