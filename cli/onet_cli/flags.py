"""The settings that the library's messages name, spelled as the flags of the command that was called."""

from __future__ import annotations

import re

import click

SETTING = re.compile(r"`([a-z]\w*)(?:=([^`]*))?`")
"""A setting in a message of the library (see ``pix3d_onet.errors``): its name, and the value where one is advised."""


def in_flags(text: str, command: click.Command | None) -> str:
    """``text`` with `` `data_in='disk'` `` as ``--data-in disk``; settings of other commands by the same rule.

    A setting is the parameter of ``command`` with that name, whatever its flag is called. `` `resume=True` `` is
    ``--resume``, `` `pretrained=False` `` is ``--no-pretrained``.
    """
    options = [p for p in command.params if isinstance(p, click.Option)] if command is not None else []

    def spelled(found: re.Match[str]) -> str:
        name, value = found.groups()
        plain = "--" + name.replace("_", "-")
        flag = next((max(o.opts, key=len) for o in options if name == o.name), plain)
        if value == "False":
            return flag.replace("--", "--no-", 1)
        return flag if value in (None, "True") else f"{flag} {value.strip(chr(39))}"

    return SETTING.sub(spelled, text)
