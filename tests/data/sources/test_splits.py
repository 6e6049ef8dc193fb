from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix3d_onet.data.sources.splits import assign, carve_validation, split_counts

USUAL = (0.7, 0.1, 0.2)
FRACTIONS = st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(1, 10)).map(
    lambda parts: tuple(p / sum(parts) for p in parts)
)


def test_the_163_chairs() -> None:
    assert split_counts(163, USUAL) == (114, 16, 33)
    dealt = assign({f"g{i}": "chair" for i in range(163)}, USUAL, 0)
    assert Counter(dealt.values()) == {"train": 114, "val": 16, "test": 33}


@pytest.mark.parametrize(
    ("total", "counts"), [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (10, (7, 1, 2))]
)
def test_small_numbers(total: int, counts: tuple[int, int, int]) -> None:
    assert split_counts(total, USUAL) == counts


@given(st.integers(0, 500), FRACTIONS)
def test_counts_are_exact(total: int, fractions: tuple[float, float, float]) -> None:
    counts = split_counts(total, fractions)
    assert sum(counts) == total
    assert min(counts) >= 0
    wanted = [c for c, f in zip(counts, fractions, strict=True) if f > 0]
    assert all(c == 0 for c, f in zip(counts, fractions, strict=True) if f == 0)
    if total >= 3:
        assert min(wanted) >= 1
    assert all(abs(c - f * total) <= 2 for c, f in zip(counts, fractions, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.sampled_from("abc"), max_size=60), st.integers(0, 5), st.randoms())
def test_order_changes_nothing(groups: dict[str, str], seed: int, random: object) -> None:
    names = list(groups)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert assign({n: groups[n] for n in names}, USUAL, seed) == assign(groups, USUAL, seed)


@given(st.lists(st.integers(1, 80), min_size=1, max_size=6), st.integers(0, 3))
def test_every_category_gets_its_shares(sizes: list[int], seed: int) -> None:
    groups = {f"{c}/{i}": str(c) for c, size in enumerate(sizes) for i in range(size)}
    dealt = assign(groups, USUAL, seed)
    assert tuple(Counter(dealt.values())[s] for s in ("train", "val", "test")) == split_counts(len(groups), USUAL)
    for c, size in enumerate(sizes):
        found = Counter(split for name, split in dealt.items() if groups[name] == str(c))
        for split, share in zip(("train", "val", "test"), USUAL, strict=True):
            assert abs(found[split] - share * size) <= 2.5


def test_seeds_differ_and_repeat() -> None:
    groups = {f"g{i}": "chair" for i in range(50)}
    assert assign(groups, USUAL, 1) == assign(groups, USUAL, 1)
    assert assign(groups, USUAL, 1) != assign(groups, USUAL, 2)


def test_validation_is_carved_out_of_train() -> None:
    train = {f"g{i}": "chair" for i in range(80)}
    moved = carve_validation(train, USUAL, 0)
    assert len(moved) == 10
    assert moved < set(train)
    assert carve_validation(train, (0.8, 0.0, 0.2), 0) == set()
