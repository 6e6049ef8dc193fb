"""Shards of somebody else: what HDF5 would fetch from elsewhere, or unpack without end, is refused unread."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.datasets import make_dataset

from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.data.store.reader import Dataset, load_dataset
from pix3d_onet.data.store.shard_file import read_picture
from pix3d_onet.errors import InputError
from pix3d_onet.files import file_digest, write_json
from pix3d_onet.inspection import checks
from pix3d_onet.types import MANIFEST

SECRET = b"private bytes of somebody else" * 10_000


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("sound") / "data", 3, 512, 32, views=2)


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    return Path(shutil.copytree(sound, tmp_path / "data"))


def external_link(file: h5py.File, folder: Path) -> None:
    shutil.copy(file.filename, folder / "other.h5")
    del file["images/rgb"]
    file["images/rgb"] = h5py.ExternalLink(str(folder / "other.h5"), "images/rgb")


def external_group(file: h5py.File, folder: Path) -> None:
    shutil.copy(file.filename, folder / "other.h5")
    del file["images"]
    file["images"] = h5py.ExternalLink(str(folder / "other.h5"), "images")


def soft_link(file: h5py.File, folder: Path) -> None:
    file.move("points", "surface/kept")
    file["points"] = h5py.SoftLink("/surface/kept")


def external_storage(file: h5py.File, folder: Path) -> None:
    shape, dtype = file["points"].shape, file["points"].dtype
    del file["points"]
    size = int(np.prod(shape)) * dtype.itemsize
    file.create_dataset("points", shape, dtype, external=[(str(folder / "secret"), 0, size)])


def virtual(file: h5py.File, folder: Path) -> None:
    shape = file["images/rgb"].shape
    shutil.copy(file.filename, folder / "other.h5")
    layout = h5py.VirtualLayout(shape, np.uint8)
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "images/rgb", shape)
    del file["images/rgb"]
    file.create_virtual_dataset("images/rgb", layout)


def unwritten(file: h5py.File, folder: Path) -> None:
    shape = file["points"].shape
    del file["points"]
    file.create_dataset("points", shape, np.uint16, fillvalue=7)


def packed_points(file: h5py.File, folder: Path) -> None:
    points = file["points"][:]
    del file["points"]
    file.create_dataset("points", data=points, chunks=points.shape, compression="gzip")


def other_chunks(file: h5py.File, folder: Path) -> None:
    rgb = file["images/rgb"][:]
    del file["images/rgb"]
    file.create_dataset("images/rgb", data=rgb, chunks=rgb.shape, compression="gzip")


def stranger(file: h5py.File, folder: Path) -> None:
    file["extra"] = np.zeros(3)


def large_attribute(file: h5py.File, folder: Path) -> None:
    del file.attrs["points_count"]
    file.attrs["points_count"] = np.full(1000, 512)


def nested(depth: int = 2000) -> h5py.h5t.TypeID:
    kind = h5py.h5t.NATIVE_UINT16
    for _ in range(depth):
        outer = h5py.h5t.create(h5py.h5t.COMPOUND, kind.get_size())
        outer.insert(b"a", 0, kind)
        kind = outer
    return kind


def nested_type(file: h5py.File, folder: Path) -> None:
    """Its NumPy type takes 1 GiB."""
    space = h5py.h5s.create_simple(file["points"].shape)
    del file["points"]
    h5py.h5d.create(file.id, b"points", nested(), space)


def nested_attribute(file: h5py.File, folder: Path) -> None:
    del file.attrs["version"]
    h5py.h5a.create(file.id, b"version", nested(), h5py.h5s.create(h5py.h5s.SCALAR))


def references(file: h5py.File, folder: Path) -> None:
    shape = file["object_id"].shape
    del file["object_id"]
    file.create_dataset("object_id", shape, h5py.ref_dtype)


ATTACKS = (
    external_link, external_group, soft_link, external_storage, virtual, unwritten, packed_points, other_chunks,
    stranger, large_attribute, nested_type, nested_attribute, references,
)  # fmt: skip


def resealed(data: Path) -> Path:
    """The manifest with the checksums of the shards as they are now: an attacker writes it, too."""
    document = json.loads((data / MANIFEST).read_text())
    for shard in document["shards"]:
        shard["sha256"], shard["bytes"] = file_digest(data / shard["file"]), (data / shard["file"]).stat().st_size
    write_json(data / MANIFEST, document)
    return data


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_ours_is_refused_by_readers_and_found_by_the_checks(
    attack: Callable[[h5py.File, Path], None], data: Path, tmp_path: Path
) -> None:
    with h5py.File(data / "shard-00000.h5", "r+", libver=("v110", "v110")) as file:
        attack(file, tmp_path)
    resealed(data)
    with pytest.raises(InputError, match=r"damaged \("):
        load_dataset(data, None)[0]
    found, usable = checks.check_shards(data, read_manifest(data), "again")
    assert found.status == "failed"
    assert "shard-00000.h5" not in usable
    assert not any("RecursionError" in finding.message for finding in found.findings)


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_a_shard_is_a_file_of_its_own(kind: str, data: Path, tmp_path: Path) -> None:
    shard = data / "shard-00000.h5"
    if kind == "pipe":
        shard.unlink()
        os.mkfifo(shard)
    else:
        target = shard.rename(tmp_path / "moved.h5") if kind == "link" else Path("/dev/zero")
        shard.unlink(missing_ok=True)
        shard.symlink_to(target)
    with pytest.raises(InputError, match="cannot be read"):
        load_dataset(data, None)[0]
    assert checks.check_shards(data, read_manifest(data), "again")[0].status == "failed"


def test_a_picture_unpacks_to_a_picture_and_no_further(data: Path) -> None:
    with h5py.File(data / "shard-00000.h5", "r+", libver=("v110", "v110")) as file:
        rgb = file["images/rgb"]
        first = rgb[0]
        assert (read_picture(rgb, 0) == first).all()
        side = rgb.shape[1]
        rgb.id.write_direct_chunk((1, 0, 0, 0), zlib.compress(bytes(side * side * 3 * 900)))
        with pytest.raises(ValueError, match="size"):
            read_picture(rgb, 1)
        rgb.id.write_direct_chunk((1, 0, 0, 0), first.tobytes(), filter_mask=1)
        assert (read_picture(rgb, 1) == first).all()
    resealed(data)


def test_pictures_are_bounded_by_the_size_of_the_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pix3d_onet.data.store.shard_file.LEAST_BUDGET", 0)
    monkeypatch.setattr("pix3d_onet.data.store.shard_file.BUDGET_RATIO", 0)
    with pytest.raises(InputError, match="unpack to"):
        load_dataset(data, None)[0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("shapes", 0, "category"), ["a"]),
        (("shapes", 0, "row"), -1),
        (("shapes", 0, "row"), True),
        (("shapes", 0, "record_ids"), [1, 2]),
        (("shapes", 0, "qc"), []),
        (("shards", 0, "bytes"), "9"),
        (("config", "points"), 1 << 60),
        (("config", "image_size"), None),
        (("source",), "x"),
        (("counts",), [1]),
        (("shapes",), {"a": 1}),
        (("shapes",), [1]),
        (("config",), []),
    ],
)
def test_odd_manifests_are_one_line(data: Path, path: tuple[str | int, ...], value: object) -> None:
    document = json.loads((data / MANIFEST).read_text())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    write_json(data / MANIFEST, document)
    with pytest.raises(InputError, match="is damaged"):
        Dataset(data)


def _pictures(dataset: Dataset) -> list[int]:
    return [int(view.rgb.sum()) for view in dataset.sample(dataset.entries()[0]).images]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_data_set_travels_to_workers(method: str, sound: Path) -> None:
    import multiprocessing

    with Dataset(sound) as dataset:
        expected = _pictures(dataset)  # the shard is open when the worker is made
        with multiprocessing.get_context(method).Pool(1) as pool:
            samples = load_dataset(sound, None)
            assert pool.apply(_first_pictures, (samples,)) == expected
        assert _pictures(dataset) == expected


def _first_pictures(samples: object) -> list[int]:
    return [int(view.rgb.sum()) for view in samples[0].images]  # type: ignore[index]
