"""Make the report of a folder of runs: the table, and a folder with its files, its figures and an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pix3d_onet.ablation.selection import TABLE1, Selection
from pix3d_onet.ablation.stored_runs import RunGroup, choose_group, find_runs, group_runs
from pix3d_onet.ablation.unfinished import UnfinishedRun, find_unfinished
from pix3d_onet.data.store.manifest import Manifest, read_manifest
from pix3d_onet.errors import InputError, MissingDependencyError
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.files import check_claim, mark, member, own_json, refused, unmark, write_text
from pix3d_onet.report import formats
from pix3d_onet.report.comparison import at_own_thresholds
from pix3d_onet.report.figures import FIGURE_FORMATS, write_figures
from pix3d_onet.report.gallery import Gallery, gallery
from pix3d_onet.report.html.page import html_page
from pix3d_onet.report.table import Table, build_table
from pix3d_onet.report.thumbnails import Thumbnails

REPORT_FOLDER = "report"
PAGE_FILE = "report.html"
KIND = "report"
FIGURES = tuple(f"figure{name}.{form}" for name in ("1-curves", "2-gallery") for form in FIGURE_FORMATS)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A comparable group of runs, its table, its examples, and the manifest of its data set (None: not given)."""

    group: RunGroup
    table: Table
    gallery: Gallery
    manifest: Manifest | None = None


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Which rows a table has.

    ``selection``: the rows of a suite (None: all variants with a run); ``all_rows``: also rows without a run, blank;
    ``base``: the variant to compare the others with (None: the suite's); ``reference``: show the published numbers
    (None: for Table 1, and for a table without a suite's name if its rows are all those of Table 1, unless
    ``own_thresholds``); ``own_thresholds``: IoUs are at each run's best threshold on validation, but for those of the
    curves and of the gallery, whose meshes are at the threshold of training.
    """

    selection: Selection | None = None
    base: str | None = None
    all_rows: bool = False
    reference: bool | None = None
    own_thresholds: bool = False


ALL_RUNS = TableOptions()


def read_report(
    root: Path,
    *,
    setting: str | None = None,
    options: TableOptions = ALL_RUNS,
    data: Path | None = None,
    examples: bool = True,
    emit: Emit = ignore,
) -> Report:
    """The report on the runs in or below ``root`` with the setting's key ``setting`` (None: the group with most of the
    rows, then with most runs).

    ``data``: the data set, for its quality figures; ``examples``: include its pictures and meshes. ConfigError for an
    unknown setting or base; InputError if no run is finished, or no variant of the suite has one, or a run of the table
    lacks the scores at its own threshold that ``options`` ask for.
    """
    runs, unfinished = find_runs(root, emit), find_unfinished(root)
    names = {v.name for v in options.selection.variants} if options.selection else set()
    groups = sorted(group_runs(runs), key=lambda g: -len(names.intersection(g.variants)))
    group = choose_group(groups, setting, emit)
    if options.own_thresholds:
        group = at_own_thresholds(group, names or None)
    table = _table(group, options, unfinished, emit)
    labels = {r.variant: r.label for r in table.rows if examples}
    shown = gallery(group.runs, labels, emit=emit)
    manifest = read_manifest(data) if data else None
    if manifest and manifest.data_hash != table.data_hash:
        emit(Note(f"{data} is not the data set of these runs; its quality figures are left out.", "warning"))
        manifest = None
    return Report(group, table, shown, manifest)


def _table(group: RunGroup, options: TableOptions, unfinished: Sequence[UnfinishedRun], emit: Emit) -> Table:
    chosen, base, reference, name, title = options.selection, options.base, options.reference, "", ""
    if options.own_thresholds and reference is None:
        reference = False  # the published numbers are at one threshold
    if chosen is not None:
        base = base or _base(group, chosen, all_rows=options.all_rows, emit=emit)
        if chosen.name:
            name, title = chosen.name, chosen.title
            reference = name == TABLE1 if reference is None else reference
    return build_table(
        group,
        chosen.variants if chosen is not None else None,
        base,
        name=name,
        title=title,
        all_rows=options.all_rows,
        reference=reference,
        unfinished=unfinished,
        own_thresholds=options.own_thresholds,
    )


def _base(group: RunGroup, chosen: Selection, *, all_rows: bool, emit: Emit) -> str:
    """The suite's base; if it has neither a run nor a blank row, the first variant with a run."""
    present = [v.name for v in chosen.variants if group.of(v.name)]
    if not present:
        raise InputError(
            f"no finished run of {', '.join(v.name for v in chosen.variants)} in this setting.",
            hint="Train one with `onet bench`, or choose another `suite` or `setting`.",
        )
    if all_rows or chosen.base in present:
        return chosen.base
    emit(Note(f"{chosen.base} has no finished run; the others are compared with {present[0]}.", "warning"))
    return present[0]


def report_folder(runs: Path, suite_name: str = "", *, own_thresholds: bool = False) -> Path:
    """Default folder of the report on ``runs``; one per suite and kind of threshold. InputError if it is a link."""
    name = REPORT_FOLDER if suite_name in ("", TABLE1) else f"{REPORT_FOLDER}-{suite_name}"
    name += formats.OWN * own_thresholds
    return member(runs, name, PAGE_FILE).parent


def write_report(
    report: Report, folder: Path, *, figures: bool = True, overwrite: bool = False, emit: Emit = ignore
) -> tuple[Path, ...]:
    """Write the table in every text format, the page, and (if matplotlib is installed) the figures to ``folder``.

    InputError if ``folder`` is neither empty nor made by onet, unless ``overwrite``, which replaces files with the
    names of a report's files.
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
            paths += write_figures(report.group, report.table, report.gallery, folder, thumbnails=thumbnails, emit=emit)
        except MissingDependencyError as error:
            emit(Note(f"no PNG/SVG/PDF figures: {error}", "warning"))
    unmark(folder)
    return tuple(paths)


def is_report(folder: Path) -> bool:
    """Whether ``folder`` contains a report's table in JSON (links do not count)."""
    return {"dataset", "rows"} <= own_json(folder / "table1.json").keys()


def write_default_report(
    report: Report, runs: Path, suite_name: str = "", *, overwrite: bool = False, emit: Emit = ignore
) -> None:
    """``write_report`` to ``report_folder``. If that fails, emit a warning, since the table can still be printed."""
    try:
        write_report(report, report_folder(runs, suite_name), overwrite=overwrite, emit=emit)
    except InputError as error:
        emit(Note(f"no report folder: {error}", "warning"))
    except OSError as error:
        found = refused(error)
        if found is error:
            raise
        emit(Note(f"no report folder: {found}", "warning"))
