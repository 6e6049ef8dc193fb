"""The real Pix3D excerpts: where they lie, and a skip that says why where they do not."""

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
