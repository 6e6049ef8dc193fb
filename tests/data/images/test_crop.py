from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from pix3d_onet.data.images import crop, decoding
from pix3d_onet.data.images.crop import crop_view, load_view, square_around
from pix3d_onet.data.images.decoding import declared_size, read_mask, read_rgb
from pix3d_onet.errors import RejectError
from pix3d_onet.types import Camera, Normalisation

ANGLES = np.array([0.3, -0.5, 0.2])


def turned(x: float, y: float, z: float) -> np.ndarray:
    cx, cy, cz, sx, sy, sz = np.cos(x), np.cos(y), np.cos(z), np.sin(x), np.sin(y), np.sin(z)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_x @ about_y @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)  # type: ignore[arg-type]
    return path


def reason(path: Path, read: object = read_rgb) -> str:
    with pytest.raises(RejectError) as caught:
        read(path)  # type: ignore[operator]
    assert caught.value.stage == "image"
    assert "\n" not in caught.value.message
    assert str(path.parent) not in caught.value.message
    return caught.value.reason


@settings(max_examples=40, deadline=None)
@given(
    box=st.tuples(st.integers(0, 60), st.integers(0, 40), st.integers(1, 60), st.integers(1, 40)),
    size=st.sampled_from([16, 64, 224]),
    margin=st.floats(0, 1),
)
def test_the_object_keeps_its_shape_and_gets_its_margin(
    box: tuple[int, int, int, int], size: int, margin: float
) -> None:
    left, top, wide, high = box
    mask = np.zeros((80, 120), dtype=np.bool_)
    mask[top : top + high, left : left + wide] = True
    wide, high = mask.any(axis=0).sum(), mask.any(axis=1).sum()
    rgb = np.full((80, 120, 3), 7, dtype=np.uint8)
    view = crop_view(rgb, mask, size=size, margin=margin)
    assert view.rgb.shape == (size, size, 3)
    long = size / (1 + 2 * margin)
    expected = np.array([wide, high]) / max(wide, high) * long
    found = view.mask.any(axis=0).sum(), view.mask.any(axis=1).sum()
    assert np.abs(expected - found).max() <= 2 or min(expected) < 1
    middle = size / 2
    columns = np.flatnonzero(view.mask.any(axis=0))
    assert abs((columns[0] + columns[-1] + 1) / 2 - middle) <= 1
    assert not view.has_pose


def test_a_pixel_is_drawn_where_the_stored_camera_says() -> None:
    """Discs painted where the original camera sees points are found where pose and intrinsics put them."""
    camera = Camera(turned(*ANGLES), np.array([0.1, -0.05, 4.0]), 700.0, 640, 480)
    normalisation = Normalisation(np.array([0.2, -0.3, 0.1]), 1.7)
    rng = np.random.default_rng(0)
    v, u = np.mgrid[0:480, 0:640] + 0.5
    for point in rng.uniform(-0.4, 0.4, (8, 3)):
        original = normalisation.undo(point[None])[0]
        x, y, z = camera.rotation @ original + camera.translation
        at = np.array([camera.width / 2 - camera.focal * x / z, camera.height / 2 - camera.focal * y / z])
        disc = (u - at[0]) ** 2 + (v - at[1]) ** 2 <= 9.0**2
        rgb = np.full((480, 640, 3), 255, dtype=np.uint8)
        rgb[disc] = 0
        object_mask = np.zeros((480, 640), dtype=np.bool_)
        object_mask[100:400, 150:520] = True
        object_mask |= disc
        view = crop_view(rgb, object_mask, camera, normalisation, size=224, margin=0.1)
        dark = 255.0 - view.rgb[..., 0]
        rows, columns = np.mgrid[0:224, 0:224] + 0.5
        centre = np.array([(columns * dark).sum(), (rows * dark).sum()]) / dark.sum()
        projected = view.intrinsics @ (view.pose @ np.append(point, 1))[:3]
        assert np.abs(centre - projected[:2] / projected[2]).max() < 0.1
        assert np.allclose(view.pose[:3, :3] @ view.pose[:3, :3].T, np.eye(3), atol=1e-6)


def test_a_resized_picture_keeps_its_camera() -> None:
    camera = Camera(np.eye(3), np.array([0, 0, 3.0]), 500.0, 400, 300)
    unit = Normalisation(np.zeros(3), 1.0)
    views = []
    for factor in (1, 2):
        mask = np.zeros((300 * factor, 400 * factor), dtype=np.bool_)
        mask[50 * factor : 250 * factor, 100 * factor : 300 * factor] = True
        rgb = np.zeros((*mask.shape, 3), dtype=np.uint8)
        views.append(crop_view(rgb, mask, camera, unit, size=64))
    assert np.allclose(views[0].intrinsics, views[1].intrinsics, rtol=1e-5)
    with pytest.raises(RejectError, match="400×400 but its camera 400×300") as caught:
        crop_view(np.zeros((400, 400, 3), np.uint8), np.ones((400, 400), np.bool_), camera, unit)
    assert caught.value.reason == "image-size"


