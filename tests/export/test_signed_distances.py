"""Exports of signed distances, read as the other projects' loaders read them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers.command_line import onet
from helpers.datasets import distance, make_dataset

from pix3d_onet.data.store.reader import load_dataset
from pix3d_onet.errors import InputError
from pix3d_onet.export.claimed_folder import CLAIM_FILE, SUMS_FILE
from pix3d_onet.export.signed_distances import export_deepsdf, export_sdf_grid, grid_name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(
        tmp_path_factory.mktemp("data") / "set", shapes=4, points=512, image_size=32, near=256, sdf=True
    )


def test_a_grid_is_read_as_sdfusion_reads_it(data: Path, tmp_path: Path) -> None:
    result = export_sdf_grid(data, tmp_path / "grids", resolution=16)
    assert result.splits == {"train": 2, "val": 1, "test": 1}
    assert (tmp_path / "grids" / "chair_train.lst").read_text() == "box_000\nball_001\n"
    axis = -0.65 + 1.3 / 16 * np.arange(16)
    for sample in load_dataset(data, None):
        with h5py.File(tmp_path / "grids" / "chair" / sample.object_id / "ori_sample_grid.h5", "r") as file:
            # datasets/pix3d_dataset.py: astype(np.float32), torch.Tensor(...).view(1, 64, 64, 64), clamp to 0.2
            sdf = torch.Tensor(file["pc_sdf_sample"][:].astype(np.float32)).view(1, 16, 16, 16).clamp(-0.2, 0.2)[0]
            np.testing.assert_allclose(file["norm_params"][:], [*sample.loc, sample.scale])
        low, high = sample.mesh.bounds  # every stored mesh is a box
        z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
        truth = distance(0, high - low, np.stack([x, y, z], axis=-1).reshape(-1, 3)).reshape(16, 16, 16)
        np.testing.assert_allclose(sdf.numpy(), truth.clip(-0.2, 0.2), atol=1e-6)


def test_samples_are_read_as_deepsdf_reads_them(data: Path, tmp_path: Path) -> None:
    export_deepsdf(data, tmp_path / "out")
    split = json.loads((tmp_path / "out" / "train.json").read_text())
    assert split == {"onet": {"chair": ["box_000", "ball_001"]}}
    samples = {s.object_id: s for s in load_dataset(data, None)}
    for source, classes in split.items():  # deep_sdf/data.py: get_instance_filenames and unpack_sdf_samples
        for name, instances in classes.items():
            for instance in instances:
                npz = np.load(tmp_path / "out" / "SdfSamples" / source / name / f"{instance}.npz")
                pos, neg = torch.from_numpy(npz["pos"]), torch.from_numpy(npz["neg"])
                assert (pos[:, 3] > 0).all()
                assert (neg[:, 3] < 0).all()
                assert len(pos) + len(neg) == 512 + 256
                sample = samples[instance]
                inside = {tuple(p) for p in sample.points[sample.occupancy].tolist()}
                assert inside <= {tuple(p) for p in neg[:, :3].tolist()}
                place = np.load(tmp_path / "out" / "NormalizationParameters" / source / name / f"{instance}.npz")
                corner = sample.mesh.vertices * sample.scale + sample.loc
                np.testing.assert_allclose((corner + place["offset"]) * place["scale"], sample.mesh.vertices)


def test_an_export_is_continued_replaced_only_on_demand_and_has_checksums(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_sdf_grid(data, out, resolution=8)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    (out / SUMS_FILE).unlink()
    (out / "chair" / "box_000" / "ori_sample_grid.h5").unlink()
    export_sdf_grid(data, out, resolution=8)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    with pytest.raises(InputError, match="another export"):
        export_deepsdf(data, out)
    (out / "mine.txt").write_text("kept")
    export_deepsdf(data, out, overwrite=True)
    assert not (out / "chair").exists()
    assert (out / "mine.txt").read_text() == "kept"
    assert len((out / SUMS_FILE).read_text().splitlines()) == 2 * 4 + 3
    claim = json.loads((out / CLAIM_FILE).read_text())
    (out / CLAIM_FILE).write_text(json.dumps({**claim, "files": ["../mine.txt"]}))
    with pytest.raises(InputError, match="without a list"):
        export_sdf_grid(data, out, overwrite=True)


def test_names_are_those_of_the_release(data: Path) -> None:
    entry = load_dataset(data, None).dataset.manifest.shapes[0]

    def named(mesh: str) -> str:
        from dataclasses import replace

        return grid_name(replace(entry, source_mesh=mesh), "chair/x", pix3d=True)

    assert named("model/chair/IKEA_BORJE/model.obj") == "chair/IKEA_BORJE/ori_sample_grid.h5"
    assert named("model/chair/IKEA_X/model_-0.4_0.02.obj") == "chair/IKEA_X/ori_sample_grid_-0.4_0.02.h5"
    assert named("elsewhere.obj") == "chair/x/ori_sample_grid.h5"


def test_the_command_line(data: Path, tmp_path: Path) -> None:
    status, text, errors = onet("export", "sdf-grid", data, tmp_path / "grids", "--resolution", 8, "--json")
    assert status == 0, errors
    assert json.loads(text)["splits"] == {"train": 2, "val": 1, "test": 1}
    plain = make_dataset(tmp_path / "plain", shapes=3, points=64, image_size=32)
    status, _, errors = onet("export", "deepsdf", plain, tmp_path / "deepsdf")
    assert status == 3
    assert "has no signed distances" in errors
    assert "--sdf" in errors
