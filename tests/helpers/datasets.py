"""Small prepared data sets of analytic shapes, made without any geometry library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix3d_onet import lattice, seeding
from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.store import encoding
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry, manifest_to_json
from pix3d_onet.data.store.writer import write_shard
from pix3d_onet.files import digest, write_json
from pix3d_onet.types import (
    MANIFEST,
    Mesh,
    Normalisation,
    PreparedShape,
    Provenance,
    ShapeGeometry,
    ShapeIdentity,
    View,
)

CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
BOX_FACES = np.array([t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))])


def extent_of(index: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Full sides (3,) of shape ``index``: longest side 1."""
    side = rng.uniform(0.35, 1.0, size=3)
    return side / side.max()


def inside(kind: int, extent: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether points (N, 3) are inside a box (kind 0) or an ellipsoid (kind 1) of full sides ``extent``."""
    scaled = points.astype(np.float64) / extent
    if kind == 0:
        return np.asarray(np.abs(scaled).max(axis=-1) <= 0.5)
    return np.asarray((scaled**2).sum(axis=-1) <= 0.25)


def surface(
    kind: int, extent: NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (count, 3) on the surface and unit normals (count, 3); near enough to uniform for tests."""
    if kind == 1:
        unit = rng.normal(size=(count, 3))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        normals = unit / extent
        return unit * extent / 2, normals / np.linalg.norm(normals, axis=1, keepdims=True)
    areas = np.array([extent[1] * extent[2], extent[0] * extent[2], extent[0] * extent[1]])
    axis = rng.choice(3, size=count, p=areas / areas.sum())
    sign = rng.choice([-1.0, 1.0], size=count)
    points = rng.uniform(-0.5, 0.5, size=(count, 3))
    points[np.arange(count), axis] = sign * 0.5
    normals = np.zeros((count, 3))
    normals[np.arange(count), axis] = sign
    return points * extent, normals


def picture(kind: int, extent: NDArray[np.float64], size: int, record_id: str, rng: np.random.Generator) -> View:
    """A flat drawing of the shape's x-y outline, coloured by its depth, on white, with a frontal pose."""
    v, u = np.mgrid[0:size, 0:size]
    x, y = ((u + 0.5) / size - 0.5) * 1.25, (0.5 - (v + 0.5) / size) * 1.25
    flat = np.stack([x, y, np.zeros_like(x)], axis=-1)
    mask = inside(kind, extent, flat.reshape(-1, 3)).reshape(size, size)
    rgb = np.full((size, size, 3), 255, dtype=np.uint8)
    shade = 40 + 150 * extent[2]
    rgb[mask] = np.clip(np.array([shade, 255 - shade, 90]) + rng.normal(0, 4, size=(int(mask.sum()), 3)), 0, 250)
    pose = np.eye(4, dtype=np.float32)
    angle = rng.uniform(-0.5, 0.5)
    pose[0, 0] = pose[2, 2] = np.cos(angle)
    pose[0, 2], pose[2, 0] = np.sin(angle), -np.sin(angle)
    pose[2, 3] = 2.0
    focal = -2 * size / 1.25
    intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=np.float32)
    return View(rgb, mask, pose, intrinsics, record_id)


