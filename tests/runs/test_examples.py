"""``examples.npz``: read back as it was stored; nothing large is unpacked on a stranger's word."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.stored_runs import sphere, write_examples

from pix3d_onet.errors import InputError
from pix3d_onet.runs.examples import MAX_BYTES, MAX_EXAMPLES, MAX_FACES, read_examples
from pix3d_onet.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_examples(tmp_path, "resnet18", 2)
    return tmp_path


@contextmanager
def sparing() -> Iterator[None]:
    """Fails where more is allocated than a few times what a file may unpack to."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_BYTES
    finally:
        tracemalloc.stop()


def rewrite(run: Path, **changes: np.ndarray) -> None:
    """The file with some of its arrays replaced."""
    with np.load(RunFolder(run).examples) as file:
        arrays = {name: file[name] for name in file} | changes
    np.savez_compressed(RunFolder(run).examples, **arrays)


def add(run: Path, name: str, content: bytes) -> None:
    """The file with one more member."""
    with zipfile.ZipFile(RunFolder(run).examples, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def header(shape: str, dtype: str = "|u1") -> bytes:
    """The header of an .npy file, whatever follows it."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_it_is_read_as_it_was_stored(run: Path) -> None:
    first, second = read_examples(run)
    assert (first.record_id, second.object_id) == ("img/chair/0000.jpg", "chair/EX_1")
    assert first.rgb.shape == (64, 64, 3)
    assert first.mask.sum() < second.mask.sum()
    assert first.split == "test"
    vertices, faces = sphere(0.45)
    assert np.array_equal(second.truth.vertices, vertices)
    assert np.array_equal(second.truth.faces, faces)


def test_a_run_without_the_file_has_no_examples(tmp_path: Path) -> None:
    assert read_examples(tmp_path) == ()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY"])
def test_what_is_no_archive_is_damaged(tmp_path: Path, content: bytes) -> None:
    RunFolder(tmp_path).examples.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_examples(tmp_path)


def test_every_truncation_is_damaged(run: Path) -> None:
    whole = RunFolder(run).examples.read_bytes()
    for share in np.linspace(0, 0.99, 12):
        RunFolder(run).examples.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match="damaged"):
            read_examples(run)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"record_id": np.array([{"pickled": 1}, 2], dtype=object)}, "not numbers"),
        ({"mask": np.zeros((2, 32, 32), bool)}, "differ in length"),
        ({"rgb": np.zeros((1, 64, 64, 3), np.uint8)}, "differ in length"),
        ({"rgb": np.zeros((), np.uint8)}, "differ in length"),
        ({"iou": np.zeros((2, 2))}, "differ in length"),
        ({"record_id": np.array([f"r{i}" for i in range(3)])}, "differ in length"),
        ({"record_id": np.zeros(MAX_EXAMPLES + 1, "U1")}, "at most 64"),
        ({"record_id": np.array("one")}, "differ in length"),
        ({"split": np.array("tset")}, "the split is 'tset'"),
        ({"true_faces_0": np.zeros((MAX_FACES + 1, 3), np.uint32)}, "at most 16000"),
        ({"true_faces_0": np.full((1, 3), 10**6, np.uint32)}, "not there"),
        ({"pred_vertices_1": np.full((200, 3), np.nan, np.float32)}, "not"),
    ],
)
def test_arrays_that_do_not_fit_are_damage(run: Path, changes: dict[str, np.ndarray], why: str) -> None:
    rewrite(run, **changes)
    with pytest.raises(InputError, match=why):
        read_examples(run)


def test_a_bomb_is_not_unpacked(run: Path) -> None:
    add(run, "rest.npy", header(f"({MAX_BYTES},)") + bytes(MAX_BYTES))
    assert RunFolder(run).examples.stat().st_size < MAX_BYTES / 100
    with sparing(), pytest.raises(InputError, match="unpacks to"):
        read_examples(run)


@pytest.mark.parametrize(
    "lie", [header("(10000000000,)"), header("(-1,)"), header("(65536, 65536, 65536, 65536)"), header("(8,)", "|O"),
            header("(1,)", "<U100000000"), b"\x93NUMPY\x09\x00" + bytes(100), header("(2,)")],
)  # fmt: skip
def test_a_header_that_promises_other_than_the_directory_is_damage(run: Path, lie: bytes) -> None:
    add(run, "rest.npy", lie + b"1")
    with sparing(), pytest.raises(InputError, match="damaged"):
        read_examples(run)


def test_a_directory_that_lies_is_damage(run: Path) -> None:
    """A member that unpacks to far more than the directory says: reading stops at what it says."""
    content = bytes(4 * MAX_BYTES)
    add(run, "rest.npy", header(f"({len(content)},)") + content)
    size = (len(content) + len(header(f"({len(content)},)"))).to_bytes(4, "little")
    data = RunFolder(run).examples.read_bytes().replace(size, (1000).to_bytes(4, "little"))
    RunFolder(run).examples.write_bytes(data)
    with sparing(), pytest.raises(InputError, match="damaged"):
        read_examples(run)


def test_thousands_of_members_are_refused_unread(run: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros(1))
    with zipfile.ZipFile(RunFolder(run).examples, "a") as archive:
        for i in range(1000):
            archive.writestr(f"x{i}.npy", content.getvalue())
    with pytest.raises(InputError, match="1015 arrays"):
        read_examples(run)


def test_a_folder_of_that_name_is_damage(tmp_path: Path) -> None:
    RunFolder(tmp_path).examples.mkdir()
    with pytest.raises(InputError, match="not a regular file"):
        read_examples(tmp_path)
