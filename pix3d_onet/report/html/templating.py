"""Render the jinja2 templates in ``report/html/templates``, with all text escaped."""

from __future__ import annotations

import base64
import io
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from PIL import Image

from pix3d_onet.escape import json_text, visible
from pix3d_onet.types import UInt8

QUALITY = 88


def render(template: str, **values: Any) -> str:
    """Render a template.

    Text is escaped, and invisible characters are written out; only :func:`asset` and :func:`json` are inserted
    unchanged.
    """
    return _environment().get_template(template).render(**values)


def asset(name: str) -> Markup:
    """The text of a file in ``report/html/assets``."""
    return Markup(files("pix3d_onet.report.html").joinpath("assets", name).read_text(encoding="utf-8"))


def json(value: Any) -> Markup:
    """JSON that is safe inside a ``<script>`` element."""
    text = htmlsafe_json_dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(json_text(text))


def data_url(pixels: UInt8, *, lossless: bool = False) -> str:
    """A picture (H, W, 3 or 4) uint8 as a ``data:`` URL: JPEG, WebP if it is transparent, or PNG if ``lossless``."""
    buffer = io.BytesIO()
    lossy = "WEBP" if pixels.shape[-1] == 4 else "JPEG"
    kind, options = ("PNG", {"optimize": True}) if lossless else (lossy, {"quality": QUALITY})
    Image.fromarray(pixels).save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pix3d_onet.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.globals |= {"asset": asset, "json": json}
    return environment
