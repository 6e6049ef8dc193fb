"""Load an encoder's weights from a file of any origin: all of its tensors, or none.

The backbone is searched for under every prefix of the file's tensor names (``module.``, ``model.backbone.``,
``teacher.backbone.`` …), by the names and shapes of its tensors. It is found under a prefix that has *all* of them.
Other tensors under that prefix must belong to a head, else the file is of another architecture. After loading, the
network's tensors are compared with the file's, bit for bit.

If a file contains several different backbones, one is chosen as the methods' authors do: by :data:`PREFERRED`, or the
moving average. If neither decides, the error names the candidates.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN as IMAGENET_MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as IMAGENET_STD
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pix3d_onet.errors import InputError
from pix3d_onet.learning.network.tensor_names import BY_TIMM, SCHEMES, Scheme, renamed
from pix3d_onet.learning.network.weights_file import listing, read_tensors

HINT = "An encoder is loaded whole or not at all: give the file of this `encoder`, or start with `pretrained=False`."
COUNTER = "num_batches_tracked"
"""Batch norm's counter. It has no effect on the network and old files lack it, so it is neither counted nor
required."""
PREFERRED = (
    ("encoder_q", "encoder_k"),  # MoCo: the query encoder is transferred (He et al., CVPR 2020)
    ("base_encoder", "momentum_encoder"),  # MoCo v3
    ("teacher", "student"),  # DINO: the teacher is evaluated (Caron et al., ICCV 2021)
    ("online_encoder", "target_encoder"),  # BYOL: the online encoder is kept (Grill et al., NeurIPS 2020)
    ("online_network", "target_network"),
    ("encoder", "camera_encoder"),  # ours: the shape's, which has seen fewer pictures but more of each
)
"""Name parts of two backbones in one file; the first is used."""
AVERAGE = re.compile(r"(?:^|_)(?:ema|averaged?)(?:_|$)")
"""A name part that means moving average, which is used because it is the network that was evaluated."""
TOKEN = re.compile(r"(?:cls|class|dist|distillation|reg|register|storage)_tokens?")
"""Parameters of transformers that take part in every block although they stand in none."""


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """Report of loading ``file``: ``taken`` of ``total`` tensors under ``prefix``; ``left_out`` tensors of its head."""

    file: str
    prefix: str
    taken: int
    total: int
    left_out: int
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """The report as one line."""
        where = f" under `{self.prefix}`" if self.prefix else ""
        head = f"; {self.left_out} of the head left out" if self.left_out else ""
        return f"{self.taken} of {self.total} tensors{where}{head}{''.join(f'; {note}' for note in self.notes)}"

    def to_json(self) -> dict[str, Any]:
        """The ``encoder_weights`` entry of a run record."""
        return {
            "file": self.file, "prefix": self.prefix, "taken": self.taken, "total": self.total,
            "left_out": self.left_out, "notes": list(self.notes),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A prefix with tensors of the backbone under it.

    ``names``: the backbone's name → the file's name; ``scheme``: None for timm's own names.
    """

    prefix: str
    names: dict[str, str]
    scheme: Scheme | None = None


class FileWeights:
    """The tensors of a weights file. ``load_into`` loads the encoder among them into a backbone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors = read_tensors(path)
        self.loaded: LoadedWeights | None = None

    def load_into(self, backbone: nn.Module, name: str) -> None:
        """Load all tensors of ``backbone`` (timm's ``name``); sets ``loaded``. InputError if one is missing."""
        self.loaded = load_backbone(backbone, name, self.tensors, self.path)


def load_backbone(backbone: nn.Module, name: str, tensors: Mapping[str, Tensor], file: Path) -> LoadedWeights:
    """Load ``tensors``, by dotted name, into ``backbone``. InputError unless they contain it completely and only once.

    ``name``: timm's name of the backbone; ``file``: the file of the tensors. Both are for messages.
    """
    search = _Search(backbone, name, tensors, file)
    found, source = search.find()
    state = backbone.state_dict()
    fitted = {own: _fitted(source[there], state[own]) for own, there in found.names.items()}
    for own, value in fitted.items():
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"{file} holds NaN or infinite values in {found.names[own]}.", hint=HINT)
        if own.endswith("running_var") and bool((value < 0).any()):
            raise InputError(f"{file} holds negative variances in {found.names[own]}.", hint=HINT)
    notes = [found.scheme.origin] if found.scheme is not None else []
    kinds = sorted({str(source[found.names[own]].dtype).removeprefix("torch.") for own in search.required})
    if kinds != ["float32"]:
        notes.append(f"{' and '.join(kinds)} cast to float32")
    notes += search.notes + _settings(backbone, name, found.scheme)
    backbone.load_state_dict({**state, **fitted})
    _compare(backbone, fitted, file)
    count = len(search.required)
    return LoadedWeights(file.name, _shown(found.prefix), count, count, search.left_out(found, source), tuple(notes))


