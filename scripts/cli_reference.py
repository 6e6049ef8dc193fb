"""Write docs/reference/cli.md from the commands themselves. ``tests/house/test_docs.py`` holds the two together.

Run: ``.venv/bin/python scripts/cli_reference.py`` (or ``make cli-reference``).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click
from onet_cli.app import cli

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/cli.md"
COMMON = ("as_json", "quiet", "verbose")
"""Options that every command has; explained once at the top."""

HEAD = """\
# Command line

<!-- Written by scripts/cli_reference.py from the commands themselves: change those, then run `make cli-reference`. -->

This page lists all commands and options. Every command has `--json` (print one JSON document on stdout), `-q`/`--quiet`
(only errors and requested tables), `-v`/`--verbose` (more, and tracebacks) and `-h`/`--help`. Progress and logs go to
stderr.

| exit status | meaning |
|---|---|
| 0 | done |
| 2 | wrong usage: an unknown option, a value out of range |
| 3 | bad input, or no usable input: one line says what is wrong and what to do |
| 4 | done, but with rejects, under `--strict` |
| 130 | interrupted; everything finished so far is kept |

To install shell completion, run one of these lines once:

- bash: `_ONET_COMPLETE=bash_source onet >> ~/.bashrc`
- zsh: `_ONET_COMPLETE=zsh_source onet >> ~/.zshrc`
- fish: `_ONET_COMPLETE=fish_source onet > ~/.config/fish/completions/onet.fish`
"""


def leaves(group: click.Group, prefix: str = "onet") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its full name, in the order of the help page."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix} {name}")
        elif command is not None and not command.hidden:
            yield f"{prefix} {name}", command


def description(command: click.Command) -> str:
    """The help text as markdown: what stands in a ``\\b`` block (the examples) becomes a code block."""
    parts = []
    for block in inspect.cleandoc(command.help or "").split("\n\n"):
        if block.startswith("\b\n"):
            title, _, body = block[2:].partition("\n")
            code = inspect.cleandoc("\n" + body) if title.endswith(":") else inspect.cleandoc("\n" + block[2:])
            label = f"{title}\n\n" if title.endswith(":") else ""
            parts.append(f"{label}```text\n{code}\n```")
        else:
            parts.append(block)
    return "\n\n".join(parts)


def options(command: click.Command) -> str:
    """A table of the command's own arguments and options."""
    context = click.Context(command)
    rows = []
    for parameter in command.params:
        if parameter.name in COMMON or getattr(parameter, "hidden", False):
            continue
        if isinstance(parameter, click.Argument):
            rows.append((f"`{parameter.make_metavar(context)}`", "required" if parameter.required else "optional"))
            continue
        record = parameter.get_help_record(context)
        if record is not None:
            help_text = " ".join(record[1].split()).replace("] [", "; ")  # two brackets in a row are a link
            rows.append((f"`{record[0]}`", help_text))
    if not rows:
        return ""
    cells = (f"| {left.replace('|', chr(92) + '|')} | {right.replace('|', chr(92) + '|')} |" for left, right in rows)
    return "| option | |\n|---|---|\n" + "\n".join(cells) + "\n"


def page() -> str:
    """The whole page."""
    sections = [f"## {name}\n\n{description(command)}\n\n{options(command)}" for name, command in leaves(cli)]
    return HEAD + "\n" + "\n".join(sections).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
