"""Validation: counts that can be worked out, empty shapes, thresholds, modes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pix3d_onet.config import ModelConfig
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.learning.batches.split import PictureFilter, ResidentSplit
from pix3d_onet.learning.extraction.extract import logit
from pix3d_onet.learning.network import decoder_inference
from pix3d_onet.learning.network.model import build_model
from pix3d_onet.learning.training.validate import Scores, count_overlap, evaluate_split

TINY = ModelConfig("test_resnet", c_dim=8, hidden_dim=8, blocks=1)


@settings(max_examples=60, deadline=None)
@given(
    logits=st.lists(st.floats(-6, 6, width=32), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
    thresholds=st.sets(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), min_size=1),
)
def test_counts_equal_the_definition(logits: list[float], seed: int, thresholds: set[float]) -> None:
    values = torch.tensor(logits)
    occupied = torch.rand(len(values), generator=torch.Generator().manual_seed(seed)) > 0.5
    edges = torch.tensor([logit(t) for t in sorted(thresholds)])
    both, either = count_overlap(values, occupied, edges)
    for k, edge in enumerate(edges):
        said = values > edge
        assert both[k] == (said & occupied).sum()
        assert either[k] == (said | occupied).sum()


def test_nan_is_outside() -> None:
    logits, occupied = torch.tensor([torch.nan, 1.0, torch.nan]), torch.tensor([True, True, False])
    both, either = count_overlap(logits, occupied, torch.tensor([0.0]))
    assert (both.tolist(), either.tolist()) == ([1], [2])


def test_empty_union_counts_as_one_and_never_divides_by_zero() -> None:
    scores = Scores(("a", "b", "c"), (0.2,), np.array([[0], [0], [5]]), np.array([[0], [7], [10]]), np.zeros(3), 20)
    assert scores.iou(0.2).tolist() == [1.0, 0.0, 0.5]
    assert scores.mean_iou(0.2) == pytest.approx(0.5)
    assert scores.by_record(0.2) == {"a": 1.0, "b": 0.0, "c": 0.5}


def test_best_threshold_is_the_best_mean_and_the_lowest_of_equals() -> None:
    inter, union = np.array([[1, 3, 3]]), np.array([[4, 4, 4]])
    inside = Scores(("a", "b"), (0.2,), np.array([[3], [4]]), np.array([[9], [9]]), np.zeros(2), 9)
    assert inside.constant(0.2) == "inside"
    assert replace(inside, points=10).constant(0.2) == ""
    assert replace(inside, points=10, intersection=np.zeros((2, 1), np.int64)).constant(0.2) == "outside"
    assert Scores(("a",), (0.2, 0.4, 0.6), inter, union, np.zeros(1), 20).best_threshold() == (0.4, 0.75)


def test_all_points_whatever_the_chunks_and_the_processes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = build_model(TINY).train()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.normal_(std=0.5)
    with Dataset(data) as dataset:
        split = ResidentSplit(dataset, "train", 32, PictureFilter())
    whole = evaluate_split(model, split, thresholds=(0.2, 0.5))
    assert model.training
    monkeypatch.setattr(decoder_inference, "SPATIAL_CHUNK", 77)
    cut = evaluate_split(model, split, thresholds=(0.2, 0.5))
    np.testing.assert_array_equal(whole.intersection, cut.intersection)
    np.testing.assert_array_equal(whole.union, cut.union)
    heard: list[tuple[int, int]] = []
    parts = [
        evaluate_split(model, split, thresholds=(0.2, 0.5), rank=r, world=3, advance=lambda *told: heard.append(told))
        for r in range(3)
    ]
    shares = [len(range(r, len(split), 3)) for r in range(3)]
    assert heard == [(done, share) for share in shares for done in range(1, share + 1)]
    np.testing.assert_array_equal(sum(p.union for p in parts), whole.union)
    np.testing.assert_allclose(sum(p.loss for p in parts), whole.loss, rtol=1e-5)
    # by hand, for one picture
    model.eval()
    row = 3
    images, _, _ = split.pictures(np.array([row]))
    with Dataset(data) as dataset:
        sample = dataset.sample(dataset.entries("train")[int(split.shapes[row])])
    with torch.no_grad():
        logits = model(images.float() / 255, torch.from_numpy(sample.points)[None])[0].numpy()
    said = logits > logit(0.5)
    assert whole.intersection[row, 1] == (said & sample.occupancy).sum()
    assert whole.union[row, 1] == (said | sample.occupancy).sum()


def test_fewer_points_on_request(data: Path) -> None:
    model = build_model(TINY).eval()
    with Dataset(data) as dataset:
        split = ResidentSplit(dataset, "val", 32, PictureFilter())
    scores = evaluate_split(model, split, thresholds=(0.2,), points=100)
    assert scores.union.max() <= 100
    assert not model.training
