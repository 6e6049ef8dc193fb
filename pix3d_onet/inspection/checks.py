"""The checks of a data set that need no geometry library: manifest, shards, leakage, duplicates.

``inspection.verify``, which ``onet verify`` calls, adds labels and cameras. Nothing here changes a file.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pix3d_onet.config import SPLITS, PrepareConfig
from pix3d_onet.data.sources.registry import SOURCES
from pix3d_onet.data.sources.splits import PRESCRIBED
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry, ShardEntry, is_figure, split_counts
from pix3d_onet.data.store.shard_file import open_shard, read_picture, shard_problems
from pix3d_onet.errors import RejectError
from pix3d_onet.escape import shell
from pix3d_onet.files import check_regular, digest, file_digest, inside, own_json
from pix3d_onet.geometry.mesh.formats.side_files import mesh_digest
from pix3d_onet.rotations import rotation_problem
from pix3d_onet.types import MANIFEST

BOX_TOLERANCE = 0.01
"""Allowed deviation of a stored mesh's box from "centred, longest side 1", in addition to the decimation error. That
error is a percentile, so single vertices may move farther. A mesh in another frame deviates by much more."""
PLURAL = {"group": "groups", "mesh": "meshes", "picture": "pictures"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem (``level`` ``error``) or suspicious fact (``warning``): where, what, and what to do."""

    level: str
    subject: str
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check: ``checked``: number of units examined; ``figures``: its numbers; ``skipped``: the reason if
    nothing was examined, else empty."""

    name: str
    checked: int
    summary: str
    findings: tuple[Finding, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    skipped: str = ""

    @property
    def status(self) -> str:
        """``failed`` (an error was found), ``warning``, ``skipped`` or ``passed``."""
        levels = {f.level for f in self.findings}
        if "error" in levels:
            return "failed"
        if "warning" in levels:
            return "warning"
        return "skipped" if self.skipped else "passed"


@dataclass(frozen=True, slots=True)
class Verification:
    """All checks of one data set."""

    root: Path
    data_hash: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """No check failed; warnings are allowed."""
        return all(check.status != "failed" for check in self.checks)


def error(subject: str, message: str, fix: str = "") -> Finding:
    """A finding that makes its check fail."""
    return Finding("error", subject, message, fix)


def warning(subject: str, message: str, fix: str = "") -> Finding:
    """A finding that does not make its check fail."""
    return Finding("warning", subject, message, fix)


def prepare_command(manifest: Manifest, root: Path, source_root: Path | None = None) -> str:
    """The command that prepares this data set; in the same folder it rebuilds only missing or damaged shards.

    It is safe to paste into a shell, whatever the manifest contains.
    """
    kind = str(manifest.source.get("kind", "pix3d"))
    source = SOURCES.get(kind, SOURCES["pix3d"])
    where = str(source_root) if source_root else "ROOT"
    parts = ["onet", "prepare", kind, *(["--root", where] if source.root else [where])]
    standard = {**PrepareConfig().to_json(), **source.defaults}
    if manifest.config.get("categories") != standard["categories"]:
        named = manifest.config.get("categories")
        for name in named if isinstance(named, list) else ():
            parts += ["--category", str(name)]
    for key, value in manifest.config.items():
        if key == "categories" or value == standard.get(key):
            continue
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            parts += [flag] if value else []
        else:
            parts += [flag, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    if manifest.config.get("split") in ("s1", "s2"):
        parts += ["--split-file", "FILE"]
    return " ".join(map(shell, [*parts, "--out", str(root)]))


def check_manifest(root: Path, manifest: Manifest) -> Check:
    """Hashes, counts, uniqueness of names, splits; stray files beside the shards."""
    findings = []
    by_picture = manifest.config.get("split") in ("image", "s1")
    try:
        config = PrepareConfig.from_json(manifest.config)
        if config.hash() != manifest.config_hash:
            findings.append(error("manifest.json", "config_hash does not match config."))
    except Exception as problem:  # noqa: BLE001 - an unknown config can fail in any way; the finding says how
        findings.append(error("manifest.json", f"config is not valid ({problem})."))
    for name, values in (
        ("object id", [s.object_id for s in manifest.shapes]),
        ("shard", [s.file for s in manifest.shards]),
        ("place", [f"{s.shard} row {s.row}" for s in manifest.shapes]),
    ):
        for value in sorted(value for value, count in Counter(values).items() if count > 1):
            findings.append(error(value, f"{name} appears more than once in the manifest."))
    for shape in manifest.shapes:
        wrong = sorted({shape.split, *shape.image_splits} - set(SPLITS))
        if wrong:
            findings.append(error(shape.object_id, f"unknown split {wrong[0]!r}."))
        if not by_picture and (other := sorted(set(shape.image_splits) - {shape.split})):
            findings.append(error(shape.object_id, f"it is in {shape.split}, a picture of it in {other[0]}."))
    stored = own_json(root / MANIFEST)
    if stored.get("data_hash") != manifest.data_hash:
        text = f"data_hash does not match shards and splits, whose hash is {manifest.data_hash}."
        findings.append(error("manifest.json", text, "It was edited or damaged; prepare the data set again."))
    for name, found in split_counts(manifest.shapes).items():
        if manifest.counts.get(name, found) != found:
            findings.append(error("manifest.json", f"{name} is not that of its shapes, {found}."))
    per_shard = Counter(shape.shard for shape in manifest.shapes)
    for shard in manifest.shards:
        if per_shard[shard.file] != shard.shapes:
            findings.append(error(shard.file, f"{per_shard[shard.file]} shapes listed, {shard.shapes} counted."))
    known = {s.file for s in manifest.shards}
    for path in sorted(root.glob("*.h5")):
        if path.name not in known:
            findings.append(warning(path.name, "is not in the manifest.", "Nothing reads it; it may be deleted."))
    return Check("manifest", len(manifest.shapes), f"{len(manifest.shapes)} shapes", tuple(findings))


def check_shards(root: Path, manifest: Manifest, command: str) -> tuple[Check, frozenset[str]]:
    """Check size, checksum and schema of every shard. Also returns the names of the readable shards."""
    findings: list[Finding] = []
    sound = set()
    members: dict[str, list[ShapeEntry]] = defaultdict(list)
    for shape in sorted(manifest.shapes, key=lambda s: s.row):
        members[shape.shard].append(shape)
    for shard in {s.file: s for s in manifest.shards}.values():
        shapes = members[shard.file]
        problem = file_problem(root / shard.file, shard)
        if problem:
            findings.append(error(shard.file, f"{problem} ({len(shapes)} shapes)", f"Rebuild it with: {command}"))
            continue
        problems = schema_problems(root / shard.file, shapes, manifest)
        findings += [error(shard.file, p, f"Rebuild it with: {command}") for p in problems]
        if not problems:
            sound.add(shard.file)
    total = sum(s.bytes for s in manifest.shards)
    figures = {"bytes": total, "bytes_per_shape": total / max(len(manifest.shapes), 1)}
    summary = f"{len(sound)} of {len(manifest.shards)} shards sound, {total / 1e6:.1f} MB"
    return Check("shards", len(manifest.shards), summary, tuple(findings), figures), frozenset(sound)


def file_problem(path: Path, shard: ShardEntry) -> str:
    """Why a shard's file is not the one in the manifest, by size and checksum; empty if it is."""
    try:
        size = check_regular(path, follow=False)
        if size != shard.bytes:
            return f"has {size} bytes, {shard.bytes} expected"
        if file_digest(path, follow=False) != shard.sha256:
            return "has a wrong checksum"
    except FileNotFoundError:
        return "is missing"
    except OSError as problem:
        return f"cannot be read: {problem.strerror}"
    return ""


