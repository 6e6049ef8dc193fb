"""The contract that other people's scripts rely on: options, examples, exit statuses, a light start."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from helpers.command_line import commands, status
from onet_cli.app import COMMANDS

HEAVY = (
    "torch",
    "timm",
    "open3d",
    "trimesh",
    "numba",
    "scipy",
    "skimage",
    "matplotlib",
    "h5py",
    "dask",
    "rich.progress",
)
"""What a help page must not import. rich.progress stands for the console as a whole; click alone prints help."""


ALL = commands()


def test_every_promised_command_exists() -> None:
    promised = {
        *(
            "doctor",
            "download pix3d",
            "synth pix3d",
            "prepare pix3d",
            "prepare shapenet",
            "prepare meshes",
            "prepare onet",
            "verify",
        ),
        *("inspect", "export onet", "train", "bench", "report", "evaluate", "reconstruct", "import-checkpoint"),
    }
    assert promised <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_common_options(name: str) -> None:
    options = {flag for parameter in ALL[name].params for flag in parameter.opts}
    assert {"--json", "-q", "--quiet", "-v", "--verbose"} <= options


@pytest.mark.parametrize("name", ALL)
def test_help_has_an_example_of_this_very_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(*name.split(), "--help") == 0
    page = capsys.readouterr().out
    assert "Example" in page
    assert f"onet {name}" in page.partition("Example")[2]


@pytest.mark.parametrize("name", ALL)
def test_every_option_says_what_it_does(name: str) -> None:
    silent = [p.name for p in ALL[name].params if isinstance(p, click.Option) and not p.help and not p.hidden]
    assert silent == []


@pytest.mark.parametrize("name", ALL)
def test_unknown_option_is_wrong_usage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(*name.split(), "--no-such-option") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--no-such-option" in captured.err


def test_unknown_command_is_wrong_usage() -> None:
    assert status("no-such-command") == 2


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom onet_cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as leave:\n    assert leave.code == 0\n"
        f"import json; sys.stderr.write(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == []
    assert all(name in done.stdout for name in COMMANDS)


def test_command_help_imports_neither_torch_nor_open3d() -> None:
    if sys.gettrace():
        pytest.skip("a tracer imports what it likes")
    script = (
        "import sys\nfrom onet_cli.main import main\n"
        f"for name in {[*ALL]!r}:\n"
        "    try:\n        main([*name.split(), '--help'])\n    except SystemExit:\n        pass\n"
        "    heavy = {'torch', 'open3d', 'trimesh', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} imports {heavy}'"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version_option() -> None:
    assert status("--version") == 0