def test_the_background_is_white_and_the_object_untouched() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), dtype=np.bool_)
    mask[16:48, 16:48] = True
    view = crop_view(rgb, mask, size=64, margin=0.5)  # the crop is the picture: nothing is resampled
    assert (view.mask == mask).all()
    assert (view.rgb[mask] == rgb[mask]).all()
    assert (view.rgb[~mask] == 255).all()


def test_beyond_the_picture_is_white() -> None:
    view = crop_view(np.zeros((40, 40, 3), np.uint8), np.ones((40, 40), np.bool_), size=60, margin=0.25)
    assert (view.rgb[:9] == 255).all()
    assert (view.rgb[:, -9:] == 255).all()
    assert not view.mask[:9].any()
    assert view.mask[11:49, 11:49].all()


def test_averaging_blocks_first_changes_nothing_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
    rgb = np.asarray(small.resize((1500, 1200), Image.Resampling.BICUBIC))
    mask = np.zeros((1200, 1500), dtype=np.bool_)
    mask[37:1111, 5:1499] = True
    fast = crop_view(rgb, mask, size=48)
    monkeypatch.setattr(crop, "OVERSAMPLING", 10**6)
    slow = crop_view(rgb, mask, size=48)
    difference = np.abs(fast.rgb.astype(int) - slow.rgb.astype(int))
    assert difference.mean() < 0.6
    assert difference.max() <= 12
    assert (fast.mask != slow.mask).mean() < 0.01


def test_a_very_long_picture_costs_no_square(tmp_path: Path) -> None:
    long = save(tmp_path / "long.png", np.zeros((100, 20000, 3), np.uint8))
    assert load_view(long, None, None, None, record_id="r", size=32, margin=0.1).mask.any()
    thread = save(tmp_path / "thread.png", np.zeros((2, 20000, 3), np.uint8))
    with pytest.raises(RejectError, match="too thin"):
        load_view(thread, None, None, None, record_id="r", size=32, margin=0.1)


def test_an_object_thinner_than_a_stored_pixel_keeps_a_mask() -> None:
    mask = np.zeros((1000, 1000), dtype=np.bool_)
    mask[100:900, 500] = True
    assert crop_view(np.zeros((1000, 1000, 3), np.uint8), mask, size=32).mask.any()


def test_square_around_is_centred_on_the_box() -> None:
    mask = np.zeros((10, 20), dtype=np.bool_)
    mask[2:5, 10:16] = True
    crop = square_around(mask, 0.5)
    assert (crop.left, crop.top, crop.side) == (7.0, -2.5, 12.0)


def test_an_extension_may_lie(tmp_path: Path) -> None:
    rgb = np.full((8, 9, 3), 100, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=100)
    (tmp_path / "a.tiff").write_bytes(buffer.getvalue())
    assert np.abs(read_rgb(tmp_path / "a.tiff")[0].astype(int) - 100).max() <= 2


@pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "webp", "bmp", "gif", "ppm", "tga", "jp2"])
def test_formats(tmp_path: Path, ending: str) -> None:
    path = save(tmp_path / f"x.{ending}", np.full((6, 5, 3), 200, dtype=np.uint8))
    assert read_rgb(path)[0].shape == (6, 5, 3)
    assert read_mask(path).all()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_avif_where_pillow_has_it(tmp_path: Path) -> None:
    path = save(tmp_path / "x.jpg.avif", np.full((6, 5, 3), 200, dtype=np.uint8))
    assert np.abs(read_rgb(path)[0].astype(int) - 200).max() <= 3
    assert read_mask(path).all()
    (tmp_path / "cut.avif").write_bytes(path.read_bytes()[:-20])
    assert reason(tmp_path / "cut.avif") == "bad-image"