def schema_problems(path: Path, shapes: Sequence[ShapeEntry], manifest: Manifest) -> list[str]:
    """Deviations of a shard from the format in ``data.store.reader``; empty if there are none."""
    try:
        with open_shard(path) as file:
            structure = list(shard_problems(file, manifest.config, shapes))
            return structure or list(_content_problems(file, shapes, manifest))
    except Exception as problem:  # noqa: BLE001 - h5py raises many kinds of errors on damaged files
        return [f"is damaged ({type(problem).__name__}: {problem})"]


def _content_problems(file: h5py.File, shapes: Sequence[ShapeEntry], manifest: Manifest) -> Iterable[str]:
    if [s.row for s in shapes] != list(range(len(shapes))):
        yield "does not hold the rows that the manifest names"
    if not _same_strings(file["object_id"], [s.object_id for s in shapes]):
        yield "object_id differs from the manifest"
    if not (np.isfinite(file["loc"][:]).all() and (file["scale"][:] > 0).all()):
        yield "loc or scale is not a number"
    allowed = number(manifest.config, "mesh_error", 0.0)
    vertex_offset, face_offset = file["mesh/vertex_offset"][:], file["mesh/face_offset"][:]
    ends_fit = vertex_offset[-1] == len(file["mesh/vertices"]) and face_offset[-1] == len(file["mesh/faces"])
    if not ends_fit or (np.diff(vertex_offset) < 0).any() or (np.diff(face_offset) < 0).any():
        yield "mesh offsets do not fit the meshes"
        return
    for shape in shapes:
        row = shape.row
        vertices = file["mesh/vertices"][vertex_offset[row] : vertex_offset[row + 1]]
        faces = file["mesh/faces"][face_offset[row] : face_offset[row + 1]]
        if not len(faces) or faces.max() >= len(vertices) or not np.isfinite(vertices).all():
            yield f"the mesh of {shape.object_id} is empty or has indices or coordinates out of range"
            continue
        slack = BOX_TOLERANCE + 2 * max(allowed, stored_error(shape))
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        if np.abs(low + high).max() / 2 > slack or abs((high - low).max() - 1) > 2 * slack:
            yield f"the mesh of {shape.object_id} is not in the normalised frame"
    if "images/shape" in file:
        yield from _picture_problems(file, shapes)


