"""Write the signatures of the stable names into docs/reference/api.md. A test of the docs holds them together.

Run: ``.venv/bin/python scripts/api_reference.py`` (or ``make api-reference``).
"""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pix3d_onet

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/api.md"
LINE = 100
"""Longest signature on one line."""


def signature(name: str, node: ast.FunctionDef | ast.ClassDef) -> str:
    """``name(arguments) -> type`` and the first paragraph of the docstring; of a class, as it is called."""
    function, returns = node, ast.unparse(getattr(node, "returns", None) or ast.Constant(None))
    if isinstance(node, ast.ClassDef):
        function = next(f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__")
        function.args.args.pop(0)  # self
        returns = node.name
    head, tail = f"{name}(", f") -> {returns}"
    arguments = ast.unparse(function.args)
    if len(head + arguments + tail) > LINE:
        arguments = "\n" + re.sub(r"(^|, )(?=\*?,|\w+:|\*\*)", r",\n    ", arguments).removeprefix(",\n") + "\n"
    summary = (ast.get_docstring(node) or "").split("\n\n")[0]
    summary = re.sub(r":\w+:`(\w+)`", r"``\1``", " ".join(summary.split()))
    return f"{head}{arguments}{tail}\n    {summary}"


def definition(name: str) -> ast.FunctionDef | ast.ClassDef | None:
    """Where a public name is defined: in its module, see ``pix3d_onet.LAZY``, or in the package; None elsewhere."""
    module, _, own = pix3d_onet.LAZY.get(name, f"pix3d_onet:{name}").partition(":")
    spec = importlib.util.find_spec(module)
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    return next((f for f in body if isinstance(f, ast.FunctionDef | ast.ClassDef) and f.name == own), None)


def page() -> str:
    """The whole page, with the present signatures in its first block."""
    defined = [(name, node) for name in pix3d_onet.__all__ if (node := definition(name)) is not None]
    block = "```text\n" + "\n\n".join(signature(name, node) for name, node in defined) + "\n```"
    return re.sub(r"```text\n.*?\n```", lambda _: block, PAGE.read_text(encoding="utf-8"), count=1, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
