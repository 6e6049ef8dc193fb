"""JSON objects of a hostile document: every value is asked for with its type and its bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pix3d_onet.geometry.mesh.formats.soup import damaged

_ANY = 1 << 53
"""Integers up to here are exact whatever a JSON library reads them as."""


class Checked:
    """A JSON object and what it is, for messages. Every method raises RejectError ``unreadable-mesh``."""

    def __init__(self, value: dict[str, Any], what: str) -> None:
        self.value = value
        self.what = what

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)

    def get(self, key: str, default: Any = None) -> Any:
        """The raw value."""
        return self.value.get(key, default)

    def part(self, key: str) -> Checked:
        """The object under ``key``."""
        value = self.value.get(key)
        if not isinstance(value, dict):
            raise damaged(f"{self.what}: {key} is not an object")
        return Checked(value, self.what if key == "extensions" else f"{self.what}, {key}")

    def extension(self, name: str) -> Checked | None:
        """The object of an extension, None where it is not used."""
        if "extensions" not in self or name not in (held := self.part("extensions")):
            return None
        return held.part(name)

    def flag(self, key: str) -> bool:
        """A boolean that is false where it is absent."""
        value = self.value.get(key, False)
        if not isinstance(value, bool):
            raise damaged(f"{self.what}: {key} is neither true nor false")
        return value

    def integer(self, key: str, default: int | None = None, *, low: int = 0, high: int = _ANY) -> int:
        """An integer within bounds; ``default`` where it is absent (None: it must be there)."""
        value = self.value.get(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            bounds = f"from {low} on" if high == _ANY else f"from {low} to {high}"
            raise damaged(f"{self.what}: {key} is {repr(value)[:40]}, not an integer {bounds}")
        return value

    def numbers(self, key: str, count: int, default: tuple[float, ...]) -> list[float]:
        """``count`` finite numbers."""
        value = self.value.get(key, list(default))
        if not isinstance(value, list) or len(value) != count or not all(map(_is_finite, value)):
            raise damaged(f"{self.what}: {key} is not {count} finite numbers")
        return [float(x) for x in value]

    def indices(self, key: str) -> list[int]:
        """A list of integers, empty where it is absent."""
        value = self.value.get(key, [])
        if not isinstance(value, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in value):
            raise damaged(f"{self.what}: {key} is not a list of indices")
        return value

    def names(self, key: str) -> list[str]:
        """A list of texts, empty where it is absent."""
        value = self.value.get(key, [])
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise damaged(f"{self.what}: {key} is not a list of names")
        return value

    def items(self, key: str) -> list[Checked]:
        """The objects in a list, none where it is absent."""
        value = self.value.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise damaged(f"{self.what}: {key} is not a list of objects")
        where = "" if self.what == "the document" else f"{self.what}, "
        return [Checked(item, f"{where}{_singular(key)} {k}") for k, item in enumerate(value)]

    def item(self, key: str, index: int) -> Checked:
        """One of these objects."""
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
