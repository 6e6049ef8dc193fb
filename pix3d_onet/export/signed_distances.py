"""Export signed distances in the layouts of other projects: regular grids (SDFusion, AutoSDF) and samples (DeepSDF).

Grids are read by ``datasets/pix3d_dataset.py`` of https://github.com/yccyenchicheng/SDFusion and ``snet_dataset.py`` of
the same author's AutoSDF, samples by ``deep_sdf/data.py`` of https://github.com/facebookresearch/DeepSDF.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

from pix3d_onet.config import SPLITS
from pix3d_onet.data.sources import onet_layout as layout
from pix3d_onet.data.sources.registry import terms_of
from pix3d_onet.data.store.card import export_card
from pix3d_onet.data.store.manifest import ShapeEntry
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.export.claimed_folder import claim, finish, plain_name, unique_names
from pix3d_onet.export.original_layout import by_split, model_names, split_of
from pix3d_onet.files import member, write_json, write_text, writing
from pix3d_onet.geometry.mesh.distances import surface_distances
from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.topology import unbalanced_edges
from pix3d_onet.types import Float32, Sample

GRID_SIDE = 1.3
"""Side of the grid's cube in longest sides, as in SDFusion's preprocessing."""
GRID_FILE = "ori_sample_grid"
SAMPLES, NORMALISATION, SOURCE = "SdfSamples", "NormalizationParameters", "onet"
"""DeepSDF's folders, and the name of the data source in them."""


@dataclass(frozen=True, slots=True)
class DistanceExport:
    """Counts of an export: shapes per split."""

    out: Path
    shapes: int
    splits: dict[str, int]


def export_sdf_grid(
    dataset: Path, out: Path, *, resolution: int = 64, overwrite: bool = False, emit: Emit = ignore
) -> DistanceExport:
    """Write a grid of ``resolution``³ signed distances per shape, as HDF5, and lists of the splits.

    ``OUT/<category>/<model>/ori_sample_grid.h5``; shapes of Pix3D have the folder and the suffix of their model there.
    Distances are exact to the stored mesh, in longest sides, negative inside. The same call continues an interrupted
    export. InputError if ``out`` holds anything else, or if a mesh is open.
    """
    with Dataset(dataset) as data:
        entries = data.entries()
        names = model_names(entries)
        pix3d = data.manifest.source.get("kind") == "pix3d"
        grids = unique_names({e.object_id: grid_name(e, names[e.object_id], pix3d=pix3d) for e in entries})
        lists = {
            f"{category}_{split}.lst": [PurePosixPath(grids[e.object_id]).parts[1] for e in chosen]
            for (category, split), chosen in by_split(entries, names).items()
        }
        files = [*grids.values(), *lists]
        what = {"layout": "sdf-grid", "data_hash": data.manifest.data_hash, "resolution": resolution}
        claim(out, what, files, overwrite=overwrite, emit=emit)
        for number, entry in enumerate(entries, 1):
            _write_grid(member(out, *grids[entry.object_id].split("/")), data.sample(entry), resolution)
            emit(Progress("export", number, len(entries), item=entry.object_id))
        for name, models in lists.items():
            write_text(out / name, "".join(f"{model}\n" for model in dict.fromkeys(models)))
        finish(out, files, export_card(data.manifest, terms_of(data.manifest), {"Files": _grid_text(resolution)}))
    return _counted(out, entries)


def export_deepsdf(dataset: Path, out: Path, *, overwrite: bool = False, emit: Emit = ignore) -> DistanceExport:
    """Write the stored points with their signed distances as DeepSDF's loader reads them, and its split files.

    ``OUT/SdfSamples/onet/<category>/<model>.npz`` has ``pos`` and ``neg``, (n, 4) float32: point and distance.
    ``NormalizationParameters`` has offset and scale: normalised = (original + offset) · scale. InputError if the data
    set has no signed distances, or if ``out`` holds anything else.
    """
    with Dataset(dataset) as data:
        if not data.manifest.config.get("sdf"):
            raise InputError(f"{dataset} has no signed distances.", hint="Prepare it with `sdf=True`.")
        entries = data.entries()
        names = model_names(entries)
        splits: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
        for (category, split), chosen in by_split(entries, names).items():
            splits[split][category] = [names[e.object_id].split("/")[1] for e in chosen]
        folders = (f"{SAMPLES}/{SOURCE}", f"{NORMALISATION}/{SOURCE}")
        files = [f"{folder}/{names[e.object_id]}.npz" for e in entries for folder in folders]
        files += [f"{split}.json" for split in SPLITS]
        what = {"layout": "deepsdf", "data_hash": data.manifest.data_hash}
        claim(out, what, files, overwrite=overwrite, emit=emit)
        for number, entry in enumerate(entries, 1):
            sample = data.sample(entry)
            paths = [member(out, *f"{folder}/{names[entry.object_id]}.npz".split("/")) for folder in folders]
            rows = signed_rows(sample)
            layout.write_npz(paths[0], {"pos": rows[rows[:, 3] > 0], "neg": rows[rows[:, 3] < 0]})
            layout.write_npz(paths[1], {"offset": -sample.loc, "scale": np.array(1 / sample.scale)})
            emit(Progress("export", number, len(entries), item=entry.object_id))
        for name, categories in splits.items():
            write_json(out / f"{name}.json", {SOURCE: categories})
        finish(out, files, export_card(data.manifest, terms_of(data.manifest), {"Files": DEEPSDF_TEXT}))
    return _counted(out, entries)


