"""The report's folder beside its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pix3d_onet.report.build import write_default_report


def test_a_suite_s_report_does_not_replace_that_of_table_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    monkeypatch.setattr("pix3d_onet.report.build.write_report", lambda made, folder, **_: written.append(folder))
    for suite in ("", "table1", "pose"):
        write_default_report(None, tmp_path, suite)  # type: ignore[arg-type]
    assert [folder.name for folder in written] == ["report", "report", "report-pose"]
