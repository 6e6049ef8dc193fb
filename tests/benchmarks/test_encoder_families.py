"""One training step of every timm family, and the table in the docs that tells of it."""

from __future__ import annotations

import pytest
import timm
from helpers.scripts import script

from pix3d_onet.files import read_json

families = script("encoder_families")
STORED = read_json(families.RESULTS)


def test_the_docs_have_the_stored_table() -> None:
    assert families.DOCS.read_text(encoding="utf-8") == families.document(STORED)


def test_every_module_of_that_timm_has_a_row() -> None:
    if timm.__version__ != STORED["versions"]["timm"]:
        pytest.skip(f"the table is of timm {STORED['versions']['timm']}")
    assert [row["family"] for row in STORED["rows"]] == sorted(timm.list_modules())


def test_a_problem_is_a_row_and_not_a_stop() -> None:
    assert families.train_step("test_resnet", 64)["problem"] == ""
    assert families.train_step("test_vit", 7)["problem"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", [row for row in STORED["rows"] if not row["problem"]], ids=lambda row: row["family"])
def test_a_training_step(row: dict[str, object]) -> None:
    found = families.train_step(row["model"], row["image_size"])
    assert (found["problem"], found["params"]) == ("", row["params"])
