"""``examples.npz`` of a run: pictures, reconstructions and true meshes for the figures (no pickle, no torch)."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.errors import InputError
from pix3d_onet.runs.folder import RunFolder
from pix3d_onet.types import Bool, Mesh, UInt8


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
    path = RunFolder(run).examples
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
