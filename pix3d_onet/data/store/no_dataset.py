"""The error for a folder that is not a data set: it says what the folder is, and what to do."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pix3d_onet.errors import InputError, did_you_mean
from pix3d_onet.types import MESH_SUFFIXES, PIX3D_INDEX

PARTS = ".parts"
"""Folder in which ``prepare`` stores finished shapes until the data set is complete."""
NAMED = 4
"""Most data sets that an error names."""


def no_dataset(root: Path, manifest: str) -> InputError:
    """The error for ``root``, which has no file named ``manifest``."""
    hint = "Make a data set with `onet prepare`."
    if not root.is_dir():
        beside = {path.parent.name for path in root.parent.glob(f"*/{manifest}")}
        hint = did_you_mean(root.name, beside, root.with_name) or _listed(root.parent, beside) or hint
        return InputError(f"data set not found: {root}.", hint=hint)
    if (root / PARTS).is_dir():
        kept = sum(p.suffix == ".npz" for p in (root / PARTS).iterdir())
        finished = "1 shape is finished" if kept == 1 else f"{kept} shapes are finished"
        hint = "Run the same `onet prepare` again to continue."
        return InputError(f"data set {root} is unfinished: it has no manifest; {finished}.", hint=hint)
    if below := _listed(root, {path.parent.name for path in root.glob(f"*/{manifest}")}):
        return InputError(f"{root} is a folder of data sets.", hint=below)
    if (what := _source(root)) is not None:
        kind, command = what
        return InputError(f"{root} is {kind}, not a prepared data set.", hint=f"Prepare it: {command}")
    return InputError(f"data set manifest not found: {root / manifest}.", hint=hint)


def _listed(folder: Path, names: Collection[str]) -> str:
    """A hint with the data sets in ``folder``; empty if there are none."""
    named = ", ".join(str(folder / name) for name in sorted(names)[:NAMED]) + (", …" if len(names) > NAMED else "")
    return f"Name one of these: {named}." if names else ""


def _source(root: Path) -> tuple[str, str] | None:
    """The kind of a source folder, and the command that prepares it; None if it is not a known source."""
    out = f"`out=data/prepared/{root.resolve().name}`"
    if (root / PIX3D_INDEX).is_file():
        return "a Pix3D release", f"onet prepare pix3d `root={root}` {out}"
    if (root / "metadata.yaml").is_file() or any(root.glob("*/train.lst")):
        return "in the layout of the original code", f"onet prepare onet {root} {out}"
    if (root / "taxonomy.json").is_file():
        return "a ShapeNet release", f"onet prepare shapenet {root} {out}"
    if any(path.suffix.lower() in MESH_SUFFIXES for path in root.iterdir()):
        return "a folder of meshes", f"onet prepare meshes {root} {out}"
    return None
