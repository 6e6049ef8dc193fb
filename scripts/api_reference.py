"""Write the signatures of the stable names into docs/reference/api.md. A test of the docs holds them together.

Run: ``.venv/bin/python scripts/api_reference.py`` (or ``make api-reference``).
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pix3d_onet

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/api.md"
LINE = 100
"""Longest signature on one line."""


def signature(function: ast.FunctionDef) -> str:
    """``name(arguments) -> type`` and the first line of the docstring."""
    head, tail = f"{function.name}(", f") -> {ast.unparse(function.returns or ast.Constant(None))}"
    arguments = ast.unparse(function.args)
    if len(head + arguments + tail) > LINE:
        arguments = "\n" + re.sub(r"(^|, )(?=\*?,|\w+:|\*\*)", r",\n    ", arguments).removeprefix(",\n") + "\n"
    summary = (ast.get_docstring(function) or "").split("\n\n")[0]
    summary = re.sub(r":\w+:`(\w+)`", r"``\1``", " ".join(summary.split()))
    return f"{head}{arguments}{tail}\n    {summary}"


def page() -> str:
    """The whole page, with the present signatures in its first block."""
    body = ast.parse(Path(pix3d_onet.__file__).read_text(encoding="utf-8")).body
    functions = [f for f in body if isinstance(f, ast.FunctionDef) and f.name in pix3d_onet.__all__]
    block = "```text\n" + "\n\n".join(map(signature, functions)) + "\n```"
    return re.sub(r"```text\n.*?\n```", lambda _: block, PAGE.read_text(encoding="utf-8"), count=1, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
