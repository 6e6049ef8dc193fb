"""docs/conventions.md: its lines project points into the masks, and half a pixel aside they do it worse."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np

import pix3d_onet

PAGE = Path(__file__).resolve().parents[2] / "docs/conventions.md"
DATA, FLOOR = "data/prepared/pix3d-chair", "np.floor(u / depth)"


def measured(code: str, data: Path) -> float:
    """The share that the page's ``code`` prints for ``data``."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code.replace(DATA, str(data)), str(PAGE), "exec"), {})
    return float(said.getvalue().split()[0])


def test_the_lines_of_the_page_hit_the_masks(prepared: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert DATA in code
    assert FLOOR in code
    hits = measured(code, prepared)
    assert hits > 0.995
    assert hits > measured(code.replace(FLOOR, "np.floor(u / depth + 0.5)"), prepared)
    assert hits > measured(code.replace(FLOOR, "np.floor(u / depth - 0.5)"), prepared)


def test_axes_are_what_the_page_says(prepared: Path) -> None:
    """Negative focal lengths with axes left, up; turned around Z they are positive, and no pixel moves."""
    turn = np.diag([-1.0, -1.0, 1.0])
    for shape in pix3d_onet.load_dataset(prepared, split="train"):
        for view in (view for view in shape.images if view.has_pose):
            k, rotation = view.intrinsics.astype(np.float64), view.pose[:3, :3].astype(np.float64)
            assert max(k[0, 0], k[1, 1]) < 0
            assert np.linalg.det(rotation) > 0.99
            assert rotation[1, 1] > 0.5  # up in the picture is about up in the shape
            turned = k @ turn
            assert min(turned[0, 0], turned[1, 1]) > 0
            points = shape.points[:64] @ rotation.T + view.pose[:3, 3]
            assert np.allclose(points @ k.T, points @ turn.T @ turned.T)
