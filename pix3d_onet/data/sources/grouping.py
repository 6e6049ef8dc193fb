"""Group the mesh files of a folder that are one shape, so that a split keeps them together; based on their paths.

Collections store a shape as one file (``chair/0001.off``), as a folder of variants (3D-FUTURE's
``<id>/raw_model.obj`` beside ``<id>/normalized_model.obj``), or deeper (ShapeNet's
``<synset>/<id>/models/model_normalized.obj``, Google Scanned Objects' ``<name>/meshes/model.obj``). The rule ``auto``
distinguishes these by names that denote a variant, not a shape: words such as ``raw`` and ``low``, and names that
occur in several folders.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from pix3d_onet.config import Grouping

CATEGORY = "mesh"
"""Category of a shape that is in no folder of several shapes."""
ROOT = "."
"""Name of the group if the whole folder is one."""
VARIANTS = frozenset({
    "model", "models", "mesh", "meshes", "object", "obj", "scene", "raw", "orig", "original", "source", "src",
    "norm", "normal", "normalized", "normalised", "scaled", "aligned", "centered", "centred", "high", "hi", "low",
    "lo", "full", "simple", "simplified", "decimated", "reduced", "coarse", "fine", "proxy", "preview",
    "watertight", "manifold", "closed", "solid", "hull", "convex", "collision", "visual", "clean", "cleaned",
    "fixed", "repaired", "remeshed", "scan", "scanned", "textured", "nontextured", "untextured", "texture",
    "poisson", "tsdf", "recon", "reconstruction", "copy", "final", "ply", "off", "stl", "glb", "gltf",
})  # fmt: skip
"""Words that denote a variant of a shape."""
NUMBERED = re.compile(r"(lod|v|version|level)\d+|\d+k")
WORDS = re.compile(r"[^\W_]+")

Path = tuple[str, ...]
"""Folders and the file's name without its extension, in lower case."""


def group_of(names: Sequence[str], rule: Grouping) -> dict[str, str]:
    """File (path with ``/`` and extension) → name of its group, by a rule of ``config.Grouping``.

    One group is, for ``file``, each file; ``folder``, the files in a folder; ``top``, all files below a top-level
    folder; ``auto``, see the module.
    """
    if rule == "file":
        return {name: name for name in names}
    if rule == "folder":
        return {name: name.rpartition("/")[0] or ROOT for name in names}
    if rule == "top":
        return {name: name.split("/")[0] if "/" in name else stem(name) for name in names}
    return _auto(names)


def category_of(groups: Mapping[str, str]) -> dict[str, str]:
    """File → category: the top-level folder if it has at least two groups and does not denote a variant; otherwise
    ``mesh``."""
    held: dict[str, set[str]] = defaultdict(set)
    for name, group in groups.items():
        held[_top(name)].add(group)
    return {name: _top(name) if _top(name) and len(held[_top(name)]) > 1 else CATEGORY for name in groups}


def _top(name: str) -> str:
    """The top-level folder; empty if there is none, or if it denotes a variant."""
    top, slash, _ = name.partition("/")
    return top if slash and not _is_variant(top.lower(), "") else ""


def stem(name: str) -> str:
    """The path without the file extension."""
    head, slash, tail = name.rpartition("/")
    return head + slash + (tail.rpartition(".")[0] or tail)


def _auto(names: Sequence[str]) -> dict[str, str]:
    paths: dict[str, Path] = {name: tuple(stem(name).lower().split("/")) for name in names}
    files: dict[Path, set[str]] = defaultdict(set)
    folders: dict[Path, set[str]] = defaultdict(set)
    parents: dict[str, set[Path]] = defaultdict(set)  # name → the folders that contain it
    for path in paths.values():
        files[path[:-1]].add(path[-1])
        for depth, part in enumerate(path):
            if depth < len(path) - 1:
                folders[path[:depth]].add(part)
            if depth == 0 or part != path[depth - 1]:  # ``cup_001/cup_001.obj`` is one name, not a recurring one
                parents[part].add(path[:depth])
    recurring = {part for part, found in parents.items() if len(found) > 1 and not part.isdecimal()}
    variants: dict[Path, bool] = {}
    for folder in sorted({*files, *folders}, key=len):
        # ``ply/`` is a variant of many shapes, unless it is inside one
        own = not folder or not _is_variant(folder[-1], "") or variants[folder[:-1]]
        variants[folder] = own and _holds_variants(folder, files[folder], folders[folder], recurring)
    shown: dict[Path, str] = {}
    result = {}
    for name in sorted(names):
        found = _identity(paths[name], variants)
        spelt = {part.lower(): part for part in stem(name).split("/")}
        result[name] = shown.setdefault(found, "/".join(spelt.get(part, part) for part in found) or ROOT)
    return result


def _holds_variants(folder: Path, files: Collection[str], folders: Collection[str], recurring: Collection[str]) -> bool:
    """Whether a folder is one shape: at least half of its files, and all of its subfolders, have names of variants."""
    if not folder:
        return False
    named = [part in recurring or _is_variant(part, folder[-1]) for part in files]
    return 2 * sum(named) >= len(named) and all(p in recurring or _is_variant(p, "") for p in folders)


def _is_variant(part: str, folder: str) -> bool:
    """Whether a name consists of words for a variant, and perhaps the name of its folder."""
    words = WORDS.findall(part.removeprefix(folder) if folder else part)
    return all(word in VARIANTS or NUMBERED.fullmatch(word) for word in words)


def _identity(path: Path, variants: Mapping[Path, bool]) -> Path:
    """The folder of the shape, or the path without words for a variant; without folders of variants."""
    found = path[:-1]
    if variants[found]:
        while variants[found[:-1]]:
            found = found[:-1]
    elif bare := _bare(path[-1]):
        found = (*found, bare)
    return tuple(part for part in found if not _is_variant(part, "")) or found


def _bare(name: str) -> str:
    """A name without words for a variant at its start and end; empty if it has no others."""
    words = [(found.group(), *found.span()) for found in WORDS.finditer(name)]
    kept = list(words)
    while kept and (kept[-1][0] in VARIANTS or NUMBERED.fullmatch(kept[-1][0])):
        kept.pop()
    while kept and kept[0][0] in VARIANTS:
        kept.pop(0)
    if kept == words:
        return name
    return name[kept[0][1] : kept[-1][2]] if kept else ""
