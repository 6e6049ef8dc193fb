"""Random numbers that depend only on a seed and names."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator that depends only on ``seed`` and ``names``: same numbers in any process, in any order."""
    words = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") for name in names]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))
