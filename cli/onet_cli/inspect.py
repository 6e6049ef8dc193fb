"""``onet inspect``: what is in a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onet_cli import ui
from pix3d_onet.config import SPLITS

if TYPE_CHECKING:
    from pix3d_onet.inspection.summary import Summary

SHEET, QC_SHEET = "contact-sheet.png", "worst-shapes.png"


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--out", "--sheet", "sheet", type=click.Path(path_type=Path), help=f"The picture to write [DATASET/{SHEET}]."
)
@click.option("--no-sheet", is_flag=True, help="The table only.")
@click.option("--qc", is_flag=True, help=f"Quality figures, and the worst shapes with pictures [DATASET/{QC_SHEET}].")
@click.option("--split", type=click.Choice(SPLITS), help="Pictures of one split only.")
@click.option("--shapes", default=24, show_default=True, type=click.IntRange(1, 400), help="Shapes on the sheet.")
@click.option("--seed", default=0, show_default=True, help="Seed of the choice.")
@click.option("--overwrite", is_flag=True, help="Replace a picture that is not a sheet of onet.")
@ui.common_options
def inspect(
    dataset: Path,
    sheet: Path | None,
    no_sheet: bool,
    qc: bool,
    split: str | None,
    shapes: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show what is in a prepared data set: a table, and a sheet of pictures, masks and meshes.

    \b
    Example:
      onet inspect data/prepared/pix3d-chair --qc
    """
    from pix3d_onet.data.store.manifest import read_manifest
    from pix3d_onet.inspection.summary import summarise, worst_shapes

    summary = summarise(dataset)
    path = (
        None if no_sheet else place_for(sheet, dataset / (QC_SHEET if qc else SHEET), overwrite=overwrite, quiet=quiet)
    )
    if path is not None:
        from pix3d_onet.inspection.contact_sheet import contact_sheet

        contact_sheet(dataset, path, shapes=shapes, worst=qc, split=split, seed=seed)
    worst = [(e.object_id, why) for e, why in worst_shapes(read_manifest(dataset), shapes)] if qc else []
    ui.print_json(document(summary, path, worst)) if as_json else render(summary, path, worst)


def place_for(wanted: Path | None, default: Path, *, overwrite: bool, quiet: bool) -> Path | None:
    """Where the sheet goes. None, with a warning, where nothing was asked for and it cannot be written."""
    from pix3d_onet.errors import InputError
    from pix3d_onet.files import check_writable
    from pix3d_onet.inspection.contact_sheet import check_place

    try:
        check_writable(wanted or default)
        check_place(wanted or default, overwrite=overwrite)
    except InputError as error:
        if wanted is not None:
            raise
        if not quiet:
            ui.say(f"no pictures: {error.message} Name a file by --out.", err=True)
        return None
    return wanted or default


def document(summary: Summary, sheet: Path | None, worst: list[tuple[str, str]]) -> dict[str, object]:
    """The JSON document."""
    return {
        "dataset": str(summary.root),
        "data_hash": summary.data_hash,
        "source": dict(summary.source),
        "config": dict(summary.config),
        "shapes": summary.shapes,
        "pictures": summary.pictures,
        "bytes": summary.bytes,
        "bytes_per_shape": summary.bytes_per_shape,
        "splits": {
            s.name: {"shapes": s.shapes, "pictures": s.pictures, "categories": dict(s.categories)}
            for s in summary.splits
        },
        "categories": dict(summary.categories),
        "rejects": dict(summary.rejects),
        "warnings": dict(summary.warnings),
        "qc": {
            r.key: {"shapes": r.count, "min": r.least, "median": r.median, "max": r.most, "worst": r.worst}
            for r in summary.qc
        },
        "worst": [{"object_id": name, "why": why} for name, why in worst],
        "sheet": str(sheet) if sheet else None,
    }


def render(summary: Summary, sheet: Path | None, worst: list[tuple[str, str]]) -> None:
    """Tables, then where the picture is."""
    console = ui.out()
    names = list(summary.categories)
    rows: list[list[object]] = [
        ["pictures", *(s.pictures for s in summary.splits), summary.pictures],
        ["shapes", *(s.shapes for s in summary.splits), summary.shapes],
    ]
    for name in names if len(names) > 1 else ():
        rows.append([f"  {name}", *(s.categories.get(name, 0) for s in summary.splits), summary.categories[name]])
    columns = ["", *(f">{s.name}" for s in summary.splits), ">all"]
    console.print(ui.table(f"{summary.root} ({summary.data_hash})", columns, rows))
    points, side = summary.config.get("points"), summary.config.get("image_size")
    console.print(
        f"{', '.join(names)}; {points} labelled points a shape, pictures of {side}×{side}, "
        f"{summary.bytes / 1e6:.1f} MB, {summary.bytes_per_shape / 1e3:.0f} kB a shape",
        soft_wrap=True,
    )
    for title, counts in (("rejected", summary.rejects), ("warnings", summary.warnings)):
        if counts:
            console.print(f"{title}: " + ", ".join(f"{n} × {k}" for k, n in counts.items()), soft_wrap=True)
    if worst:
        qc = [(r.key, f"{r.least:.4g}", f"{r.median:.4g}", f"{r.most:.4g}", r.worst) for r in summary.qc]
        console.print(ui.table("Quality", ["figure", ">least", ">median", ">most", "worst"], qc))
        console.print(ui.table("Worst shapes", ["shape", "why"], worst))
    if sheet:
        console.print(f"pictures: {sheet}", soft_wrap=True)
