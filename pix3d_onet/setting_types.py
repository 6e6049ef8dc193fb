"""A setting's value as the type of its field, checked before its range.

Only conversions that lose nothing are made, so that equal settings are equal, have one hash, and so name one run: whole
numbers become floats where the field is a float, NumPy's scalars Python's, and lists tuples. Anything else is refused:
``"no"`` is not false, and 2.5 steps are not 3.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterable
from typing import Any, Literal, Union, get_args, get_origin

from pix3d_onet.errors import SettingError, alternatives


def check_choice(setting: str, value: object, choices: Any) -> None:
    """SettingError unless ``value`` is one of ``choices``, a ``Literal`` type or any iterable."""
    allowed = list(get_args(choices) or choices)
    if not _is_one_of(value, allowed):
        raise SettingError(setting, alternatives(allowed), value)


def converted(setting: str, value: Any, kind: Any) -> Any:
    """``value`` as the type ``kind`` of the field ``setting``; SettingError if it is of another type.

    ``kind``: bool, int, float, str, a ``Literal``, a union of these, or a tuple of one of them.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # a scalar of NumPy or of a tensor
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise SettingError(setting, "a list", value)
        return tuple(converted(setting, item, get_args(kind)[0]) for item in value)
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    for member in members:
        if (found := _as(value, member)) is not None:
            return found[0]
    raise SettingError(setting, alternatives([*_rules(members)]), value)


def _as(value: Any, kind: Any) -> tuple[Any] | None:
    """``value`` as ``kind``, in a tuple; None if it is not of that type."""
    if get_origin(kind) is Literal:
        allowed = list(get_args(kind))
        return (allowed[allowed.index(value)],) if _is_one_of(value, allowed) else None
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return (float(value),) if abs(value) <= MOST and math.isfinite(value) else None
    if kind is int and isinstance(value, bool):
        return None
    return (value,) if isinstance(value, kind) else None


MOST = 2**1023
"""A larger whole number is no float."""
RULES = {bool: "True or False", int: "a whole number", float: "a number", str: "text", type(None): "None"}


def _rules(members: Iterable[Any]) -> Iterable[str]:
    """What a value must be, for each type of a union."""
    for member in members:
        yield from map(str, get_args(member)) if get_origin(member) is Literal else [RULES[member]]


def _is_one_of(value: object, allowed: list[Any]) -> bool:
    """Whether ``value`` is in ``allowed``; True is not 1."""
    return any(type(other) is type(value) and other == value for other in allowed) or (
        isinstance(value, str) and value in allowed
    )
