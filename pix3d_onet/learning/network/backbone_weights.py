"""An encoder's weights out of a file of any origin: whole, or not at all.

The backbone is looked for below every prefix of the file's names (``module.``, ``model.backbone.``,
``teacher.backbone.`` …), by the names and shapes of its own tensors. It is taken where *all* of them are there; what
lies beside them must be a head, else the file is of another architecture. After loading, the tensors in the network
are compared with the file's, bit for bit.

Where a file holds several such backbones that differ, :data:`PREFERRED` and a moving average decide as the methods'
authors do; what is left open is refused with the choices named.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pix3d_onet.errors import InputError
from pix3d_onet.learning.network.tensor_names import SCHEMES, renamed
from pix3d_onet.learning.network.weights_file import listing, read_tensors

HINT = "An encoder is loaded whole or not at all: give the file of this `encoder`, or start with `pretrained=False`."
COUNTER = "num_batches_tracked"
"""Batch norm's counter: without effect on the network, absent from old files; neither counted nor required."""
PREFERRED = (
    ("encoder_q", "encoder_k"),  # MoCo: the query encoder is the one transferred (He et al., CVPR 2020)
    ("base_encoder", "momentum_encoder"),  # MoCo v3
    ("teacher", "student"),  # DINO: the teacher is the one evaluated (Caron et al., ICCV 2021)
    ("online_encoder", "target_encoder"),  # BYOL: the online encoder is kept (Grill et al., NeurIPS 2020)
    ("online_network", "target_network"),
)
"""Name parts of two backbones in one file, the first of which is taken."""
AVERAGE = re.compile(r"(?:^|_)(?:ema|averaged?)(?:_|$)")
"""A name part that says moving average: it is the network that was evaluated, so it is taken."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was loaded from ``file``: ``taken`` of ``total`` tensors under ``prefix``; ``left_out`` of its head."""

    file: str
    prefix: str
    taken: int
    total: int
    left_out: int
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """One line for a person."""
        where = f" under `{self.prefix}`" if self.prefix else ""
        head = f"; {self.left_out} of the head left out" if self.left_out else ""
        return f"{self.taken} of {self.total} tensors{where}{head}{''.join(f'; {note}' for note in self.notes)}"

    def to_json(self) -> dict[str, Any]:
        """What a run record keeps."""
        return {
            "file": self.file, "prefix": self.prefix, "taken": self.taken, "total": self.total,
            "left_out": self.left_out, "notes": list(self.notes),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A prefix of the file below which backbone tensors lie: the backbone's name → the file's name."""

    prefix: str
    names: dict[str, str]
    origin: str = ""


class FileWeights:
    """The tensors of a weights file; ``fill`` loads the encoder among them into a backbone and says what it took."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors = read_tensors(path)
        self.taken: Taken | None = None

    def fill(self, backbone: nn.Module, name: str) -> None:
        """Load all tensors of ``backbone`` (timm's ``name``); ``taken`` tells how. InputError when one is missing."""
        self.taken = load_backbone(backbone, name, self.tensors, self.path)


def load_backbone(backbone: nn.Module, name: str, tensors: Mapping[str, Tensor], file: Path) -> Taken:
    """Load ``tensors`` (by the file's dotted names) into ``backbone``; InputError unless it is there, once and whole.

    ``file`` is where they are from.
    """
    search = _Search(backbone, name, tensors, file)
    found, source = search.find()
    state = backbone.state_dict()
    fitted = {own: _fitted(source[there], state[own]) for own, there in found.names.items()}
    for own, value in fitted.items():
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"{file} holds NaN or infinite values in {found.names[own]}.", hint=HINT)
    notes = [found.origin] if found.origin else []
    kinds = sorted({str(source[found.names[own]].dtype).removeprefix("torch.") for own in search.required})
    if kinds != ["float32"]:
        notes.append(f"{' and '.join(kinds)} cast to float32")
    notes += search.notes
    backbone.load_state_dict({**state, **fitted})
    _compare(backbone, fitted, file)
    count = len(search.required)
    return Taken(file.name, _shown(found.prefix), count, count, search.left_out(found, source), tuple(notes))


