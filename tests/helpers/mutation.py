"""Random damage to the bytes of a file."""

from __future__ import annotations

import numpy as np


def mutated(good: bytes, rng: np.random.Generator) -> bytes:
    """One to five flipped bits, extreme bytes, copied runs, or a cut."""
    data = bytearray(good)
    for _ in range(int(rng.integers(1, 6))):
        kind, place = int(rng.integers(4)), int(rng.integers(len(data)))
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[place] = int(rng.choice([0, 1, 127, 128, 255]))
        elif kind == 2:
            other, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
            data[place : place + length] = data[other : other + length]
        elif rng.random() < 0.2:
            del data[max(place, 1) :]
    return bytes(data)
