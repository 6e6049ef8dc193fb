"""The data set that the tests of training share; none writes to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.datasets import make_dataset


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine analytic shapes: seven train, one val, one test."""
    return make_dataset(tmp_path_factory.mktemp("data") / "chairs", shapes=9, points=512, image_size=32)