def _settings(backbone: nn.Module, name: str, scheme: Scheme | None) -> list[str]:
    """Notes on unusual settings that are not in the file, and so are those of timm's ``name``."""
    cfg = getattr(backbone, "pretrained_cfg", None) or {}
    mean, std = (cfg.get(key) or default for key, default in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)))
    notes = []
    if (mean, std) != (IMAGENET_MEAN, IMAGENET_STD):
        notes.append(f"pictures normalised as timm's {name}: mean {_numbers(mean)}, deviation {_numbers(std)}")
    if scheme is not None and any(isinstance(module, Conv2dSame) for module in backbone.modules()):
        notes.append("padded as in TensorFlow")
    return notes


def _fitted(value: Tensor, own: Tensor) -> Tensor:
    """The file's tensor in the shape and type of the network's; shapes may differ in axes of length 1."""
    return value.reshape(own.shape).to(own.dtype)


def _compare(backbone: nn.Module, expected: Mapping[str, Tensor], file: Path) -> None:
    """InputError unless the backbone now has exactly these tensors; a loading hook may have changed some."""
    state = backbone.state_dict()
    changed = [name for name, value in expected.items() if not torch.equal(state[name].cpu(), value)]
    if changed:
        raise InputError(f"{file}: the network changes {len(changed)} of its tensors on loading: {listing(changed)}.")


