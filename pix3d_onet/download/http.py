"""Download one large file by HTTP: resumed by range requests, never put together from two versions of the file.

The bytes received so far are in ``NAME.partial``; ``NAME.partial.json`` has what identifies the file on the server
(RFC 9110, section 13.1.5: ``If-Range``). A server that sends neither a strong ETag nor a modification date cannot be
asked whether the file has changed, so its files are started again after an interruption.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pix3d_onet.errors import InputError
from pix3d_onet.events import Emit, Note, Progress
from pix3d_onet.files import is_own_file, read_json, remove, write_json
from pix3d_onet.version import __version__

if TYPE_CHECKING:
    import requests

ATTEMPTS = 6
"""Requests in a row that may fail without progress."""
LEAST_PROGRESS = 64 << 10
"""Bytes beyond all that were there before after which a failed request counts as progress."""
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
"""Seconds between two requests: doubled from one to the other, unless the server asks for more (``Retry-After``)."""
TIMEOUT = (20.0, 60.0)
"""Seconds to connect, and without any byte."""
AGENT = f"Mozilla/5.0 (compatible; onet/{__version__})"
"""``User-Agent``: servers of data sets are known to refuse those of Python's libraries."""
CHUNK = 64 << 10
MOST_REDIRECTS = 10
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
"""Statuses after which the same request may succeed later."""
SIDE_FILE_BYTES = 64 << 10
SPARE_BYTES = 64 << 20
"""Space that is left free on the disk."""