def test_postscript_is_never_handed_to_an_interpreter(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    assert reason(tmp_path / "x.png") == "bad-image"


def test_deep_grey_palette_and_binary(tmp_path: Path) -> None:
    deep = save(tmp_path / "deep.png", np.full((4, 4), 40000, dtype=np.uint16))
    assert (read_rgb(deep)[0] == 155).all()
    binary = np.zeros((4, 4), dtype=np.uint8)
    binary[1, 1] = 1
    assert read_mask(save(tmp_path / "one.png", binary)).sum() == 1
    Image.fromarray(binary * 255).convert("1").save(tmp_path / "bits.png")
    assert read_mask(tmp_path / "bits.png").sum() == 1
    Image.fromarray(binary * 255).convert("P").save(tmp_path / "palette.png")
    assert read_mask(tmp_path / "palette.png").sum() == 1
    soft = np.array([[0, 127, 128, 255]], dtype=np.uint8)
    assert read_mask(save(tmp_path / "soft.png", soft)).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("highest", [1, 255, 65535])
def test_a_deep_mask_has_the_scale_of_its_highest_value(tmp_path: Path, highest: int) -> None:
    deep = np.zeros((4, 4), dtype=np.uint16)
    deep[1:3, 1] = highest
    path = save(tmp_path / "deep.png", deep)
    with Image.open(path) as picture:
        assert picture.mode.startswith("I")
    assert (read_mask(path) == (deep > 0)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_mask_with_a_varying_alpha_is_its_alpha(tmp_path: Path, mode: str) -> None:
    rgba = np.zeros((6, 6, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    rgba[0, 0, :3] = 255  # the colours would say that this corner is the object
    opaque = tmp_path / "opaque.png"
    save(opaque, rgba)
    assert read_mask(opaque).sum() == 1
    rgba[..., 3] = 0
    rgba[2:4, 2:5, 3] = 255
    path = tmp_path / "alpha.png"
    if mode == "P":  # a palette with a transparent entry, as programs that shrink PNGs write
        Image.fromarray((rgba[..., 3] == 0).astype(np.uint8)).convert("P").save(path, transparency=1)
    else:
        Image.fromarray(rgba).convert(mode).save(path)
    with Image.open(path) as picture:
        assert picture.mode == mode
    assert (read_mask(path) == (rgba[..., 3] > 0)).all()


def test_transparency_is_white_and_a_mask(tmp_path: Path) -> None:
    rgba = np.zeros((6, 6, 4), dtype=np.uint8)
    rgba[2:4, 2:4] = (10, 20, 30, 255)
    path = save(tmp_path / "a.png", rgba)
    rgb, alpha = read_rgb(path)
    assert alpha is not None
    assert alpha.sum() == 4
    assert (rgb[0, 0] == 255).all()
    view = load_view(path, None, None, None, record_id="r", size=16, margin=0.0)
    assert (view.rgb == (10, 20, 30)).all()


def test_orientation_tags_are_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # rotate by 90° to show
    save(tmp_path / "x.jpg", np.zeros((30, 50, 3), np.uint8), exif=exif)
    assert read_rgb(tmp_path / "x.jpg")[0].shape == (30, 50, 3)
    assert declared_size(tmp_path / "x.jpg") == (50, 30)


@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_loose_photo_is_turned_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    """As Pillow itself does it, for every orientation, a tag of no meaning, and a format that Pillow turns unasked."""
    exif = Image.Exif()
    exif[274] = orientation
    rgb = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    path = save(tmp_path / f"x.{ending}", rgb, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    found, _ = read_rgb(path, upright=True)
    np.testing.assert_array_equal(found, expected)
    assert declared_size(path, upright=True) == found.shape[1::-1]
    bright = np.asarray(Image.fromarray(found).convert("L")) >= decoding.MASK_THRESHOLD
    np.testing.assert_array_equal(read_mask(path, upright=True), bright)


def test_damaged_metadata_lose_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    exif = Image.Exif()
    exif[274] = 6
    save(path, np.zeros((30, 50, 3), np.uint8), exif=exif)
    content = path.read_bytes()
    start = content.index(b"Exif") + 6
    path.write_bytes(content[:start] + b"\xff" * 12 + content[start + 12 :])
    assert read_rgb(path, upright=True)[0].shape == (30, 50, 3)


def test_rejects(tmp_path: Path) -> None:
    image = save(tmp_path / "i.png", np.zeros((30, 40, 3), np.uint8))
    black = save(tmp_path / "m.png", np.zeros((30, 40), np.uint8))
    other = save(tmp_path / "o.png", np.full((40, 30), 255, np.uint8))
    options = {"record_id": "r", "size": 32, "margin": 0.1}
    for mask, expected in ((black, "empty-mask"), (other, "mask-size"), (tmp_path / "none.png", "missing-mask")):
        with pytest.raises(RejectError) as caught:
            load_view(image, mask, None, None, **options)  # type: ignore[arg-type]
        assert caught.value.reason == expected
    assert reason(tmp_path / "none.png") == "missing-image"
    assert reason(tmp_path) == "missing-image"
    (tmp_path / "cut.png").write_bytes(image.read_bytes()[:-30])
    assert reason(tmp_path / "cut.png") == "bad-image"
    assert reason(tmp_path / "cut.png", read_mask) == "bad-mask"
    (tmp_path / "empty.png").touch()
    assert reason(tmp_path / "empty.png") == "bad-image"
    for read, words in ((read_rgb, "empty.png cannot be read: "), (read_mask, "mask empty.png cannot be read: ")):
        with pytest.raises(RejectError) as caught:  # a mask often has its picture's name
            read(tmp_path / "empty.png")
        assert caught.value.message.startswith(words)
        assert caught.value.message.count("empty.png") == 1


def png_that_declares(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [12_000, 16_000, 60_000])
def test_a_bomb_is_rejected_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_that_declares(side, side))
    assert reason(tmp_path / "bomb.png") == "image-too-large"
    assert reason(tmp_path / "bomb.png", read_mask) == "image-too-large"
