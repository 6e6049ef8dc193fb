"""The HTML page as text, and in a real browser: nothing fetched, nothing complained about, everything works."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.browser import (
    CONTRAST,
    NAMELESS,
    SETTLE,
    chromium,
    complaints,
    embedded,
    open_page,
    parsed,
    pixels,
    requests,
    screen,
)
from helpers.datasets import make_dataset
from helpers.hostile import names
from helpers.stored_runs import make_run, make_runs, sphere
from hypothesis import HealthCheck, given, settings

from pix3d_onet import escape
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.files import write_text
from pix3d_onet.pages.mesh_view import encode_mesh, mesh_page
from pix3d_onet.pages.templating import PAGE_BUDGET
from pix3d_onet.report import formats
from pix3d_onet.report.build import Report, TableOptions, read_report
from pix3d_onet.report.html.page import html_page
from pix3d_onet.report.html.quality import numeric_quality, quality
from pix3d_onet.report.thumbnails import Thumbnails
from pix3d_onet.types import Mesh


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    root = make_runs(tmp_path_factory.mktemp("runs"), ("resnet18", "convnext", "convnext-fp3"), (0, 1), examples=2)
    return read_report(root, options=TableOptions(reference=True))


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return html_page(report.group, report.table, report.gallery)


def test_the_page_nests_and_names_nothing_outside_itself(text: str) -> None:
    page = parsed(text)
    assert all(a.startswith(("data:", "#")) for a in page.addresses)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "default-src 'none'" in text
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)


def test_the_page_carries_the_document(report: Report, text: str) -> None:
    data = embedded(text)
    assert data["table"] == json.loads(formats.json_text(report.table))
    assert {r["run_id"] for runs in data["runs"].values() for r in runs} == {r.record.run_id for r in report.group.runs}


def test_the_gallery_says_which_split_its_iou_is_of(text: str) -> None:
    assert "with its IoU: pictures of the test split." in text


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "resnet18", examples=1)
    record = json.loads((folder / "run.json").read_text())
    evil = '</script><img src=x onerror="window.hacked=1">&'
    record["name"], record["model"]["hidden_dim"], record["data"]["name"] = evil, 128, evil
    (folder / "run.json").write_text(json.dumps(record))
    report = read_report(tmp_path)
    text = html_page(report.group, report.table, report.gallery)
    parsed(text)
    assert "<img src=x" not in text
    assert embedded(text)["table"]["dataset"] == evil


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names, names)
def test_any_name_is_text_on_the_page(report: Report, name: str, other: str) -> None:
    rows = tuple(replace(r, label=name) for r in report.table.rows)
    table = replace(report.table, rows=rows, dataset=other)
    text = html_page(report.group, table, replace(report.gallery, records=()))
    text.encode()
    page = parsed(text)
    assert len(page.open) == 0
    assert embedded(text)["table"]["dataset"] == json.loads(json.dumps(other))
    assert escape.visible(name).strip() in page.words
    assert not {*map(chr, range(9)), *"\x1b\x9b\u202e\u2066"} & set(text)


def test_a_page_without_examples_or_scores_is_still_a_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "resnet18")
    record = json.loads((folder / "run.json").read_text())
    for name in ("test_scores", "val_scores", "test_scores_at_threshold", "val_scores_at_threshold", "cost"):
        record[name] = {}
    (folder / "run.json").write_text(json.dumps(record))
    report = read_report(tmp_path)
    page = parsed(html_page(report.group, report.table, report.gallery))
    assert "validation" in page.ids
    assert not {"reconstructions", "scatter"} & set(page.ids)


def test_the_gallery_shrinks_to_the_budget(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Thumbnails()
    full = html_page(report.group, report.table, report.gallery, thumbnails=shared)
    monkeypatch.setattr("pix3d_onet.report.html.page.PAGE_BUDGET", len(full.encode()) - 1)
    small = html_page(report.group, report.table, report.gallery, thumbnails=shared)
    parsed(small)
    assert len(embedded(small)["gallery"]["records"]) == 1
    assert len(full.encode()) < PAGE_BUDGET


def test_data_quality_comes_from_the_manifest(tmp_path: Path) -> None:
    manifest = read_manifest(make_dataset(tmp_path / "data", shapes=8, points=512, image_size=32))
    shown = quality(manifest)
    assert sum(n for _, counts in shown["counts"] for n in counts[::2]) == shown["shapes"] == 8
    assert all(np.isfinite(v).all() for v in numeric_quality(manifest.shapes).values())


def test_meshes_survive_the_coding() -> None:
    vertices, faces = sphere(0.4)
    import base64

    coded = encode_mesh(Mesh(vertices, faces))
    assert coded is not None
    cells = np.frombuffer(base64.b64decode(coded["vertices"]), "<u2").reshape(-1, 3)
    back = np.array(coded["low"]) + cells / 65535 * np.array(coded["extent"])
    assert np.abs(back - vertices).max() < 1e-5
    assert np.array_equal(np.frombuffer(base64.b64decode(coded["faces"]), "<u2").reshape(-1, 3), faces)
    assert encode_mesh(Mesh(np.zeros((0, 3)), np.zeros((0, 3)))) is None
    many = Mesh(np.random.default_rng(0).random((70_000, 3)), [[0, 1, 69_999]])
    wide = encode_mesh(many)
    assert wide is not None
    assert wide["wide"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    manifest = read_manifest(make_dataset(path.parent / "data", shapes=8, points=512, image_size=32))
    text = html_page(report.group, report.table, report.gallery, manifest=manifest)
    parsed(text)
    write_text(path, text)
    return path


def test_browser_opens_it_without_requests_or_complaints(browser: Any, page: Path) -> None:
    open_page(browser, page)
    browser.execute_async_script(SETTLE)
    assert complaints(browser) == []
    assert requests(browser, page) == []
    assert "pix3d-chair" in browser.title


def test_browser_shows_the_table_of_the_document(browser: Any, page: Path, report: Report) -> None:
    open_page(browser, page)
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#table-main tbody tr')]"
        ".map(r => [...r.children].map(c => c.textContent))"
    )
    columns = formats.filled(report.table, formats.MAIN_COLUMNS)
    assert rows == formats.cells(report.table, columns)
    for shown, row in zip(rows, report.table.rows, strict=True):
        assert shown[3].split("*")[0] == ("" if row.val_iou is None else f"{row.val_iou:.4f}")


def series(browser: Any) -> set[str]:
    return set(
        browser.execute_script(
            "return [...document.querySelectorAll('#curves [data-series]')].map(g => g.dataset.series)"
        )
    )


def test_browser_toggles_variants_and_reads_values_under_the_pointer(browser: Any, page: Path, report: Report) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    assert series(browser) == {"resnet18", "convnext", "convnext-fp3"}
    button = browser.find_element(By.CSS_SELECTOR, '[data-toggle="convnext"]')
    button.click()
    assert series(browser) == {"resnet18", "convnext-fp3"}
    assert button.get_attribute("aria-pressed") == "false"
    button.send_keys(Keys.ENTER)
    assert "convnext" in series(browser)
    chart = browser.find_element(By.CSS_SELECTOR, "#curves svg")
    chart.send_keys(Keys.END)
    spoken = browser.find_element(By.CSS_SELECTOR, "#curves [aria-live]").get_attribute("textContent")
    last = np.mean([r.record.last_val_iou for r in report.group.of("convnext")])
    assert "step 3000" in spoken
    assert f"ConvNeXt Tiny {last:.4f}" in spoken


def test_browser_turns_every_view_together(browser: Any, page: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    names = ("view-truth", "view-prediction", "view-both")
    browser.execute_script("document.getElementById('view-truth').scrollIntoView({block: 'center'})")
    before = {n: pixels(browser, n) for n in names}
    assert all(0.02 < share < 0.98 for share, _ in before.values())
    canvas = browser.find_element(By.ID, "view-truth")
    ActionChains(browser).move_to_element(canvas).click_and_hold().move_by_offset(60, 25).release().perform()
    dragged = {n: pixels(browser, n) for n in names}
    assert all(dragged[n][1] != before[n][1] for n in names)
    browser.find_element(By.ID, "view-home").click()
    assert {n: pixels(browser, n) for n in names} == before
    canvas.send_keys(Keys.ARROW_LEFT)
    assert all(pixels(browser, n)[1] != before[n][1] for n in names)
    assert browser.find_element(By.ID, "no-webgl").is_displayed() is False


def test_browser_shows_the_clicked_reconstruction(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By

    open_page(browser, page)
    seen = set()
    for record in (0, 1):
        cell = browser.find_element(By.CSS_SELECTOR, f'[data-cell="resnet18"][data-record="{record}"]')
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
        cell.click()
        seen.add(pixels(browser, "view-prediction"))
    assert len(seen) == 2
    assert browser.find_element(By.ID, "view-prediction-label").text.startswith("ResNet18 (base), IoU")
    assert cell.get_attribute("aria-pressed") == "true"


def test_browser_tells_where_a_number_comes_from(browser: Any, page: Path, report: Report) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    cell = browser.find_element(By.CSS_SELECTOR, '[data-provenance="convnext"][data-what="validation IoU"]')
    cell.click()
    body = browser.find_element(By.ID, "provenance").text
    for run in report.group.of("convnext"):
        assert run.record.run_id in body
        assert f"{run.record.best_val_iou:.4f} at step {run.record.best_step}" in body
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not browser.find_element(By.ID, "provenance").is_displayed()


def test_browser_scatter_follows_the_choice(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    open_page(browser, page)
    dots = "return document.querySelectorAll('#scatter-chart circle').length"
    assert browser.execute_script(dots) == 33
    Select(browser.find_element(By.ID, "scatter-y")).select_by_value("resnet18")
    Select(browser.find_element(By.ID, "scatter-x")).select_by_value("resnet18")
    assert "better on 0 of 33" in browser.find_element(By.ID, "scatter-count").text


def test_browser_on_a_telephone(browser: Any, page: Path) -> None:
    """390 px wide: nothing scrolls sideways, the table is on the screen, ticks are inside their chart and readable."""
    screen(browser, page, 390, "light")
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390
        faded = "return document.querySelector('#statistics .scroll').classList.contains('more')"
        assert browser.execute_script(faded)  # until it is scrolled to its end
        cells = "[...document.querySelectorAll('#table-main td')]"
        right = f"return Math.max(...{cells}.map(c => c.getBoundingClientRect().right))"
        assert browser.execute_script(right) <= 390
        cut = (
            "const box = document.querySelector('#curves svg').getBoundingClientRect();"
            "return [...document.querySelectorAll('#curves text')].map(t => t.getBoundingClientRect())"
            ".filter(t => t.left < box.left || t.right > box.right || t.height < 10 && t.width < 10).length"
        )
        assert browser.execute_script(cut) == 0
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


CORNER = """
const done = arguments[1], image = new Image();
image.onload = () => {
  const c = Object.assign(document.createElement('canvas'), { width: 8, height: 8 }), d = c.getContext('2d');
  d.drawImage(image, 0, 0, 8, 8);
  done(d.getImageData(0, 0, 1, 1).data[3]);
};
image.src = document.querySelector(arguments[0]).src;
"""


def test_browser_has_no_white_tiles_and_tints_on_demand(browser: Any, page: Path) -> None:
    screen(browser, page, 1280, "dark")
    for selector in ("[data-input]", "[data-cell] img"):
        assert browser.execute_async_script(CORNER, selector) == 0
        ground = f"return getComputedStyle(document.querySelector('{selector}')).backgroundColor"
        assert browser.execute_script(ground) != "rgb(255, 255, 255)"
    plain = browser.execute_script("return document.querySelector('[data-input]').src")
    browser.execute_script("document.getElementById('show-mask').click()")
    tinted = browser.execute_script("return document.querySelector('[data-input]').src")
    assert tinted != plain
    assert browser.execute_script("return document.getElementById('view-input').src").startswith("data:image/webp")
    browser.execute_script("document.getElementById('show-mask').click()")
    assert browser.execute_script("return document.querySelector('[data-input]').src") == plain


def test_a_smoke_test_says_so(report: Report, text: str) -> None:
    assert "smoke test" not in text
    short = replace(report.table, steps=200)
    assert short.smoke_test in html_page(report.group, short, report.gallery)
    assert short.smoke_test in formats.markdown(short)
    assert not report.table.smoke_test


def test_without_a_test_nothing_is_claimed_of_one(report: Report) -> None:
    few = html_page(report.group, replace(report.table, tested_shapes=0), report.gallery)
    assert "Fewer than 5 test shapes shared with “ResNet18 (base)”: no test of the differences." in few
    assert "BCa" not in few


def test_browser_everything_clickable_has_a_name_and_enough_contrast(browser: Any, page: Path) -> None:
    open_page(browser, page)
    assert browser.execute_script(NAMELESS) == []
    for scheme in ("dark", "light"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        ratios = browser.execute_script(CONTRAST, ["h1", "td", ".published", ".hint", ".up", ".down", "nav a"])
        assert min(ratios.values()) >= 4.5, (scheme, ratios)


def test_browser_mesh_page(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    vertices, faces = sphere(30.0, centre=(5, -70, 3))
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3)))
    text = mesh_page(
        {"A <b> & co": Mesh(vertices * [1, 0.5, 0.7], faces), "Nothing": empty},
        "Chair <1>",
        picture=np.zeros((8, 8, 3), np.uint8),
    )
    parsed(text)
    path = tmp_path / "mesh.html"
    write_text(path, text)
    open_page(browser, path)
    before = pixels(browser, "mesh-0")
    assert 0.02 < before[0] < 0.9
    assert pixels(browser, "mesh-1")[0] == 0
    browser.find_element(By.ID, "mesh-0").send_keys(Keys.ARROW_UP)
    assert pixels(browser, "mesh-0")[1] != before[1]
    assert "Chair <1>" in browser.find_element(By.TAG_NAME, "h1").text
    assert complaints(browser) == []
    assert requests(browser, path) == []
