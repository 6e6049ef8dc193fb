"""What the library says of settings, as flags of the command that was called."""

from __future__ import annotations

import pickle

import click
import pytest
from onet_cli.app import cli
from onet_cli.flags import in_flags
from onet_cli.main import main

from pix3d_onet.errors import SettingError


def command(*names: str) -> click.Command:
    found: click.Command = cli
    for name in names:
        assert isinstance(found, click.Group)
        child = found.get_command(click.Context(found), name)
        assert child is not None
        found = child
    return found


@pytest.mark.parametrize(
    ("names", "text", "wanted"),
    [
        (("train",), "Choose another `out`.", "Choose another --out."),
        (("train",), "`residence` must be ram.", "--data-in must be ram."),
        (("train",), "Use `pretrained=False`, or `weights=FILE`.", "Use --no-pretrained, or --weights FILE."),
        (("train",), "Continue with `resume=True`.", "Continue with --resume."),
        (("train",), "Train with `pose='none'`.", "Train with --pose none."),
        (("train",), "Prepare with `render_views=N`.", "Prepare with --render-views N."),
        (("prepare", "pix3d"), "`categories=sofa`: none", "--category sofa: none"),
        (("prepare", "pix3d"), "`split_files` goes", "--split-file goes"),
        (("reconstruct",), "`out=a b/m.x` is", "--out a b/m.x is"),
        (("reconstruct",), "Try `mask='auto'`.", "Try --mask auto."),
        (("evaluate",), "`baselines` must be", "--baseline must be"),
        (("evaluate",), "Train one with `onet train`.", "Train one with `onet train`."),
    ],
)
def test_settings_become_flags(names: tuple[str, ...], text: str, wanted: str) -> None:
    assert in_flags(text, command(*names)) == wanted


def test_without_a_command_flags_are_the_names() -> None:
    assert in_flags("`batch_size` must be 1", None) == "--batch-size must be 1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--batch-size", "4", "--weight-decay", "-1"), "--weight-decay must be 0 or more, not -1.0."),
        (("evaluate", "--baselines", "--samples", "0"), "--samples must be 1 or more, not 0."),
        (("prepare", "pix3d", "--points", "7"), "--points must be a multiple of 8 up to 10,000,000, not 7."),
        (("synth", "pix3d", "{data}", "--objects", "0"), "--objects must be between 1 and 99999, not 0."),
    ],
)
def test_the_command_line_shows_flags(arguments, words, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as leave:
        main([a.format(data=tmp_path / "none") for a in arguments])
    assert leave.value.code in (2, 3)
    shown = capsys.readouterr().err
    assert words in shown
    assert "`" not in shown


def test_an_error_of_a_setting_carries_setting_rule_and_value_between_processes() -> None:
    error = pickle.loads(pickle.dumps(SettingError("points", "a multiple of 8", 7, hint="Try 8.")))
    assert (error.setting, error.rule, error.value) == ("points", "a multiple of 8", 7)
    assert str(error) == "`points` must be a multiple of 8, not 7. Try 8."
