"""The page of a data set as text, and in a real browser: to look at, filter, sort, brush, and turn in 3D."""

from __future__ import annotations

import base64
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
from helpers.command_line import onet
from helpers.datasets import make_dataset
from helpers.hostile import HOSTILE

from pix3d_onet.data.store.manifest import ShapeEntry, manifest_to_json, read_manifest
from pix3d_onet.data.store.quality_figures import FIGURES
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.data.store.rejects import write_rejects
from pix3d_onet.errors import InputError
from pix3d_onet.events import Event, Note
from pix3d_onet.files import digest, write_json
from pix3d_onet.inspection.html.page import MOST_SHAPES, write_page
from pix3d_onet.inspection.html.shapes import FACE_BYTES, PICTURE_BYTES, SHAPE_BYTES, affordable
from pix3d_onet.inspection.output import check_place
from pix3d_onet.inspection.summary import worst_shapes
from pix3d_onet.pages.templating import PAGE_BUDGET
from pix3d_onet.types import MANIFEST, Rejected

EVIL = '</script><img src=x onerror="window.hacked=1">&'
SHAPES = 12


def judged(index: int, entry: ShapeEntry) -> ShapeEntry:
    """The entry with quality figures: ``bias_voxels`` grows with the index, every fourth shape is ``thickened``."""
    warnings = ["thickened"] if index % 4 == 3 else []
    qc = {"method": "tight", "bias_voxels": 0.1 * index, "components": 1 + index % 3, "watertight": index != 5}
    return replace(entry, qc={**qc, "volume_ratio": None if index < 2 else 1.0 + index / 100, "warnings": warnings})


