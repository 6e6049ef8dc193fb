"""Suite files: TOML files with the variants to compare, their labels, and training settings.

::

    title = "Small encoders"            # title of the table; default: the file's name
    suites = ["pose"]                   # the package's suites whose rows come first
    base = "resnet18"                   # variant to compare the others with; default: the first row
    seeds = [0, 1, 2]                   # default: 0

    [recipe]                            # for all variants; default: the preset paper
    preset = "quick"
    steps = 500                         # any field of TrainConfig but seed

    [[variant]]                         # a row; a variant of the package needs only its name
    name = "resnet18"
    label = "ResNet-18"

    [[variant]]
    name = "mobilenet"                  # letters, digits, . _ -
    label = "MobileNetV3"               # default: the name
    encoder = "timm:mobilenetv3_small_050"   # any field of ModelConfig
    train = { ema = 0.99 }              # changes of the recipe
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args

from pix3d_onet.ablation.selection import NOT_IN_A_NAME, Selection, named_suite
from pix3d_onet.ablation.variants import SUITES, VARIANTS, Variant
from pix3d_onet.config import Config, ModelConfig, RecipeName, TrainConfig
from pix3d_onet.errors import ConfigError, InputError, SettingError, alternatives, choose_from
from pix3d_onet.files import open_regular

MOST_BYTES = 65_536
"""Largest suite file; they are written by hand."""
LONGEST_LINE = 500
"""Most characters of a line: for a key with n parts (``a.a.a…``), ``tomllib`` takes time and memory of order n²."""
MOST_PARSED = 64
"""Most beginnings of a file that are parsed to find the line of an error."""
MODEL_KEYS = tuple(f.name for f in dataclasses.fields(ModelConfig))
RECIPE_KEYS = tuple(f.name for f in dataclasses.fields(TrainConfig) if f.name != "seed")
KINDS: Mapping[type, str] = {str: "text", list: "a list", dict: "a table"}
FILE_KEYS = ("title", "suites", "base", "seeds", "recipe", "variant")

Place = tuple[str | int, ...]
"""Position of a value in the document: keys, and indices of ``[[variant]]`` tables."""


def read_suite(path: Path) -> Selection:
    """Parse a suite file. InputError if it cannot be read; ConfigError with line and key for invalid content."""
    try:
        with open_regular(path) as handle:
            data = handle.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"suite file not found: {path}.") from None
    except OSError as error:
        raise InputError(f"cannot read suite file {path}: {error.strerror}.") from None
    if len(data) > MOST_BYTES:
        raise InputError(f"{path} is larger than {MOST_BYTES // 1024} KiB: not a suite file.")
    try:
        text = data.decode()
        long = next((n for n, line in enumerate(text.split("\n"), 1) if len(line) > LONGEST_LINE), None)
        if long is not None:
            raise ConfigError(f"{path}, line {long}: it has more than {LONGEST_LINE} characters.")
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    return _Suite(path, text, document).selection()


@dataclasses.dataclass(frozen=True, slots=True)
class _Suite:
    """A parsed suite file. Methods take the position of a value, so that an error can name its line."""

    path: Path
    text: str
    document: Mapping[str, Any]

    def selection(self) -> Selection:
        """The selection that the file describes."""
        top = self.document
        self.check_keys((), top, FILE_KEYS)
        rows = [v for i, name in enumerate(self.strings("suites")) for v in self.suite(("suites", i), name)]
        own = self.get("variant", list, [])
        rows += [self.variant(("variant", i), table) for i, table in enumerate(own)]
        if not rows:
            self.fail((), "it names no variant", "Add a [[variant]] with a name, or suites.")
        names = [row.name for row in rows]
        for i, name in enumerate(names):
            if name in names[:i]:
                self.fail(("variant", max(0, i - len(rows) + len(own)), "name"), f"{name!r} is a row already")
        base = self.get("base", str, names[0])
        if base not in names:
            self.fail(("base",), f"base must be one of its rows ({', '.join(names)}), not {base!r}")
        preset, recipe = self.recipe()
        title = self.get("title", str, self.path.stem)
        return Selection(self.path.stem, title, tuple(rows), base, preset, recipe, self.seeds())

    def suite(self, where: Place, name: str) -> tuple[Variant, ...]:
        """The rows of a suite of the package."""
        if name not in SUITES:
            self.fail(where, f"no suite {name!r}", choose_from(name, SUITES))
        return named_suite(name).variants

    def variant(self, where: Place, table: object) -> Variant:
        """One row: a variant of the package, possibly with another label, or a new one."""
        if not isinstance(table, dict):
            self.fail(where, "a variant must be a table", "Write [[variant]] above its keys.")
        self.check_keys(where, table, ("name", "label", *MODEL_KEYS, "train"))
        if "name" not in table:
            self.fail(where, "this variant has no name")
        for key in ("name", "label"):
            if key in table and not (isinstance(table[key], str) and table[key].strip()):
                self.fail((*where, key), f"{key} must be text, not {table[key]!r}")
        name = table["name"]
        if NOT_IN_A_NAME.search(name) or name.startswith("."):
            self.fail((*where, "name"), f"name must be of letters, digits, '.', '_' and '-', not {name!r}")
        changed = [key for key in table if key not in ("name", "label")]
        if name in VARIANTS:
            if changed:
                hint = f"{name} is a variant of the package: give yours another name."
                self.fail((*where, changed[0]), f"{changed[0]} cannot be changed for {name!r}", hint)
            return dataclasses.replace(VARIANTS[name], label=table.get("label", VARIANTS[name].label))
        model = self.settings(ModelConfig, where, {k: v for k, v in table.items() if k in MODEL_KEYS})
        if "encoder" not in model:
            hint = f'The package has no variant {name!r}: add its encoder, such as encoder = "timm:NAME".'
            self.fail((*where, "name"), "this variant has no encoder", hint)
        train = table.get("train", {})
        if not isinstance(train, dict):
            self.fail((*where, "train"), f"train must be a table, not {train!r}")
        self.check_keys((*where, "train"), train, RECIPE_KEYS)
        changes = self.settings(TrainConfig, (*where, "train"), train)
        return Variant(str(name), str(table.get("label", name)), ModelConfig(**model), train=changes)

    def recipe(self) -> tuple[RecipeName | None, dict[str, Any]]:
        """The preset (None if there is none) and the changes to it."""
        table = self.get("recipe", dict, {})
        self.check_keys(("recipe",), table, ("preset", *RECIPE_KEYS))
        preset, names = table.get("preset"), get_args(RecipeName)
        if preset is not None and preset not in names:
            self.fail(("recipe", "preset"), f"preset must be {alternatives(list(names))}, not {preset!r}")
        changes = {key: value for key, value in table.items() if key != "preset"}
        return preset, self.settings(TrainConfig, ("recipe",), changes)

    def seeds(self) -> tuple[int, ...]:
        """The seeds; empty if the file has none."""
        seeds = self.get("seeds", list, [])
        for i, seed in enumerate(seeds):
            self.settings(TrainConfig, ("seeds", i), {"seed": seed}, named=False)
            if seed in seeds[:i]:
                self.fail(("seeds", i), f"seed {seed} is named twice")
        return tuple(seeds)

    def settings(
        self, config: type[Config], where: Place, table: Mapping[str, Any], *, named: bool = True
    ) -> dict[str, Any]:
        """``table`` as fields of ``config``. Checked together, since the rule of one may depend on another; an error
        names the line of the one that breaks it."""
        try:
            config.from_json(table)
        except SettingError as error:
            key = error.setting
            place = (*where, key) if named and key in table else where
            self.fail(place, f"{key} must be {error.rule}, not {table.get(key, error.value)!r}")
        return {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}

    def strings(self, key: str) -> list[str]:
        """A top-level list of strings; empty if it is missing."""
        values: list[object] = self.get(key, list, [])
        for i, value in enumerate(values):
            if not isinstance(value, str):
                self.fail((key, i), f"{key} must be a list of names, not {value!r}")
        return [str(value) for value in values]

    def get(self, key: str, kind: type, default: Any) -> Any:
        """A top-level value, checked to be of type ``kind``."""
        value = self.document.get(key, default)
        if not isinstance(value, kind):
            word = KINDS[kind]
            self.fail((key,), f"{key} must be {word}, not {value!r}")
        return value

    def check_keys(self, where: Place, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        """Fail on the first unknown key."""
        for key in table:
            if key not in known:
                place = "".join(f" in {part}" for part in where if isinstance(part, str))
                self.fail((*where, key), f"no key {key!r}{place}", choose_from(key, known))

    def fail(self, where: Place, problem: str, hint: str = "") -> NoReturn:
        """Raise ConfigError with the line of the value at ``where``."""
        line = line_of(self.text, where)
        raise ConfigError(f"{self.path}{f', line {line}' if line else ''}: {problem}.", hint=hint)


def line_of(text: str, where: Place) -> int:
    """The line (from 1) on which the value at ``where`` begins (for an item of a list: on which the list begins).

    0 for the whole document, and if :data:`MOST_PARSED` attempts are not enough. It is the line after the longest
    beginning of the text that is valid TOML without the value; so strings and comments that look like it do not matter.
    That beginning is found by bisection; if the text is cut inside a value, a shorter beginning is tried.
    """
    lines, parsed = text.splitlines(keepends=True), 0
    last, low, high = 0, 0, len(lines) if where else 0
    while low + 1 < high:
        middle, held = (low + high) // 2, None
        end = middle + 1
        while held is None and end > low + 1 and parsed < MOST_PARSED:
            end, parsed = end - 1, parsed + 1
            held = _holds("".join(lines[:end]), where)
        if held is None and parsed == MOST_PARSED:
            return 0
        if held:
            high = end
        else:
            last, low = last if held is None else end, middle
    return last + 1 if where else 0


def _holds(text: str, where: Place) -> bool | None:
    """Whether a beginning of a file has the value at ``where``; None where it is cut inside a value."""
    try:
        document: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    for part in where:
        inner = isinstance(document, dict) and part in document
        if not (inner or (isinstance(document, list) and isinstance(part, int) and part < len(document))):
            return False
        document = document[part]
    return True
