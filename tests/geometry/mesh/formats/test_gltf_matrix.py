"""Random valid files over glTF's feature matrix: what is read has the volume and the box that its generator knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.meshes.gltf import random_scene

pytest.importorskip("numba")

from pix3d_onet.geometry.mesh.reading import read_mesh
from pix3d_onet.geometry.mesh.topology import volume

FEW, MANY = 60, 1000
WAYS = ("glb", "embedded", "file", "above")


def agree(folder: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for turn in range(count):
        writer, truth = random_scene(rng)
        path = writer.save(folder, WAYS[turn % len(WAYS)], rng)
        read = read_mesh(path, root=folder)
        size = np.ptp(truth.bounds, axis=0).max()
        context = f"seed {seed}, turn {turn}"
        assert volume(read.mesh) == pytest.approx(truth.volume, rel=2e-5, abs=1e-6 * size**3), context
        np.testing.assert_allclose(read.mesh.bounds, truth.bounds, atol=2e-5 * size, err_msg=context)
        assert read.figures["faces_dropped"] == 0, context


def test_a_sample_of_files(tmp_path: Path) -> None:
    agree(tmp_path, FEW, 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_files(tmp_path: Path) -> None:
    agree(tmp_path, MANY, 1)
