"""Translate the setting names in the library's messages into the flags of the command that runs."""

from __future__ import annotations

import re

import click

SETTING = re.compile(r"`([a-z]\w*)(?:=([^`]*))?`")
"""A setting in a message of the library (see ``pix3d_onet.errors``): its name, and a value if one is advised."""


def in_flags(text: str, command: click.Command | None) -> str:
    """Replace each setting in ``text`` by its flag: `` `data_in='disk'` `` becomes ``--data-in disk``.

    `` `resume=True` `` becomes ``--resume``, `` `pretrained=False` `` becomes ``--no-pretrained``. The flag is the one
    that ``command`` declares for that parameter; a setting it lacks becomes its name with dashes.
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
