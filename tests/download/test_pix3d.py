"""From an address or an archive to a folder that ``prepare`` reads."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.command_line import onet
from helpers.programs.file_server import Server, dropping, honest, serving
from helpers.releases import write_release

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.sources.pix3d import list_pix3d
from pix3d_onet.download import http
from pix3d_onet.download.pix3d import check_release, download_pix3d
from pix3d_onet.errors import BusyError, ConfigError, InputError
from pix3d_onet.locks import locked

pytest.importorskip("requests")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six chairs and two sofas; one chair's picture and one's model are missing."""
    folder = tmp_path_factory.mktemp("release")
    chairs = write_release(folder / "pix3d", 6)
    sofas = write_release(folder / "pix3d", 2, category="sofa")
    (folder / "pix3d/pix3d.json").write_text(json.dumps(chairs + sofas))
    (folder / "pix3d" / chairs[0]["img"]).unlink()
    (folder / "pix3d" / chairs[1]["model"]).unlink()
    with zipfile.ZipFile(folder / "made.zip", "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted((folder / "pix3d").rglob("*")):
            made.write(path, path.relative_to(folder))
    return folder / "made.zip"


@pytest.fixture
def server(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http.time, "sleep", lambda seconds: None)
    with serving(archive.read_bytes()) as running:
        yield running


def test_from_an_address_to_records(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "pix3d"
    server.behaviours = [dropping(5000)]
    result = download_pix3d(root, categories=("chair",), url=server.url)
    (check,) = result.categories
    assert (check.category, check.records, check.complete) == ("chair", 6, 4)
    assert check.problems == {"missing-image": 1, "missing-model": 1}
    assert not (root / "img/sofa").exists()
    assert not result.flawless
    listing = list_pix3d(root, PrepareConfig(categories=("chair",)))
    assert len(listing.shapes) == 4
    requests = len(server.ranges)
    again = download_pix3d(root, url=server.url)  # all categories, from the same archive
    assert len(server.ranges) == requests
    assert (again.received, again.unpacked.kept, [c.category for c in again.categories]) == (
        0,
        result.unpacked.written,
        ["chair", "sofa"],
    )


def test_from_an_archive_that_lies_in_the_folder(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "pix3d.zip").write_bytes(archive.read_bytes())
    result = download_pix3d(tmp_path, from_zip=tmp_path / "pix3d.zip")
    assert result.received == 0
    assert sum(c.complete for c in result.categories) == 6


def test_a_checksum_is_compared(archive: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=digest):
        download_pix3d(tmp_path / "to", from_zip=archive, sha256="0" * 64)
    assert not (tmp_path / "to/pix3d.json").exists()
    assert download_pix3d(tmp_path / "to", from_zip=archive, sha256=digest.upper()).unpacked.written


def test_a_checksum_that_is_none_is_refused_before_the_download(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="64 hex digits"):
        download_pix3d(tmp_path / "to", sha256="abc")
    for url in ("ftp://example.org/pix3d.zip", "user:secret@example.org/pix3d.zip"):
        with pytest.raises(ConfigError, match="must start with http") as caught:
            download_pix3d(tmp_path / "to", url=url)
        assert "secret" not in str(caught.value)
    assert not (tmp_path / "to").exists()
    assert not (tmp_path / "to").exists()


def test_the_folder_of_others_is_not_touched(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        download_pix3d(tmp_path, from_zip=archive)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    assert download_pix3d(tmp_path, from_zip=archive, overwrite=True).unpacked.written
    with locked(tmp_path), pytest.raises(BusyError):
        download_pix3d(tmp_path, from_zip=archive)


def test_an_archive_without_a_usable_record_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("pix3d.json", '[{"img": "img/chair/1.png", "category": "chair"}, 7]')
    with pytest.raises(InputError, match=r"no record .* is complete: 1 bad-record, 1 missing-image"):
        download_pix3d(tmp_path / "to", from_zip=tmp_path / "x.zip")
    found = check_release(tmp_path / "to", ("all",))
    assert {c.category: c.problems for c in found} == {"(none)": {"bad-record": 1}, "chair": {"missing-image": 1}}


def test_the_command_prints_a_table_or_a_document(server: Server, archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "to"
    answer = onet("download", "pix3d", "--to", root, "--url", server.url, "--category", "chair")
    assert answer.status == 0
    assert "1 missing-image, 1 missing-model" in answer.out
    assert "onet prepare pix3d --root" in answer.out
    assert "download pix3d.zip: " in answer.err
    assert "kB/" in answer.err or "bytes/" in answer.err
    answer = onet("download", "pix3d", "--to", root, "--from-zip", archive, "--json", "-q", "--strict")
    assert answer.status == 4
    assert (answer.document["records"], answer.document["complete"], answer.document["rejects"]) == (8, 6, [])
    assert answer.err == ""


def test_the_command_refuses_in_one_line(server: Server, tmp_path: Path) -> None:
    def refused(status: int, *arguments: object) -> str:
        answer = onet("download", "pix3d", "--to", tmp_path / "to", *arguments)
        assert (answer.status, answer.out) == (status, "")
        return answer.err.splitlines()[-1]

    server.behaviours = [lambda handler: handler.answer(404, b"")]
    told = refused(3, "--url", server.url)
    assert "answers 404" in told
    assert "--from-zip" in told
    server.behaviours = [lambda handler: handler.answer(200, b"<html>please log in</html>")]
    assert "not a whole zip archive" in refused(3, "--url", server.url)
    (tmp_path / "to/pix3d.zip").unlink()
    server.behaviours = [honest]
    assert "has only chair, sofa" in refused(2, "--url", server.url, "--category", "chiar")
    refused(2, "--url", server.url, "--from-zip", "x.zip")
