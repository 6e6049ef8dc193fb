"""Every command that writes a folder, into folders of somebody else: all of our names, with links of all kinds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.command_line import onet
from helpers.datasets import BOX_FACES, CORNERS, make_dataset
from helpers.stored_runs import make_run

from pix3d_onet.geometry.mesh.writing import write_mesh
from pix3d_onet.types import Mesh

FILES = (
    *(f"shard-{i:05d}.h5" for i in range(3)), "shard-mine.h5", "manifest.json", "qc.csv", "rejects.jsonl",
    "timings.csv",
    ".lock", ".bench.lock", ".onet.json", ".manifest.json.0123abcd.part", ".notes.0123abcd.part", "x.part",
    "config.json", "run.json", "history.csv", "examples.npz", "export.json", "metadata.yaml", "synth.json",
    "table1.md", "table1.csv", "table1.json", "table1.tex", "report.html", "figure1-curves.png",
    "contact-sheet.png", "qc-sheet.png", "notes.txt", "README.md", "SHA256SUMS", ".README.md.0123abcd.part",
    ".qc.csv.89abcdef.part", "model.glb", "model.html",
)  # fmt: skip
INNER = (
    ".parts/0123.npz", ".parts/a.json", "best/model.safetensors", "best/model.json", "last/model.safetensors",
    "last/step-00000010.safetensors", "last/step-00000010.json", "tensorboard/events.out.tfevents.1", "profile/a.json",
    "report/report.html", "report/table1.md", "img/chair/0001.png", "mask/chair/0001.png", "chair/train.lst",
    "model/chair/SYNTH_CHAIR_001/model.obj", "chair/BOX_000/points.npz", "resnet18/0-abc/run.json", "resnet18/run.json",
    ".parts/.onet.json", "tensorboard/events.out.tfevents.2.host.3.0", "last/.tmpAb0123", "README/readme.txt",
)  # fmt: skip
LINKS = {"table1.md": "file", "history.csv": "file", "rejects.jsonl": "none", "qc.csv": "hard", "config.json": "hard"}
"""Which of the files are links: to a file outside, to nothing, or a second name of a file outside."""
STAY = {"notes.txt", "README.md", "x.part", "shard-mine.h5", ".notes.0123abcd.part", "model.glb", "model.html"}
"""Names that no command writes into an output folder."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("sources")
    make_dataset(top / "data", 3)
    make_run(top / "runs", "resnet18")
    for i in range(2):
        path = top / "meshes" / "box" / f"{i}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mesh(path, Mesh(CORNERS + i, BOX_FACES))
    return top


def foreign(top: Path, *, inner: bool) -> Path:
    """A folder of somebody else, beside what its links lead to."""
    folder, outside = top / "theirs", top / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "folder" / "model.safetensors").write_text("outside")
    for name in (*FILES, *(INNER if inner else ())):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"theirs: {name}")
    for name, kind in LINKS.items():
        (folder / name).unlink()
        if kind != "none":
            (outside / name).write_text(f"outside: {name}")
        if kind == "hard":
            os.link(outside / name, folder / name)
        else:
            (folder / name).symlink_to(outside / name)
    if inner:
        shutil.rmtree(folder / "best")
        (folder / "best").symlink_to(outside / "folder")
    return folder


def state(top: Path) -> dict[str, bytes]:
    """Relative path → content, or where a link leads."""
    return {
        p.relative_to(top).as_posix(): str(p.readlink()).encode() if p.is_symlink() else p.read_bytes()
        for p in sorted(top.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


TINY = ("--no-pretrained", "--steps", 1, "--batch-size", 1, "--device", "cpu")
COMMANDS: dict[str, Callable[[Path, Path], tuple[object, ...]]] = {
    "prepare": lambda top, out: ("prepare", "meshes", top / "meshes", "--out", out, "--jobs", 1),
    "train": lambda top, out: ("train", "--data", top / "data", "--out", out, "--no-examples", *TINY),
    "bench": lambda top, out: ("bench", "--variant", "resnet18", "--data", top / "data", "--out", out, *TINY),
    "report": lambda top, out: ("report", top / "runs", "--format", "html", "--no-figures", "--out", out),
    "export": lambda top, out: ("export", "onet", top / "data", out),
    "synth": lambda top, out: ("synth", "pix3d", out, "--objects", 1),
}


@pytest.mark.parametrize("overwrite", [False, True], ids=["plain", "overwrite"])
@pytest.mark.parametrize("inner", [True, False], ids=["folders", "files"])
@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_not_ours_stays_or_is_named(
    sources: Path, tmp_path: Path, name: str, inner: bool, overwrite: bool
) -> None:
    out = foreign(tmp_path, inner=inner)
    before = state(tmp_path)
    answer = onet(*COMMANDS[name](sources, out), *(["--overwrite"] if overwrite else []))
    after = state(tmp_path)
    gone = {path.removeprefix("theirs/") for path in before if after.get(path) != before[path]}
    assert "unexpected" not in answer.err
    assert not any(path.startswith("outside") for path in gone)
    assert not STAY & gone
    if overwrite and not inner:
        assert answer.status == 0
        assert gone or name == "bench"  # which writes only folders
    if not overwrite:
        assert answer.status != 0
        assert "Name another folder" in answer.err or "in the way" in answer.err
        assert after == before
    assert [path for path in sorted(gone) if path not in answer.err] == []


@pytest.mark.parametrize("overwrite", [False, True], ids=["plain", "overwrite"])
@pytest.mark.parametrize("link", ["", "file", "none", "hard"])
def test_a_picture_of_somebody_else_stays_or_is_replaced_by_request(
    sources: Path, tmp_path: Path, link: str, overwrite: bool
) -> None:
    sheet, other = tmp_path / "theirs.png", tmp_path / "other.png"
    other.write_text("outside")
    if link == "hard":
        os.link(other, sheet)
    elif link:
        sheet.symlink_to(other if link == "file" else tmp_path / "nothing")
    else:
        sheet.write_text("theirs")
    before = state(tmp_path)
    answer = onet("inspect", sources / "data", "--out", sheet, *(["--overwrite"] if overwrite else []))
    after = state(tmp_path)
    assert "unexpected" not in answer.err
    assert after["other.png"] == b"outside"
    assert "nothing" not in after
    assert (after["theirs.png"] == before["theirs.png"]) is not overwrite
    assert (answer.status == 0) is overwrite


@pytest.mark.parametrize("name", ["prepare", "export"])
def test_a_card_of_another_data_set_is_named_before_it_is_replaced(sources: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "theirs"
    out.mkdir()
    (out / "README.md").write_text("# Occupancy data set\n\nMade elsewhere, with notes.\n")
    command = COMMANDS[name](sources, out)
    assert "replaces README.md" in onet(*command).err
    assert "with notes" in (out / "README.md").read_text()
    answer = onet(*command, "--overwrite")
    assert "replacing in it README.md" in answer.err
    assert "with notes" not in (out / "README.md").read_text()