def _same_strings(stored: h5py.Dataset, expected: Sequence[str]) -> bool:
    """Whether an array of strings is as expected; read one by one, since all may refer to the same large block."""
    return all(stored[row] == text.encode() for row, text in enumerate(expected))


def _picture_problems(file: h5py.File, shapes: Sequence[ShapeEntry]) -> Iterable[str]:
    owners = file["images/shape"][:]
    if owners.tolist() != [s.row for s in shapes for _ in range(s.images)]:
        yield "images/shape differs from the manifest"
        return
    ids = [i for s in shapes for i in s.record_ids]
    if not _same_strings(file["images/record_id"], ids):
        yield "images/record_id differs from the manifest"
    pose, intrinsics = file["images/pose"][:].astype(np.float64), file["images/intrinsics"][:]
    rendered, hashes = file["images/rendered"][:], [sha for s in shapes for sha in s.image_sha256]
    for row, name in enumerate(ids):
        mask, rgb = read_picture(file["images/mask"], row), read_picture(file["images/rgb"], row)
        if mask.max(initial=0) != 1:
            yield f"the mask of {name} is empty or not 0 and 1"
        elif (rgb[mask == 0] < 255).any(axis=-1).mean() > 0.5:
            yield f"the background of {name} is not white"
        elif rendered[row] and hashes[row] and digest(rgb.tobytes()) != hashes[row]:
            yield f"the rendered picture {name} is not the one that the manifest names"
        finite = np.isfinite(pose[row]).all(), np.isfinite(intrinsics[row]).all()
        if finite[0] != finite[1] or (not finite[0] and not np.isnan(pose[row]).all()):
            yield f"the camera of {name} is incomplete"
        elif finite[0] and (rotation_problem(pose[row, :3, :3]) or tuple(pose[row, 3]) != (0, 0, 0, 1)):
            yield f"the pose of {name} is not rigid"


