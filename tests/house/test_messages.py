"""The library's messages name settings, not flags: not every caller is a command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from onet_cli.app import cli
from onet_cli.flags import SETTING

LIBRARY = Path(__file__).resolve().parents[2] / "pix3d_onet"
FLAG = re.compile(r"(?<![\w-])--[a-z]")
COMMANDS_OF_OTHERS = re.compile(r"apt-get|dask worker|--query-gpu|--format=csv")
"""Command lines of other programs: what to install, what to start, what is asked."""
RECIPE = "prepare_command"
"""The function that writes the command that made a data set, for a person to copy."""


def strings(tree: ast.AST) -> Iterator[str]:
    """Every text of a module, docstrings too; ``X`` stands for what an f-string puts in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name == RECIPE:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        else:
            yield from strings(node)


TEXTS = {p: list(strings(ast.parse(p.read_text()))) for p in sorted(LIBRARY.rglob("*.py"))}


def parameters(command: click.Command) -> set[str]:
    """Names of all options of a command and of those below it, by which :func:`in_flags` spells them."""
    options = [p for p in command.params if isinstance(p, click.Option)]
    found = {str(p.name) for p in options} | {flag[2:].replace("-", "_") for p in options for flag in p.opts}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found |= parameters(child)
    return found


def test_no_text_of_the_library_has_a_flag() -> None:
    found = [
        (path.name, text)
        for path, texts in TEXTS.items()
        for text in texts
        if FLAG.search(text) and not COMMANDS_OF_OTHERS.search(text)
    ]
    assert found == []


def test_settings_in_messages_are_options_of_some_command() -> None:
    """So the command line can spell them, and none is misspelled."""
    said = [text for texts in TEXTS.values() for text in texts if "``" not in text and ":`" not in text]  # no docstring
    named = {m[1] for text in said for m in SETTING.finditer(text)}
    assert {"out", "resume", "batch_size", "categories"} <= named
    assert named - parameters(cli) == set()


@pytest.mark.parametrize("text", ["Choose --out.", "`x` (--voxels)"])
def test_flags_are_seen(text: str) -> None:
    assert FLAG.search(text)