def distance(kind: int, extent: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Signed distance of points (N, 3) to a box (kind 0), negative inside; to an ellipsoid only roughly."""
    if kind == 1:
        return (np.linalg.norm(points / extent, axis=1) - 0.5) * extent.min()
    beyond = np.abs(points) - extent / 2
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)


def near_fields(
    kind: int, extent: NDArray[np.float64], near: int, sdf: bool, cells: NDArray[np.uint16], rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """The fields of ``ShapeGeometry`` of version 2."""
    fields: dict[str, NDArray[Any]] = {}
    if near:
        on_surface, _ = surface(kind, extent, near, rng)
        fields["near_points_q"] = lattice.encode_points(on_surface + rng.normal(0, 0.02, on_surface.shape))
        fields["near_occupancy"] = inside(kind, extent, lattice.decode_points(fields["near_points_q"]))
    for name, drawn in (("sdf_q", cells), ("near_sdf_q", fields.get("near_points_q"))):
        if sdf and drawn is not None:
            points = lattice.decode_points(drawn)
            found = np.abs(distance(kind, extent, points))
            fields[name] = encoding.encode_distances(found, inside(kind, extent, points))
    return fields


def prepared_shape(
    index: int,
    points: int,
    image_size: int,
    seed: int,
    pictures: int = 1,
    near: int = 0,
    *,
    sdf: bool = False,
    rendered: int = 0,
) -> PreparedShape:
    """Shape ``index``: boxes at even, ellipsoids at odd indices."""
    name = f"{'box' if index % 2 == 0 else 'ball'}_{index:03d}"
    rng = seeding.generator(seed, "test-shape", name)
    kind, extent = index % 2, extent_of(index, rng)
    cells = rng.integers(0, lattice.LATTICE, size=(points, 3), dtype=np.uint16)
    on_surface, normals = surface(kind, extent, max(points // 4, 8), rng)
    drawn = [picture(kind, extent, image_size, f"{name}-{i}", rng) for i in range(pictures)]
    geometry = ShapeGeometry(
        points_q=cells,
        occupancy=inside(kind, extent, lattice.decode_points(cells)),
        surface_points_q=lattice.encode_points(on_surface),
        surface_normals_q=encoding.encode_normals(normals),
        mesh=Mesh(CORNERS * extent, BOX_FACES),
        normalisation=Normalisation(np.zeros(3), 1.0),
        **near_fields(kind, extent, near, sdf, cells, rng),
    )
    views = tuple(
        replace(view, sha256=digest(view.rgb.tobytes()), rendered=i >= pictures - rendered)
        for i, view in enumerate(drawn)
    )
    provenance = Provenance(f"model/{name}.obj", digest(name.encode()))
    return PreparedShape(ShapeIdentity(name, "chair", name), geometry, views, provenance)


def make_dataset(
    folder: Path,
    shapes: int = 12,
    points: int = 4096,
    image_size: int = 64,
    seed: int = 0,
    *,
    views: int = 1,
    rendered: int = 0,
    without_pose: Sequence[int] = (),
    near: int = 0,
    sdf: bool = False,
) -> Path:
    """Write a prepared data set of analytic shapes to ``folder``: about 2/3 train, 1/6 val, 1/6 test.

    Same arguments give the same bytes. At least three shapes, so that no split is empty. The last ``rendered`` of each
    shape's ``views`` are rendered ones. The shapes at the indices ``without_pose`` have no camera, as sources store it:
    NaN.
    """
    made = [prepared_shape(i, points, image_size, seed, views, near, sdf=sdf, rendered=rendered) for i in range(shapes)]
    for i in without_pose:
        made[i] = replace(made[i], views=tuple(view.without_camera() for view in made[i].views))
    held_out = max(1, shapes // 6)
    splits = ["train"] * (shapes - 2 * held_out) + ["val"] * held_out + ["test"] * held_out
    half = (shapes + 1) // 2
    shards, entries = [], []
    for number, start in enumerate(range(0, shapes, half)):
        block = made[start : start + half]
        shard = write_shard(folder / f"shard-{number:05d}.h5", block)
        shards.append(shard)
        for row, shape in enumerate(block):
            split = splits[start + row]
            entries.append(
                ShapeEntry(
                    **asdict(shape.identity),
                    **asdict(shape.provenance),
                    split=split,
                    shard=shard.file,
                    row=row,
                    images=len(shape.views),
                    record_ids=tuple(v.record_id for v in shape.views),
                    image_sha256=tuple(v.sha256 for v in shape.views),
                    image_splits=(split,) * len(shape.views),
                )
            )
    config = PrepareConfig(
        points=points, image_size=image_size, surface_points=max(points // 4, 8), seed=seed, near_points=near, sdf=sdf
    )
    manifest = Manifest(
        config=config.to_json(),
        config_hash=config.hash(),
        source={"kind": "analytic", "root": "tests"},
        shapes=tuple(entries),
        shards=tuple(shards),
        counts={"shapes": shapes, "prepared": shapes, "rejected": 0, **{s: splits.count(s) for s in set(splits)}},
    )
    manifest_document = manifest_to_json(manifest)
    manifest_document["counts"] = dict(sorted(manifest_document["counts"].items()))
    write_json(folder / MANIFEST, manifest_document)
    return folder
