"""Another method's meshes: found by name, bad ones counted with a reason, scored as what they enclose."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import datasets
from helpers.command_line import status as onet

from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import InputError
from pix3d_onet.evaluation.mesh_names import mesh_names, usable_meshes
from pix3d_onet.events import Event, Note
from pix3d_onet.geometry.mesh.inside.any_mesh import inside_any_mesh
from pix3d_onet.geometry.mesh.writing import write_mesh
from pix3d_onet.preparation.execution.pool import Limits
from pix3d_onet.types import Mesh, Rejected

PICTURES = {"img/chair/0001.jpg": "chair-A", "img/bed/0001.jpg": "bed-B", "img/chair/0002.png": "chair-A"}
OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
"""A tetrahedron."""


def folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(OBJ)
    return root


def found(root: Path) -> dict[str, str]:
    """Record → the mesh that it has, or the reason why none."""
    meshes = usable_meshes(root, PICTURES)
    return {
        record: m.reason if isinstance(m, Rejected) else m.relative_to(root).as_posix() for record, m in meshes.items()
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["0002.obj"], ["missing-mesh", "missing-mesh", "0002.obj"]),
        (["0002.png.obj"], ["missing-mesh", "missing-mesh", "0002.png.obj"]),
        (["chair-0001.obj"], ["chair-0001.obj", "missing-mesh", "missing-mesh"]),
        (["img/bed/0001.obj"], ["missing-mesh", "img/bed/0001.obj", "missing-mesh"]),
        (["0001.obj"], ["ambiguous-mesh", "ambiguous-mesh", "missing-mesh"]),
        (["chair-A.obj"], ["chair-A.obj", "missing-mesh", "chair-A.obj"]),
        (["chair-A.obj", "0002.obj"], ["chair-A.obj", "missing-mesh", "0002.obj"]),
        (["0002/0/mesh.obj"], ["missing-mesh", "missing-mesh", "0002/0/mesh.obj"]),
        (["0002/0/mesh.obj", "0002/1/mesh.obj"], ["missing-mesh", "missing-mesh", "ambiguous-mesh"]),
        (["0002.obj", "a/0002.obj"], ["missing-mesh", "missing-mesh", "0002.obj"]),
        (["chair/0002.obj", "chair-0002.obj"], ["missing-mesh", "missing-mesh", "ambiguous-mesh"]),
        (["bed-B/mesh.obj", "bed-B/.hidden.obj"], ["missing-mesh", "bed-B/mesh.obj", "missing-mesh"]),
    ],
)
def test_the_longest_name_counts_and_the_pictures_before_the_shapes(tmp_path, files, expected) -> None:
    assert list(found(folder(tmp_path, *files)).values()) == expected


def test_numbered_outputs_are_named_by_a_list(tmp_path) -> None:
    folder(tmp_path, "0/mesh.obj", "1/mesh.obj", "7/mesh.obj", "2.obj")
    (tmp_path / "pictures.txt").write_text("/photos/img/bed/0001.jpg\n\nphotos/0002.png\n")
    assert list(found(tmp_path).values()) == ["ambiguous-mesh", "0/mesh.obj", "2.obj"]  # the first is also called 0001


def test_meshes_that_no_picture_uses_are_named(tmp_path) -> None:
    folder(tmp_path, "0002.obj", "1/mesh.obj", "2/mesh.obj")
    notes: list[Event] = []
    pictures = {"0001.jpg": "chair-A", "0002.png": "chair-B"}
    usable_meshes(tmp_path, pictures, emit=notes.append)
    text = "2 of 3 meshes in {} are used for no picture of the split: 1/mesh.obj, 2/mesh.obj."
    assert [(n.level, n.message) for n in notes if isinstance(n, Note)] == [("warning", text.format(tmp_path))]
    (tmp_path / "pictures.txt").write_text("0001.jpg\n0002.png\n")  # numbered from 1: both names are one off
    notes.clear()
    usable_meshes(tmp_path, pictures, emit=notes.append)
    (note,) = (n for n in notes if isinstance(n, Note))
    assert "2/mesh.obj" in note.message
    assert note.message.endswith("Lines of pictures.txt are counted from 0.")
    notes.clear()
    usable_meshes(tmp_path, {"0002.png": "chair-B"}, emit=notes.append)  # none is lacking
    assert [n.level for n in notes if isinstance(n, Note)] == ["info"]


def test_a_folder_that_says_nothing_of_the_pictures_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="no folder"):
        mesh_names(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no mesh file"):
        mesh_names(tmp_path)
    with pytest.raises(InputError, match=r"name of a picture \(0001\) or shape \(chair-A\)"):
        found(folder(tmp_path, "0/mesh.obj"))
    (tmp_path / "pictures.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"pictures\.txt cannot be read"):
        mesh_names(tmp_path)


def test_broken_meshes_and_links_that_lead_out_are_named(tmp_path) -> None:
    root = folder(tmp_path / "meshes", "chair-0001.obj")
    (root / "bed-0001.obj").write_text("v 0 0 0\nf 1 2 3\n")
    outside = folder(tmp_path / "outside", "x.obj") / "x.obj"
    (root / "0002.obj").symlink_to(outside)
    assert list(found(root).values()) == ["chair-0001.obj", "empty-mesh", "unsafe-path"]


def test_a_mesh_that_takes_too_long_is_given_up(tmp_path) -> None:
    (tmp_path / "0002.obj").write_text(OBJ * 400_000)
    late = usable_meshes(tmp_path, {"0002.png": "chair-A"}, limits=Limits(seconds=0.01))["0002.png"]
    assert isinstance(late, Rejected)
    assert (late.reason, late.object_id, late.record_id) == ("timeout", "chair-A", "0002.png")


def test_inside_of_closed_split_inverted_and_open_meshes_far_from_the_origin() -> None:
    centre, size = np.array([1000.0, -500.0, 20.0]), 50.0
    mesh = Mesh(datasets.CORNERS * size + centre, datasets.BOX_FACES)
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (4000, 3)) * size + centre
    expected = (np.abs(points - centre) < size / 2).all(axis=1)
    soup = Mesh(mesh.triangles.reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3))
    for closed in (mesh, soup, Mesh(mesh.vertices, mesh.faces[:, ::-1])):
        test, solid = inside_any_mesh(closed)
        assert solid
        np.testing.assert_array_equal(test(points), expected)
    test, solid = inside_any_mesh(Mesh(mesh.vertices, mesh.faces[:-1]))  # a twelfth of the surface is missing
    assert not solid
    assert (test(points) == expected).mean() > 0.95
    sheet = inside_any_mesh(Mesh(np.eye(3), np.array([[0, 1, 2]])))[0]
    assert not sheet(np.random.default_rng(0).uniform(-0.2, 1, (1000, 3))).any()


@pytest.fixture(scope="module")
def boxes(tmp_path_factory) -> Path:
    """Five test shapes; their stored meshes are the boxes around the analytic shapes."""
    return datasets.make_dataset(tmp_path_factory.mktemp("data"), shapes=30, points=2048, image_size=32)


def scored(data: Path, capsys, *arguments: object) -> dict:
    assert onet("evaluate", "--data", data, "--samples", "2000", "--json", *arguments) == 0
    return json.loads(capsys.readouterr().out)


def write_truth(data: Path, out: Path, change=lambda vertices: vertices, suffix: str = ".glb") -> list[str]:
    """The stored meshes of the test shapes as files, named after the shapes."""
    with Dataset(data) as dataset:
        samples = [dataset.sample(e, "test") for e in dataset.entries("test")]
    out.mkdir()
    for sample in samples:
        write_mesh(out / f"{sample.object_id}{suffix}", Mesh(change(sample.mesh.vertices), sample.mesh.faces))
    return [sample.object_id for sample in samples]


def test_meshes_read_back_score_as_the_row_that_wrote_them(boxes, tmp_path, capsys) -> None:
    """The mean shape, written once per picture, is the row of the mean shape."""
    from pix3d_onet.evaluation.baselines import MeanShape, load_training_shapes
    from pix3d_onet.geometry.mesh.inside.winding import contains

    with Dataset(boxes) as dataset:
        mean = MeanShape(load_training_shapes(dataset, contains)).prediction.mesh
        names = [e.object_id for e in dataset.entries("test")]
    for name in names:
        write_mesh(tmp_path / f"{name}.ply", mean)
    document = scored(boxes, capsys, "--baseline", "mean-shape", "--meshes", f"theirs={tmp_path}")
    ours, theirs = document["rows"]
    for metric in ("iou_mesh", "chamfer_l1", "normal_consistency", "f_score"):
        assert theirs["means"][metric]["mean"] == pytest.approx(ours["means"][metric]["mean"], abs=0.005)
    assert theirs["settings"]["open"] == 0
    assert theirs["settings"]["rejected"] == []
    assert {(d["name"], d["against"]) for d in document["differences"]} == {("theirs", "mean-shape")}


def test_missing_empty_and_broken_meshes_count_as_empty_and_are_counted(boxes, tmp_path, capsys) -> None:
    out = tmp_path / "meshes"
    missing, empty, broken, opened, *_ = write_truth(boxes, out, suffix=".off")
    (out / f"{missing}.off").unlink()
    (out / f"{empty}.off").write_text("OFF\n0 0 0\n")
    (out / f"{broken}.off").write_bytes(b"OFF\n8 12 0\n0 0")
    lines = (out / f"{opened}.off").read_text().replace("8 12 0", "8 11 0").splitlines()
    (out / f"{opened}.off").write_text("\n".join(lines[:-1]))
    (row,) = scored(boxes, capsys, "--meshes", f"theirs={out}")["rows"]
    assert row["pictures"] == 5
    assert row["empty"] == 3
    assert row["settings"]["open"] == 1
    reasons = {r["object_id"]: r["reason"] for r in row["settings"]["rejected"]}
    assert set(reasons) == {missing, empty, broken}
    assert reasons[missing] == "missing-mesh"
    assert reasons[empty] == "empty-mesh"
    by_shape = {s["object_id"]: s for s in row["shapes"]}
    for name in reasons:
        assert by_shape[name]["iou"] == by_shape[name]["f_score"] == 0
        assert by_shape[name]["chamfer_l1"] == pytest.approx(3**0.5)
    onet("evaluate", "--data", boxes, "--samples", "200", "-q", "--meshes", f"theirs={out}")
    shown = capsys.readouterr().out
    assert "theirs: 3 of 5 pictures count as empty" in shown
    assert "missing-mesh 1" in shown


def test_one_alignment_holds_for_all_rows(boxes, tmp_path, capsys) -> None:
    turned = tmp_path / "turned"
    write_truth(boxes, turned, lambda v: 3 * v[:, [1, 2, 0]] + 7)
    arguments = ["--baseline", "oracle", "--meshes", f"turned={turned}", "--limit", "2"]
    raw = scored(boxes, capsys, *arguments)
    assert raw["align"] == "none"
    assert raw["rows"][1]["means"]["iou"]["mean"] < 0.1
    table = tmp_path / "scores.csv"
    found = scored(boxes, capsys, *arguments, "--align", "search", "--csv", table)
    assert found["align"] == "search"
    assert {row["settings"]["align"] for row in found["rows"]} == {"search"}
    assert all(",search," in line for line in table.read_text().splitlines()[1:])
    for shape in found["rows"][1]["shapes"]:
        if shape["object_id"].startswith("box"):  # its stored mesh is the labelled solid
            assert shape["iou"] > 0.9
            assert shape["chamfer_l1"] < 0.1
    onet(
        "evaluate", "--data", boxes, "--samples", "200", "-q", "--limit", "2", "--baseline", "oracle", "--align", "box"
    )
    assert "aligned with the true one: box" in " ".join(capsys.readouterr().out.split())


def test_the_original_frame_is_that_of_the_model(release, prepared, tmp_path, capsys) -> None:
    with Dataset(prepared) as dataset:
        samples = [dataset.sample(e, "test") for e in dataset.entries("test")]
    for s in samples:
        write_mesh(tmp_path / f"{s.object_id}.obj", Mesh(s.mesh.vertices * s.scale + s.loc, s.mesh.faces))
    arguments = ["evaluate", "--data", prepared, "--samples", "500", "--json", "--meshes", f"a={tmp_path}"]
    assert onet(*arguments, "--mesh-frame", "original") == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["means"]["iou"]["mean"] > 0.9


def test_the_official_protocol_takes_meshes_too(boxes, tmp_path, capsys) -> None:
    out = tmp_path / "meshes"
    write_truth(boxes, out)
    arguments = ["--meshes", f"theirs={out}", "--protocol", "pix3d", "--voxels", "32", "--limit", "4"]
    assert onet("evaluate", "--data", boxes, "--json", *arguments) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["means"]["iou_pix3d"]["mean"] == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--meshes", "theirs"], 2, "is not NAME=DIR"),
        (["--meshes", "oracle={tmp}"], 2, "--meshes must be NAME=DIR"),
        (["--meshes", "a={tmp}", "--meshes", "a={tmp}"], 2, "two rows have the same name"),
        (["--meshes", "a={tmp}/nowhere"], 3, "no folder of meshes"),
        (["--baselines", "--mesh-frame", "original"], 2, "--mesh-frame has no effect"),
        (["--meshes", "a={tmp}", "--align", "best"], 2, "none"),
    ],
)
def test_bad_arguments_are_one_line(data, tmp_path, capsys, arguments, status, words) -> None:
    assert onet("evaluate", "--data", data, *(a.format(tmp=tmp_path) for a in arguments)) == status
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_meshes_in_another_frame_are_said_to_be(boxes, tmp_path, capsys) -> None:
    """Two of five may differ, as predictions do; where most do, their frame does."""
    line = "it may be in another frame, see --mesh-frame and --align."
    common = ["evaluate", "--data", boxes, "--samples", "200", "-q"]
    turned = iter([1.0, 1.0, 1.0, 7.0, 7.0])
    write_truth(boxes, tmp_path / "two", lambda vertices: vertices * next(turned))
    write_truth(boxes, tmp_path / "large", lambda vertices: vertices * 1.5)
    write_truth(boxes, tmp_path / "shifted", lambda vertices: vertices + np.array([0.0, 0.25, 0.0]))
    rows = [f"{name}={tmp_path / name}" for name in ("two", "large", "shifted")]
    assert onet(*common, *(part for row in rows for part in ("--meshes", row))) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(
        rf"large: the median mesh is 1\.5 long and \S+ off the origin, not 1 and 0: {re.escape(line)}", shown
    )
    assert f"shifted: the median mesh is 1 long and 0.25 off the origin, not 1 and 0: {line}" in shown
    assert "two: the median" not in shown
    assert onet(*common, "--meshes", rows[1], "--align", "box") == 0
    assert line not in " ".join(capsys.readouterr().out.split())
