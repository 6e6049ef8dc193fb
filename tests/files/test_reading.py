from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pix3d_onet.errors import InputError
from pix3d_onet.files import file_digest, inside, open_regular, printable, read_bytes, read_json, read_text, write_text
from pix3d_onet.files.npz import TooLargeError, read_arrays
from pix3d_onet.files.reading import MAX_JSON_DEPTH


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, Path]:
    """What stands where a file should: a pipe, a device, a folder, links."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    return {p.name: p for p in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["pipe", "endless", "folder"])
def test_only_regular_files_are_read_and_nothing_waits(odd: dict[str, Path], name: str) -> None:
    with pytest.raises(OSError, match="regular"):
        open_regular(odd[name])
    with pytest.raises(OSError, match=r"regular|link"):
        file_digest(odd[name], follow=False)
    with pytest.raises(InputError, match="cannot read thing"):
        read_json(odd[name], what="thing")


def test_links_are_followed_only_where_they_may_be(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read_json(tmp_path / "link") == {}
    with pytest.raises(InputError, match="is a link"):
        read_json(tmp_path / "link", follow=False)


def test_size_is_known_before_a_byte_is_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="more than 1 MiB"):
        read_bytes(tmp_path / "sparse", limit=1 << 20)
    with pytest.raises(InputError, match="more than"):
        read_json(tmp_path / "sparse")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_file_without_a_size_is_no_file() -> None:
    with pytest.raises(OSError, match="changes"):
        read_bytes(Path("/proc/self/status"), limit=1 << 20)


@pytest.mark.parametrize("text", ["[" * 200_000, "[" * 500 + "]" * 500, "9" * 10_000, "\ud800", "{", ""])
def test_odd_json_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError) as error:
        read_json(tmp_path / "x")
    assert "\n" not in str(error.value)


def test_the_depth_that_is_allowed_is_exact(tmp_path: Path) -> None:
    for depth, good in ((MAX_JSON_DEPTH, True), (MAX_JSON_DEPTH + 1, False)):
        (tmp_path / "x").write_text("[" * depth + "]" * depth)
        if good:
            read_json(tmp_path / "x")
        else:
            with pytest.raises(InputError, match="deep"):
                read_json(tmp_path / "x")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbfa\nb")
    assert read_text(tmp_path / "list") == "a\nb"
    (tmp_path / "json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "json") == {"a": 1}


def test_names_that_are_not_utf8_are_shown_and_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    assert printable(name) == "caf\\xe9"
    assert printable("café") == "café"
    write_text(tmp_path / "x", json.dumps({"name": name}, ensure_ascii=False))
    assert read_json(tmp_path / "x") == {"name": name}


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    from pix3d_onet.errors import RejectError

    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    for relative in ("out/x", "../x", "/x", "", "a\0b", os.fsdecode(b"\xe9")):
        with pytest.raises(RejectError, match=r".") as error:
            inside(root, relative)
        assert error.value.reason == "unsafe-path"


def npz(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(array: np.ndarray, **header: object) -> bytes:
    buffer = io.BytesIO()
    if header:
        np.lib.format.write_array_header_1_0(buffer, {**np.lib.format.header_data_from_array_1_0(array), **header})
        return buffer.getvalue() + array.tobytes()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(3), b=np.ones((2, 2), dtype=bool))
    assert read_arrays(tmp_path / "a.npz", ("a", "c")).keys() == {"a"}
    assert read_arrays(tmp_path / "a.npz")["b"].tolist() == [[True, True], [True, True]]


def test_arrays_are_bounded_together_and_headers_do_not_lie(tmp_path: Path) -> None:
    zeros = npy(np.zeros(1 << 20, dtype=np.uint8))
    with pytest.raises(TooLargeError):
        read_arrays(npz(tmp_path / "sum.npz", {f"a{i}": zeros for i in range(5)}), limit=4 << 20)
    with pytest.raises(ValueError, match="as long"):
        read_arrays(npz(tmp_path / "lie.npz", {"a": npy(np.zeros(4), shape=(1 << 50,))}))
    with pytest.raises(ValueError, match="not numbers"):
        read_arrays(npz(tmp_path / "object.npz", {"a": npy(np.array([{}], dtype=object))}))
    with pytest.raises(ValueError, match="not numbers"):
        read_arrays(npz(tmp_path / "text.npz", {"a": npy(np.array(["x"]))}))


def test_members_that_numpy_never_writes_are_refused(tmp_path: Path) -> None:
    """Other compressions (LZMA states the memory that unpacking takes), encryption, and a header that is repeated."""
    for packing in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", packing) as archive:
            archive.writestr("a.npy", npy(np.zeros(4)))
        with pytest.raises(ValueError, match="packed as NumPy packs no array"):
            read_arrays(tmp_path / "a.npz")
    data = bytearray(npz(tmp_path / "a.npz", {"a": npy(np.zeros(4))}).read_bytes())
    data[data.find(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ValueError, match="is encrypted"):
        read_arrays(tmp_path / "a.npz")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 5000 + b",)}\n"
    npz(tmp_path / "a.npz", {"a": b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header})
    with pytest.raises(ValueError, match="Cannot parse header") as refused:
        read_arrays(tmp_path / "a.npz")
    assert len(str(refused.value)) <= 200
