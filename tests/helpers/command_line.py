"""Call ``onet`` in the test's process."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

from onet_cli.main import main


class Answer(NamedTuple):
    """What a command left with and what it said."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def onet(*arguments: object) -> Answer:
    """Run ``onet ARGUMENTS``. What it says is passed on, so that pytest shows it where a test fails."""
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main([str(a) for a in arguments])
    except SystemExit as left:
        status = left.code
    sys.stdout.write(out.getvalue())
    sys.stderr.write(err.getvalue())
    return Answer(int(status or 0), out.getvalue(), err.getvalue())


def status(*arguments: object) -> int:
    """The exit status of ``onet ARGUMENTS``."""
    return onet(*arguments).status
