"""Rendered views per second on the largest meshes of a folder, with one thread and several.

    python benchmarks/render_views.py MESH_OR_FOLDER [--size 224] [--views 24] [--threads 2] [--meshes 3] [--out FILE]

For each mesh (normalised to its box): seconds to build the scene (normals), then views per second with one thread and
with ``--threads`` (the kernels release the GIL): colours, mask and depth, 2×2 samples per pixel. If Open3D is
installed, also the rate of casting the same rays with its Embree scene, without shading.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.geometry.mesh.cleaning import box_normalisation, transformed
from pix3d_onet.geometry.mesh.reading import load_mesh
from pix3d_onet.geometry.render.cameras import MARGIN, frame, random_pose
from pix3d_onet.geometry.render.scene import SUPERSAMPLE, Scene
from pix3d_onet.seeding import generator
from pix3d_onet.types import MESH_SUFFIXES, Float64, Mesh
from pix3d_onet.version import __version__

Shot = tuple[Float64, Float64]
REPEATS = 3


def largest(place: Path, count: int) -> list[tuple[str, Mesh]]:
    """The meshes with the most faces at ``place``, normalised."""
    files = [place] if place.is_file() else [p for p in sorted(place.rglob("*")) if p.suffix.lower() in MESH_SUFFIXES]
    files = sorted(files, key=lambda p: p.stat().st_size)[-3 * count :]
    meshes = [(p.parent.name if p.stem == "model" else p.stem, load_mesh(p)) for p in files]
    meshes.sort(key=lambda pair: -len(pair[1].faces))
    return [(name, transformed(mesh, box_normalisation(mesh))) for name, mesh in meshes[:count]]


def shots(mesh: Mesh, count: int, size: int) -> list[Shot]:
    """Cameras as ``random_views`` draws them."""
    poses = [random_pose(generator(0, "benchmark", str(k)), mesh.bounds) for k in range(count)]
    return [(pose, frame(mesh.vertices, pose, size, MARGIN)) for pose in poses]


def views_per_second(scene: Scene, cameras: list[Shot], size: int, threads: int) -> float:
    """Median over repeats."""

    def one(camera: Shot) -> None:
        scene.view(*camera, size)

    rates = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(REPEATS):
            start = time.perf_counter()
            list(pool.map(one, cameras))
            rates.append(len(cameras) / (time.perf_counter() - start))
    return statistics.median(rates)


def embree_per_second(mesh: Mesh, cameras: list[Shot], size: int) -> float | None:
    """The same rays (2×2 per pixel), one thread, without shading; None without Open3D."""
    try:
        import open3d as o3d
    except (ImportError, OSError):
        return None
    tensor: Any = o3d.core.Tensor
    scene: Any = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(tensor(mesh.vertices.astype(np.float32)), tensor(mesh.faces.astype(np.uint32)))
    side = size * SUPERSAMPLE
    v, u = np.mgrid[:side, :side] + 0.5
    pixels = np.stack([u / SUPERSAMPLE, v / SUPERSAMPLE, np.ones_like(u)], axis=-1)
    spent = 0.0
    for pose, intrinsics in cameras:
        directions = pixels @ np.linalg.inv(intrinsics).T @ pose[:3, :3]
        eye = np.broadcast_to(-pose[:3, :3].T @ pose[:3, 3], directions.shape)
        rays = tensor(np.concatenate([eye, directions], axis=-1).astype(np.float32))
        start = time.perf_counter()
        scene.cast_rays(rays, nthreads=1)
        spent += time.perf_counter() - start
    return len(cameras) / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes_at", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--meshes", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for name, mesh in largest(options.meshes_at, options.meshes):
        Scene(mesh).view(*shots(mesh, 1, options.size)[0], options.size)  # compile
        start = time.perf_counter()
        scene = Scene(mesh)
        build = time.perf_counter() - start
        cameras = shots(mesh, options.views, options.size)
        row = {
            "mesh": name,
            "faces": len(mesh.faces),
            "scene_seconds": round(build, 4),
            "views_per_second": round(views_per_second(scene, cameras, options.size, 1), 1),
            f"views_per_second_{options.threads}_threads": round(
                views_per_second(scene, cameras, options.size, options.threads), 1
            ),
            "embree_rays_only": embree_per_second(mesh, cameras, options.size),
        }
        rows.append(row)
        print(json.dumps(row))
    document = {
        "benchmark": "render_views",
        "onet": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "size": options.size,
        "samples_a_pixel": SUPERSAMPLE**2,
        "rows": rows,
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
