"""The pictures and meshes that a run left for the figures, read from ``examples.npz`` (no pickle, no torch)."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.results.runs import StoredRun
from pix3d_onet.types import Bool, Mesh, UInt8

EXAMPLES_FILE = "examples.npz"
MASK_ALPHA = 0.3
"""Strength of the mask over the picture, as in the report's Figure 5."""
MASK_COLOUR = (213, 94, 0)
"""Okabe-Ito vermillion."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One picture, the reconstruction of one run and the ground truth, meshes in the normalised frame.

    ``rgb`` (H, W, 3) uint8, ``mask`` (H, W) bool, ``iou`` of the reconstruction on the stored points, in [0, 1].
    """

    record_id: str
    object_id: str
    rgb: UInt8
    mask: Bool
    iou: float
    prediction: Mesh
    truth: Mesh


def read_examples(run: Path) -> tuple[Example, ...]:
    """The examples of the run in folder ``run``; empty when it has none. InputError when the file is damaged."""
    path = run / EXAMPLES_FILE
    if not path.exists():
        return ()
    try:
        with np.load(path, allow_pickle=False) as file:
            return tuple(
                Example(
                    record_id=str(file["record_id"][i]),
                    object_id=str(file["object_id"][i]),
                    rgb=np.asarray(file["rgb"][i], dtype=np.uint8),
                    mask=np.asarray(file["mask"][i], dtype=np.bool_),
                    iou=float(file["iou"][i]),
                    prediction=_mesh(file[f"pred_vertices_{i}"], file[f"pred_faces_{i}"]),
                    truth=_mesh(file[f"true_vertices_{i}"], file[f"true_faces_{i}"]),
                )
                for i in range(len(file["record_id"]))
            )
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}).", hint="Delete the run's folder and train it again.") from None


def _mesh(vertices: Any, faces: Any) -> Mesh:
    mesh = Mesh(vertices, faces)
    if len(mesh.faces) and (mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices)):
        raise ValueError("a face names a vertex that is not there")
    if not np.isfinite(mesh.vertices).all():
        raise ValueError("a vertex is not finite")
    return mesh


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Figure 5 as data: the same pictures for every variant. ``columns`` are record ids; a missing cell is absent."""

    records: tuple[str, ...]
    inputs: dict[str, Example]
    cells: dict[tuple[str, str], Example]
    """(variant, record id) → what the variant's first run made of the picture."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Variants with at least one cell, in the order given."""
        return tuple(dict.fromkeys(v for v, _ in self.cells))


def gallery(runs: Sequence[StoredRun], variants: Sequence[str], limit: int = 6, emit: Emit = ignore) -> Gallery:
    """The examples of the first run of each variant; damaged files are skipped with a warning."""
    inputs: dict[str, Example] = {}
    cells: dict[tuple[str, str], Example] = {}
    for name in variants:
        mine = sorted((r for r in runs if r.variant == name), key=lambda r: r.seed)
        if not mine:
            continue
        try:
            examples = read_examples(mine[0].folder)
        except InputError as error:
            emit(Note(str(error), "warning"))
            continue
        for example in examples:
            inputs.setdefault(example.record_id, example)
            cells[name, example.record_id] = example
    records = tuple(inputs)[:limit]
    return Gallery(records, {r: inputs[r] for r in records}, {k: e for k, e in cells.items() if k[1] in records})


def with_mask(rgb: UInt8, mask: Bool) -> UInt8:
    """``rgb`` (H, W, 3) with the mask laid over it at alpha 0.3."""
    tinted = rgb.astype(np.float64)
    tinted[mask] = (1 - MASK_ALPHA) * tinted[mask] + MASK_ALPHA * np.asarray(MASK_COLOUR)
    return np.rint(tinted).astype(np.uint8)
