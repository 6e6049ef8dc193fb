"""How a call ends: exit statuses with and without -v, Ctrl-C at any moment, and places that cannot be written to."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from helpers.command_line import status
from onet_cli import app
from onet_cli.ui import common_options

from pix3d_onet import files
from pix3d_onet.errors import ConfigError, InputError, InterruptedRunError


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Make ``onet fail`` a command that raises what it is given."""

    def install(error: Exception) -> None:
        @click.command()
        @click.option("--name")
        @common_options
        def fail(**_: object) -> None:
            raise error

        monkeypatch.setitem(app.COMMANDS, "fail", "")
        monkeypatch.setattr(app.LazyGroup, "get_command", lambda *_: fail)

    return install


@pytest.mark.parametrize("flags", [(), ("-v",), ("-qv",), ("--verbose",)], ids=" ".join)
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigError("--x is wrong."), 2),
        (InputError("no such thing."), 3),
        (InterruptedRunError("interrupted."), 130),
        (PermissionError(errno.EACCES, "denied", "/there"), 3),
        (ValueError("a slip"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_verbose_adds_a_traceback_and_changes_no_status(
    failing: Callable[[Exception], None],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    expected: int,
    flags: tuple[str, ...],
) -> None:
    failing(error)
    assert status("fail", *flags) == expected
    shown = capsys.readouterr().err
    word = {2: "usage: ", 3: "error: ", 130: "interrupted.", 1: "unexpected "}[expected]
    assert shown.splitlines()[-1].startswith(f"onet: {word}")
    wanted = bool(flags) and not isinstance(error, InterruptedRunError)
    assert ("Traceback" in shown) == wanted
    assert wanted or len(shown.splitlines()) == 1


def test_a_value_that_looks_like_the_flag_is_not_the_flag(
    failing: Callable[[Exception], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(InputError("no such thing."))
    assert status("fail", "--name", "-v") == 3
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("module", ["click", "pix3d_onet", "onet_cli.commands.doctor", "rich.console"])
def test_ctrl_c_while_libraries_are_imported_is_one_line(module: str) -> None:
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from onet_cli.main import main\n"
        "main(['doctor', '--no-self-test'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr.strip() == "onet: interrupted; everything finished so far is kept."


def test_a_refusal_of_the_system_names_the_place_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((NotADirectoryError, FileExistsError)) as first:
        files.write_text(tmp_path / "file" / "run.json", "{}")
    found = files.refused(first.value)
    assert isinstance(found, InputError)
    assert str(found).startswith(f"cannot write to {tmp_path / 'file'}: ")
    part = OSError(errno.ENOSPC, "full", str(tmp_path / f".run.json.0123abcd{files.PART_SUFFIX}"))
    assert str(files.refused(part)) == f"cannot write to {tmp_path / 'run.json'}: No space left on device."
    other = OSError(errno.EIO, "the disk is broken")
    assert files.refused(other) is other
    assert isinstance(files.refused(OSError(errno.EROFS, "no name")), InputError)


def test_a_place_out_of_reach_is_seen_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    files.check_writable(tmp_path / "file")
    files.check_writable(tmp_path / "new" / "folder" / "file")
    with pytest.raises(InputError, match="is not a folder"):
        files.check_writable(tmp_path / "file" / "below" / "it")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="read-only"):
        files.check_writable(tmp_path / "new")


@pytest.mark.parametrize(("module", "extra"), [("torch.nn", "train"), ("open3d", "geometry"), ("skimage", "geometry")])
def test_a_missing_library_names_its_extra(
    failing: Callable[[Exception], None], capsys: pytest.CaptureFixture[str], module: str, extra: str
) -> None:
    failing(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert status("fail") == 3
    line = capsys.readouterr().err.strip()
    assert f"pip install 'pix3d-onet[{extra}]'" in line
    assert "\n" not in line


def test_a_module_of_no_extra_is_a_fault_of_ours(
    failing: Callable[[Exception], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(ModuleNotFoundError("No module named 'nothing'", name="nothing"))
    assert status("fail") == 1
    assert "unexpected ModuleNotFoundError" in capsys.readouterr().err
