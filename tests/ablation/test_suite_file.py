"""A suite of one's own: what it may say, and that every mistake is named with its line and key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix3d_onet.ablation.suite_file import FILE_KEYS, MODEL_KEYS, RECIPE_KEYS, line_of, read_suite
from pix3d_onet.ablation.variants import SUITES, VARIANTS
from pix3d_onet.config import ModelConfig, TrainConfig
from pix3d_onet.errors import ConfigError, InputError

GOOD = """\
title = "Small encoders"
suites = ["pose"]
base = "mobile"
seeds = [0, 1]

[recipe]
preset = "quick"
steps = 500
augment = ["color", "flip"]

# a row of the package under another label
[[variant]]
name = "resnet34"
label = "ResNet-34 = larger"

[[variant]]
name = "mobile"
encoder = "timm:mobilenetv3_small_050"
scales = 3
train = { ema = 0.99 }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_that_a_file_can_say(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path, GOOD))
    assert (suite.name, suite.title, suite.base, suite.seeds) == ("my", "Small encoders", "mobile", (0, 1))
    assert (suite.preset, suite.recipe) == ("quick", {"steps": 500, "augment": ("color", "flip")})
    assert [v.name for v in suite.variants] == [*SUITES["pose"].variants, "resnet34", "mobile"]
    known, own = suite.variants[-2:]
    assert (known.label, known.model, known.params) == (
        "ResNet-34 = larger",
        VARIANTS["resnet34"].model,
        VARIANTS["resnet34"].params,
    )
    assert (own.label, own.model) == ("mobile", ModelConfig("timm:mobilenetv3_small_050", scales=3))
    assert own.recipe(TrainConfig()).ema == 0.99