def grid_name(entry: ShapeEntry, name: str, *, pix3d: bool) -> str:
    """Relative name of a shape's grid. SDFusion looks for a Pix3D model ``<folder>/model<suffix>.obj`` in
    ``<category>/<folder>/ori_sample_grid<suffix>.h5``; other shapes have the folder ``name``."""
    path = PurePosixPath(entry.source_mesh)
    if pix3d and len(path.parts) == 4 and path.stem.startswith("model"):
        category, folder = (plain_name(part) for part in path.parts[1:3])
        return f"{category}/{folder}/{plain_name(GRID_FILE + path.stem.removeprefix('model'))}.h5"
    return f"{name}/{GRID_FILE}.h5"


def grid_points(resolution: int) -> Float32:
    """(resolution³, 3) float32 points of the grid, x fastest: from -0.65, without the last plane at 0.65."""
    axis = -GRID_SIDE / 2 + GRID_SIDE / resolution * np.arange(resolution)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float32)


def signed_rows(sample: Sample) -> Float32:
    """(n, 4) float32: all stored points of a shape and their signed distances."""
    kinds = ((sample.points, sample.sdf), (sample.near_points, sample.near_sdf))
    rows = [np.column_stack([points, sdf]) for points, sdf in kinds if points is not None and sdf is not None]
    return np.concatenate(rows).astype(np.float32)


def _write_grid(path: Path, sample: Sample, resolution: int) -> None:
    if unbalanced_edges(sample.mesh):
        text = f"the stored mesh of {sample.object_id} is open, so it has no signed distances."
        raise InputError(text, hint="Prepare the models themselves, not labelled points.")
    points = grid_points(resolution)
    distances = surface_distances(sample.mesh, points)
    values = np.where(contains(sample.mesh, points), -distances, distances)[:, None].astype(np.float32)
    half = GRID_SIDE / 2
    arrays: dict[str, Any] = {
        "pc_sdf_original": np.zeros((1, 3), dtype=np.float32),
        "pc_sdf_sample": values,
        "norm_params": np.append(sample.loc, sample.scale),
        "sdf_params": np.array([-half] * 3 + [half] * 3, dtype=np.float32),
    }
    with writing(path) as part, h5py.File(part, "w", libver=("v110", "v110"), locking=False) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip", compression_opts=4, track_times=False)


def _counted(out: Path, entries: Sequence[ShapeEntry]) -> DistanceExport:
    return DistanceExport(out, len(entries), {split: sum(split_of(e) == split for e in entries) for split in SPLITS})


DEEPSDF_TEXT = f"""``{SAMPLES}/{SOURCE}/<category>/<model>.npz``: ``pos`` and ``neg``, (n, 4) float32, a point and its
signed distance in longest sides, for DeepSDF's ``DataSource`` set to this folder. ``train.json``, ``val.json``,
``test.json`` are split files. ``{NORMALISATION}/{SOURCE}/…``: ``offset`` and ``scale``, normalised =
(original + offset) · scale."""


def _grid_text(resolution: int) -> str:
    return f"""``<category>/<model>/{GRID_FILE}.h5``: ``pc_sdf_sample`` ({resolution}³, 1) float32, signed distances in
longest sides, negative inside, x fastest, on the grid -0.65 + 1.3 / {resolution} · (0 … {resolution - 1}) along each
axis; ``norm_params``: loc and scale, normalised = (original - loc) / scale; ``sdf_params``: the corners of the
cube. SDFusion finds the grids in this folder as ``pix3d/SDF_v1_{resolution}``. ``<category>_<split>.lst`` are the
splits."""
