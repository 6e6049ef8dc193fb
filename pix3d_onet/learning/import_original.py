"""Import checkpoints of the original implementation of Occupancy Networks as runs.

The original writes a PyTorch file with ``model`` (a state dict of ``encoder.features.*``, ``encoder.fc.*`` and
``decoder.*``) and the optimiser's state. Supported: image encoder ``resnet18``, decoder ``cbatchnorm`` (not legacy), no
latent variable. Only the 1×1 convolutions change: they become linear layers, which give the same logits. The file is
read with ``weights_only``, so it cannot run code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from torch import Tensor

from pix3d_onet.config import ModelConfig
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.files import file_digest, write_json
from pix3d_onet.learning import checkpoint
from pix3d_onet.learning.network.model import OccupancyNetwork, build_model
from pix3d_onet.learning.network.tensor_specs import check_network, specs_of
from pix3d_onet.learning.network.weights_file import flatten, read_document
from pix3d_onet.runs.folder import RunFolder

ORIGINAL_THRESHOLD = 0.2
"""Occupancy probability of the surface in the original's configuration."""
CONVOLUTION_DIMS = 3
"""Dimensions of a 1×1 Conv1d weight, whose last is 1."""


def translate(state: Mapping[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The original's state dict → configuration and state dict of our network. InputError for other architectures."""
    state = {key.removeprefix("module."): value for key, value in state.items()}
    _refuse_others(state)
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        name = _renamed(key)
        if name is not None:
            out[name] = value.squeeze(-1) if value.ndim == CONVOLUTION_DIMS else value
    blocks = len({name.split(".")[2] for name in out if name.startswith("decoder.blocks.")})
    shape = state["decoder.block0.bn_0.conv_gamma.weight"].shape
    hidden, c_dim = shape[:2] if len(shape) == CONVOLUTION_DIMS else (0, 0)
    return ModelConfig("resnet18", c_dim=c_dim, hidden_dim=hidden, blocks=blocks), out


def _renamed(key: str) -> str | None:
    """Our name of an original tensor; None for counters, which our network does not have."""
    if key.startswith("encoder.features."):
        return key.replace("encoder.features.", "encoder.backbone.", 1)
    if key.startswith("encoder.fc."):
        return key.replace("encoder.fc.", "encoder.project.", 1)
    if key.startswith("decoder."):
        if key.endswith(".bn.num_batches_tracked"):
            return None
        key = re.sub(r"^decoder\.block(\d+)\.", r"decoder.blocks.\1.", key)
        return re.sub(r"\.bn\.(running_mean|running_var)$", r".\1", key)
    return key


def _refuse_others(state: Mapping[str, Tensor]) -> None:
    """InputError that names the unsupported part, if there is one."""
    if any(k.startswith("decoder.blocks.") for k in state):
        raise InputError(
            "not a checkpoint of the original: it is a network of onet, which needs no import.",
            hint="Use its run as it is: `onet reconstruct RUN`, or `init_from=RUN` in training.",
        )
    problems = {
        "it has a latent variable (decoder.fc_z)": any(k.startswith("decoder.fc_z.") for k in state),
        "it has a latent encoder": any(k.startswith("encoder_latent.") for k in state),
        "its decoder is not cbatchnorm": "decoder.block0.bn_0.conv_gamma.weight" not in state,
        "its decoder is a legacy one": "decoder.bn.conv_gamma.weight" not in state,
        "its encoder is not resnet18": "encoder.features.layer4.1.conv2.weight" not in state
        or "encoder.features.layer4.1.conv3.weight" in state
        or "encoder.fc.weight" not in state,
    }
    for problem, found in problems.items():
        if found:
            raise InputError(
                f"not a checkpoint that can be imported: {problem}.",
                hint="Supported: encoder resnet18 and decoder cbatchnorm, z_dim 0.",
            )


def load_original(path: Path) -> tuple[OccupancyNetwork, dict[str, Any]]:
    """The network with the original's weights, in eval mode, and the file's ``it``, ``epoch_it`` and ``loss_val_best``.

    InputError if the file is missing, unreadable or of another architecture.
    """
    document = read_document(path)
    inner = document.get("model")
    tensors = flatten(inner if isinstance(inner, dict) else document)
    try:
        config, state = translate(tensors)
    except ConfigError as error:  # larger than the limits of ModelConfig
        raise InputError(f"{path} does not fit the architecture it seems to have: {error.message}") from None
    try:
        on_meta = {k: v.to("meta") for k, v in state.items()}  # any precision is allowed, because it is converted
        check_network(config, specs_of({k: v.float() if v.is_floating_point() else v for k, v in on_meta.items()}))
    except InputError as error:
        raise InputError(f"{path} does not fit the architecture it seems to have: {error.message}") from None
    model = build_model(config)
    model.load_state_dict(state)
    facts: dict[str, Any] = {k: int(document[k]) for k in ("it", "epoch_it") if isinstance(document.get(k), Integral)}
    score = document.get("loss_val_best")
    if isinstance(score, Real) and math.isfinite(score):
        facts["loss_val_best"] = float(score)
    return model.eval(), facts


def import_checkpoint(path: Path, out: Path) -> dict[str, Any]:
    """Write the network to a new run folder ``out``; return its header, with ``run`` and ``params``.

    The folder has no ``run.json``, so that no table includes this run, which was not trained by onet. InputError if
    ``out`` is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty.", hint="Choose another `out`.")
    model, facts = load_original(path)
    digest = file_digest(path)
    header = {
        "run_id": digest[:12],
        "name": path.stem,
        "model": model.config.to_json(),
        "train": {"image_size": 224, "threshold": ORIGINAL_THRESHOLD},
        "imported": {"file": path.name, "sha256": digest, **facts},
        "step": int(facts.get("it", 0)),
    }
    checkpoint.save_best(out, model.state_dict(), header)
    write_json(RunFolder(out).config, header)
    return {"run": str(out), "params": sum(p.numel() for p in model.parameters()), **header}