def check_leakage(manifest: Manifest) -> Check:
    """Check that no group, no mesh content and no picture content is in two splits.

    A data set that was split by image shares shapes on purpose; then groups and meshes give only a warning. So does
    everything with a prescribed split.
    """
    mode = manifest.config.get("split")
    by_image = mode in ("image", "s1")
    worse = warning if by_image or mode in PRESCRIBED else error
    places: dict[str, dict[str, dict[str, list[str]]]] = {
        kind: defaultdict(lambda: defaultdict(list)) for kind in ("group", "mesh", "picture")
    }
    for shape in manifest.shapes:
        for split in set(shape.image_splits) or {shape.split}:
            places["group"][shape.group][split].append(shape.object_id)
            places["mesh"][shape.mesh_sha256][split].append(shape.object_id)
        for record, sha, split in zip(shape.record_ids, shape.image_sha256, shape.image_splits, strict=True):
            if sha:
                places["picture"][sha][split].append(record)
    findings, figures = [], {}
    for kind, table in places.items():
        shared = {key: splits for key, splits in table.items() if len(splits) > 1}
        figures[f"{PLURAL[kind]}_in_two_splits"] = len(shared)
        make = error if kind == "picture" and mode not in PRESCRIBED else worse
        for key, splits in sorted(shared.items()):
            names = "; ".join(f"{split}: {', '.join(sorted(ids)[:3])}" for split, ids in sorted(splits.items()))
            subject = key if kind == "group" else key[:12]
            findings.append(make(subject, f"the same {kind} is in {' and '.join(sorted(splits))} ({names})."))
    if by_image and findings:
        kept = [f for f in findings if f.level == "error" or f.message.startswith("the same picture")]
        shapes = len(findings) - len(kept)
        note = f"{shapes} groups and meshes are in two splits: this data set is split by image."
        findings = [*kept, *([warning("splits", note)] if shapes else [])]
    counted = ", ".join(f"{len(table)} different {PLURAL[kind]}" for kind, table in places.items())
    return Check("leakage", len(manifest.shapes), counted, tuple(findings), figures)


def check_duplicates(manifest: Manifest) -> Check:
    """Find equal pictures under two record ids and equal meshes under two object ids (a warning within a split)."""
    pictures: dict[str, list[str]] = defaultdict(list)
    meshes: dict[str, list[str]] = defaultdict(list)
    for shape in manifest.shapes:
        meshes[shape.mesh_sha256].append(shape.object_id)
        for record, sha in zip(shape.record_ids, shape.image_sha256, strict=True):
            if sha:
                pictures[sha].append(record)
    findings = []
    for kind, table in (("picture", pictures), ("mesh", meshes)):
        for names in sorted(names for names in table.values() if len(names) > 1):
            findings.append(warning(names[0], f"the same {kind} is listed as {', '.join(names)}."))
    counted = f"{len(pictures)} different pictures, {len(meshes)} different meshes"
    return Check("duplicates", sum(map(len, pictures.values())), counted, tuple(findings))


def check_source(manifest: Manifest, source_root: Path) -> Check:
    """Check that every source mesh, including buffers of glTF files, still has the content that was prepared."""
    findings = []
    digests: dict[Path, str] = {}
    missing = 0
    for shape in manifest.shapes:
        name = f"{shape.source_mesh:.200}"
        try:
            path = source_file(shape, source_root)
            if path not in digests:
                digests[path] = mesh_digest(path, source_root)
        except RejectError as problem:
            findings.append(error(shape.object_id, f"{problem.message}."))
        except FileNotFoundError:
            findings.append(warning(shape.object_id, f"{name} is no longer in {source_root}."))
            missing += 1
        except OSError as problem:
            findings.append(error(shape.object_id, f"{name} cannot be read: {problem.strerror}."))
        else:
            if digests[path] != shape.mesh_sha256:
                hint = "Prepare again; only changed shapes are redone."
                findings.append(error(shape.object_id, f"{name} has changed since it was prepared.", hint))
    if missing == len(manifest.shapes):
        text = f"none of the {missing} source meshes is in {source_root}."
        findings = [error(str(source_root), text, "Name the folder that the data set was prepared from.")]
    return Check("source", len(manifest.shapes), f"compared with {source_root}", tuple(findings))


def source_file(shape: ShapeEntry, source_root: Path) -> Path:
    """The path of a shape's source, which may not exist. RejectError ``unsafe-path`` if it leads out of the root."""
    path, (first, _, rest) = inside(source_root, shape.source_mesh), shape.source_mesh.partition("/")
    if rest and first == source_root.resolve().name and not os.path.lexists(path):
        return inside(source_root, rest)  # the listing's root was the parent folder, see ``shapenet``
    return path


def stored_error(entry: ShapeEntry) -> float:
    """The measured decimation error of a shape's stored mesh, normalised units; 0 if it was not measured."""
    return number(entry.qc, "stored_error", 0.0)


def number(values: Mapping[str, Any], key: str, default: float) -> float:
    """A setting or figure of a manifest; ``default`` if it is missing or no finite number."""
    value = values.get(key, default)
    return float(value) if is_figure(value) else default
