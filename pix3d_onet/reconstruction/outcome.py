"""What became of a picture, and the sentences that say why there is no mesh of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pix3d_onet.errors import InputError

NAMED = 20
"""Pictures that one line names with their reasons."""


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What became of one picture; ``error`` says why there is no mesh.

    ``mesh``, ``preview`` and ``page`` are the files written; ``queries`` the points at which the field was asked;
    ``mask`` is what cut the object out (``data.images.cutout.PhotoView``) and ``highest`` the highest occupancy
    probability that the network gave; both None where it did not come so far.
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
    """What is wrong with a picture, with its path, and that only once."""
    image, error = Path(made.image), str(made.error)
    name = image.name or made.image
    for start in (f"{name} ", f"no mask of {name} "):
        if error.startswith(start):
            return error.replace(name, made.image, 1)
    return f"{made.image}: {error}"


def reasons(failed: Sequence[Reconstruction]) -> str:
    """Every picture that cannot be used and why, in one line."""
    more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    return "; ".join(sentence(m).rstrip(".") for m in failed[:NAMED]) + f"{more}."


def no_mesh(failed: Sequence[Reconstruction]) -> InputError:
    """The error where there is no mesh at all."""
    if len(failed) > 1:
        return InputError(f"no mesh of any of {len(failed)} pictures: {reasons(failed)}")
    said = sentence(failed[0]).rstrip(".") + "."
    return InputError(f"no mesh of {said}" if said.startswith(f"{failed[0].image}: ") else said)
