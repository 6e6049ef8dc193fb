"""``pix3d_onet.reconstruct``: the mesh of the command with the same arguments, from files and from arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import stored_run
from onet_cli.main import main
from PIL import Image

from pix3d_onet import Mesh, reconstruct
from pix3d_onet.errors import ConfigError, InputError, RejectError
from pix3d_onet.geometry.mesh.writing import write_mesh
from pix3d_onet.reconstruction.surface import probability

SMALL = {"resolution": 24, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_run.store_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A brown box before a grey ground, and where it is: it stands far enough from the middle to be cropped."""
    rgb = np.full((60, 80, 3), 180, np.uint8)
    inside = np.zeros((60, 80), np.bool_)
    inside[10:50, 5:40] = True
    rgb[inside] = (90, 60, 30)
    return rgb, inside


@pytest.fixture
def files(scene: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> Path:
    rgb, inside = scene
    Image.fromarray(rgb).save(tmp_path / "photo.png")
    Image.fromarray(inside.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    Image.fromarray(np.dstack([rgb, inside.astype(np.uint8) * 255])).save(tmp_path / "cut.png")
    return tmp_path


def onet(*arguments: object) -> None:
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in arguments])
    assert not leave.value.code


@pytest.mark.parametrize(
    ("image", "mask", "options"),
    [
        ("photo.png", "mask.png", {}),
        ("photo.png", "auto", {"threshold": 0.3, "coarse": 16}),
        ("cut.png", None, {"refine": True}),
        ("photo.png", None, {"simplify": 200}),
    ],
)
def test_the_mesh_is_that_of_the_command(run, files, image, mask, options) -> None:
    cut = mask if mask in (None, "auto") else files / mask
    mesh = reconstruct(run, files / image, mask=cut, **SMALL, **options)
    write_mesh(files / "python.stl", mesh)
    flags = [] if mask is None else ["--mask", cut]
    for name, value in options.items():
        flags += [f"--{name}"] if value is True else [f"--{name}", value]
    common = ["-o", files / "command.stl", "--no-preview", "-q", "--resolution", 24, "--device", "cpu"]
    onet("reconstruct", run, files / image, *flags, *common)
    assert (files / "python.stl").read_bytes() == (files / "command.stl").read_bytes()


def test_arrays_give_what_files_give(run, files, scene) -> None:
    rgb, inside = scene
    wanted = reconstruct(run, files / "photo.png", mask=files / "mask.png", **SMALL)
    rgba = np.dstack([rgb, inside.astype(np.uint8) * 255])
    for image, mask in (
        (rgb, inside),
        (str(files / "photo.png"), inside),
        (rgb, str(files / "mask.png")),
        (rgba, None),
        (Image.fromarray(rgb), Image.fromarray(inside)),
        (rgb, inside.tolist()),
        (rgb, torch.from_numpy(inside)),
        (rgb, np.where(inside, 0.9, 0.1)),
    ):
        equal(reconstruct(run, image, mask=mask, **SMALL), wanted)
    equal(reconstruct(run, rgb, mask="auto", **SMALL), reconstruct(run, files / "photo.png", mask="auto", **SMALL))


@pytest.mark.parametrize("kind", list(stored_run.CAMERAS))
def test_a_camera_as_numbers_is_that_of_its_file(tmp_path, scene, kind) -> None:
    run = stored_run.store_run(tmp_path / "run", **stored_run.CAMERAS[kind])
    rgb, inside = scene
    matrix = np.eye(4)
    matrix[2, 3] = 2
    (tmp_path / "camera.json").write_text(json.dumps({"pose": matrix.tolist(), "focal": 1.3}))
    by_file = reconstruct(run, rgb, mask=inside, pose=tmp_path / "camera.json", **SMALL)
    equal(reconstruct(run, rgb, mask=inside, pose=matrix, focal=1.3, **SMALL), by_file)
    with pytest.raises(InputError, match="camera"):
        reconstruct(run, rgb, mask=inside, **SMALL)
    if kind != "matrix":
        with pytest.raises(InputError, match="focal length"):
            reconstruct(run, rgb, mask=inside, pose=matrix, **SMALL)
    with pytest.raises(ConfigError, match="4×4"):
        reconstruct(run, rgb, mask=inside, pose=np.eye(3), **SMALL)
    with pytest.raises(ConfigError, match="upper left part is zero"):
        reconstruct(run, rgb, mask=inside, pose=np.diag([0.0, 0, 0, 1]), **SMALL)
    (tmp_path / "camera.json").write_text(json.dumps({"pose": matrix.tolist(), "focal": True}))
    with pytest.raises(InputError, match="not a camera file"):
        reconstruct(run, rgb, mask=inside, pose=tmp_path / "camera.json", **SMALL)


def test_what_cannot_be_used_is_said(run, files, scene, tmp_path) -> None:
    rgb, inside = scene
    with pytest.raises(InputError, match="uint8"):
        reconstruct(run, rgb.astype(np.float32), **SMALL)
    with pytest.raises(InputError, match=r"\(H, W\)"):
        reconstruct(run, rgb, mask=rgb, **SMALL)
    for mask in (True, {"mask": inside}, torch.ones(3, 3, requires_grad=True), "none.png"):
        with pytest.raises((InputError, RejectError), match=r"mask"):
            reconstruct(run, rgb, mask=mask, **SMALL)
    with pytest.raises(ConfigError, match="focal needs the camera's matrix"):
        reconstruct(run, rgb, mask=inside, focal=-3, **SMALL)
    with pytest.raises(RejectError, match="40×30"):
        reconstruct(run, rgb, mask=inside[:30, :40], **SMALL)
    with pytest.raises(RejectError, match="does not exist"):
        reconstruct(run, files / "none.png", **SMALL)
    with pytest.raises(ConfigError, match="`resolution` must be between 8 and 1024, not 4"):
        reconstruct(run, rgb, resolution=4)
    with pytest.raises(InputError, match="sees nothing"):
        reconstruct(stored_run.store_run(tmp_path / "empty", empty=True), rgb, mask=inside, **SMALL)


def test_a_probability_is_never_shown_as_the_threshold() -> None:
    assert probability(0.1312, 0.2) == "0.13"
    assert probability(0.19996, 0.2) == "0.19996"
    assert probability(0.1988, 0.2) == "0.199"
    assert probability(0.00012, 0.2) == "0.0001"


def equal(mesh: Mesh, wanted: Mesh) -> None:
    np.testing.assert_array_equal(mesh.faces, wanted.faces)
    np.testing.assert_array_equal(mesh.vertices, wanted.vertices)
