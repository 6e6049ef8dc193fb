"""Downloads from a real server on this machine that drops connections, ignores ranges, changes its file and lies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.programs.file_server import Handler, Server, answering, dropping, honest, serving

from pix3d_onet.download import http
from pix3d_onet.errors import InputError
from pix3d_onet.events import Event, Note, Progress, ignore

pytest.importorskip("requests")
SIZE = 500_000
CONTENT = np.random.default_rng(0).bytes(SIZE)
OTHER = np.random.default_rng(1).bytes(SIZE)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(CONTENT) as running:
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between requests, which are not waited for."""
    pauses: list[float] = []
    monkeypatch.setattr(http.time, "sleep", pauses.append)
    return pauses


def fetched(server: Server, folder: Path, emit: Any = ignore) -> bytes:
    target = folder / "pix3d.zip"
    http.fetch(server.url, target, emit=emit)
    assert [p.name for p in folder.iterdir()] == ["pix3d.zip"]
    return target.read_bytes()


def failure(server: Server, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        http.fetch(server.url, folder / "pix3d.zip", emit=ignore)
    assert not (folder / "pix3d.zip").exists()
    return str(caught.value)


def test_a_file_is_downloaded_with_progress_in_bytes(server: Server, tmp_path: Path) -> None:
    events: list[Event] = []
    assert fetched(server, tmp_path, events.append) == CONTENT
    assert server.ranges == [None]
    shown = [e for e in events if isinstance(e, Progress)]
    assert shown[-1] == Progress("download pix3d.zip", SIZE, SIZE, unit="B")
    assert [e.done for e in shown] == sorted(e.done for e in shown)


def test_dropped_connections_are_resumed_where_they_ended(server: Server, tmp_path: Path) -> None:
    server.behaviours = [dropping(200_000)] * 2
    assert fetched(server, tmp_path) == CONTENT
    starts = [int(r.removeprefix("bytes=").rstrip("-")) for r in server.ranges[1:] if r]
    assert len(starts) == 2
    assert 100_000 < starts[0] <= 200_000 < starts[1] <= 400_000


def test_progress_renews_the_attempts(
    server: Server, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "ATTEMPTS", 2)
    server.behaviours = [dropping(2 * http.LEAST_PROGRESS)] * 3
    assert fetched(server, tmp_path) == CONTENT
    assert waits == [http.FIRST_WAIT] * 3


def test_another_call_continues(server: Server, tmp_path: Path) -> None:
    server.behaviours = [dropping(300_000), *[answering(503)] * http.ATTEMPTS]
    assert "503" in failure(server, tmp_path)
    assert fetched(server, tmp_path) == CONTENT
    assert server.ranges[-1] != "bytes=0-"
    assert server.ranges[-1] is not None


def test_a_server_that_ignores_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.behaviours = [dropping(300_000), lambda handler: handler.answer(200, CONTENT)]
    assert fetched(server, tmp_path) == CONTENT


def test_a_server_that_ignores_ranges_and_always_drops_is_given_up(server: Server, tmp_path: Path) -> None:
    server.behaviours = [lambda handler: handler.answer(200, CONTENT, sent=300_000)] * 50
    message = failure(server, tmp_path)
    assert "cannot download http://127.0.0.1" in message
    assert http.ATTEMPTS <= len(server.ranges) <= http.ATTEMPTS + 1


def changed(handler: Handler) -> None:
    handler.server.content = OTHER
    handler.server.headers["ETag"] = '"two"'
    honest(handler)


def changed_silently(handler: Handler) -> None:
    """Sends the rest of another file, in spite of If-Range."""
    handler.server.content = OTHER
    handler.server.headers["ETag"] = '"two"'
    start = int(handler.headers["Range"][6:-1])
    handler.answer(206, OTHER[start:], Content_Range=f"bytes {start}-{SIZE - 1}/{SIZE}")


@pytest.mark.parametrize("behaviour", [changed, changed_silently])
def test_a_file_that_changed_is_not_put_together_from_two(server: Server, tmp_path: Path, behaviour: Any) -> None:
    server.behaviours = [dropping(300_000), behaviour]
    assert fetched(server, tmp_path) == OTHER


@pytest.mark.parametrize(
    ("etag", "modified", "resumed"),
    [('W/"weak"', "Mon, 01 Jan 2018 00:00:00 GMT", True), ('W/"weak"', "", False), ("", "", False), ('"e"', "", True)],
)
def test_only_what_can_be_identified_is_resumed(
    server: Server, tmp_path: Path, etag: str, modified: str, resumed: bool
) -> None:
    server.headers = {"ETag": etag, "Last-Modified": modified}
    server.behaviours = [dropping(300_000)]
    assert fetched(server, tmp_path) == CONTENT
    assert (server.ranges[1] is not None) is resumed


def test_a_length_that_is_too_long_ends_with_what_the_server_has(server: Server, tmp_path: Path) -> None:
    server.behaviours = [lambda handler: handler.answer(200, CONTENT, Content_Length=str(SIZE + 1000))]
    assert fetched(server, tmp_path) == CONTENT


def test_a_length_that_is_too_short_is_all_that_is_read(server: Server, tmp_path: Path) -> None:
    server.behaviours = [lambda handler: handler.answer(200, CONTENT, Content_Length="1000")]
    assert fetched(server, tmp_path) == CONTENT[:1000]  # unpacking then finds that it is no archive


@pytest.mark.parametrize("span", ["bytes 0-9/10", "bytes 5-499999/500000", "items 1-2/3", "", f"bytes 1-2/{10**30}"])
def test_another_part_than_asked_for_is_not_used(server: Server, tmp_path: Path, span: str) -> None:
    server.behaviours = [dropping(300_000), lambda handler: handler.answer(206, b"x" * 10, Content_Range=span)]
    assert fetched(server, tmp_path) == CONTENT


def longer(handler: Handler) -> None:
    """A part in chunks, with more bytes than the file has."""
    start = int(handler.headers["Range"][6:-1])
    span, body = f"bytes {start}-{SIZE - 1}/{SIZE}", CONTENT[start:] + b"x" * 100_000
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    handler.answer(206, chunks, Content_Length="", Transfer_Encoding="chunked", Content_Range=span)


def test_more_bytes_than_the_file_has_are_not_kept(server: Server, tmp_path: Path) -> None:
    server.behaviours = [dropping(300_000), longer]
    assert fetched(server, tmp_path) == CONTENT


def test_a_redirect_is_followed_and_a_circle_is_one_line(server: Server, tmp_path: Path) -> None:
    server.behaviours = [answering(302, Location="/elsewhere/pix3d.zip"), dropping(300_000)]
    assert fetched(server, tmp_path) == CONTENT
    (tmp_path / "other").mkdir()
    server.behaviours = [answering(302, Location="/data/pix3d.zip")] * 50
    assert "redirects" in failure(server, tmp_path / "other")


@pytest.mark.parametrize("status", [401, 403, 404, 410, 204])
def test_a_refusal_is_one_line_at_once(server: Server, tmp_path: Path, status: int) -> None:
    server.behaviours = [answering(status)]
    assert f"the server answers {status}" in failure(server, tmp_path)
    assert len(server.ranges) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_error_of_the_server_is_waited_for(server: Server, tmp_path: Path, status: int, waits: list[float]) -> None:
    server.behaviours = [answering(status), answering(status, Retry_After="7"), answering(status, Retry_After="9999")]
    events: list[Event] = []
    assert fetched(server, tmp_path, events.append) == CONTENT
    assert waits == [1.0, 7.0, http.LONGEST_WAIT]
    assert sum(isinstance(e, Note) and str(status) in e.message for e in events) == 3


def test_an_error_that_stays_is_given_up_and_what_is_there_is_kept(
    server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.behaviours = [dropping(300_000), *[answering(500)] * 50]
    assert "answers 500" in failure(server, tmp_path)
    assert waits == sorted(waits)
    assert (tmp_path / "pix3d.zip.partial").stat().st_size > 200_000


def test_a_disk_that_is_too_small_is_told_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    assert "too small" in failure(server, tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "pix3d.zip", "http://", "ftp://x/y.zip", "http://[::bad/"])
def test_an_address_that_is_none_is_one_line(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="cannot download"):
        http.fetch(url, tmp_path / "pix3d.zip", emit=ignore)


def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    with serving(b"") as gone:
        url = gone.url.replace("http://", "http://user:secret@") + "?signature=secret"
    with pytest.raises(InputError, match="cannot download") as caught:
        http.fetch(url, tmp_path / "pix3d.zip", emit=ignore)
    assert "secret" not in str(caught.value).partition(":")[0]
    assert "secret" not in http.shown(url)


@pytest.mark.parametrize("side", ["", "[]", "{}", '{"url": 5}', '{"size": "x"}', '{"x": 1}', "{" * 99])
def test_a_damaged_side_file_starts_again(server: Server, tmp_path: Path, side: str) -> None:
    (tmp_path / "pix3d.zip.partial").write_bytes(b"x" * 1000)
    (tmp_path / "pix3d.zip.partial.json").write_text(side)
    assert fetched(server, tmp_path) == CONTENT
    assert server.ranges == [None]


def test_a_link_in_the_place_of_the_partial_file_is_not_followed(server: Server, tmp_path: Path) -> None:
    folder, precious = tmp_path / "to", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("mine")
    (folder / "pix3d.zip.partial").symlink_to(precious)
    assert fetched(server, folder) == CONTENT
    assert precious.read_text() == "mine"
