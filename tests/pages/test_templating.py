"""Templates and assets: a room's own first, then the shared ones."""

from __future__ import annotations

import pytest
from jinja2 import TemplateNotFound

from pix3d_onet.pages.templating import GENERATOR, PACKAGE, asset, render

REPORT = "pix3d_onet.report.html"


def test_a_room_has_its_own_assets_and_the_shared_ones() -> None:
    assert asset(REPORT, "viewer.js") == asset(PACKAGE, "viewer.js")
    assert "Charts" in asset(REPORT, "charts.js")
    with pytest.raises(FileNotFoundError):
        asset(PACKAGE, "charts.js")
    with pytest.raises(TemplateNotFound):
        render(PACKAGE, "report.html")


def test_a_page_names_its_generator_and_escapes_text() -> None:
    evil = "</title><script>alert(1)</script>\u202e"
    page = render(PACKAGE, "base.html", title=evil, styles=(), scripts=(), data=[evil])
    assert GENERATOR in page
    assert "alert(1)</script>" not in page
    assert "\u202e" not in page
