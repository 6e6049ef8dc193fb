"""What is compared: suites, names, encoders of timm, suite files, in any mixture."""

from __future__ import annotations

from pathlib import Path

import pytest

from pix3d_onet.ablation.selection import encoder_variant, select
from pix3d_onet.ablation.variants import SUITES, VARIANTS
from pix3d_onet.config import ModelConfig
from pix3d_onet.errors import ConfigError


def test_each_variant_stands_once_in_the_order_named() -> None:
    chosen = select(("pose",), ("convnext", "resnet18"))
    assert [v.name for v in chosen.variants] == [*SUITES["pose"].variants, "convnext"]
    assert (chosen.name, chosen.title, chosen.base) == ("", "Ablation", "resnet18")


def test_a_suite_alone_has_its_title_and_base() -> None:
    chosen = select(("pyramid",))
    assert (chosen.name, chosen.title, chosen.base) == ("pyramid", SUITES["pyramid"].title, "convnext")
    assert select(("pyramid",), base="convnext-fpn").base == "convnext-fpn"
    assert select((), ("convnext", "resnet34")).base == "convnext"


@pytest.mark.parametrize(
    ("encoder", "name"),
    [
        ("timm:resnet18", "resnet18"),
        ("timm:convnext_tiny", "convnext"),
        ("timm:mobilenetv3_small_050", "mobilenetv3_small_050"),
        ("timm:convnext_tiny.fb_in22k", "convnext_tiny.fb_in22k"),
        ("timm:hf-hub:someone/net", "hf-hub-someone-net"),
    ],
)
def test_any_encoder_is_a_variant(encoder: str, name: str) -> None:
    made = encoder_variant(encoder)
    assert made.name == name
    assert made == VARIANTS[name] if name in VARIANTS else made.model == ModelConfig(encoder)
    assert select((), (encoder,)).variants == (made,)


def test_files_and_names_mix(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text('seeds = [3]\n[recipe]\npreset = "quick"\n[[variant]]\nname = "resnet18"\nlabel = "Mine"\n')
    chosen = select((str(path),), ("convnext",))
    assert ([v.label for v in chosen.variants], chosen.preset, chosen.seeds) == (
        ["Mine", "ConvNeXt Tiny"],
        "quick",
        (3,),
    )
    with pytest.raises(ConfigError, match="two variants are called 'resnet18'"):
        select((str(path), "pose"))
    other = tmp_path / "other.toml"
    other.write_text('[recipe]\nsteps = 3\n[[variant]]\nname = "convnext"\n')
    with pytest.raises(ConfigError, match="different training settings"):
        select((str(path), str(other)))


def test_what_there_is_not_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to run"):
        select((), ())
    with pytest.raises(ConfigError, match="no suite 'nope'"):
        select(("nope",))
    with pytest.raises(ConfigError, match="no variant 'resnet19'"):
        select((), ("resnet19",))
    with pytest.raises(ConfigError, match="no variant 'convnext' in this table"):
        select(("pose",), base="convnext")
    (tmp_path / "my.yaml").touch()
    with pytest.raises(ConfigError, match=r"must end in \.toml"):
        select((str(tmp_path / "my.yaml"),))
