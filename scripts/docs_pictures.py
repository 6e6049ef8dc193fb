"""Draw the pictures of the documentation from synthetic data alone: docs/assets/*.png.

Run: ``.venv/bin/python scripts/docs_pictures.py`` (a minute). The data is drawn anew in a temporary folder, so the
pictures change only when the code does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pix3d_onet import make_watertight
from pix3d_onet.data.images.crop import load_view
from pix3d_onet.geometry.mesh.reading import load_mesh
from pix3d_onet.geometry.mesh.topology import volume
from pix3d_onet.geometry.render.preview import mesh_pictures
from pix3d_onet.geometry.synth.release import synth_pix3d
from pix3d_onet.types import Mesh, UInt8

ASSETS = Path(__file__).resolve().parent.parent / "docs/assets"
SIZE = 260
CAPTION = 62
RESOLUTIONS = (("tight", 256), ("fusion", 256), ("tight", 64), ("fusion", 64))


def caption(picture: UInt8, text: str) -> Image.Image:
    """The picture with one or two lines of text below it."""
    sheet = Image.new("RGB", (picture.shape[1], picture.shape[0] + CAPTION), "white")
    sheet.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(sheet)
    draw.multiline_text((6, picture.shape[0] + 2), text, fill=(60, 60, 60), font=ImageFont.load_default(22), spacing=4)
    return sheet


def beside(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one height in a row."""
    sheet = Image.new("RGB", (sum(p.width for p in pictures), pictures[0].height), "white")
    x = 0
    for picture in pictures:
        sheet.paste(picture, (x, 0))
        x += picture.width
    return sheet


def stacked(rows: list[Image.Image]) -> Image.Image:
    """Rows below each other."""
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    y = 0
    for row in rows:
        sheet.paste(row, (0, y))
        y += row.height
    return sheet


def watertight_row(mesh: Mesh) -> Image.Image:
    """The source and what each method makes of it, with the volumes that show the bias."""
    pictures = [caption(mesh_pictures(mesh, SIZE)[0], f"source\n{len(mesh.faces)} faces")]
    side = float(np.ptp(mesh.bounds, axis=0).max())
    for method, resolution in RESOLUTIONS:
        closed = make_watertight(mesh, method=method, resolution=resolution)
        text = f"{method} at {resolution}\nvolume {100 * volume(closed) / side**3:.2f} %"
        pictures.append(caption(mesh_pictures(closed, SIZE)[0], text))
    return beside(pictures)


def road_row(root: Path, number: int) -> Image.Image:
    """Photo and mask of a record, the mesh of its shape, and the watertight mesh from two sides."""
    image = sorted((root / "img/chair").iterdir())[number]
    mask = sorted((root / "mask/chair").iterdir())[number]
    view = load_view(image, mask, None, None, record_id=image.stem, size=SIZE, margin=0.1)
    photo = Image.open(image).convert("RGB")
    photo.thumbnail((SIZE, SIZE))
    framed = Image.new("RGB", (SIZE, SIZE), "white")
    framed.paste(photo, ((SIZE - photo.width) // 2, (SIZE - photo.height) // 2))
    models = sorted((root / "model/chair").iterdir())
    mesh = load_mesh(next(iter(sorted(models[number].glob("*.obj")))))
    closed = mesh_pictures(make_watertight(mesh), SIZE)
    pictures = [np.asarray(framed), view.rgb, mesh_pictures(mesh, SIZE)[0], *closed]
    return beside([Image.fromarray(p) for p in pictures])


def main() -> None:
    """Draw everything."""
    ASSETS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "pix3d"
        synth_pix3d(root, category="chair", objects=6, seed=0)
        meshes = [load_mesh(path) for path in sorted((root / "model/chair").rglob("*.obj"))]
        stacked([watertight_row(meshes[i]) for i in (1, 4)]).save(ASSETS / "watertight.png", optimize=True)
        stacked([road_row(root, i) for i in (1, 4)]).save(ASSETS / "road.png", optimize=True)


if __name__ == "__main__":
    main()