def test_settings_that_depend_on_one_another(tmp_path: Path) -> None:
    """Their order in the file does not matter."""
    text = 'camera_encoder = "own"\npose = "predicted"\nconditioning = "pixel"\n'
    (found,) = read_suite(write(tmp_path, f'[[variant]]\nname = "x"\nencoder = "resnet18"\n{text}')).variants
    assert found.model == ModelConfig("resnet18", conditioning="pixel", pose="predicted", camera_encoder="own")
    with pytest.raises(ConfigError, match=r"line 4: pose must be none, matrix or 6d without `conditioning='pixel'`"):
        read_suite(write(tmp_path, '[[variant]]\nname = "x"\nencoder = "resnet18"\npose = "predicted"\n'))


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path, '[[variant]]\nname = "convnext"\n'))
    assert (suite.title, suite.base, suite.preset, dict(suite.recipe), suite.seeds) == ("my", "convnext", None, {}, ())


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 0, "it names no variant"),
        ('suits = ["pose"]', 1, "no key 'suits'. Did you mean suites? Choose from title, suites"),
        ('suites = ["posse"]', 1, "no suite 'posse'. Did you mean pose? Choose from table1"),
        ("suites = [3]", 1, "suites must be a list of names, not 3"),
        ("\n\nsuites = 'pose'", 3, "suites must be a list, not 'pose'"),
        ('suites = ["pose"]\ntitle = 3', 2, "title must be text, not 3"),
        ('suites = ["pose"]\nbase = "convnext"', 2, "base must be one of its rows (resnet18, resnet18-pose,"),
        ('suites = [\n "pose",\n]\nseeds = [0,\n -1]', 4, "seed must be 0 to 4294967295, not -1"),
        ('suites = ["pose"]\nseeds = [1, 1]', 2, "seed 1 is named twice"),
        ('suites = ["pose"]\nseeds = ["1"]', 2, "seed must be a whole number, not '1'"),
        ('suites = ["pose"]\nrecipe = 3', 2, "recipe must be a table, not 3"),
        ('suites = ["pose"]\n[recipe]\npreset = "slow"', 3, "preset must be paper, quick or best, not 'slow'"),
        (
            'suites = ["pose"]\n[recipe]\nstep = 3',
            3,
            "no key 'step' in recipe. Did you mean steps? Choose from preset, steps,",
        ),
        ('suites = ["pose"]\n[recipe]\nseed = 3', 3, "no key 'seed' in recipe"),
        ('suites = ["pose"]\n[recipe]\nlr = 1\nsteps = 0', 4, "steps must be 1 or more, not 0"),
        ('suites = ["pose"]\n[recipe]\nlr = nan', 3, "lr must be a number, not nan"),
        ('suites = ["pose"]\n[recipe]\nsteps = 2.5', 3, "steps must be a whole number, not 2.5"),
        ('suites = ["pose"]\n[recipe]\nsteps = 1979-05-27', 3, "steps must be a whole number, not datetime"),
        (
            'suites = ["pose"]\n[recipe]\naugment = ["blur"]',
            3,
            "augment must be color, crop, flip, stretch or tint, not ['blur']",
        ),
        ('suites = ["pose"]\n[[variant]]\nlabel = "x"', 2, "this variant has no name"),
        ("variant = [1]", 1, "a variant must be a table"),
        ('[[variant]]\nname = "a/b"', 2, "name must be of letters, digits, '.', '_' and '-', not 'a/b'"),
        ('[[variant]]\nname = ".."', 2, "name must be of letters"),
        ('[[variant]]\nname = ""', 2, "name must be text, not ''"),
        ('[[variant]]\nname = "mine"', 2, "this variant has no encoder. The package has no variant 'mine'"),
        ('[[variant]]\nname = "mine"\nencoder = ""', 3, "encoder must be a timm model name, not ''"),
        ('[[variant]]\nname = "mine"\nencoder = 3', 3, "encoder must be text, not 3"),
        ('[[variant]]\nname = "mine"\nencoder = "x"\nscales = 2', 4, "scales must be 1 or 3, not 2"),
        ('[[variant]]\nname = "mine"\nencoder = "x"\ntrain = 2', 4, "train must be a table, not 2"),
        ('[[variant]]\nname = "m"\nencoder = "x"\n[variant.train]\nema = 2.0', 5, "ema must be at least 0 and below 1"),
        ('[[variant]]\nname = "m"\nencoder = "x"\ntrain = {emma = 2.0}', 4, "no key 'emma' in variant in train."),
        ('[[variant]]\nname = "resnet18"\nscales = 3', 3, "scales cannot be changed for 'resnet18'. resnet18 is a var"),
        ('[[variant]]\nname = "resnet18"\n[[variant]]\nname = "resnet18"', 4, "'resnet18' is a row already"),
        ('suites = ["pose"]\n[[variant]]\nname = "resnet18"', 3, "'resnet18' is a row already"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_suite(path)
    assert str(caught.value).startswith(f"{path}, line {line}: {says}" if line else f"{path}: {says}")


def test_what_is_no_toml_says_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"my.toml is not TOML: .*line 2"):
        read_suite(write(tmp_path, 'title = "x"\nbase = \n'))
    (tmp_path / "my.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_suite(tmp_path / "my.toml")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_suite(write(tmp_path, "x = " + "[\n" * 30_000))
    with pytest.raises(ConfigError, match="is not TOML"):
        read_suite(write(tmp_path, f"seeds = [{'9' * 490}]\nx = 1979-13-01"))


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="suite file not found"):
        read_suite(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot read suite file"):
        read_suite(tmp_path)
    with pytest.raises(InputError, match="larger than 64 KiB"):
        read_suite(write(tmp_path, "#" * 70_000))


@pytest.mark.timeout(60)
def test_what_would_take_gigabytes_or_minutes_is_refused(tmp_path: Path) -> None:
    """A key of thousands of parts; a pipe; an error at the end of thousands of lines, each a place to begin."""
    with pytest.raises(ConfigError, match="line 2: it has more than 500 characters"):
        read_suite(write(tmp_path, "\na" + ".a" * 30_000 + " = 1"))
    with pytest.raises(ConfigError, match="line 60001: no key 'x'"):
        read_suite(write(tmp_path, "\n" * 60_000 + "x = 1"))
    with pytest.raises(ConfigError, match=r"my\.toml: no key 'x'"):  # MOST_PARSED do not tell
        read_suite(write(tmp_path, 'x = """' + "\n" * 60_000 + '"""'))
    (tmp_path / "my.toml").unlink()
    os.mkfifo(tmp_path / "my.toml")
    with pytest.raises(InputError, match="is not a regular file"):
        read_suite(tmp_path / "my.toml")


@given(
    st.lists(st.sampled_from(["", "# x = 1", 'a{} = "v = 3"', 'a{} = """\nx = 1\n"""', "a{} = [\n1,\n2]"]), max_size=8)
)
def test_the_line_is_that_of_the_key(parts: list[str]) -> None:
    """Whatever stands above: comments, strings that look like keys, values of several lines."""
    above = "\n".join(part.format(i) for i, part in enumerate(parts))
    text = f"{above}\nx = [\n  1,\n]\n"
    assert line_of(text, ("x",)) == above.count("\n") + 2


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs" / "variants.md").read_text(encoding="utf-8")
    keys = (*FILE_KEYS, *MODEL_KEYS, "name", "label", "train", "preset")
    assert [key for key in keys if f"`{key}`" not in text] == []
    assert set(RECIPE_KEYS) == set(TrainConfig().values()) - {"seed"}
