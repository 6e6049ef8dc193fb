"""A real HTTP server for one file, in a thread, that misbehaves as a test tells it to."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """``behaviours``: one per request, in order; then ``honest``. ``ranges``: the Range header of each request."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.headers = {"ETag": '"one"', "Last-Modified": "Mon, 01 Jan 2018 00:00:00 GMT"}
        self.behaviours: list[Behaviour] = []
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data/pix3d.zip"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers["Range"])
        behaviour = self.server.behaviours.pop(0) if self.server.behaviours else honest
        self.close_connection = True
        behaviour(self)

    def answer(self, status: int, body: bytes, *, sent: int | None = None, **more: str) -> None:
        """Send ``body``, or only its first ``sent`` bytes; ``more`` replaces headers (``_`` is ``-``, "" removes)."""
        self.send_response(status)
        headers = {**self.server.headers, "Content-Length": str(len(body)), "Connection": "close"}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:sent])

    def wanted(self) -> int | None:
        """First byte of the range that is asked for, if the file is still the one that the client knows."""
        found = re.match(r"bytes=(\d+)-$", self.headers["Range"] or "")
        known = (self.server.headers.get("ETag"), self.server.headers.get("Last-Modified"))
        return int(found[1]) if found and self.headers["If-Range"] in known else None

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def honest(handler: Handler, sent: int | None = None) -> None:
    """As RFC 9110 says."""
    content, start = handler.server.content, handler.wanted()
    if start is None:
        handler.answer(200, content, sent=sent)
    elif start >= len(content):
        handler.answer(416, b"", Content_Range=f"bytes */{len(content)}")
    else:
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.answer(206, content[start:], sent=sent, Content_Range=span)


def dropping(after: int) -> Behaviour:
    """Honest, but the connection ends after this many bytes of the answer."""
    return lambda handler: honest(handler, after)


def answering(status: int, **headers: str) -> Behaviour:
    """An answer without the file."""
    return lambda handler: handler.answer(status, b"<html>no</html>", **headers)


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """The server, while in the block."""
    server = Server(content)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
