"""The report's figures as PNG, SVG and PDF; needs matplotlib (extra ``report``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pix3d_onet.ablation.stored_runs import RunGroup
from pix3d_onet.errors import MissingDependencyError
from pix3d_onet.events import Emit, Progress, ignore
from pix3d_onet.files import writing
from pix3d_onet.report.curves import mean_curve
from pix3d_onet.report.gallery import Gallery
from pix3d_onet.report.palette import styles
from pix3d_onet.report.table import Table
from pix3d_onet.report.thumbnails import Thumbnails

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_FORMATS = ("png", "svg", "pdf")
DPI = 200
TILE, LABELS = 1.25, 1.15
"""Side of a picture in Figure 2, and width of its row labels, inches."""
_RC = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.edgecolor": "#555555",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "onet",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
"""Style of the figures. Text is stored as text; SVG ids are not random, so that equal runs give equal files."""


def figure_curves(group: RunGroup, table: Table) -> Figure:
    """Figure 1: validation IoU over steps; mean over seeds, band from lowest to highest, marker at the best mean."""
    plt = _pyplot()
    figure: Figure
    with plt.rc_context(_RC):
        figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
        looks = styles([r.variant for r in table.rows])
        for row in table.rows:
            curve = mean_curve(group.of(row.variant))
            steps, mean = curve.steps, curve.mean
            if not len(steps):
                continue
            look = looks[row.variant]
            dash: Any = (0, look.dash_lengths) if look.dash else "-"
            axes.plot(steps, mean, color=look.colour, linestyle=dash, linewidth=1.6, label=row.label)
            if len(row.seeds) > 1:
                axes.fill_between(steps, curve.low, curve.high, color=look.colour, alpha=0.13, linewidth=0)
            peak = int(np.argmax(mean))
            axes.plot(
                steps[peak], mean[peak], marker=look.marker, color=look.colour, markersize=6, markeredgecolor="white"
            )
        axes.set_xlabel("Optimiser step")
        axes.set_ylabel("Validation IoU")
        at = ", threshold of training" if table.own_thresholds else ""
        axes.set_title(f"Validation IoU on {table.dataset} (markers: best checkpoint{at})", fontsize=9, loc="left")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


def figure_gallery(shown: Gallery, thumbnails: Thumbnails, emit: Emit = ignore) -> Figure:
    """Figure 2: one column per picture, with the ground truth and each variant's reconstruction."""
    plt = _pyplot()
    variants = shown.variants
    rows, columns = 2 + len(variants), max(1, len(shown.records))
    figure: Figure
    done, total = 0, columns * (rows - 1)
    with plt.rc_context(_RC | {"axes.grid": False}):
        figure, grid = plt.subplots(rows, columns, figsize=(TILE * columns + LABELS, TILE * rows), squeeze=False)
        for axes in grid.flat:
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
        for row, label in enumerate(
            (f"Input ({', '.join(shown.splits)})", "Ground truth", *(shown.labels[v] for v in variants))
        ):
            grid[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        for column, record in enumerate(shown.records):
            source = shown.inputs[record]
            grid[0, column].imshow(source.rgb)
            grid[1, column].imshow(thumbnails.of(source.truth, truth=True))
            for row, name in enumerate(variants, start=2):
                done += 1
                emit(Progress("figures", done + column + 1, total))
                example = shown.cells.get((name, record))
                if example is not None:
                    grid[row, column].imshow(thumbnails.of(example.prediction, truth=False))
                    place = {"x": 0.5, "y": 0.03, "ha": "center", "transform": grid[row, column].transAxes}
                    grid[row, column].text(s=f"IoU {example.iou:.2f}", fontsize=7, color="#333333", **place)
        figure.subplots_adjust(
            left=LABELS / (TILE * columns + LABELS), right=1, top=1, bottom=0.01, wspace=0.02, hspace=0.02
        )
    return figure


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``figure`` as ``folder/name.<format>``, with equal bytes for equal runs, and close it."""
    plt = _pyplot()
    metadata: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = []
    with plt.rc_context(_RC):
        for suffix in FIGURE_FORMATS:
            path = folder / f"{name}.{suffix}"
            with writing(path) as part:
                figure.savefig(part, format=suffix, dpi=DPI, metadata=metadata.get(suffix), facecolor="white")
            paths.append(path)
    plt.close(figure)
    return paths


def write_figures(
    group: RunGroup,
    table: Table,
    shown: Gallery,
    folder: Path,
    *,
    thumbnails: Thumbnails | None = None,
    emit: Emit = ignore,
) -> list[Path]:
    """Write Figure 6 and, if runs have examples, Figure 5 to ``folder``. MissingDependencyError without matplotlib."""
    paths = save(figure_curves(group, table), folder, "figure1-curves")
    if shown.records:
        paths += save(figure_gallery(shown, thumbnails or Thumbnails(), emit), folder, "figure2-gallery")
    return paths


def _pyplot() -> Any:
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        raise MissingDependencyError(
            "figures need matplotlib.", hint="Install it with: pip install 'pix3d-onet[report]'"
        ) from None
    return plt
