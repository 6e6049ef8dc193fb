"""Find the real Pix3D excerpts; tests without them are skipped with a reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("ONET_SHARED", Path(__file__).parents[3] / "shared"))
"""Beside the checkout, or where ONET_SHARED says."""


def real(folder: str) -> Path:
    """``folder`` of the excerpts; skips the test where it is absent."""
    if not (SHARED / folder).is_dir():
        pytest.skip(f"the real Pix3D excerpts are not here (ONET_SHARED or ../shared: {folder})")
    return SHARED / folder
