"""What a person reads when something is wrong: the exact line of each common mistake, here and nowhere else.

Other tests ask for the kind of an error, its reason or the setting that it names.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.command_line import onet
from onet_cli import loading_note

NO_DATA = "onet: error: data set not found: nowhere. Make a data set with `onet prepare`."
NO_RUNS = "Train with `onet bench` or `onet train` first."

SENTENCES = {
    # what is named is not there: status 3
    "verify nowhere": (3, NO_DATA),
    "inspect nowhere": (3, NO_DATA),
    "export onet nowhere out": (3, NO_DATA),
    "train --data nowhere --out run": (3, NO_DATA),
    "bench --all --data nowhere": (3, NO_DATA),
    "evaluate nowhere --data nowhere": (3, NO_DATA),
    "reconstruct nowhere photo.png": (3, "onet: error: run not found: nowhere. Train one with `onet train`."),
    "report nowhere": (3, f"onet: error: no folder of runs: nowhere. {NO_RUNS}"),
    "report .": (3, f"onet: error: no finished run in .. {NO_RUNS}"),
    "prepare meshes .": (
        3,
        "onet: error: . holds no mesh file. Looked for .obj, .off, .ply, .stl, .glb, .gltf.",
    ),
    "prepare pix3d --root nowhere": (
        3,
        "onet: error: no Pix3D folder at nowhere. Get it with `onet download pix3d`, name the folder of an unpacked "
        "release with --root or ONET_PIX3D_ROOT, or make a stand-in with `onet synth pix3d DIR`.",
    ),
    # a setting breaks its rule: status 2
    "prepare pix3d --points 9": (2, "onet: usage: --points must be a multiple of 8 up to 10,000,000, not 9."),
    "train --steps 0": (2, "onet: usage: --steps must be 1 or more, not 0."),
    "synth pix3d out --objects 0": (2, "onet: usage: --objects must be between 1 and 99999, not 0."),
    "reconstruct nowhere photo.png --resolution 4": (
        2,
        "onet: usage: --resolution must be between 8 and 1024, not 4.",
    ),
    "bench": (2, "onet: usage: nothing to run. Give --all, --suite NAME or --variant NAME."),
    "bench --suite nope": (
        2,
        "onet: usage: no suite 'nope'. Choose from table1, backbones, pose, conditioning, pyramid, views, augment, "
        "capacity, pretrain, norm, sampling, recipe. Or give a suite file (my.toml).",
    ),
    "bench --variant resnet19": (
        2,
        "onet: usage: no variant 'resnet19'. Did you mean resnet18, resnet101 or resnet50? --variant timm:NAME is any "
        "encoder of timm.",
    ),
    "trian": (
        2,
        "Usage: onet [OPTIONS] COMMAND [ARGS]...\nTry 'onet --help' for help.\n\n"
        "Error: No such command 'trian'. Did you mean train?",
    ),
    "evaluate": (2, "onet: usage: nothing to evaluate. Give a run, or --baseline mean-shape."),
}
"""Command → exit status and what stderr shows, with one line that says what is wrong."""


@pytest.mark.parametrize("command", SENTENCES)
def test_the_line_and_the_status(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if command.split(maxsplit=1)[0] in ("train", "evaluate", "reconstruct", "bench"):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        loading_note, "SILENCE", 300.0
    )  # on a busy machine the line "loading ..." would be printed, too
    answer = onet(*command.split())
    assert (answer.status, answer.out, answer.err.rstrip("\n")) == (SENTENCES[command][0], "", SENTENCES[command][1])
    assert list(tmp_path.iterdir()) == []