class _Search:
    """Search for a backbone's tensors among a file's."""

    def __init__(self, backbone: nn.Module, name: str, tensors: Mapping[str, Tensor], file: Path) -> None:
        self.backbone, self.name, self.tensors, self.file = backbone, name, tensors, file
        self.wanted = dict(backbone.state_dict())
        self.required = [own for own in self.wanted if own.rpartition(".")[2] != COUNTER]
        self.notes: list[str] = []

    def find(self) -> tuple[_Candidate, Mapping[str, Tensor]]:
        """The backbone to load, and the tensors by the names in it. InputError if none or several fit."""
        nearest: tuple[list[_Candidate], Mapping[str, Tensor]] = ([], self.tensors)
        for scheme, source in self._sources():
            candidates = self._under_prefixes(source, scheme)
            complete = [candidate for candidate in candidates if self._complete(candidate, source)]
            if complete:
                return self._choose(complete, source), source
            if candidates and (not nearest[0] or len(candidates[0].names) > len(nearest[0][0].names)):
                nearest = candidates, source
        raise self._refusal(*nearest)

    def _sources(self) -> Iterator[tuple[Scheme | None, Mapping[str, Tensor]]]:
        """The file's tensors under its own names (None), then renamed by each naming scheme."""
        yield None, self.tensors
        for scheme in SCHEMES:
            yield scheme, renamed(self.tensors, scheme)
        for source in self._by_timm():
            yield BY_TIMM, source

    def _under_prefixes(self, source: Mapping[str, Tensor], scheme: Scheme | None) -> list[_Candidate]:
        """Every prefix with a tensor of the backbone under it, those with most tensors first."""
        found: dict[str, dict[str, str]] = {}
        deepest = 1 + max(name.count(".") for name in self.wanted)
        for name in source:
            parts = name.split(".")
            for cut in range(max(0, len(parts) - deepest), len(parts)):
                own = ".".join(parts[cut:])
                if own in self.wanted:
                    found.setdefault(name.removesuffix(own), {})[own] = name
        candidates = [_Candidate(prefix, names, scheme) for prefix, names in found.items()]
        return sorted(candidates, key=lambda c: (-len(c.names), c.prefix.count(".")))

    def _complete(self, candidate: _Candidate, source: Mapping[str, Tensor]) -> bool:
        return all(own in candidate.names for own in self.required) and not self._misfits(candidate, source)

    def _misfits(self, candidate: _Candidate, source: Mapping[str, Tensor]) -> list[str]:
        """Names of tensors of the backbone that the file has with another shape or kind of number."""
        return [
            own for own, there in candidate.names.items() if not _fits(own, source[there], self.wanted[own], candidate)
        ]

    def _by_timm(self) -> Iterator[dict[str, Tensor]]:
        """The file's tensors as renamed by timm's own conversion of old checkpoints.

        It is tried under every prefix that all names share. Tensors that it computes (a resampled position embedding)
        are dropped, so that only the file's own are loaded.
        """
        convert = getattr(sys.modules[type(self.backbone).__module__], "checkpoint_filter_fn", None)
        if convert is None:
            return
        kept = {value.untyped_storage().data_ptr() for value in self.tensors.values()}
        for prefix in _shared_prefixes(self.tensors):
            state = {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}
            try:
                converted = convert(state, self.backbone)
            except Exception:  # noqa: BLE001 - on files of another origin it may raise anything
                continue
            yield {
                key: value
                for key, value in converted.items()
                if isinstance(value, Tensor) and value.untyped_storage().data_ptr() in kept
            }

    def _choose(self, complete: list[_Candidate], source: Mapping[str, Tensor]) -> _Candidate:
        """Choose one of several complete backbones. InputError if they differ and no rule decides."""
        distinct: list[_Candidate] = []
        for candidate in complete:
            if not any(self._equal(candidate, other, source) for other in distinct):
                distinct.append(candidate)
        best = [c for c in distinct if not any(_preferred(other.prefix, c.prefix) for other in distinct)]
        if len(best) != 1:
            names = listing([f"`{c.prefix}`" for c in best or distinct])
            raise InputError(
                f"{self.file} holds {len(best or distinct)} different backbones of {self.name}: {names}.",
                hint="Write one of them to its own file.",
            )
        chosen = best[0]
        if len(distinct) > 1:
            others = [f"`{_shown(c.prefix) or c.prefix or '(no prefix)'}`" for c in distinct if c is not chosen]
            self.notes.append(f"preferred to {listing(others)}")
        self._refuse_larger(chosen, source)
        self._refuse_other_eps(chosen.scheme)
        return chosen

    def _equal(self, one: _Candidate, other: _Candidate, source: Mapping[str, Tensor]) -> bool:
        pairs = ((source[one.names[own]], source[other.names[own]]) for own in self.required)
        return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)

    def _others(self, candidate: _Candidate, source: Mapping[str, Tensor]) -> list[str]:
        """Names of other tensors under the candidate's prefix, without buffers that the backbone does not store."""
        used = set(candidate.names.values())
        buffers = {own for own, _ in self.backbone.named_buffers()}
        prefix = candidate.prefix
        names = [name.removeprefix(prefix) for name in source if name.startswith(prefix) and name not in used]
        return [name for name in names if name not in buffers and name.rpartition(".")[2] != COUNTER]

    def _of_head(self, name: str) -> bool:
        """Whether another tensor belongs to a head: timm's classifier, or a module that the backbone does not have."""
        classifier = (getattr(self.backbone, "pretrained_cfg", None) or {}).get("classifier") or ()
        heads = {part.split(".")[0] for part in ([classifier] if isinstance(classifier, str) else classifier)}
        if TOKEN.fullmatch(name):
            return False
        first = name.split(".", maxsplit=1)[0]
        return first in heads or first not in {own.split(".")[0] for own in self.wanted}

    def left_out(self, candidate: _Candidate, source: Mapping[str, Tensor]) -> int:
        """Number of tensors of the head, which are not loaded."""
        return len(self._others(candidate, source))

    def _refuse_larger(self, candidate: _Candidate, source: Mapping[str, Tensor]) -> None:
        inner = [name for name in self._others(candidate, source) if not self._of_head(name)]
        if inner:
            raise InputError(
                f"{self.file} is of a larger network than {self.name}: it has {len(inner)} more tensors inside the "
                f"backbone: {listing(inner)}.",
                hint=HINT,
            )

    def _refuse_other_eps(self, scheme: Scheme | None) -> None:
        """A file does not hold the eps of its batch norms, but the project that named its tensors has one."""
        if scheme is None or scheme.norm_eps is None:
            return
        theirs = scheme.norm_eps(int(self.backbone.num_features))  # type: ignore[arg-type]
        own = {module.eps for module in self.backbone.modules() if isinstance(module, _BatchNorm)}
        if own == {theirs}:
            return
        arch = self.name.partition(".")[0]
        twin = arch.removeprefix("tf_") if arch.startswith("tf_") else f"tf_{arch}"
        raise InputError(
            f"{self.file} has {scheme.origin} with an eps of {theirs:g} in its batch norms; {self.name} has "
            f"{' and '.join(f'{eps:g}' for eps in sorted(own))}, and would compute something else.",
            hint=f"`encoder={twin}` has that eps." if timm.is_model(twin) else HINT,
        )

    def _refusal(self, candidates: list[_Candidate], source: Mapping[str, Tensor]) -> InputError:
        """The error that names what is missing or does not fit under the best prefix."""
        total = len(self.required)
        if not candidates:
            return InputError(
                f"{self.file} holds none of the {total} tensors of {self.name}; its {len(self.tensors)} have other "
                f"names: {listing(list(self.tensors))}.",
                hint=f"{HINT} Names must be timm's, below any prefix.",
            )
        best = candidates[0]
        misfits = self._misfits(best, source)
        missing = [own for own in self.required if own not in best.names]
        described = [self._misfit(own, source[best.names[own]]) for own in misfits]
        pairs = (("missing", missing), ("not fitting", described))
        problems = "; ".join(f"{what} {listing(which)}" for what, which in pairs if which)
        fitting = sum(own in best.names and own not in misfits for own in self.required)
        where = f" under `{_shown(best.prefix)}`" if _shown(best.prefix) else ""
        return InputError(
            f"{self.file} holds {fitting} of the {total} tensors of {self.name}{where}; {problems}.",
            hint=HINT,
        )

    def _misfit(self, own: str, value: Tensor) -> str:
        here, there = tuple(self.wanted[own].shape), tuple(value.shape)
        if here != there:
            return f"{own} {there} instead of {here}"
        return f"{own} in {str(value.dtype).removeprefix('torch.')}"


