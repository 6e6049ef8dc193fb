"""Select what an ablation compares: suites and variants of the package, of a suite file, or any timm encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pix3d_onet.ablation.variants import BASE, SUITES, VARIANTS, Variant, suite, variant
from pix3d_onet.config import ModelConfig, RecipeName
from pix3d_onet.errors import ConfigError

TIMM = "timm:"
"""Prefix of names of timm encoders, as opposed to variants."""
FILE_SUFFIX = ".toml"
MIXED = "Ablation"
"""Title of a table whose rows are not those of one suite."""
TABLE1 = "table1"
"""Name of the suite with the rows of the published table."""
NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
"""Characters not allowed in a variant's name, since it is the name of a folder."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Variants that are trained and shown together, in the order of the table's rows.

    ``name``: of the suite, empty for a mixture; ``base``: the variant to compare the others with; ``preset``,
    ``recipe`` (TrainConfig fields) and ``seeds``: training settings of a suite file, None or empty if it has none.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    base: str
    preset: RecipeName | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()


def select(suites: Sequence[str], names: Sequence[str] = (), base: str | None = None) -> Selection:
    """The variants of ``suites`` (names or suite files), then those in ``names`` (``timm:NAME`` for any encoder).

    Duplicates are dropped. ConfigError if there is no variant, for unknown names, for two different variants with one
    name, for suite files with different training settings, and for a ``base`` that is not among the variants.
    """
    parts = [_suite(name) for name in suites]
    chosen: dict[str, Variant] = {}
    for v in (*(v for part in parts for v in part.variants), *map(variant_or_encoder, names)):
        if chosen.setdefault(v.name, v) != v:
            raise ConfigError(f"two variants are called {v.name!r}.", hint="Rename one of them in its suite file.")
    if not chosen:
        raise ConfigError("nothing to run.", hint="Give `all=True`, `suite=NAME` or `variant=NAME`.")
    trained = [part for part in parts if part.preset or part.recipe or part.seeds]
    if any((t.preset, t.recipe, t.seeds) != (trained[0].preset, trained[0].recipe, trained[0].seeds) for t in trained):
        hint = "Call `onet bench` for each of them."
        raise ConfigError("these suite files have different training settings.", hint=hint)
    if len(parts) == 1 and not names:
        return with_base(parts[0], base)
    default = BASE if BASE in chosen else next(iter(chosen))
    preset, recipe, seeds = (trained[0].preset, trained[0].recipe, trained[0].seeds) if trained else (None, {}, ())
    return with_base(Selection("", MIXED, tuple(chosen.values()), default, preset, recipe, seeds), base)


def with_base(selection: Selection, base: str | None) -> Selection:
    """``selection`` with another of its variants as the base (None: unchanged). ConfigError for an unknown one."""
    if base is None:
        return selection
    names = [v.name for v in selection.variants]
    if base not in names:
        raise ConfigError(f"no variant {base!r} in this table to compare with.", hint=f"It has {', '.join(names)}.")
    return replace(selection, base=base)


def _suite(name: str) -> Selection:
    if name.endswith(FILE_SUFFIX):
        from pix3d_onet.ablation.suite_file import read_suite

        return read_suite(Path(name))
    if name not in SUITES and Path(name).is_file():
        raise ConfigError(f"{name} is not named as a suite file.", hint=f"Its name must end in {FILE_SUFFIX}.")
    return named_suite(name)


def named_suite(name: str) -> Selection:
    """A suite of the package; ConfigError with the list of names if there is none."""
    found = suite(name)
    members = tuple(variant(n) for n in found.variants)
    return Selection(name, found.title, members, members[0].name)


def variant_or_encoder(name: str) -> Variant:
    """The package's variant of this name, or for ``timm:NAME`` the one with this encoder; ConfigError if unknown."""
    return encoder_variant(name) if name.startswith(TIMM) else variant(name)


def encoder_variant(encoder: str) -> Variant:
    """The variant with only this encoder: the package's if it has one, else a new one named like the encoder."""
    model = ModelConfig(encoder)
    for known in VARIANTS.values():
        if not known.changes and known.model.architecture() == model.architecture():
            return known
    name = encoder.removeprefix(TIMM)
    return Variant(NOT_IN_A_NAME.sub("-", name), name, model)
