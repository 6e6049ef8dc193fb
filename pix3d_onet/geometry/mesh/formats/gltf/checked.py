"""JSON objects of an untrusted document: every value is read with its type and bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pix3d_onet.geometry.mesh.formats.soup import damaged, too_large

_ANY = 1 << 53
"""Largest integer that is exact even if a JSON library reads it as float64."""


class Checked:
    """A JSON object; ``what`` names it in messages. Methods raise RejectError ``unreadable-mesh`` for a wrong value."""

    __slots__ = ("value", "what")

    def __init__(self, value: dict[str, Any], what: str) -> None:
        self.value = value
        self.what = what

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)

    def get(self, key: str, default: Any = None) -> Any:
        """The value under ``key``, not checked."""
        return self.value.get(key, default)

    def part(self, key: str) -> Checked:
        """The object under ``key``."""
        value = self.value.get(key)
        if not isinstance(value, dict):
            raise damaged(f"{self.what}: {key} is not an object")
        return Checked(value, self.what if key == "extensions" else f"{self.what}, {key}")

    def extension(self, name: str) -> Checked | None:
        """The object of an extension; None if it is not used."""
        if "extensions" not in self or name not in (held := self.part("extensions")):
            return None
        return held.part(name)

    def flag(self, key: str) -> bool:
        """A boolean; False if it is absent."""
        value = self.value.get(key, False)
        if not isinstance(value, bool):
            raise damaged(f"{self.what}: {key} is neither true nor false")
        return value

    def integer(self, key: str, default: int | None = None, *, low: int = 0, high: int = _ANY) -> int:
        """An integer in [``low``, ``high``]; ``default`` if it is absent (None: it is required)."""
        value = self.value.get(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            bounds = f"of at least {low}" if high == _ANY else f"from {low} to {high}"
            raise damaged(f"{self.what}: {key} is {repr(value)[:40]}, not an integer {bounds}")
        return value

    def numbers(self, key: str, count: int, default: tuple[float, ...]) -> list[float]:
        """``count`` finite numbers."""
        value = self.value.get(key, list(default))
        if not isinstance(value, list) or len(value) != count or not all(map(_is_finite, value)):
            raise damaged(f"{self.what}: {key} is not {count} finite numbers")
        return [float(x) for x in value]

    def indices(self, key: str) -> list[int]:
        """A list of integers; empty if it is absent."""
        value = self.value.get(key, [])
        if not isinstance(value, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in value):
            raise damaged(f"{self.what}: {key} is not a list of indices")
        return value

    def names(self, key: str) -> list[str]:
        """A list of strings; empty if it is absent."""
        value = self.value.get(key, [])
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise damaged(f"{self.what}: {key} is not a list of names")
        return value

    def items(self, key: str, most: int = _ANY) -> list[Checked]:
        """The objects in a list, of which there may be ``most``; none if it is absent."""
        value = self.value.get(key, [])
        if isinstance(value, list) and len(value) > most:
            raise too_large(f"over {most} {key}")
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise damaged(f"{self.what}: {key} is not a list of objects")
        where = "" if self.what == "the document" else f"{self.what}, "
        return [Checked(item, f"{where}{_singular(key)} {k}") for k, item in enumerate(value)]

    def item(self, key: str, index: int) -> Checked:
        """Object ``index`` of the list under ``key``."""
        value = self.value.get(key, [])
        if not isinstance(value, list) or not 0 <= index < len(value) or not isinstance(value[index], dict):
            raise damaged(f"there is no {_singular(key)} {index}")
        return Checked(value[index], f"{_singular(key)} {index}")


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


def _singular(key: str) -> str:
    return {"meshes": "mesh"}.get(key, key.removesuffix("s"))