def _fits(name: str, value: Tensor, own: Tensor, candidate: _Candidate) -> bool:
    """Whether a tensor fits the network's: equal shape, except for axes of length 1 in renamed tensors."""
    if name.rpartition(".")[2] == COUNTER:  # averaged with the weights, it is a float
        return value.numel() == 1 and not value.is_complex()
    if value.is_floating_point() != own.is_floating_point() or value.is_complex():
        return False
    if value.shape == own.shape:
        return True
    squeezed = [[side for side in tensor.shape if side != 1] for tensor in (value, own)]
    return candidate.scheme is not None and squeezed[0] == squeezed[1]


def _shared_prefixes(names: Iterable[str]) -> list[str]:
    """The prefixes that all names share, the shortest first: ``''``, ``model.``, ``model.backbone.``."""
    paths = [name.split(".")[:-1] for name in names]
    prefixes = [""]
    for level in zip(*paths, strict=False):
        if len(set(level)) > 1:
            break
        prefixes.append(f"{prefixes[-1]}{level[0]}.")
    return prefixes


def _shown(prefix: str) -> str:
    """A prefix for messages, without the key ``state_dict`` of training scripts."""
    return prefix.removeprefix("state_dict.")


def _preferred(one: str, other: str) -> bool:
    """Whether the backbone under prefix ``one`` is preferred to that under ``other``."""
    mine, theirs = one.split("."), other.split(".")
    if any(winner in mine and loser in theirs for winner, loser in PREFERRED):
        return True
    if _averaged(mine) != _averaged(theirs):
        return _averaged(mine)
    scales = [re.fullmatch(r"(.*\.encoders\.)(\d+)(\.backbone\.)", prefix) for prefix in (one, other)]
    if scales[0] is None or scales[1] is None:
        return False
    return int(scales[0][2]) < int(scales[1][2])  # a run of onet with three scales: the full-size picture's


def _numbers(values: Sequence[float]) -> str:
    """Numbers of three channels, one if they are equal."""
    return ", ".join(f"{value:g}" for value in (values[:1] if len(set(values)) == 1 else values))


def _averaged(parts: list[str]) -> bool:
    return any(AVERAGE.search(part) for part in parts)
