"""Make click options from config fields. Flag, type, choices, default and help are written once, in the field."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click

from pix3d_onet.config import MachineConfig, choices_of, field_types

DATA = Path("data/prepared/pix3d-chair")
"""Where ``onet prepare pix3d`` writes by default, and where the other commands look."""
FOLDER = click.Path(path_type=Path)
SUITE_HELP = (
    "table1, backbones, pose, conditioning, pyramid, views, augment, capacity, pretrain, norm, sampling, recipe, or a "
    "suite file of your own (my.toml)."
)


class Count(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A whole number or ``auto``, which is passed on as 0."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse; a usage error for anything else."""
        if isinstance(value, int):
            return value
        if value == "auto":
            return 0
        if not str(value).isdecimal() or int(value) == 0:
            self.fail(f"{value!r} is neither a number above 0 nor auto.", param, ctx)
        return int(value)


class Threshold(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number or ``val``."""

    name = "number|val"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Parse; a usage error for anything else."""
        try:
            return "val" if value == "val" else float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor val.", param, ctx)


class Numbers(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Numbers of one type separated by commas, as a tuple; ``what`` names them in messages."""

    def __init__(self, kind: type[float], name: str, what: str) -> None:
        self.kind, self.name, self.what = kind, name, what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Parse; a usage error for anything else."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of {self.what}.", param, ctx)


def setting(
    config: type, name: str, *flags: str, unset: bool = False, default_text: str = "", **options: Any
) -> Callable[[Any], Any]:
    """Decorator that adds the option for the field ``name`` of a config.

    ``flags``: only if they differ from the field's name with dashes. ``unset``: pass None if the option is not given,
    so that a preset can fill it in; the help still shows the default, or ``default_text``. ``options`` go to click.
    """
    field = next(f for f in dataclasses.fields(config) if f.name == name)
    kind = plain(field_types(config)[name])
    given: dict[str, Any] = {"default": field.default, "help": field_help(config)[name], "show_default": True}
    if get_origin(kind) is tuple:
        kind, given["multiple"] = get_args(kind)[0], True
    if table := choices_of(config, name):
        given["type"] = click.Choice(list(table))
    elif get_origin(kind) is Literal:
        given["type"] = click.Choice(get_args(kind))
    elif kind is bool:
        given["is_flag"] = True
    else:
        given["type"] = {int: int, float: float, str: str, Path: FOLDER}[kind]
    given |= options
    switch = flag_of(name, switch=given["default"] is True)
    shown = default_text or given["default"]
    if shown is None or shown == () or shown is False:
        given["show_default"] = False
    elif unset:
        given["help"] += f"  [default: {shown}]"
    if unset:
        given |= {"default": None, "show_default": False}
    return click.option(*(flags or [switch]), name, **given)


def settings(config: type, *names: str, **options: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Decorator that adds the options for several fields, in this order; ``options``: field → :func:`setting`'s."""

    def decorate(function: Any) -> Any:
        for name in reversed(names):
            function = setting(config, name, **options.get(name, {}))(function)
        return function

    return decorate


def threads_option(function: Any) -> Any:
    """``--threads N|auto`` of the commands that run networks."""
    return setting(MachineConfig, "threads", type=Count(), default="auto")(function)


def flag_of(name: str, *, switch: bool = False) -> str:
    """``batch_size`` → ``--batch-size``; a ``switch`` that is on by default also gets a ``--no-`` form."""
    dashed = name.replace("_", "-")
    return f"--{dashed}/--no-{dashed}" if switch else f"--{dashed}"


def plain(kind: Any) -> Any:
    """A field's type without ``| None``."""
    if get_origin(kind) in (UnionType, Union):
        return next(k for k in get_args(kind) if k is not type(None))
    return kind


@functools.cache
def field_help(config: type) -> dict[str, str]:
    """Field → its docstring on one line, without backticks; fields of base classes included."""
    found: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        body = ast.parse(inspect.getsource(base)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(text.value.value).replace("``", "").split())
    return found