def _fitted(value: Tensor, own: Tensor) -> Tensor:
    """The file's tensor in the shape (axes of one element aside) and number format of the network's."""
    return value.reshape(own.shape).to(own.dtype)


def _compare(backbone: nn.Module, expected: Mapping[str, Tensor], file: Path) -> None:
    """InputError unless the backbone now holds just these tensors: a loading hook of its own may have changed some."""
    state = backbone.state_dict()
    changed = [name for name, value in expected.items() if not torch.equal(state[name].cpu(), value)]
    if changed:
        raise InputError(f"{file}: the network changes {len(changed)} of its tensors on loading: {listing(changed)}.")


class _Search:
    """Looks for a backbone's tensors among a file's."""

    def __init__(self, backbone: nn.Module, name: str, tensors: Mapping[str, Tensor], file: Path) -> None:
        self.backbone, self.name, self.tensors, self.file = backbone, name, tensors, file
        self.wanted = dict(backbone.state_dict())
        self.required = [own for own in self.wanted if own.rpartition(".")[2] != COUNTER]
        self.notes: list[str] = []

    def find(self) -> tuple[_Candidate, Mapping[str, Tensor]]:
        """The backbone to take, and the tensors that its names are those of. InputError when none or unclear."""
        nearest: tuple[list[_Candidate], Mapping[str, Tensor]] = ([], self.tensors)
        for origin, source in self._sources():
            candidates = self._under_prefixes(source, origin)
            whole = [candidate for candidate in candidates if self._whole(candidate, source)]
            if whole:
                return self._only(whole, source), source
            if candidates and (not nearest[0] or len(candidates[0].names) > len(nearest[0][0].names)):
                nearest = candidates, source
        raise self._refusal(*nearest)

    def _sources(self) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """The file's tensors under its own names, then under those that are known to mean timm's; whose they are."""
        yield "", self.tensors
        for scheme in SCHEMES:
            yield scheme.origin, renamed(self.tensors, scheme)
        for source in self._by_timm():
            yield "names that timm knows and renames", source

    def _under_prefixes(self, source: Mapping[str, Tensor], origin: str) -> list[_Candidate]:
        """Every prefix with a tensor of the backbone below it, those with most tensors first."""
        found: dict[str, dict[str, str]] = {}
        for name in source:
            parts = name.split(".")
            for cut in range(len(parts)):
                own = ".".join(parts[cut:])
                if own in self.wanted:
                    found.setdefault(name.removesuffix(own), {})[own] = name
        candidates = [_Candidate(prefix, names, origin) for prefix, names in found.items()]
        return sorted(candidates, key=lambda c: (-len(c.names), c.prefix.count(".")))

    def _whole(self, candidate: _Candidate, source: Mapping[str, Tensor]) -> bool:
        return all(own in candidate.names for own in self.required) and not self._misfits(candidate, source)

    def _misfits(self, candidate: _Candidate, source: Mapping[str, Tensor]) -> list[str]:
        """Tensors of the backbone that the file has in another shape, or not as floating-point numbers."""
        return [own for own, there in candidate.names.items() if not _fits(source[there], self.wanted[own], candidate)]

    def _by_timm(self) -> Iterator[dict[str, Tensor]]:
        """The file's tensors under timm's present names by timm's own conversion, as far as that only renames.

        Tried below every prefix that all names share. What it computes (a resampled position embedding) is left out.
        """
        convert = getattr(sys.modules[type(self.backbone).__module__], "checkpoint_filter_fn", None)
        if convert is None:
            return
        kept = {value.untyped_storage().data_ptr() for value in self.tensors.values()}
        for prefix in _shared_prefixes(self.tensors):
            state = {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}
            try:
                converted = convert(state, self.backbone)
            except Exception:  # noqa: BLE001 - written for files of one origin, it may raise anything on another
                continue
            yield {
                key: value
                for key, value in converted.items()
                if isinstance(value, Tensor) and value.untyped_storage().data_ptr() in kept
            }

    def _only(self, whole: list[_Candidate], source: Mapping[str, Tensor]) -> _Candidate:
        """The one to take out of several whole backbones. InputError when they differ and no rule decides."""
        distinct: list[_Candidate] = []
        for candidate in whole:
            if not any(self._equal(candidate, other, source) for other in distinct):
                distinct.append(candidate)
        best = [c for c in distinct if not any(_beats(other.prefix, c.prefix) for other in distinct)]
        if len(best) != 1:
            names = ", ".join(f"`{c.prefix}`" for c in best or distinct)
            raise InputError(
                f"{self.file} holds {len(best or distinct)} different backbones of {self.name}: {names}.",
                hint="Write the one that is meant to a file of its own.",
            )
        chosen = best[0]
        if len(distinct) > 1:
            others = (f"`{_shown(c.prefix) or c.prefix or '(no prefix)'}`" for c in distinct if c is not chosen)
            self.notes.append(f"preferred to {', '.join(others)}")
        self._refuse_larger(chosen, source)
        return chosen

    def _equal(self, one: _Candidate, other: _Candidate, source: Mapping[str, Tensor]) -> bool:
        pairs = ((source[one.names[own]], source[other.names[own]]) for own in self.required)
        return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)

    def _beside(self, candidate: _Candidate, source: Mapping[str, Tensor]) -> list[str]:
        """Names, below the candidate's prefix, of tensors that the backbone has not (its derived buffers aside)."""
        used = set(candidate.names.values())
        buffers = {own for own, _ in self.backbone.named_buffers()}
        prefix = candidate.prefix
        names = [name.removeprefix(prefix) for name in source if name.startswith(prefix) and name not in used]
        return [name for name in names if name not in buffers and name.rpartition(".")[2] != COUNTER]

    def _of_head(self, name: str) -> bool:
        """Whether a tensor beside the backbone's is of a head: in a part that the backbone has not, or timm's head."""
        classifier = (getattr(self.backbone, "pretrained_cfg", None) or {}).get("classifier") or ()
        heads = {part.split(".")[0] for part in ([classifier] if isinstance(classifier, str) else classifier)}
        first = name.split(".", maxsplit=1)[0]
        return first in heads or first not in {own.split(".")[0] for own in self.wanted}

    def left_out(self, candidate: _Candidate, source: Mapping[str, Tensor]) -> int:
        """How many tensors of a head are left out."""
        return len(self._beside(candidate, source))

    def _refuse_larger(self, candidate: _Candidate, source: Mapping[str, Tensor]) -> None:
        inner = [name for name in self._beside(candidate, source) if not self._of_head(name)]
        if inner:
            raise InputError(
                f"{self.file} is of a larger network than {self.name}: it has {len(inner)} more tensors inside the "
                f"backbone: {listing(inner)}.",
                hint=HINT,
            )

    def _refusal(self, candidates: list[_Candidate], source: Mapping[str, Tensor]) -> InputError:
        """What is missing, or does not fit, in the best of the prefixes."""
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
        told = [self._misfit(own, source[best.names[own]]) for own in misfits]
        pairs = (("missing", missing), ("not fitting", told))
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


