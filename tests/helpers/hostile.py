"""Hostile contents of files: strange names and damaged bytes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

HOSTILE = (
    "=HYPERLINK(\"http://x\")", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "m[/x]y", "[red]m[/]",
    "\x1b[2J\x1b]0;owned\x07", "a\u202eb", "a\u2066b", "\x9b31m", "a\nb", "a\r\nb", "a|b", "a\\|b", "a`b`c",
    "![x](http://x)", "[x](javascript:1)", "<script>alert(1)</script>", "<img src=x onerror=1>", "&lt;b&gt;",
    "www.example.com", "https://example.com", "*a* _b_ ~~c~~", "\\", "a\\", "[ours]", "a_b", "50%", "<x>", "a & b",
    "--", "---", r"\input{/etc/passwd}", "\\end{tabular}", "$(touch x)", "`touch x`", "; rm x", "'", "\"", "a'b",
    "é ß Ł 椅子 🪑", "İ ﬁ \u0301", "", "#1 $x$ ^ ~ {}",
    " ", ":smile:", "\ud800", "\udcff", "\x00", "\u2028", "{{ 7 * 7 }}", "{% x %}", "{name}", "%s",
)  # fmt: skip
"""One of each kind that somebody's tool has tripped over."""

names = st.one_of(
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from(HOSTILE), min_size=2, max_size=3).map("".join),
    st.text(st.characters(), max_size=12),  # lone surrogates included
)


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
