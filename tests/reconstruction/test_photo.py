"""A photo's record and its camera: what an index gives, why not, and both ways to name a camera."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import releases
from PIL import Image

from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.reconstruction.photo import CameraFile, PhotoRecord, read_photo, read_pose, read_records
from pix3d_onet.types import PIX3D_SENSOR_MM, Normalisation

SIZE: dict[str, Any] = {"size": 64, "margin": 0.1}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    releases.write_release(tmp_path / "root", 2)
    return tmp_path / "root" / "pix3d.json"


def records_of(index: Path) -> list[dict[str, Any]]:
    return list(json.loads(index.read_text()))


def unwanted(model: Path) -> Normalisation:
    raise AssertionError(f"{model} was looked at")


def of_the_box(model: Path) -> Normalisation:
    vertices = np.array([line.split()[1:] for line in model.read_text().splitlines() if line.startswith("v ")], float)
    return Normalisation(vertices.mean(axis=0), float(np.ptp(vertices, axis=0).max()))


def test_a_camera_file_gives_what_the_record_gives(index: Path, tmp_path: Path) -> None:
    """The focal length in widths of the photo, carried through the crop."""
    item = records_of(index)[1]
    image = (index.parent / item["img"]).resolve()
    record = read_records(index)[image]
    by_record = read_photo(image, None, record, of_the_box, need_camera=True, **SIZE)
    camera = tmp_path / "camera.json"
    camera.write_text(json.dumps({"pose": by_record.pose.tolist(), "focal": item["focal_length"] / PIX3D_SENSOR_MM}))
    by_file = read_photo(image, index.parent / item["mask"], None, unwanted, camera=read_pose(camera), **SIZE)
    stated = item["focal_length"] / PIX3D_SENSOR_MM
    assert abs(by_file.intrinsics[0, 0]) / SIZE["size"] != pytest.approx(stated, rel=0.2)
    np.testing.assert_allclose(by_file.pose, by_record.pose, atol=1e-6)
    np.testing.assert_allclose(by_file.intrinsics, by_record.intrinsics, rtol=1e-5)
    np.testing.assert_array_equal(by_file.rgb, by_record.rgb)
    camera.write_text(json.dumps(by_record.pose.tolist()))
    without = read_photo(image, None, record, unwanted, camera=read_pose(camera), need_camera=True, **SIZE)
    assert without.has_pose
    assert np.isnan(without.intrinsics[0, 0])


def test_the_focal_length_is_in_widths_of_the_upright_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    rgb = np.full((40, 80, 3), 255, np.uint8)
    rgb[10:30, 20:60] = 0  # upright: 20 wide and 40 high in 40 × 80
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=exif)
    camera = CameraFile(np.eye(4, dtype=np.float32), 1.5)
    view = read_photo(tmp_path / "a.png", None, None, unwanted, camera=camera, size=64, margin=0.0)
    assert view.mask.any(axis=0).sum() == 32
    assert abs(view.intrinsics[0, 0]) / 64 == pytest.approx(1.5 * 40 / 40)


def test_only_a_picture_without_a_record_is_turned(index: Path) -> None:
    item = records_of(index)[0]
    image = (index.parent / item["img"]).resolve()
    content = Image.open(image).convert("RGB")
    content.save(image, "PNG")  # without loss, so that only the tag differs; a file is taken for what its bytes are
    before = read_photo(image, None, read_records(index)[image], unwanted, **SIZE)
    exif = Image.Exif()
    exif[274] = 6
    content.save(image, "PNG", exif=exif)
    after = read_photo(image, None, read_records(index)[image], unwanted, **SIZE)
    np.testing.assert_array_equal(after.rgb, before.rgb)
    np.testing.assert_array_equal(after.mask, before.mask)
    with pytest.raises(RejectError, match="mask is"):  # without the record: upright, and the mask is not
        read_photo(image, index.parent / item["mask"], None, unwanted, **SIZE)


def test_a_mask_is_taken_without_a_model_and_the_reason_is_kept(index: Path) -> None:
    first, second = records_of(index)
    (index.parent / first["model"]).unlink()
    index.write_text(json.dumps([first, {**second, "rot_mat": [[2, 0, 0], [0, 1, 0], [0, 0, 1]]}, 7, {"img": "../x"}]))
    found = read_records(index)
    assert len(found) == 2
    for item, words in ((first, "model.obj' does not exist"), (second, "not a rotation")):
        record = found[(index.parent / item["img"]).resolve()]
        assert record.checked is None
        assert words in record.reason
        view = read_photo(index.parent / item["img"], None, record, unwanted, **SIZE)
        assert 0.1 < view.mask.mean() < 0.8
        assert not view.has_pose
        assert view.mask_from == "record"


def test_a_record_whose_mask_cannot_be_used_says_so(index: Path) -> None:
    first, second = records_of(index)
    index.write_text(json.dumps([{**first, "mask": None}, {**second, "mask": "mask/none.png"}]))
    records = read_records(index)
    for item, words in ((first, "the record has no mask"), (second, "none.png does not exist")):
        image = (index.parent / item["img"]).resolve()
        with pytest.raises(RejectError, match=words):
            read_photo(image, None, records[image], unwanted, **SIZE)
        assert read_photo(image, "auto", records[image], unwanted, **SIZE).mask_from == "auto"


def test_of_two_records_of_a_picture_the_usable_one_is_kept(index: Path) -> None:
    first = records_of(index)[0]
    for order in ([first, {**first, "model": "none.obj"}], [{**first, "model": "none.obj"}, first]):
        index.write_text(json.dumps(order))
        (record,) = read_records(index).values()
        assert isinstance(record, PhotoRecord)
        assert record.checked is not None


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([1, 2], "4×4"),
        ({"focal": 1.0}, "pose"),
        ({"pose": np.eye(4).tolist(), "focal": -1}, "focal is -1"),
        ({"pose": np.eye(4).tolist(), "focal": "long"}, "long"),
        ((np.eye(4) + np.eye(4)[[3]].T * [0.5, 0, 2, 0]).tolist(), "last row"),
    ],
)
def test_a_camera_file_of_another_kind_is_refused(tmp_path: Path, document: object, words: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="camera file") as caught:
        read_pose(tmp_path / "c.json")
    assert words in caught.value.message
