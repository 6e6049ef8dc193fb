"""Many photos: what is said of each, and how seldom the same is said."""

from __future__ import annotations

from pix3d_onet.events import Note
from pix3d_onet.reconstruction.job import SHOWN_PER_KIND, CollapsedWarnings
from pix3d_onet.reconstruction.outcome import Reconstruction, no_mesh, sentence


def test_warnings_that_come_with_every_picture_are_few() -> None:
    notes = []
    grouped = CollapsedWarnings(notes.append)
    for i in range(SHOWN_PER_KIND + 1):
        grouped(Note(f"{i}.png: the automatic mask may be wrong (it is in {i} parts). Look at it.", "warning"))
        grouped(Note(f"{i}.png: well", "info"))
    grouped(Note("x.png: something else.", "warning"))
    grouped.emit_counts()
    assert [n.level for n in notes].count("info") == SHOWN_PER_KIND + 1
    assert notes[-1].message == "… and 1 more: the automatic mask may be wrong: 3.png."


def test_a_reason_names_its_picture_once() -> None:
    assert sentence(Reconstruction("x/a.png", error="a.png does not exist")) == "x/a.png does not exist"
    assert sentence(Reconstruction("x/a.png", error="no mask of a.png in m (…)")) == "no mask of x/a.png in m (…)"
    assert sentence(Reconstruction("x/a.png", error="the mask covers no pixel")) == "x/a.png: the mask covers no pixel"
    many = no_mesh([Reconstruction(f"{i}.png", error=f"{i}.png does not exist") for i in range(160)])
    assert "0.png does not exist; 1.png does not exist; " in many.message
    assert many.message.endswith("; and 140 more.")
