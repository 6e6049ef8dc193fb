"""Standard output and standard error: plain lines without rich, limited encodings, closed pipes."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pix3d_onet import escape
from pix3d_onet.errors import InputError

CLOSED_PIPE = 141
"""Exit status if the reader of standard output has closed the pipe, as in a shell: 128 + SIGPIPE."""
NEAREST = {
    "−": "-",
    "±": "+-",
    "×": "x",
    "…": "...",
    "–": "-",
    "’": "'",
    "“": '"',
    "”": '"',
    "²": "2",
    "³": "3",
    "→": "->",
}
"""Replacements for signs that onet prints, for encodings without them, so that a number keeps its sign."""


Callback = Callable[[], None]
_waiting: list[Callback] = []


def on_next_output(call: Callback) -> None:
    """Call ``call`` once, before the next output."""
    _waiting.append(call)


def run_callbacks() -> None:
    """Call the functions of ``on_next_output``; to be called before any output: on a stream, or in live lines."""
    while _waiting:
        _waiting.pop()()


def replace_missing_characters() -> None:
    """Make both streams replace characters that their encoding lacks."""
    codecs.register_error("nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # closed, or not a text file
            stream.reconfigure(errors="nearest")  # type: ignore[union-attr]


def _nearest(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(NEAREST.get(character, "?") for character in missing), error.end


def say(text: object, *, err: bool = False) -> None:
    """Print one line, with control characters escaped. Failures are ignored on standard error."""
    with contextlib.suppress(*([InputError, SystemExit] if err else [])):
        write(f"{escape.visible(str(text))}\n", err=err)


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a JSON document to standard output, as ASCII if its encoding is not UTF-8; paths as text."""
    unicode = codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name.startswith("utf")
    text = json.dumps(document, indent=1, ensure_ascii=not unicode, allow_nan=False, default=os.fspath)
    write(escape.json_text(text) + "\n")


def write(text: str, *, err: bool = False) -> None:
    """Print ``text``, which must be escaped already.

    ``click.echo`` is not used, because it prints UTF-8 even if the encoding is ASCII.
    """
    run_callbacks()
    stream = sys.stderr if err else sys.stdout
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        raise output_error(error) from None


def output_error(error: OSError) -> InputError | SystemExit:
    """The exception to raise if printing to standard output fails. (Files are written first.)"""
    if isinstance(error, BrokenPipeError):
        return SystemExit(CLOSED_PIPE)
    return InputError(f"cannot write to standard output: {error.strerror}.")


def flush_all() -> None:
    """Flush both streams; silence one that fails, so that Python prints no error at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
