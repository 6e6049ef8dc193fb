"""The renderer against geometry it must show, and figures that are there, the same each time, and not empty."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.stored_runs import make_runs, sphere
from PIL import Image
from scipy import ndimage

from pix3d_onet.ablation.stored_runs import find_runs
from pix3d_onet.geometry.render.look import DISTANCE, FIELD_OF_VIEW, PREDICTION_COLOUR
from pix3d_onet.pages.pictures import with_mask
from pix3d_onet.report.build import Report, read_report
from pix3d_onet.report.curves import mean_curve
from pix3d_onet.report.gallery import gallery
from pix3d_onet.report.palette import OKABE_ITO, styles
from pix3d_onet.report.shade import crease_normals, shade, view_matrix
from pix3d_onet.report.thumbnails import Thumbnails
from pix3d_onet.types import Mesh


def silhouette(picture: np.ndarray) -> np.ndarray:
    return (picture < 250).any(axis=2)


def cube(half: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    vertices = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return vertices, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])


@pytest.mark.parametrize("radius", [0.2, 0.5])
def test_a_sphere_has_the_disc_that_projection_says(radius: float) -> None:
    vertices, faces = sphere(radius, 48)
    size = 128
    area = silhouette(shade(vertices, faces, size=size)).sum()
    focal = size / 2 / np.tan(np.radians(FIELD_OF_VIEW / 2))
    disc = focal * radius / np.sqrt(DISTANCE**2 - radius**2)
    assert area == pytest.approx(np.pi * disc**2, abs=0.6 * 2 * np.pi * disc)  # border pixels are partly covered


def test_a_unit_cube_fits_the_picture_and_nothing_is_hidden_by_order() -> None:
    vertices, faces = cube()
    picture = shade(vertices, faces, size=96)
    seen = silhouette(picture)
    assert not np.concatenate([seen[0], seen[-1], seen[:, 0], seen[:, -1]]).any()
    assert np.array_equal(picture, shade(vertices, faces[::-1], size=96))


def test_the_near_object_hides_the_far_one() -> None:
    near, faces = sphere(0.2)
    toward = view_matrix()[2]
    together = np.concatenate([near + 0.25 * toward, near * 0.5 - 0.25 * toward])
    both = shade(together, np.concatenate([faces, faces + len(near)]), size=96)
    alone = shade(together, faces, size=96)
    assert np.array_equal(silhouette(both), silhouette(alone))
    assert np.array_equal(both, alone)


def test_the_face_of_an_object_looks_at_the_viewer_at_azimuth_zero() -> None:
    assert view_matrix(0, 0) @ np.array([0.0, 0.0, -1.0]) == pytest.approx([0, 0, 1])
    assert np.linalg.det(view_matrix(50, 20)) == pytest.approx(1)
    assert (view_matrix(35, 22) @ np.array([0.0, 1.0, 0.0]))[1] > 0.9


def test_degenerate_empty_and_distant_meshes_are_harmless() -> None:
    blank = np.full((32, 32, 3), 255, dtype=np.uint8)
    assert np.array_equal(shade(np.zeros((0, 3)), np.zeros((0, 3), dtype=int), size=32), blank)
    line = np.array([[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0.0]])
    assert np.array_equal(shade(line, np.array([[0, 1, 2]]), size=32), blank)
    behind = sphere(0.1)[0] + 10 * view_matrix()[2]
    assert np.array_equal(shade(behind, sphere(0.1)[1], size=32), blank)


def test_sharp_edges_stay_sharp_and_round_ones_smooth() -> None:
    vertices, faces = cube()
    normals = crease_normals(vertices, faces)
    assert np.allclose(np.abs(normals).max(axis=2), 1)
    vertices, faces = sphere(0.5, 32)
    corners = vertices[faces.astype(int)]
    agree = (crease_normals(vertices.astype(float), faces.astype(int)) * corners / 0.5).sum(axis=2)
    assert agree.min() > 0.99


def chair() -> Mesh:
    """Seat, back, a round leg with smooth shading, and a face that is wound the wrong way round."""
    parts = [(cube(0.5), (0.8, 0.1, 0.8), (0, 0, 0)), (cube(0.5), (0.8, 0.9, 0.1), (0, 0.4, 0.35)),
             (sphere(0.5, 24), (0.3, 0.8, 0.3), (0.1, -0.35, 0))]  # fmt: skip
    vertices, faces, count = [], [], 0
    for (v, f), scale, place in parts:
        vertices.append(v * np.array(scale) * 0.9 + place)
        faces.append(f.astype(int) + count)
        count += len(v)
    faces[0][0] = faces[0][0][::-1]
    return Mesh(np.concatenate(vertices), np.concatenate(faces))


def test_previews_and_reports_draw_alike() -> None:
    """The compiled renderer and this one: the same picture of the same mesh, but for the grid of samples in a pixel."""
    pytest.importorskip("numba")
    from pix3d_onet.geometry.render.preview import UNIT_BOX, mesh_pictures

    mesh = chair()
    preview = mesh_pictures(mesh, 160, UNIT_BOX, PREDICTION_COLOUR)[0].astype(int)
    thumbnail = shade(mesh.vertices, mesh.faces, size=160).astype(int)
    difference = np.abs(preview - thumbnail).max(axis=2)
    assert (thumbnail < 250).any(axis=2).mean() > 0.2
    assert np.median(difference) == 0
    inside = ndimage.binary_erosion(silhouette(preview) & silhouette(thumbnail), iterations=3)
    assert np.quantile(difference[inside], 0.95) <= 2  # codes of 255; the rest are edges inside the chair


def test_a_vertex_that_every_face_shares_takes_no_quadratic_memory() -> None:
    count = 8000
    angle = np.linspace(0, 2 * np.pi, count)
    rim = np.stack([np.cos(angle), np.sin(angle), np.zeros(count)], axis=1) * 0.4
    faces = np.stack([np.zeros(count - 1, int), np.arange(1, count), np.arange(2, count + 1)], axis=1)
    tracemalloc.start()
    normals = crease_normals(np.concatenate([[[0.0, 0, 0]], rim]), faces)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.allclose(normals, [0, 0, 1])
    assert peak < 2**30


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    root = make_runs(tmp_path_factory.mktemp("runs"), ("resnet18", "convnext"), (0, 1), examples=2)
    return read_report(root)


def test_the_mask_is_laid_over_at_three_tenths() -> None:
    rgb = np.full((2, 2, 3), 100, dtype=np.uint8)
    mask = np.array([[True, False], [False, False]])
    tinted = with_mask(rgb, mask)
    assert tinted[0, 0].tolist() == [round(70 + 0.3 * c) for c in (213, 94, 0)]
    assert (tinted[~mask] == 100).all()


def test_curves_are_means_over_seeds_at_shared_steps(report: Report) -> None:
    runs = report.group.of("resnet18")
    curve = mean_curve(runs)
    histories = [[h.val_iou for h in r.record.history] for r in runs]
    assert curve.mean == pytest.approx(np.mean(histories, axis=0))
    assert (curve.low <= curve.mean).all()
    assert (curve.mean <= curve.high).all()
    assert len(mean_curve(()).steps) == 0


def test_a_damaged_example_file_costs_its_row_only(tmp_path: Path) -> None:
    root = make_runs(tmp_path, ("resnet18", "convnext"), examples=2)
    next(root.glob("convnext/*/examples.npz")).write_bytes(b"no")
    shown = gallery(find_runs(root), {"resnet18": "A", "convnext": "B"})
    assert shown.variants == ("resnet18",)
    assert len(shown.records) == 2


def test_figures_in_three_formats_and_the_same_bytes_each_time(report: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from pix3d_onet.report.figures import write_figures

    digests, shared = [], Thumbnails()
    for name in ("a", "b"):
        paths = write_figures(report.group, report.table, report.gallery, tmp_path / name, thumbnails=shared)
        digests.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in paths])
    assert sorted(p.name for p in paths) == sorted(
        f"{n}.{s}" for n in ("figure2-gallery", "figure1-curves") for s in ("png", "svg", "pdf")
    )
    assert digests[0] == digests[1]
    for png in tmp_path.glob("a/*.png"):
        colours = Image.open(png).convert("RGB").getcolors(10_000_000)
        assert colours is not None
        assert len(colours) > 50
    svg = (tmp_path / "a" / "figure1-curves.svg").read_text()
    assert "ConvNeXt Tiny" in svg
    assert styles([r.variant for r in report.table.rows])["convnext"].colour.lower() in svg.lower()


def test_every_row_of_a_table_has_a_colour_of_its_own() -> None:
    looks = styles([f"row {i}" for i in range(21)])
    assert len({look.colour for look in looks.values()}) == 21
    assert tuple(look.colour for look in list(looks.values())[:7]) == OKABE_ITO
    many = styles([str(i) for i in range(84)])
    assert len({(look.colour, look.dash) for look in many.values()}) == 84
