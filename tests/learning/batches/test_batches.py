"""From the data set to batches: draws, decoding, residence, filter of pictures, augmentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.datasets import make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pix3d_onet import lattice
from pix3d_onet.config import TrainConfig
from pix3d_onet.data.store import encoding
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.learning.batches import streaming
from pix3d_onet.learning.batches.augment import DARKEST, augment, color, crop, flip, tint
from pix3d_onet.learning.batches.batch import Batch, Decoding
from pix3d_onet.learning.batches.drawing import Draw, DrawPlan, wrapped_slices
from pix3d_onet.learning.batches.opening import open_split, split_bytes
from pix3d_onet.learning.batches.prefetch import Prefetch
from pix3d_onet.learning.batches.split import PictureFilter, ResidentSplit
from pix3d_onet.learning.batches.streaming import StreamedSplit
from pix3d_onet.learning.pictures import resize_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "set", shapes=9, points=512, image_size=48, views=2)


@pytest.fixture(scope="module")
def near_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("near") / "set"
    return make_dataset(folder, shapes=7, points=512, image_size=48, near=256, sdf=True)


# -- draws --


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), pictures=st.integers(1, 40), batch=st.integers(1, 100), step=st.integers(1, 50))
def test_a_draw_is_a_function_of_seed_and_step(seed: int, pictures: int, batch: int, step: int) -> None:
    one, other = DrawPlan(seed, pictures, 512, batch), DrawPlan(seed, pictures, 512, batch)
    for earlier in range(max(1, step - 3), step):
        one.draw(earlier)
    a, b = one.draw(step), other.draw(step)
    np.testing.assert_array_equal(a.pictures, b.pictures)
    np.testing.assert_array_equal(a.starts, b.starts)
    assert len(a.pictures) == batch
    assert a.starts.min() >= 0
    assert a.starts.max() < 512
    assert not (a.starts % 8).any()


@settings(max_examples=30, deadline=None)
@given(pictures=st.integers(1, 30), batch=st.integers(1, 70))
def test_epochs_run_on_across_batches(pictures: int, batch: int) -> None:
    plan = DrawPlan(3, pictures, 64, batch)
    steps = -(-3 * pictures // batch)
    order = np.concatenate([plan.draw(step).pictures for step in range(1, steps + 1)])[: 3 * pictures]
    for epoch in range(3):
        assert sorted(order[epoch * pictures : (epoch + 1) * pictures]) == list(range(pictures))
    if pictures > 8:
        assert list(order[:pictures]) != list(order[pictures : 2 * pictures])


def test_every_point_is_equally_likely() -> None:
    plan = DrawPlan(0, 4, 64, 256)
    counts = np.zeros(64)
    for step in range(1, 40):
        for start in plan.draw(step).starts:
            counts[(start + np.arange(16)) % 64] += 1
    assert counts.min() / counts.mean() > 0.95
    assert counts.max() / counts.mean() < 1.05


@settings(max_examples=30, deadline=None)
@given(photos=st.integers(1, 9), views=st.integers(1, 30), batch=st.integers(1, 40), share=st.floats(0.01, 0.99))
def test_photos_have_their_share_of_the_steps_and_both_kinds_have_epochs(
    photos: int, views: int, batch: int, share: float
) -> None:
    favoured = np.random.default_rng(0).permutation(photos + views) < photos
    plan = DrawPlan(3, len(favoured), 64, batch, favoured=favoured, share=share)
    steps = max(4, -(-3 * len(favoured) // batch))
    draws = [plan.draw(step).pictures for step in range(1, steps + 1)]
    assert {len(pictures) for pictures in draws} == {batch}
    for pictures in draws:
        assert abs(favoured[pictures].sum() - share * batch) < 1
    drawn = np.concatenate(draws)
    assert abs(favoured[drawn].sum() - share * len(drawn)) < 1
    for kind in (favoured, ~favoured):
        counts = np.bincount(drawn[kind[drawn]], minlength=len(favoured))[kind]
        assert counts.max() - counts.min() <= 1
    again = DrawPlan(3, len(favoured), 64, batch, favoured=favoured, share=share).draw(steps)
    np.testing.assert_array_equal(again.pictures, draws[-1])
    plain = DrawPlan(3, len(favoured), 64, batch).draw(steps)
    np.testing.assert_array_equal(again.starts, plain.starts)


def test_kinds_are_mixed_within_a_step() -> None:
    """So that each process gets both."""
    favoured = np.arange(40) < 20
    places = np.concatenate(
        [favoured[DrawPlan(seed, 40, 64, 16, favoured=favoured, share=0.5).draw(1).pictures] for seed in range(8)]
    ).reshape(8, 16)
    assert 0.2 < places[:, :8].mean() < 0.8
    assert len({tuple(row) for row in places.tolist()}) > 4


def test_parts_of_processes_make_up_the_draw() -> None:
    whole = DrawPlan(1, 10, 64, 12).draw(5)
    parts = [whole.share(rank, 3) for rank in range(3)]
    np.testing.assert_array_equal(np.concatenate([p.pictures for p in parts]), whole.pictures)
    np.testing.assert_array_equal(np.concatenate([p.starts for p in parts]), whole.starts)


@given(start=st.integers(0, 99), count=st.integers(1, 100))
def test_pieces_of_a_wrapping_block(start: int, count: int) -> None:
    source = np.arange(100)
    block = np.full(count, -1)
    for target, first, length in wrapped_slices(start, count, 100):
        block[target : target + length] = source[first : first + length]
    np.testing.assert_array_equal(block, (start + np.arange(count)) % 100)


# -- decoding and residence --


def test_decoding_is_the_codec_s_bit_for_bit() -> None:
    cells = np.array([[0, 1, 65535], [32767, 32768, 40000]], dtype=np.uint16)
    ours = Decoding(CPU).points(torch.from_numpy(cells.view(np.int16)))
    np.testing.assert_array_equal(ours.numpy(), lattice.decode_points(cells))
    labels = np.random.default_rng(0).random(40) < 0.5
    packed = torch.from_numpy(encoding.pack_bits(labels))
    np.testing.assert_array_equal(Decoding(CPU).labels(packed, 37).numpy() > 0, labels[:37])


def test_a_batch_holds_the_shape_s_own_points_labels_and_picture(root: Path) -> None:
    with Dataset(root) as dataset:
        split = ResidentSplit(dataset, "train", 48, PictureFilter())
        samples = {s.object_id: s for s in (dataset.sample(e, "train") for e in dataset.entries("train"))}
    draw = Draw(1, np.array([3, 0]), np.array([504, 16]))  # the first wraps around
    batch = Decoding(CPU).batch(split.gather(draw, 20), 20)
    for row, picture in enumerate(draw.pictures):
        sample = samples[split.object_ids[picture]]
        index = (draw.starts[row] + np.arange(20)) % 512
        np.testing.assert_array_equal(batch.points[row].numpy(), sample.points[index])
        np.testing.assert_array_equal(batch.occupancy[row].numpy() > 0, sample.occupancy[index])
        view = next(v for v in sample.images if v.record_id == split.record_ids[picture])
        np.testing.assert_allclose(batch.images[row].permute(1, 2, 0).numpy() * 255, view.rgb, atol=1e-4)
        np.testing.assert_array_equal(batch.pose[row].numpy(), view.pose)
        np.testing.assert_allclose(batch.intrinsics[row].numpy(), view.intrinsics / [[48], [48], [1]], rtol=1e-6)


@pytest.mark.parametrize("masks", [False, True])
def test_streamed_equals_resident(root: Path, masks: bool) -> None:
    with Dataset(root) as dataset:
        resident = ResidentSplit(dataset, "train", 32, PictureFilter(), masks=masks)
        streamed = StreamedSplit(dataset, "train", 32, PictureFilter(), masks=masks)
    assert resident.images.shape[1] == 3 + masks
    assert streamed.record_ids == resident.record_ids
    assert streamed.objects() == resident.objects()
    np.testing.assert_array_equal(streamed.rendered, resident.rendered)
    assert str(root / streamed.places[0][0]) in Path("/proc/self/maps").read_text()  # mapped, not read
    for step in (1, 2, 3):
        draw = DrawPlan(0, len(resident), resident.points_count, 7).draw(step)
        for a, b in zip(vars_of(resident.gather(draw, 100)), vars_of(streamed.gather(draw, 100)), strict=True):
            assert torch.equal(a, b)
    for a, b in zip(resident.shape_points(2), streamed.shape_points(2), strict=True):
        assert torch.equal(a, b)


def test_points_near_the_surface_come_first_and_change_no_other_draw(near_root: Path) -> None:
    plain, both = DrawPlan(0, 5, 512, 7).draw(3), DrawPlan(0, 5, 512, 7, near=256).draw(3)
    np.testing.assert_array_equal(plain.pictures, both.pictures)
    np.testing.assert_array_equal(plain.starts, both.starts)
    assert plain.near_starts is None
    assert both.near_starts is not None
    assert both.near_starts.max() < 256
    halves = [both.share(rank, 7).near_starts for rank in range(7)]
    np.testing.assert_array_equal(np.concatenate([h for h in halves if h is not None]), both.near_starts)
    with Dataset(near_root) as dataset:
        split = ResidentSplit(dataset, "train", 48, PictureFilter(), near=True)
        samples = {s.object_id: s for s in (dataset.sample(e, "train") for e in dataset.entries("train"))}
    draw = Draw(1, np.array([3, 0]), np.array([504, 16]), np.array([248, 8]))  # the first wraps around
    batch = Decoding(CPU).batch(split.gather(draw, 20, 16), 36)
    for row, picture in enumerate(draw.pictures):
        sample = samples[split.object_ids[picture]]
        assert sample.near_points is not None
        assert sample.near_occupancy is not None
        near = (draw.near_starts[row] + np.arange(16)) % 256  # type: ignore[index]
        uniform = (draw.starts[row] + np.arange(20)) % 512
        points = np.concatenate([sample.near_points[near], sample.points[uniform]])
        occupancy = np.concatenate([sample.near_occupancy[near], sample.occupancy[uniform]])
        np.testing.assert_array_equal(batch.points[row].numpy(), points)
        np.testing.assert_array_equal(batch.occupancy[row].numpy() > 0, occupancy)


def test_streamed_equals_resident_near_the_surface(near_root: Path) -> None:
    with Dataset(near_root) as dataset:
        resident = ResidentSplit(dataset, "train", 32, PictureFilter(), near=True)
        streamed = StreamedSplit(dataset, "train", 32, PictureFilter(), near=True)
        assert split_bytes(dataset, "train", 32, near=True) - split_bytes(dataset, "train", 32) == 5 * (256 * 6 + 32)
    draw = DrawPlan(0, len(resident), resident.points_count, 7, resident.near_usable).draw(2)
    for a, b in zip(vars_of(resident.gather(draw, 100, 64)), vars_of(streamed.gather(draw, 100, 64)), strict=True):
        assert torch.equal(a, b)


def vars_of(raw: object) -> list[torch.Tensor]:
    return [getattr(raw, name) for name in ("images", "cells", "labels", "pose", "intrinsics")]


def test_few_shards_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_dataset(tmp_path, shapes=9, points=512, image_size=48, views=2)
    monkeypatch.setattr(streaming, "OPEN_SHARDS", 1)
    with Dataset(root) as dataset:
        streamed = StreamedSplit(dataset, "train", 48, PictureFilter())
    first = streamed.pictures(np.array([0, len(streamed) - 1]))[0]
    held = {f.resolve() for f in Path("/proc/self/fd").iterdir()}
    assert len([f for f in held if root in f.parents]) == 1
    assert torch.equal(first, streamed.pictures(np.array([0, len(streamed) - 1]))[0])


def test_prefetch_gives_steps_in_order_restarts_and_passes_errors_on() -> None:
    made: list[int] = []

    def make(step: int) -> int:
        if step == 12:
            raise InputError("the shard is gone.")
        made.append(step)
        return step * 10

    ahead = Prefetch(make, depth=2)  # type: ignore[arg-type]
    assert [ahead.get(s) for s in (1, 2, 3)] == [10, 20, 30]
    assert [ahead.get(s) for s in (9, 10, 11)] == [90, 100, 110]
    with pytest.raises(InputError, match="gone"):
        ahead.get(12)
    ahead.close()
    assert max(made) <= 11


def test_residence_is_where_it_is_asked_for(root: Path) -> None:
    config = TrainConfig(image_size=48)
    with Dataset(root) as dataset:
        assert isinstance(open_split(dataset, "train", config, CPU, PictureFilter()), ResidentSplit)
        assert isinstance(open_split(dataset, "train", config, CPU, PictureFilter(), residence="disk"), StreamedSplit)
        with pytest.raises(ConfigError, match="residence"):
            open_split(dataset, "train", config, CPU, PictureFilter(), residence="tape")
        pictures, shapes = 14, 7
        for masks in (False, True):
            stored = shapes * (512 * 6 + 64) + pictures * (3 + masks) * 2 * 48 * 48
            assert split_bytes(dataset, "train", 48, masks=masks) == stored


def test_damaged_shard_is_one_clear_error(root: Path, tmp_path: Path) -> None:
    for file in root.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    shard = sorted(tmp_path.glob("*.h5"))[0]
    shard.write_bytes(shard.read_bytes()[:3000])
    with Dataset(tmp_path) as dataset, pytest.raises(InputError, match=r"shard.*onet verify"):
        StreamedSplit(dataset, "train", 48, PictureFilter())


# -- choice of pictures --


def test_choice_of_pictures() -> None:
    pose = np.tile(np.eye(4, dtype=np.float32), (4, 1, 1))
    intrinsics = np.tile(np.eye(3, dtype=np.float32), (4, 1, 1))
    pose[1] = np.nan
    rendered, shapes = np.array([False, False, True, True]), np.array([0, 0, 1, 1])
    assert PictureFilter().keep(pose, intrinsics, rendered, shapes)[0].tolist() == [True] * 4
    keep, dropped = PictureFilter(need_pose=True).keep(pose, intrinsics, rendered, shapes)
    assert (keep.tolist(), dropped) == ([True, False, True, True], 1)
    photos = PictureFilter(views="photos").keep(pose, intrinsics, rendered, shapes)[0]
    assert photos.tolist() == [True, True, False, False]
    assert PictureFilter(views="prefer-photos").keep(pose, intrinsics, ~rendered | rendered, shapes)[0].all()
    with pytest.raises(InputError, match="views='all'"):
        PictureFilter(views="photos").keep(pose, intrinsics, np.ones(4, dtype=np.bool_), shapes)
    with pytest.raises(InputError, match="pose='none'"):
        PictureFilter(need_pose=True).keep(pose * np.nan, intrinsics, rendered, shapes)


def test_a_number_of_rendered_views_is_that_of_each_shape_and_fewer_are_a_part_of_more() -> None:
    """Pictures of shapes stand in any order; photos stay."""
    random = np.random.default_rng(0)
    shapes = random.permutation(np.repeat(np.arange(5), 7))
    rendered = random.random(35) < 0.8
    pose, intrinsics = np.zeros((35, 4, 4), np.float32), np.zeros((35, 3, 3), np.float32)
    kept = [PictureFilter(views=str(n)).keep(pose, intrinsics, rendered, shapes)[0] for n in (1, 2, 4)]
    for keep, count in zip(kept, (1, 2, 4), strict=True):
        assert keep[~rendered].all()
        stored = np.bincount(shapes[rendered], minlength=5)
        assert (np.bincount(shapes[keep & rendered], minlength=5) == np.minimum(stored, count)).all()
    assert (kept[0] <= kept[1]).all()
    assert (kept[1] <= kept[2]).all()
    with pytest.raises(InputError, match=r"7 rendered views per shape.*`views=8`.*`render_views=8`"):
        PictureFilter(views="8").keep(pose, intrinsics, np.ones(35, dtype=np.bool_), shapes)


def test_resize_keeps_white_and_the_same_size_untouched() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_images(rgb, 20).permute(0, 2, 3, 1).numpy(), rgb)
    assert (resize_images(np.full((1, 50, 50, 3), 255, np.uint8), 32) == 255).all()
    halved = resize_images(np.repeat(np.repeat(rgb, 2, 1), 2, 2), 20)
    assert (halved.permute(0, 2, 3, 1).int() - torch.from_numpy(rgb).int()).abs().float().mean() < 40


# -- augmentation --


def batch(count: int = 3, side: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.ones(count, 3, side, side)
    images[:, :, 4:12, 4:9] = torch.rand(count, 3, 8, 5, generator=generator)
    pose = torch.eye(4).repeat(count, 1, 1)
    angle = 0.3
    pose[:, 0, 0] = pose[:, 2, 2] = np.cos(angle)
    pose[:, 0, 2], pose[:, 2, 0] = np.sin(angle), -np.sin(angle)
    pose[:, :3, 3] = torch.tensor([0.1, 0.2, 2.0])
    points = torch.rand(count, 10, 3, generator=generator) - 0.5
    intrinsics = torch.tensor([[-1.5, 0.1, 0.45], [0.0, -1.4, 0.55], [0.0, 0.0, 1.0]]).repeat(count, 1, 1)
    return Batch(images, points, torch.zeros(count, 10), pose, intrinsics)


def pictured(made: Batch) -> torch.Tensor:
    """(B, T, 2): u and v of the points, in units of the side."""
    camera = made.points @ made.pose[:, :3, :3].mT + made.pose[:, None, :3, 3]
    image = camera @ made.intrinsics.mT
    return image[..., :2] / image[..., 2:]


def masked(count: int, side: int) -> Batch:
    """A batch whose masks, and pictures, show a spot of 5 × 5 pixels around each point."""
    made = batch(count, side)
    made = replace(made, points=made.points * 0.7)  # the spots are inside of the picture
    images = torch.ones(count, 4, side, side)
    images[:, 3] = 0
    for row, spots in enumerate((pictured(made) * side).long().tolist()):
        for u, v in spots:
            images[row, :3, v - 2 : v + 3, u - 2 : u + 3] = 0
            images[row, 3, v - 2 : v + 3, u - 2 : u + 3] = 1
    return replace(made, images=images)


def test_augmentation_depends_on_the_position_in_the_whole_batch() -> None:
    kinds = ("color", "crop", "flip", "stretch")
    whole = augment(batch(4), kinds, 5, 9, 0)
    given_batch = batch(4)
    half = Batch(*(getattr(given_batch, n)[2:] for n in ("images", "points", "occupancy", "pose", "intrinsics")))
    second = augment(half, kinds, 5, 9, 2)
    torch.testing.assert_close(whole.images[2:], second.images)
    torch.testing.assert_close(whole.points[2:], second.points)
    assert not torch.equal(augment(batch(4), kinds, 5, 10, 0).images, whole.images)


@pytest.mark.parametrize(
    "kinds", [("crop",), ("flip",), ("color", "crop", "flip", "tint"), ("crop", "flip", "stretch")]
)
def test_points_are_seen_in_the_mask_after_augmentation(kinds: tuple[str, ...]) -> None:
    before = masked(8, 96)
    after = augment(before, kinds, 3, 1, 0)
    assert after.images.shape == before.images.shape
    for made, others in ((before, before), (after, after), (after, before)):
        place = 2 * pictured(others)[:, :, None] - 1
        mask = functional.grid_sample(made.images[:, 3:], place, mode="nearest", align_corners=False)[:, 0, :, 0]
        visible = (place.abs() < 1).all(-1)[..., 0]  # a crop can leave some outside
        assert visible.float().mean() > 0.8
        hits = bool((mask[visible] > 0.9).all())
        assert hits == (made is others)
    if "color" not in kinds:  # pictures and masks move alike
        torch.testing.assert_close(after.images[:, 0], 1 - after.images[:, 3], atol=1e-6, rtol=0)


def test_stretch_changes_the_shape_and_not_what_is_seen() -> None:
    """Each axis has a scale of its own, and the point before the camera stays."""
    before = masked(8, 96)
    after = augment(before, ("stretch",), 3, 1, 0)
    assert torch.equal(after.images, before.images)
    torch.testing.assert_close(pictured(after), pictured(before), atol=1e-5, rtol=0)
    scale = (after.points / before.points).mean(dim=1)  # (B, 3)
    torch.testing.assert_close(after.points, before.points * scale[:, None], atol=1e-5, rtol=0)
    assert scale.log().abs().max() <= 0.12
    assert (scale.log().flatten().sort().values.diff() > 0).all()  # all differ


def test_color_leaves_white_white_and_changes_the_object() -> None:
    images = batch().images
    changed = color(images, torch.tensor([1.0, -1.0, 0.0]), torch.full((3, 3), 0.5), torch.tensor([0.0, 1.0, 0.5]))
    white = (images == 1).all(1, keepdim=True).expand_as(images)
    assert torch.equal(changed[white], images[white])
    assert (changed - images).abs().max() > 0.02
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_tint_multiplies_the_object_by_a_colour_of_its_own() -> None:
    made = batch(64).images[:, :3]
    mask = (made < 1).any(1, keepdim=True).float()
    images = torch.cat([made, mask], dim=1)
    numbers = torch.rand(64, 5, generator=torch.Generator().manual_seed(3))
    changed = tint(images, numbers)
    assert torch.equal(changed[:, 3:], mask)
    outside = mask.expand(-1, 3, -1, -1) == 0
    assert bool((changed[:, :3][outside] == 1).all())
    ratio = (changed[:, :3] / made)[:, :, 4:12, 4:9].flatten(2)  # (B, 3, pixels of the object)
    torch.testing.assert_close(ratio, ratio[:, :, :1].expand_as(ratio))
    colour = ratio[:, :, 0]
    assert colour.amax(1).min() >= DARKEST
    assert colour.amax() <= 1
    assert (colour.amax(1) > 0.9).any()  # some are bright,
    assert (colour.amax(1) < 0.4).any()  # some dark,
    assert (colour.amin(1) / colour.amax(1) > 0.9).any()  # some grey,
    assert (colour.amin(1) / colour.amax(1) < 0.3).any()  # some vivid,
    assert set(colour.argmax(1).tolist()) == {0, 1, 2}  # and of any hue
    torch.testing.assert_close(tint(images, torch.zeros(64, 5)), images)


def test_tint_leaves_the_white_behind_a_rim() -> None:
    """A pixel half covered by an object of 0.4, painted in the darkest grey: half of 0.1, half white."""
    images = torch.tensor([0.5 * 0.4 + 0.5] * 3 + [0.5]).view(1, 4, 1, 1)
    changed = tint(images, torch.tensor([[1.0, 1, 1, 0, 1]]))
    torch.testing.assert_close(changed[0, :3, 0, 0], torch.full((3,), 0.5 * 0.4 * DARKEST + 0.5))


def test_crop_zooms_about_the_centre_and_fills_with_white() -> None:
    made = batch(1, 32)
    images = torch.ones(1, 3, 32, 32)
    images[:, :, 12:20, 12:20] = 0
    made = replace(made, images=images)
    same = crop(made, torch.ones(1), torch.zeros(1), torch.zeros(1)).images
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    double = crop(made, torch.full((1,), 2.0), torch.zeros(1), torch.zeros(1)).images
    assert (1 - double).sum().item() == pytest.approx(4 * (1 - images).sum().item(), rel=0.05)
    moved = crop(made, torch.ones(1), torch.full((1,), 0.25), torch.zeros(1)).images
    torch.testing.assert_close(moved, images.roll(8, -1), atol=1e-5, rtol=0)


def test_flip_mirrors_picture_points_and_camera_together() -> None:
    """A mirrored point seen by the mirrored camera lies where the flipped picture shows it."""
    given_batch = batch()
    flipped = flip(given_batch, torch.tensor([True, False, True]))
    assert torch.equal(flipped.images[0], given_batch.images[0].flip(-1))
    assert torch.equal(flipped.images[1], given_batch.images[1])
    assert torch.equal(flipped.points[1], given_batch.points[1])

    def seen(made: Batch, row: int) -> torch.Tensor:
        return made.points[row] @ made.pose[row, :3, :3].T + made.pose[row, :3, 3]

    mirrored = seen(given_batch, 0) * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(seen(flipped, 0), mirrored)
    assert torch.linalg.det(flipped.pose[0, :3, :3]).item() == pytest.approx(1, abs=1e-6)
