"""A headless Chromium for tests of the HTML pages; they are skipped if none is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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
    import json

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