def _fits(value: Tensor, own: Tensor, candidate: _Candidate) -> bool:
    """Whether a tensor can stand for the network's: equal shape (renamed ones: but for axes of one element)."""
    if value.is_floating_point() != own.is_floating_point() or value.is_complex():
        return False
    if value.shape == own.shape:
        return True
    squeezed = [[side for side in tensor.shape if side != 1] for tensor in (value, own)]
    return bool(candidate.origin) and squeezed[0] == squeezed[1]


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
    """A prefix as messages give it: without the key that every training script wraps its tensors in."""
    return prefix.removeprefix("state_dict.")


def _beats(one: str, other: str) -> bool:
    """Whether the backbone under prefix ``one`` is to be taken rather than that under ``other``."""
    mine, theirs = one.split("."), other.split(".")
    if any(winner in mine and loser in theirs for winner, loser in PREFERRED):
        return True
    if _averaged(mine) != _averaged(theirs):
        return _averaged(mine)
    scales = [re.fullmatch(r"(.*\.encoders\.)(\d+)(\.backbone\.)", prefix) for prefix in (one, other)]
    if scales[0] is None or scales[1] is None:
        return False
    return int(scales[0][2]) < int(scales[1][2])  # a run of ours with three scales: the one of the full-size picture


def _averaged(parts: list[str]) -> bool:
    return any(AVERAGE.search(part) for part in parts)
