"""The data card: its code runs, its checksums check, and it depends on the manifest alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.datasets import make_dataset

from pix3d_onet.data.sources.registry import PIX3D_TERMS, SYNTHETIC_TERMS, terms_of
from pix3d_onet.data.store.card import CARD, UNKNOWN_TERMS, data_card, write_card
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.export.original_layout import export_onet


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_dataset(tmp_path_factory.mktemp("data"), 6, 512, 32)
    write_card(folder, data_card(read_manifest(folder), UNKNOWN_TERMS))
    return folder


def test_a_card_sums_up_the_quality(data: Path) -> None:
    manifest = read_manifest(data)
    qc = [{"bias_voxels": 0.2 * i, "watertight": True, "warnings": ["thickened"] if i > 3 else []} for i in range(6)]
    judged = replace(manifest, shapes=tuple(replace(s, qc=q) for s, q in zip(manifest.shapes, qc, strict=True)))
    card = data_card(judged, UNKNOWN_TERMS)
    assert "2 of 6 shapes have a warning: thickened 2." in card
    assert r"| bias\_voxels | voxels | 0, nearer is better | 0 | 0.5 | 1 |" in card
    assert "0 of 6 shapes have a warning: none." in data_card(manifest, UNKNOWN_TERMS)


def blocks(card: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), flags=re.DOTALL)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_code_of_a_card_loads_the_data(data: Path) -> None:
    library, plain = (run(code.replace("FOLDER", str(data))) for code in blocks(data / CARD))
    manifest = read_manifest(data)
    train = [s.object_id for s in manifest.shapes if s.split == "train"]
    assert [line.split()[0] for line in library.splitlines()] == train
    assert plain.split()[:2] == [manifest.shapes[0].object_id, manifest.shapes[0].split]


def test_the_checksums_of_a_card_find_a_damaged_shard(data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sha256sum", "-c", CARD], cwd=copy, capture_output=True, text=True, check=False)

    whole = check()
    assert whole.returncode == 0
    assert whole.stdout.count(": OK") == len(read_manifest(copy).shards)
    shard = copy / "shard-00000.h5"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert check().returncode == 1


def test_an_exports_code_and_checksums_hold(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_onet(data, out, image_size=32)
    model = sorted(out.glob("*/*/points.npz"))[0].parent.relative_to(out).as_posix()
    (code,) = blocks(out / CARD)
    said = run(code.replace("FOLDER/CATEGORY/MODEL", f"{out}/{model}") + "\nprint(points.shape, inside.shape)")
    assert said == "(512, 3) (512,)\n"
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=out, check=True)
    summed = {line.split("  ", 1)[1] for line in (out / "SHA256SUMS").read_text().splitlines()}
    assert summed == {p.relative_to(out).as_posix() for p in out.glob("*/**/*") if p.is_file()}


def test_names_from_data_are_no_markup(data: Path) -> None:
    manifest = read_manifest(data)
    counts = {**manifest.counts, "categories": {"<img src=x>|\n# Licence": 1}}
    card = data_card(replace(manifest, counts=counts), UNKNOWN_TERMS)
    assert "<img" not in card.replace(r"\<img", "")
    assert card.count("\n## Licence\n") == 1
    assert "\n# Licence" not in card


def test_a_readme_of_ones_own_stays(data: Path, tmp_path: Path) -> None:
    (tmp_path / CARD).write_text("# My chairs\n")
    write_card(tmp_path, (data / CARD).read_text(encoding="utf-8"))
    assert (tmp_path / CARD).read_text() == "# My chairs\n"
    (tmp_path / CARD).unlink()
    (tmp_path / CARD).symlink_to(tmp_path / "elsewhere")
    write_card(tmp_path, "text")
    assert not (tmp_path / "elsewhere").exists()


def test_the_terms_follow_the_source(data: Path) -> None:
    manifest = read_manifest(data)
    assert terms_of(manifest) == UNKNOWN_TERMS
    pix3d = replace(manifest, source={"kind": "pix3d"})
    assert terms_of(pix3d) == PIX3D_TERMS
    made = tuple(replace(s, object_id=f"chair-SYNTH_CHAIR_{i:03d}") for i, s in enumerate(pix3d.shapes))
    assert terms_of(replace(pix3d, shapes=made)) == SYNTHETIC_TERMS
    assert terms_of(replace(pix3d, shapes=(*made, pix3d.shapes[0]))) == PIX3D_TERMS