def rewrite(root: Path, change: Any) -> None:
    """Change the entries of a data set's manifest."""
    manifest = read_manifest(root)
    shapes = tuple(change(i, entry) for i, entry in enumerate(manifest.shapes))
    write_json(root / MANIFEST, manifest_to_json(replace(manifest, shapes=shapes)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_dataset(tmp_path_factory.mktemp("page") / "data", SHAPES, points=1024, image_size=48, views=2, near=304)
    rewrite(root, judged)
    write_rejects(root, [Rejected(f"bad_{i}", "", "mesh", "empty-mesh", "no faces") for i in range(3)])
    return root


@pytest.fixture(scope="module")
def page(data: Path) -> Path:
    path = data.parent / "dataset.html"
    assert len(write_page(data, path)) == SHAPES
    return path


def test_the_page_nests_and_names_nothing_outside_itself(page: Path) -> None:
    text = page.read_text()
    tree = parsed(text)
    assert all(a.startswith(("data:", "#")) for a in tree.addresses)
    assert {a[1:] for a in tree.addresses if a.startswith("#")} <= set(tree.ids)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "default-src 'none'" in text
    assert "3 × mesh: empty-mesh" in tree.words
    assert "no faces" in tree.words


def test_the_page_carries_every_shape_with_its_figures(data: Path, page: Path) -> None:
    shown = embedded(page.read_text())
    entries = read_manifest(data).shapes
    names = [figure["name"] for figure in shown["figures"]]
    assert names == [name for name in FIGURES if name in names]
    for shape, entry in zip(shown["shapes"], entries, strict=True):
        assert shape["id"] == entry.object_id
        assert {n: v for n, v in zip(names, shape["qc"], strict=True) if v is not None} == pytest.approx(
            {n: v for n, v in entry.qc.items() if v is not None and n != "warnings"}
        )
    assert [s["id"] for s in sorted(shown["shapes"], key=lambda s: s["rank"])] == [
        e.object_id for e, _ in worst_shapes(read_manifest(data))
    ]


def test_points_are_stored_points_with_their_label(data: Path, page: Path) -> None:
    shape = embedded(page.read_text())["shapes"][0]
    with Dataset(data) as dataset:
        sample = dataset.sample(dataset.entries()[0])
    for kind, label in (("inside", True), ("outside", False)):
        for coded, stored, labels in (
            (shape["points"][kind], sample.points, sample.occupancy),
            (shape["near"][kind], sample.near_points, sample.near_occupancy),
        ):
            cells = np.frombuffer(base64.b64decode(coded["vertices"]), "<u2").reshape(-1, 3)
            points = np.array(coded["low"]) + cells / 65535 * np.array(coded["extent"])
            assert len(points) >= 100
            assert np.abs(points - stored[labels == label][: len(points)]).max() < 1e-4


def test_equal_data_make_equal_pages(data: Path, page: Path, tmp_path: Path) -> None:
    write_page(data, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_more_shapes_than_fit_are_a_choice_that_the_page_names(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "few.html"
    chosen = write_page(data, path, shapes=4, seed=3)
    assert len(chosen) == 4
    assert "4 of 12 shapes are on this page, chosen at random with seed 3." in path.read_text()
    worst = write_page(data, path, shapes=3, worst=True)
    assert worst == tuple(e.object_id for e, _ in worst_shapes(read_manifest(data), 3))
    assert "the worst" in path.read_text()
    assert len(write_page(data, path, split="val")) == 2
    assert "2 of 12 shapes are on this page, from the val split." in path.read_text()


@pytest.mark.parametrize("sources", [False, True])
def test_the_detail_fits_into_the_budget(sources: bool) -> None:
    for shapes in (1, 20, 221, MOST_SHAPES):
        detail = affordable(shapes, sources=sources)
        meshes = FACE_BYTES * detail.faces * (1 + sources)
        assert shapes * (SHAPE_BYTES + detail.pictures * PICTURE_BYTES + meshes) <= PAGE_BUDGET
    assert affordable(20, sources=sources).faces > detail.faces
    assert affordable(221, sources=sources).faces // 100 == (12 if sources else 24)  # as docs/inspect.md says


def test_a_page_that_grows_too_large_has_fewer_shapes(
    data: Path, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pix3d_onet.inspection.html.page.PAGE_BUDGET", 30_000)
    seen: list[Event] = []
    shown = write_page(data, tmp_path / "small.html", emit=seen.append)
    assert 0 < len(shown) < SHAPES
    assert any(isinstance(e, Note) and f"{len(shown)} of {SHAPES} shapes" in e.message for e in seen)
    assert len(embedded((tmp_path / "small.html").read_text())["shapes"]) == len(shown)


def test_source_meshes_stand_beside_or_say_why_not(data: Path, tmp_path: Path) -> None:
    root, copy = tmp_path / "root", tmp_path / "data"
    (root / "model").mkdir(parents=True)
    copy.mkdir()
    for file in data.glob("*.*"):
        (copy / file.name).write_bytes(file.read_bytes())
    entries = read_manifest(copy).shapes
    obj = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    for entry, text in ((entries[0], obj), (entries[1], obj), (entries[2], b"nothing")):
        (root / entry.source_mesh).write_bytes(text)
    rewrite(copy, lambda i, entry: replace(entry, mesh_sha256=digest(obj)) if i == 0 else entry)
    write_page(copy, tmp_path / "p.html", source_root=root)
    same, changed, damaged, missing = embedded((tmp_path / "p.html").read_text())["shapes"][:4]
    assert same["source"]["of"] == same["source"]["faces"] == 4
    assert same["source"]["trouble"] == ""
    assert "has changed" in changed["source"]["trouble"]
    assert "no faces" in damaged["source"]["trouble"]
    assert "does not exist" in missing["source"]["trouble"]
    with pytest.raises(InputError, match="source not found"):
        write_page(copy, tmp_path / "p.html", source_root=tmp_path / "nowhere")


def test_the_command_writes_a_page_and_no_sheet(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert onet("inspect", data, "--html", "--json").status == 0
    document = json.loads(capsys.readouterr().out)
    assert document["page"] == str(data / "dataset.html")
    assert document["sheet"] is None
    place = tmp_path / "here.html"
    for _ in range(2):  # its own page is replaced
        assert onet("inspect", data, "--html", place, "--shapes", "2", "--qc").status == 0
    assert f"page: {place}" in capsys.readouterr().out
    place.write_text("<!doctype html><p>mine</p>")
    assert onet("inspect", data, "--html", place).status == 3
    with pytest.raises(InputError, match="not a sheet or page"):
        check_place(place, overwrite=False)
    assert onet("inspect", data, "--html", place, "--overwrite", "--shapes", "1").status == 0
    assert onet("inspect", data, "--root", data).status == 2
    assert onet("inspect", data, "--html", "--no-sheet").status == 2


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", 3, points=512, image_size=32)
    names = [EVIL, "a\u202eb\u2066", "".join(HOSTILE).encode("utf-8", "replace").decode()[:300]]
    rewrite(root, lambda i, e: replace(e, category=names[i], qc={names[i]: 1.5 * i, "warnings": [names[i]]}))
    write_rejects(root, [Rejected(name, name, "mesh", name, name) for name in names])
    with (root / "rejects.jsonl").open("a") as file:
        file.write('{"object_id": 1, "record_id": null, "stage": [], "reason": {}, "detail": 2.5}\nno row\n')
    write_page(root, tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text()
    assert "5 records or shapes could not be used." in text
    parsed(text)
    assert "<img src=x" not in text
    assert not {*map(chr, range(9)), *"\x1b\x9b\u202e\u2066"} & set(text)
    with chromium() as browser:
        open_page(browser, tmp_path / "p.html")
        browser.execute_script("document.querySelector('#cards button').click()")
        browser.execute_async_script(SETTLE)
        assert browser.execute_script("return window.hacked") is None
        assert browser.execute_script("return document.querySelectorAll('[onerror]').length") == 0
        assert complaints(browser) == []
        options = browser.execute_script("return [...document.querySelectorAll('#category option')].map(o => o.value)")
        assert EVIL in options
        assert r"a\u202eb\u2066" in options


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": CONTEXTS})
        yield driver


CONTEXTS = """
window.contexts = 0;
const before = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  if (kind === "webgl2") window.contexts++;
  return before.call(this, kind, ...rest);
};
"""
"""Counts the WebGL contexts that are asked for; browsers keep about sixteen."""


def listed(browser: Any) -> list[str]:
    """Ids of the cards, in their order."""
    found = browser.execute_script("return [...document.querySelectorAll('#cards strong')].map(e => e.textContent)")
    return list(found)


def choose(browser: Any, menu: str, value: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element(By.ID, menu)).select_by_value(value)


def test_browser_opens_it_without_requests_or_complaints(browser: Any, page: Path) -> None:
    open_page(browser, page)
    browser.execute_async_script(SETTLE)
    browser.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    browser.execute_async_script(SETTLE)
    assert complaints(browser) == []
    assert requests(browser, page) == []
    assert browser.execute_script("return window.contexts") == 1
    drawn = "return [...document.querySelectorAll('#cards canvas')].filter(c => c.width > 1).length"
    assert browser.execute_script(drawn) > 0
    loaded = "return [...document.querySelectorAll('#cards .rgb')].filter(i => i.naturalWidth > 0).length"
    assert browser.execute_script(loaded) > 0


def test_browser_sorts_and_filters(browser: Any, page: Path, data: Path) -> None:
    from selenium.webdriver.common.by import By

    entries = read_manifest(data).shapes
    open_page(browser, page)
    assert listed(browser) == [e.object_id for e, _ in worst_shapes(read_manifest(data))]
    figures = [f["name"] for f in embedded(page.read_text())["figures"]]
    choose(browser, "sort", str(figures.index("bias_voxels")))
    assert listed(browser) == [e.object_id for e in reversed(entries)]
    choose(browser, "order", "low")
    assert listed(browser) == [e.object_id for e in entries]
    choose(browser, "sort", str(figures.index("volume_ratio")))
    assert set(listed(browser)[-2:]) == {e.object_id for e in entries[:2]}  # not measured: last
    choose(browser, "split", "test")
    assert set(listed(browser)) == {e.object_id for e in entries if e.split == "test"}
    choose(browser, "split", "")
    choose(browser, "warning", "thickened")
    assert len(listed(browser)) == 3
    choose(browser, "warning", "*none")
    browser.find_element(By.ID, "search").send_keys("BALL 00")
    assert set(listed(browser)) == {"ball_001", "ball_005", "ball_009"}
    assert browser.find_element(By.ID, "count").text == "3 of 12 shapes"
    browser.find_element(By.ID, "search").send_keys(" nowhere")
    assert browser.find_element(By.ID, "nothing").is_displayed()
    browser.find_element(By.CSS_SELECTOR, "#filters [type=reset]").click()
    browser.execute_async_script(SETTLE)
    assert len(listed(browser)) == SHAPES


def histogram(browser: Any, label: str) -> Any:
    found = "find(f => f.querySelector('legend').textContent === arguments[0])"
    return browser.execute_script(f"return [...document.querySelectorAll('fieldset')].{found}", label)


def test_browser_histograms_filter_by_keyboard_and_mouse(browser: Any, page: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    field = histogram(browser, "components")
    low, high = field.find_elements(By.CSS_SELECTOR, "input")
    assert low.get_attribute("aria-label") == "components, from"
    low.send_keys(Keys.ARROW_RIGHT)
    assert len(listed(browser)) == 8
    assert low.get_attribute("aria-valuetext") == "2 components"
    high.send_keys(Keys.ARROW_LEFT)
    assert len(listed(browser)) == 4
    high.send_keys(Keys.ARROW_LEFT)  # the ends do not cross
    assert len(listed(browser)) == 4
    bars = histogram(browser, "bias voxels").find_elements(By.CSS_SELECTOR, ".kept")
    assert sum(float(b.get_attribute("height")) > 0 for b in bars) == 4  # those that the other histogram leaves
    browser.find_element(By.CSS_SELECTOR, "#filters [type=reset]").click()
    browser.execute_async_script(SETTLE)
    svg = histogram(browser, "bias voxels").find_element(By.CSS_SELECTOR, "svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
    half = svg.size["width"] // 2
    drag = ActionChains(browser).move_to_element_with_offset(svg, 2 - half, 0).click_and_hold()
    drag.move_by_offset(half, 0).release().perform()
    assert 5 <= len(listed(browser)) <= 7
    ActionChains(browser).move_to_element(svg).click().perform()
    assert len(listed(browser)) == SHAPES
    assert "no … yes" in histogram(browser, "watertight").text


def test_browser_shows_a_shape_in_3d(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    first, second = listed(browser)[:2]
    card = browser.find_element(By.CSS_SELECTOR, "#cards button")
    card.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.ID, "shape")
    title = browser.find_element(By.ID, "shape-title")
    assert title.text == first
    assert browser.switch_to.active_element == title
    assert "thickened: the surface" in browser.find_element(By.ID, "shape-warnings").text
    assert "method" in dialog.text
    before = pixels(browser, "view-mesh")
    assert 0.1 < before[0] < 0.9
    seen = {before[1]}
    for toggle in ("wire", "inside", "outside", "near"):
        browser.find_element(By.ID, toggle).click()
        seen.add(pixels(browser, "view-mesh")[1])
    assert len(seen) == 5
    browser.find_element(By.ID, "view-mesh").send_keys(Keys.ARROW_LEFT)
    assert pixels(browser, "view-mesh")[1] not in seen
    for toggle in ("wire", "inside", "outside", "near", "home"):
        browser.find_element(By.ID, toggle).click()
    assert pixels(browser, "view-mesh") == before
    assert not browser.find_element(By.ID, "view-source").is_displayed()
    source = browser.find_element(By.ID, "photo-rgb").get_attribute("src")
    choose(browser, "picture", "1")
    assert browser.find_element(By.ID, "photo-rgb").get_attribute("src") != source
    assert not browser.find_element(By.ID, "photo-mask").is_displayed()
    browser.find_element(By.ID, "mask").click()
    assert browser.find_element(By.ID, "photo-mask").is_displayed()
    browser.find_element(By.ID, "next").click()
    assert title.text == second
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    browser.execute_async_script(SETTLE)
    assert not dialog.is_displayed()
    assert browser.switch_to.active_element.find_element(By.CSS_SELECTOR, "strong").text == second
    assert complaints(browser) == []


def test_browser_lays_masks_over_pictures_on_demand(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By

    open_page(browser, page)
    browser.execute_async_script(SETTLE)
    mask = browser.find_element(By.CSS_SELECTOR, "#cards .mask")
    assert not mask.is_displayed()
    browser.find_element(By.ID, "masks").click()
    assert mask.is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_on_a_telephone(browser: Any, page: Path, scheme: str) -> None:
    screen(browser, page, 390, scheme)
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390
        browser.execute_script("document.querySelector('#cards button').click()")
        browser.execute_async_script(SETTLE)
        assert (
            browser.execute_script("const d = document.getElementById('shape'); return d.scrollWidth - d.clientWidth")
            == 0
        )
        ratios = browser.execute_script(CONTRAST, ["h1", ".hint", ".cards .quiet", ".cards .value", "output", "nav a"])
        assert min(ratios.values()) >= 4.5, ratios
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_browser_everything_has_a_name_and_a_sensible_order(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    assert browser.execute_script(NAMELESS) == []
    order = []
    for _ in range(11):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        order.append(browser.execute_script("const e = document.activeElement; return e.id || e.textContent"))
    assert order[0] == "Skip to the shapes"
    assert order[4:10] == ["search", "split", "category", "warning", "sort", "order"]
