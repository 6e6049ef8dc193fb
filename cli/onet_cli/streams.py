"""Standard output and standard error: plain lines without rich, encodings that fall short, readers that went away."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pix3d_onet import escape
from pix3d_onet.errors import InputError

CLOSED_PIPE = 141
"""Exit status where the reader of standard output is gone, as a shell reports it: 128 + SIGPIPE."""
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
"""Signs that onet itself prints, for encodings without them: a number must keep its sign."""


def tolerate() -> None:
    """Have both streams replace what their encoding lacks."""
    codecs.register_error("nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # closed, or somebody's own object
            stream.reconfigure(errors="nearest")  # type: ignore[union-attr]


def _nearest(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(NEAREST.get(character, "?") for character in missing), error.end


def say(text: object, *, err: bool = False) -> None:
    """Print one line; nothing in it moves the cursor. On standard error, without complaint where nobody listens."""
    with contextlib.suppress(*([InputError, SystemExit] if err else [])):
        write(f"{escape.visible(str(text))}\n", err=err)


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write the one machine-readable document to standard output, in ASCII where that is not UTF-8."""
    unicode = codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name.startswith("utf")
    write(escape.json_text(json.dumps(document, indent=1, ensure_ascii=not unicode, allow_nan=False)) + "\n")


def write(text: str, *, err: bool = False) -> None:
    """Print ``text`` as it is: a document whose cells are escaped already. Not by click, which would print UTF-8 even
    where the encoding is ASCII."""
    stream = sys.stderr if err else sys.stdout
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        raise unprinted(error) from None


def unprinted(error: OSError) -> InputError | SystemExit:
    """What to raise where standard output does not take what is printed. (Files are written before anything is.)"""
    if isinstance(error, BrokenPipeError):
        return SystemExit(CLOSED_PIPE)
    return InputError(f"cannot write to standard output: {error.strerror}.")


def settle() -> None:
    """Silence a stream that fails, before Python writes what is left in its buffer and complains."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