class _TryAgain(Exception):  # noqa: N818 - not an error of the caller
    """A request failed in a way that may pass; ``wait``: seconds that the server asks for."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class _Version:
    """What identifies the file on the server. ``size``: of the whole file, if known."""

    url: str = ""
    etag: str = ""
    modified: str = ""
    size: int | None = None

    @property
    def validator(self) -> str:
        """The value for ``If-Range``; empty if the server sent none that is strong enough."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def differs(self, other: _Version) -> bool:
        """Whether what both know differs; an answer with a part need not repeat the modification date."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.size, other.size))
        return any(mine and theirs and mine != theirs for mine, theirs in pairs)


def partial_files(target: Path) -> tuple[Path, Path]:
    """The bytes of ``target`` received so far, and what identifies their file."""
    partial = target.with_name(f"{target.name}.partial")
    return partial, partial.with_name(f"{partial.name}.json")


def fetch(url: str, target: Path, *, emit: Emit) -> int:
    """Download ``url`` to ``target``, or continue to; returns the bytes received by this call.

    Emits ``Progress`` in bytes. InputError if the server refuses, fails again and again, or the disk is too small;
    what was received is kept, and the next call continues.
    """
    import requests

    with requests.Session() as session:
        session.max_redirects = MOST_REDIRECTS
        return _Download(session, url, target, emit).run()


class _Download:
    """The state of one call of :func:`fetch`."""

    def __init__(self, session: requests.Session, url: str, target: Path, emit: Emit) -> None:
        self.session, self.url, self.target, self.emit = session, url, target, emit
        self.partial, self.side_file = partial_files(target)
        self.received = 0

    def run(self) -> int:
        """See :func:`fetch`."""
        failures, furthest, wait = 0, self._held(), FIRST_WAIT
        while True:
            try:
                self._request()
            except _TryAgain as error:
                if (held := self._held()) >= furthest + LEAST_PROGRESS:
                    failures, wait = 0, FIRST_WAIT
                failures, furthest = failures + 1, max(furthest, held)
                if failures >= ATTEMPTS:
                    hint = "Run the same command again to continue, or name a mirror with `url`."
                    raise InputError(f"cannot download {shown(self.url)}: {error}.", hint=hint) from None
                pause = min(max(wait, error.wait), LONGEST_WAIT)
                self.emit(Note(f"{self.target.name}: {error}; trying again in {pause:.0f} s", "warning"))
                time.sleep(pause)
                wait *= 2
                continue
            self.partial.replace(self.target)
            remove(self.side_file)
            return self.received

    def _held(self) -> int:
        return self.partial.stat().st_size if is_own_file(self.partial) else 0

    def _version(self) -> _Version:
        """What identifies the file of the bytes received so far; empty if that is not known."""
        try:
            found = _Version(**read_json(self.side_file, follow=False, limit=SIDE_FILE_BYTES))
        except (InputError, TypeError):
            return _Version()
        good = all(isinstance(v, str) for v in (found.url, found.etag, found.modified))
        good = good and (found.size is None or type(found.size) is int)
        return found if good and found.url == shown(self.url) else _Version()

    def _request(self) -> None:
        """One request, until ``partial`` is complete; _TryAgain if it is not afterwards."""
        import requests

        version, held = self._version(), self._held()
        if not version.validator or (version.size is not None and held > version.size):
            held = 0
        if held and held == version.size:
            return
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}  # ranges count the bytes of the file as it is
        if held:
            headers |= {"Range": f"bytes={held}-", "If-Range": version.validator}
        try:
            with self.session.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                self._receive(response, version, held)
        except (requests.TooManyRedirects, requests.exceptions.InvalidURL, ValueError) as error:
            raise InputError(f"cannot download {shown(self.url)}: {_line(error)}.") from None
        except requests.RequestException as error:
            raise _TryAgain(_line(error)) from None

    def _receive(self, response: requests.Response, version: _Version, held: int) -> None:
        """Take the answer to a request for all bytes from ``held`` on of the file that ``version`` identifies."""
        status = response.status_code
        if status == 416 and held and _total(response) == held:
            return  # the size was unknown, or not the one that was told
        if status == 206 and held:
            start, total = _content_range(response)
            found = _identified(response, self.url, total)
            if start != held or found.differs(version):
                self._forget()
                raise _TryAgain("the file on the server has changed, or the server sent another part")
            found = replace(found, size=total or version.size)
        elif status == 200:
            found = _identified(response, self.url, _length(response))
            held = 0
            self._forget()
            write_json(self.side_file, asdict(found))
        else:
            self._refused(response, bool(held))
        self._check_space(found.size, held)
        self._copy(response, found.size, held)

    def _refused(self, response: requests.Response, ranged: bool) -> None:
        """Raise the error of an answer without a body that could be used."""
        status = response.status_code
        what = f"the server answers {status} {response.reason or ''}".rstrip()
        if status in TEMPORARY:
            raise _TryAgain(what, _retry_after(response))
        if ranged and status in (206, 416):
            self._forget()
            raise _TryAgain(f"{what} to a request for a part")
        hint = "Name a mirror with `url`, or download it with a browser and name the file with `from_zip`."
        raise InputError(f"cannot download {shown(self.url)}: {what}.", hint=hint)

    def _forget(self) -> None:
        """Start again with the next request."""
        remove(self.partial)
        remove(self.side_file)

    def _check_space(self, size: int | None, held: int) -> None:
        free = shutil.disk_usage(self.partial.parent).free
        if size is not None and size - held + SPARE_BYTES > free:
            needed = f"{(size - held) / 1e9:.1f} GB are to be downloaded and {free / 1e9:.1f} GB are free"
            raise InputError(f"the disk of {self.partial.parent} is too small: {needed}.", hint="Name another folder.")

    def _copy(self, response: requests.Response, size: int | None, held: int) -> None:
        """Append the body to ``partial``; _TryAgain if it is shorter or longer than the file."""
        stage, done = f"download {self.target.name}", held
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.partial, flags, 0o666), "wb") as file:
            self.emit(Progress(stage, done, size or 0, unit="B"))
            for chunk in response.iter_content(CHUNK):
                if size is not None and done + len(chunk) > size:
                    file.close()
                    self._forget()
                    raise _TryAgain("the server sent more bytes than the file has")
                file.write(chunk)
                done += len(chunk)
                self.received += len(chunk)
                self.emit(Progress(stage, done, size or 0, unit="B"))
        if size is not None and done < size:
            raise _TryAgain(f"the connection ended after {done} of {size} bytes")


def shown(url: str) -> str:
    """``url`` for messages: without a password and without a query, which may hold a signature."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return "the URL"


def _line(error: Exception) -> str:
    """One line that says what went wrong; of a lost connection the cause, without urllib3's frame around it."""
    cause = getattr(error.args[0], "reason", error) if error.args else error
    return " ".join(f"{cause!s:.200}".split()).rstrip(".") or type(error).__name__


def _identified(response: requests.Response, url: str, size: int | None) -> _Version:
    headers = response.headers
    return _Version(shown(url), headers.get("ETag", ""), headers.get("Last-Modified", ""), size)


def _length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and size of the whole file by ``Content-Range: bytes 5-9/10``; None for what it does not tell."""
    found = re.match(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)$", response.headers.get("Content-Range", ""))
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _total(response: requests.Response) -> int | None:
    found = re.match(r"bytes \*/(\d{1,19})$", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _retry_after(response: requests.Response) -> float:
    value: Any = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0.0
