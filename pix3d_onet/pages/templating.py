"""Render the jinja2 templates of a room's page, with all text escaped.

A room with a page has folders ``templates`` and ``assets``; what it lacks is taken from those of ``pages``.
"""

from __future__ import annotations

from functools import cache, partial
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from pix3d_onet.escape import json_text, visible

PACKAGE = "pix3d_onet.pages"
GENERATOR = '<meta name="generator" content="onet">'
"""Which pages onet wrote, so that it may replace them."""
PAGE_BUDGET = 9_500_000
"""Most bytes of a page; each kind of page says what it leaves out to stay below."""


def render(package: str, template: str, **values: Any) -> str:
    """Render a template of ``package``, or of this one.

    Text is escaped, and invisible characters are written out; only :func:`asset` and :func:`json` are inserted
    unchanged.
    """
    return _environment(package).get_template(template).render(**values)


def asset(package: str, name: str) -> Markup:
    """The text of a file in ``assets`` of ``package``, or of this one."""
    own = files(package).joinpath("assets", name)
    found = own if own.is_file() else files(PACKAGE).joinpath("assets", name)
    return Markup(found.read_text(encoding="utf-8"))


def json(value: Any) -> Markup:
    """JSON that is safe inside a ``<script>`` element."""
    text = htmlsafe_json_dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(json_text(text))


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, PACKAGE))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.globals |= {"asset": partial(asset, package), "json": json, "generator": Markup(GENERATOR)}
    return environment
