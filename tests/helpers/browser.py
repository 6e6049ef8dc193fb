"""Read HTML pages in tests: parsed as text, and in a headless Chromium; skipped if none is installed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--hide-scrollbars",
)


VOID = {"meta", "link", "img", "br", "input"}


class Balance(HTMLParser):
    """Checks that elements nest, collects ids and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [v for k, v in attrs if k == "id" and v]
        self.addresses += [v for k, v in attrs if k in ("src", "href") and v]

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> Balance:
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    return parser


def embedded(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', text, re.S)
    assert found
    document: dict[str, Any] = json.loads(found[1])
    return document


@contextmanager
def chromium(width: int = 1200, height: int = 1000, *, dark: bool = False) -> Iterator[Any]:
    """A selenium driver with its console and network logs switched on."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    binary = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--window-size={width},{height}", *(["--force-dark-mode"] if dark else [])):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.set_script_timeout(60)
    browser.set_page_load_timeout(120)
    try:
        yield browser
    finally:
        browser.quit()


def open_page(browser: Any, path: Path) -> None:
    for log in ("browser", "performance"):
        browser.get_log(log)  # reading empties it: what an earlier page said is not this one's
    browser.get(path.resolve().as_uri())


def complaints(browser: Any) -> list[str]:
    """Console messages that are warnings or worse, other than those that reading pixels here gives rise to."""
    messages = [e["message"] for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    return [m for m in messages if "willReadFrequently" not in m and "ReadPixels" not in m]


def requests(browser: Any, page: Path) -> list[str]:
    """Addresses asked for, other than the page itself and what it carries in itself."""
    urls = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.append(message["params"]["request"]["url"])
    return [u for u in urls if not u.startswith(("data:", "blob:")) and u.split("#")[0] != page.resolve().as_uri()]


SETTLE = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)));"
"""Wait until what was asked for is drawn."""

PIXELS = """
const c = document.getElementById(arguments[0]), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
let drawn = 0, hash = 0;
for (let i = 0; i < d.length; i += 4) {
  if (d[i + 3] > 0) drawn++;
  hash = (hash * 31 + d[i] + d[i + 1] * 7 + d[i + 3]) | 0;
}
return [drawn / (d.length / 4), hash];
"""
"""Share of the pixels of a canvas that are painted, and a hash of them."""


def pixels(browser: Any, canvas: str) -> tuple[float, int]:
    browser.execute_async_script(SETTLE)
    share, value = browser.execute_script(PIXELS, canvas)
    return float(share), int(value)


def screen(browser: Any, page: Path, width: int, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    open_page(browser, page)
    browser.execute_async_script(SETTLE)


NAMELESS = """
return [...document.querySelectorAll('button, a, input, select, canvas, svg, img')].filter(e =>
  !(e.textContent.trim() || e.getAttribute('aria-label') || e.hasAttribute('alt') || e.labels?.length ||
    e.closest('[aria-hidden]'))
).map(e => e.outerHTML.slice(0, 80))
"""
"""What can be clicked or looked at, and has no name for those who do not see it."""

CONTRAST = """
const rgb = s => s.match(/[\\d.]+/g).slice(0, 3).map(Number);
const lum = c => c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((a, v, i) => a + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = lum(rgb(getComputedStyle(document.body).backgroundColor));
const out = {};
for (const selector of arguments[0]) {
  const e = document.querySelector(selector);
  if (!e) continue;
  const l = lum(rgb(getComputedStyle(e).color));
  out[selector] = (Math.max(l, ground) + 0.05) / (Math.min(l, ground) + 0.05);
}
return out;
"""
"""Contrast of the text of each selector with the page's ground."""
