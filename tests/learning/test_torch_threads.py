"""PyTorch takes the number of threads that was asked for, or follows the governor; and gives it back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from helpers.decoders import decoder

from pix3d_onet.events import Event, Note
from pix3d_onet.learning import torch_threads
from pix3d_onet.learning.network.decoder_inference import FoldedDecoder
from pix3d_onet.learning.torch_threads import Threads, as_range


class Governor:
    """Stands in for ``threads.ThreadGovernor``: the decisions it is given, one a look."""

    decisions: tuple[int, ...] = ()

    def __init__(self, most: int) -> None:
        self.most = self.count = most
        self.looks = 0
        self.free: float | None = None

    def look(self) -> int:
        self.count = self.decisions[self.looks]
        self.free = float(self.count)
        self.looks += 1
        return self.count


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch set to two threads on two cores, and nobody has said how many."""
    for name in torch_threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch_threads, "usable_cores", lambda: 2)
    monkeypatch.setattr(torch_threads, "ThreadGovernor", Governor)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_cores")
def test_the_count_follows_the_governor_says_why_and_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Governor, "decisions", (2, 2, 1, 1, 2))
    told: list[Event] = []
    counts = []
    with Threads(emit=told.append) as threads:
        for _ in range(5):
            threads.adjust()
            counts.append(torch.get_num_threads())
        torch.set_num_threads(1)
    assert counts == [2, 2, 1, 1, 2]
    assert torch.get_num_threads() == 2
    assert told == [
        Note("threads: 2 of 2 cores, others use 0.0"),
        Note("threads: 1 of 2 cores, others use 1.0", "debug"),  # soon after the first
        Note("threads: 2 of 2 cores, others use 0.0", "debug"),
    ]


@pytest.mark.usefixtures("two_cores")
def test_what_the_user_says_is_not_departed_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Governor, "decisions", ())  # a look would fail
    with Threads(3) as threads:
        threads.adjust()
        assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    told: list[Event] = []
    with Threads(emit=told.append) as threads:
        threads.adjust()
        assert torch.get_num_threads() == 2
    assert told == [Note("threads: 2, as OMP_NUM_THREADS says")]
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(1)  # in a program of the user's
    with Threads() as threads:
        threads.adjust()
        assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
    with Threads(device=torch.device("cuda")) as threads:
        threads.adjust()
        assert torch.get_num_threads() == 2


def test_counts_are_spelled_as_a_range() -> None:
    assert [as_range(counts) for counts in ([2], [2, 1], [1, 4, 2])] == [2, "1-2", "1-4"]


def test_a_field_has_the_same_bytes_with_any_number_of_threads() -> None:
    field = FoldedDecoder(
        decoder(c_dim=8, hidden=64, blocks=3), torch.randn(1, 8, generator=torch.Generator().manual_seed(1))
    )
    points = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    before = torch.get_num_threads()
    answers = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            answers.append(field(points))
    finally:
        torch.set_num_threads(before)
    assert answers[0].std() > 0
    assert all(torch.equal(answer, answers[0]) for answer in answers)
