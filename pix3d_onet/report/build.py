"""Everything a folder of runs has to say: the table, and a folder with its files, figures and one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pix3d_onet.ablation.stored_runs import RunGroup, StoredRun, choose_group, find_runs, group_runs
from pix3d_onet.ablation.variants import suite
from pix3d_onet.data.store.manifest import Manifest, read_manifest
from pix3d_onet.errors import InputError, MissingDependencyError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.files import check_claim, is_own_file, mark, member, read_json, refused, unmark, write_text
from pix3d_onet.report import formats
from pix3d_onet.report.gallery import Gallery, gallery
from pix3d_onet.report.html.page import html_page
from pix3d_onet.report.table import Table, build_table
from pix3d_onet.report.thumbnails import Thumbnails

REPORT_FOLDER = "report"
PAGE_FILE = "report.html"
KIND = "report"
FIGURES = tuple(f"figure{name}.{form}" for name in ("5-gallery", "6-curves") for form in ("png", "svg", "pdf"))


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """One comparable group of runs, its table and its examples."""

    group: RunGroup
    table: Table
    gallery: Gallery
    manifest: Manifest | None = None


def make_report(
    runs: Sequence[StoredRun],
    *,
    setting: str | None = None,
    suite_name: str | None = None,
    base: str | None = None,
    data: Path | None = None,
    examples: bool = True,
    emit: Emit = ignore,
) -> Report:
    """The report on the group with that ``setting`` key (None: the fullest), on the rows of a suite if one is named.

    ``data``: the data set, for its quality figures; ``examples``: whether to show its pictures and meshes.
    ConfigError for an unknown setting or suite.
    """
    group = choose_group(group_runs(runs), setting, emit)
    names = suite(suite_name).variants if suite_name else None
    if names and suite_name != "table1":
        base = base or names[0]
    table = build_table(group, names, base)
    shown = gallery(group.runs, [r.variant for r in table.rows] if examples else (), emit=emit)
    manifest = read_manifest(data) if data else None
    if manifest and manifest.data_hash != table.data_hash:
        emit(Note(f"{data} is not the data set of these runs; its quality figures are left out.", "warning"))
        manifest = None
    return Report(group, table, shown, manifest)


def read_report(
    root: Path,
    *,
    setting: str | None = None,
    suite_name: str | None = None,
    base: str | None = None,
    data: Path | None = None,
    examples: bool = True,
    emit: Emit = ignore,
) -> Report:
    """``make_report`` on all finished runs in or below ``root``; InputError when there are none."""
    return make_report(
        find_runs(root, emit),
        setting=setting,
        suite_name=suite_name,
        base=base,
        data=data,
        examples=examples,
        emit=emit,
    )


def report_folder(runs: Path, suite_name: str | None = None) -> Path:
    """Where the report on the folder ``runs`` goes, that of a suite beside that of Table 1. InputError for a link."""
    name = REPORT_FOLDER if suite_name in (None, "table1") else f"{REPORT_FOLDER}-{suite_name}"
    return member(runs, name, PAGE_FILE).parent


def write_report(
    report: Report, folder: Path, *, figures: bool = True, overwrite: bool = False, emit: Emit = ignore
) -> tuple[Path, ...]:
    """Write into ``folder`` the table in every text format, the page, and the figures where matplotlib is installed.

    InputError when ``folder`` is neither ours nor empty; with ``overwrite`` files of our names in it are replaced.
    """
    tables = [f"table1{form.suffix}" for form in formats.FORMATS.values()]
    check_claim(folder, KIND, files=(*tables, PAGE_FILE, *FIGURES), known=is_report, overwrite=overwrite, emit=emit)
    mark(folder, KIND)
    paths = []
    for form in formats.FORMATS.values():
        path = folder / f"table1{form.suffix}"
        write_text(path, form.text(report.table))
        paths.append(path)
    thumbnails = Thumbnails()
    path = folder / PAGE_FILE
    write_text(
        path,
        html_page(
            report.group, report.table, report.gallery, manifest=report.manifest, thumbnails=thumbnails, emit=emit
        ),
    )
    paths.append(path)
    if figures:
        try:
            from pix3d_onet.report.figures import write_figures

            paths += write_figures(report.group, report.table, report.gallery, folder, thumbnails=thumbnails, emit=emit)
        except MissingDependencyError as error:
            emit(Note(f"no PNG/SVG/PDF figures: {error}", "warning"))
    unmark(folder)
    return tuple(paths)


def is_report(folder: Path) -> bool:
    """Whether ``folder`` has a table of ours, as a file of its own."""
    path = folder / "table1.json"
    if not is_own_file(path):
        return False
    try:
        document = read_json(path, follow=False)
    except InputError:
        return False
    return isinstance(document, dict) and {"dataset", "rows"} <= document.keys()


def keep_report(
    report: Report, runs: Path, suite_name: str | None = None, *, overwrite: bool = False, emit: Emit = ignore
) -> None:
    """Write the report's folder beside its runs: that of Table 1, or one for a suite alone.

    A place that refuses it is a warning: the runs are there, and the table can be printed.
    """
    try:
        write_report(report, report_folder(runs, suite_name), overwrite=overwrite, emit=emit)
    except InputError as error:
        emit(Note(f"no report folder: {error}", "warning"))
    except OSError as error:
        found = refused(error)
        if found is error:
            raise
        emit(Note(f"no report folder: {found}", "warning"))
