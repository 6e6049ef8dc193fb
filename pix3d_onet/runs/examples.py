"""``examples.npz`` of a run: a few pictures with their true and reconstructed meshes, for the figures.

The file can be read without torch and without this package (``np.load(..., allow_pickle=False)``)::

    record_id (K,) str          object_id (K,) str          split () str        threshold () float32
    rgb (K, H, W, 3) uint8      mask (K, H, W) bool         iou (K,) float32
    pred_vertices_i (V, 3) float32   pred_faces_i (F, 3) uint32      i = 0 .. K-1, normalised frame
    true_vertices_i (V, 3) float32   true_faces_i (F, 3) uint32

Training writes it and the report reads it. A folder of runs may come from anyone, so the file is unpacked only if the
zip directory and the arrays' headers state small sizes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.config import SPLITS
from pix3d_onet.errors import InputError
from pix3d_onet.files import writing
from pix3d_onet.files.npz import NUMBERS, read_arrays
from pix3d_onet.runs.folder import RunFolder
from pix3d_onet.types import Bool, Mesh, UInt8

MAX_BYTES = 32 * 2**20
"""Most bytes of all unpacked arrays; six pictures of 512² with their meshes have 8 MiB."""
MAX_EXAMPLES = 64
"""Most pictures in a file; training writes six."""
MAX_FACES = 16_000
"""Most faces of a mesh, because drawing takes time per face; training writes at most a quarter of it."""
_DAMAGE = (OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile)
"""Exceptions of zipfile and numpy for damaged files."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One picture, the reconstruction of one run and the ground truth, meshes in the normalised frame.

    ``rgb`` (H, W, 3) uint8, ``mask`` (H, W) bool, ``iou`` of the reconstruction on the stored points, in [0, 1];
    ``split`` of the data set that the picture is of.
    """

    record_id: str
    object_id: str
    rgb: UInt8
    mask: Bool
    iou: float
    prediction: Mesh
    truth: Mesh
    split: str


def store_examples(run: Path, examples: Sequence[Example], *, threshold: float) -> None:
    """Write ``run/examples.npz`` atomically. ValueError unless all pictures have the same size and are of one split."""
    splits = {example.split for example in examples}
    if len(splits) != 1:
        raise ValueError(f"the examples must be of one split, not {len(splits)}")
    arrays: dict[str, Any] = {}
    for i, example in enumerate(examples):
        for kind, mesh in (("pred", example.prediction), ("true", example.truth)):
            arrays[f"{kind}_vertices_{i}"] = mesh.vertices.astype(np.float32)
            arrays[f"{kind}_faces_{i}"] = mesh.faces.astype(np.uint32)
    arrays["record_id"] = np.array([e.record_id for e in examples], dtype=np.str_)
    arrays["object_id"] = np.array([e.object_id for e in examples], dtype=np.str_)
    arrays["rgb"] = np.stack([e.rgb for e in examples])
    arrays["mask"] = np.stack([e.mask for e in examples])
    arrays["iou"] = np.array([e.iou for e in examples], dtype=np.float32)
    arrays["split"] = np.array(splits.pop())
    arrays["threshold"] = np.float32(threshold)
    with writing(RunFolder(run).examples) as part, part.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


def read_examples(run: Path) -> tuple[Example, ...]:
    """The examples of the run in folder ``run``; empty if it has none.

    InputError if the file is damaged or exceeds the limits above.
    """
    path = RunFolder(run).examples
    if not path.exists():
        return ()
    try:
        arrays = read_arrays(path, limit=MAX_BYTES, most=7 + 4 * MAX_EXAMPLES, kinds=f"{NUMBERS}U", follow=False)
        return _examples(arrays)
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged ({error}).", hint="Delete the run's folder and train it again.") from None


def _examples(arrays: dict[str, NDArray[Any]]) -> tuple[Example, ...]:
    records, objects, rgb, mask, iou = (arrays[k] for k in ("record_id", "object_id", "rgb", "mask", "iou"))
    split = str(arrays["split"])
    if split not in SPLITS:
        raise ValueError(f"the split is {split[:20]!r}, not one of {', '.join(SPLITS)}")
    count = records.size
    if count > MAX_EXAMPLES:
        raise ValueError(f"{count} pictures; at most {MAX_EXAMPLES} are read")
    shapes = (records.shape, objects.shape, iou.shape, rgb.shape[:1], rgb.shape[3:], mask.shape)
    if shapes != (*[(count,)] * 4, (3,), rgb.shape[:3]):
        raise ValueError("its arrays differ in length")
    return tuple(
        Example(
            record_id=str(records[i]),
            object_id=str(objects[i]),
            rgb=np.asarray(rgb[i], dtype=np.uint8),
            mask=np.asarray(mask[i], dtype=np.bool_),
            iou=float(iou[i]),
            prediction=_mesh(arrays[f"pred_vertices_{i}"], arrays[f"pred_faces_{i}"]),
            truth=_mesh(arrays[f"true_vertices_{i}"], arrays[f"true_faces_{i}"]),
            split=split,
        )
        for i in range(count)
    )


def _mesh(vertices: NDArray[Any], faces: NDArray[Any]) -> Mesh:
    if len(faces) > MAX_FACES:
        raise ValueError(f"a mesh of {len(faces)} faces; at most {MAX_FACES} are read")
    mesh = Mesh(vertices, faces)
    if len(mesh.faces) and (mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices)):
        raise ValueError("a face names a vertex that is not there")
    if not np.isfinite(mesh.vertices).all():
        raise ValueError("a vertex is not finite")
    return mesh
