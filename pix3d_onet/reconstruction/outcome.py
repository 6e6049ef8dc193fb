"""The result for one picture, and the messages that say why it has no mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pix3d_onet.errors import InputError

NAMED = 20
"""Most pictures that one line names with their reasons."""


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """The result for one picture; ``error`` says why there is no mesh.

    ``mesh``, ``preview`` and ``page``: files written; ``queries``: number of points at which the field was evaluated;
    ``mask``: origin of the mask (``data.images.cutout.PhotoView``); ``highest``: highest occupancy probability of the
    field. The last two are None if the picture failed before.
    """

    image: str
    mesh: str | None = None
    preview: str | None = None
    page: str | None = None
    vertices: int = 0
    faces: int = 0
    queries: int = 0
    mask: str | None = None
    highest: float | None = None
    error: str | None = None


def sentence(made: Reconstruction) -> str:
    """The picture's path and error; the picture's name is not repeated in the error."""
    image, error = Path(made.image), str(made.error)
    name = image.name or made.image
    for start in (f"{name} ", f"no mask of {name} "):
        if error.startswith(start):
            return error.replace(name, made.image, 1)
    return f"{made.image}: {error}"


def reasons(failed: Sequence[Reconstruction]) -> str:
    """One line with the failed pictures and their errors."""
    more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    return "; ".join(sentence(m).rstrip(".") for m in failed[:NAMED]) + f"{more}."


def no_mesh(failed: Sequence[Reconstruction]) -> InputError:
    """The error to raise if there is no mesh at all."""
    if len(failed) > 1:
        return InputError(f"no mesh of any of {len(failed)} pictures: {reasons(failed)}")
    said = sentence(failed[0]).rstrip(".") + "."
    return InputError(f"no mesh of {said}" if said.startswith(f"{failed[0].image}: ") else said)
