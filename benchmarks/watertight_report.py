"""Make the tables and the plot of the documentation from the results of ``watertight.py``.

    python benchmarks/watertight_report.py benchmarks/results/watertight.json [--docs docs/watertight.md] [--plot FILE]

With ``--docs``, the text between the markers of that page is replaced; otherwise the tables are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- begin: benchmarks/watertight_report.py -->", "<!-- end -->"
OURS = "onet tight"
COLOURS = {
    "onet tight": "#0072b2",
    "onet fusion": "#56b4e9",
    "alpha wrap (pymeshlab)": "#d55e00",
    "point-cloud-utils": "#009e73",
    "mesh2sdf 128": "#cc79a7",
    "manifold3d": "#999999",
}
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

Row = dict[str, Any]


def _methods(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _meshes(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["mesh"] for row in rows))


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(head: list[str], body: list[list[str]]) -> str:
    return "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, body)])


def solids_table(rows: list[Row]) -> str:
    """IoU, volume and error of every method on every exact solid."""
    exact = [row for row in rows if "iou" in row]
    found = {(row["method"], row["mesh"]): row for row in exact}
    names = _meshes(exact)
    body = []
    for method in _methods(exact):
        for label, form in (("IoU", "{iou:.4f}"), ("volume", "×{volume_ratio:.3f}"), ("error ×10⁻³", "{error:.3f}")):
            cells = [f"{method}: {label}"]
            for name in names:
                row = found.get((method, name))
                cells.append("failed" if row is None else form.format(error=1e3 * row["mean"], **row))
            body.append(cells)
    return _table(["", *names], body)


def summary_table(document: dict[str, Any]) -> str:
    """Medians of every method: seconds, what they are of ours, error on solids and on the other meshes, memory."""
    rows: list[Row] = document["rows"]
    count = len(_meshes(rows))
    ours = {row["mesh"]: row["wall_seconds"] for row in rows if row["method"] == OURS}
    body = []
    for method in _methods(rows):
        mine = [row for row in rows if row["method"] == method]
        ratio = statistics.median(row["wall_seconds"] / ours[row["mesh"]] for row in mine)
        cells = [method, f"{statistics.median(row['wall_seconds'] for row in mine):.3f}", f"{ratio:.1f}×"]
        for exact in (True, False):
            errors = [1e3 * row["mean"] for row in mine if ("iou" in row) is exact]
            cells.append(f"{statistics.median(errors):.3f}" if errors else "")
        cells.append(f"{sum(row['watertight'] for row in mine)} of {count}")
        memory = document.get("peak_memory_mb", {}).get(method)
        cells.append("" if memory is None else f"{memory}")
        body.append(cells)
    head = ["method", "seconds", "of `tight`'s", "error ×10⁻³, solids", "error ×10⁻³, others", "closed", "peak MB"]
    return _table(head, body)


def markdown(document: dict[str, Any]) -> str:
    machine = document["machine"]
    others = len(_meshes([row for row in document["rows"] if "iou" not in row]))
    exact = (
        f"Exact solids: IoU and volume over {document['inside_points']:,} uniform points against the closed form, "
        "error = mean distance both ways between the result and the visible surface, as a share of the box's diagonal:"
    )
    overall = (
        f"The same solids and {others} real chairs of Pix3D: medians over the meshes, of {document['repeats']} repeats "
        f"each, {machine['threads']} thread; the peak is that of a process of its own on {document['memory_mesh']}, "
        "libraries included:"
    )
    return "\n\n".join([exact, solids_table(document["rows"]), overall, summary_table(document)])


def plot(rows: list[Row], path: Path) -> None:
    """Seconds against error, a mark a mesh: circles for exact solids, crosses for others."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for method in _methods(rows):
        for exact, marker in ((True, "o"), (False, "x")):
            mine = [row for row in rows if row["method"] == method and ("iou" in row) is exact]
            axes.scatter(
                [row["wall_seconds"] for row in mine],
                [max(1e3 * row["mean"], 1e-3) for row in mine],
                marker=marker,
                s=36,
                color=COLOURS.get(method, "#000000"),
                label=method if exact else None,
            )
    axes.set(xscale="log", yscale="log", xlabel="seconds a mesh", ylabel="surface error, ‰ of the diagonal")
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title("o exact solids   × real chairs   (lower left is better)", fontsize=9, loc="left")
    figure.savefig(path, dpi=140)
    plt.close(figure)


def replaced(page: str, text: str) -> str:
    """The page with ``text`` between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest or not tail:
        raise SystemExit(f"the page lacks the lines {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--docs", type=Path, help="a page with markers, rewritten in place")
    parser.add_argument("--plot", type=Path, help="where to draw seconds against error")
    options = parser.parse_args()
    document = json.loads(options.result.read_text())
    if options.docs:
        options.docs.write_text(replaced(options.docs.read_text(), markdown(document)))
    else:
        print(markdown(document))
    if options.plot:
        plot(document["rows"], options.plot)


if __name__ == "__main__":
    main()
