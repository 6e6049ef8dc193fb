"""Compare watertighting methods and other tools on the same meshes, in one process, interleaved.

    python benchmarks/watertight.py [--meshes DIR] [--count 6] [--repeats 3] [--threads 1] [--out FILE.json]

Methods: ours (``tight``, ``fusion``), and point-cloud-utils, pymeshlab (CGAL alpha wrap), manifold3d and mesh2sdf if
they can be imported; missing ones are named and skipped.

On exact solids (``solids.py``): IoU and volume ratio over uniform points, against the closed form. On all meshes:
seconds (wall and CPU, median of the repeats), whether the result is closed, and the distance between its surface and
the *visible* surface of the input, in both directions, as a fraction of the diagonal. A point of the input is visible
if one of its sides is outside our ``tight`` result. Memory is the peak of a child process that runs only one method on
the mesh with the most faces. ``watertight_report.py`` makes tables and a plot from the JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from solids import Solid, solids

from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.reading import load_mesh
from pix3d_onet.geometry.mesh.sampling import sample_surface
from pix3d_onet.geometry.mesh.topology import is_watertight, volume
from pix3d_onet.geometry.watertight.methods import make_watertight
from pix3d_onet.types import Mesh
from pix3d_onet.version import __version__

SAMPLES = 20_000
INSIDE_POINTS = 400_000
ALPHA_PERCENT, OFFSET_PERCENT = 1.0, 0.1
MANIFOLD_FACES = 20_000
VISIBLE_STEP = 0.01
"""Displacement of a sample of the input to both sides for the test of visibility, as a fraction of the diagonal."""

Method = Callable[[Mesh], Mesh]


def ours(name: str) -> Method:
    return lambda mesh: make_watertight(mesh, method=name)


def alpha_wrap() -> Method:
    import pymeshlab

    def run(mesh: Mesh) -> Mesh:
        session = pymeshlab.MeshSet()
        session.add_mesh(pymeshlab.Mesh(mesh.vertices, mesh.faces))
        session.generate_alpha_wrap(
            alpha=pymeshlab.PercentageValue(ALPHA_PERCENT), offset=pymeshlab.PercentageValue(OFFSET_PERCENT)
        )
        result = session.current_mesh()
        return Mesh(result.vertex_matrix(), result.face_matrix())

    return run


def point_cloud_utils() -> Method:
    import point_cloud_utils as pcu

    return lambda mesh: Mesh(*pcu.make_mesh_watertight(mesh.vertices, mesh.faces.astype(np.int64), MANIFOLD_FACES))


def mesh2sdf() -> Method:
    import mesh2sdf as peer

    def run(mesh: Mesh) -> Mesh:
        low, high = mesh.bounds
        centre, scale = (low + high) / 2, float((high - low).max()) / 1.8
        _, result = peer.compute(
            (mesh.vertices - centre) / scale, mesh.faces, 128, fix=True, level=2 / 128, return_mesh=True
        )
        return Mesh(np.asarray(result.vertices) * scale + centre, result.faces)

    return run


def manifold3d() -> Method:
    import manifold3d as peer

    def run(mesh: Mesh) -> Mesh:
        body = peer.Mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
        body.merge()
        result = peer.Manifold(body).to_mesh()
        return Mesh(np.asarray(result.vert_properties)[:, :3], result.tri_verts)

    return run


PEERS: dict[str, Callable[[], Method]] = {
    "alpha wrap (pymeshlab)": alpha_wrap,
    "point-cloud-utils": point_cloud_utils,
    "mesh2sdf 128": mesh2sdf,
    "manifold3d": manifold3d,
}


def methods(skip: list[str]) -> tuple[dict[str, Method], list[str]]:
    found: dict[str, Method] = {"onet tight": ours("tight"), "onet fusion": ours("fusion")}
    absent = []
    for name, make in PEERS.items():
        if name in skip:
            continue
        try:
            found[name] = make()
        except ImportError:
            absent.append(name)
    return found, absent


def timed(method: Method, mesh: Mesh) -> tuple[Mesh | None, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        result: Mesh | None = method(mesh)
    except Exception as error:  # noqa: BLE001 - a peer that fails on a mesh is a result
        print(f"    failed: {type(error).__name__}: {error}"[:160])
        result = None
    if result is not None and len(result.faces) == 0:
        print("    failed: nothing left")
    return result, time.perf_counter() - wall, time.process_time() - cpu


def surface_error(source: Mesh, result: Mesh, visible: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    """Mean distances as shares of the diagonal: input → result, result → input, and their mean."""
    import open3d as o3d

    def scene(mesh: Mesh) -> Any:
        built = o3d.t.geometry.RaycastingScene()
        built.add_triangles(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
        return built

    diagonal = float(np.linalg.norm(np.ptp(source.bounds, axis=0)))
    there = scene(result).compute_distance(samples[visible].astype(np.float32)).numpy().mean() / diagonal
    points, _ = sample_surface(result, SAMPLES, 1)
    back = scene(source).compute_distance(points.astype(np.float32)).numpy().mean() / diagonal
    return {"to_result": float(there), "to_input": float(back), "mean": float((there + back) / 2)}


def measure(name: str, mesh: Mesh, table: dict[str, Method], repeats: int, solid: Solid | None) -> list[dict[str, Any]]:
    results: dict[str, Mesh] = {}
    seconds: dict[str, list[tuple[float, float]]] = {key: [] for key in table}
    for _ in range(repeats):
        for key, method in table.items():
            result, wall, cpu = timed(method, mesh)
            if result is not None and len(result.faces):  # an empty result is a failure, too
                results[key] = result
                seconds[key].append((wall, cpu))
    samples, normals = sample_surface(mesh, SAMPLES, 0)
    step = VISIBLE_STEP * float(np.linalg.norm(np.ptp(mesh.bounds, axis=0))) * normals
    judge = results["onet tight"]
    visible = ~(contains(judge, samples + step) & contains(judge, samples - step))
    rows = []
    for key, result in results.items():
        row: dict[str, Any] = {
            "mesh": name,
            "method": key,
            "faces_in": len(mesh.faces),
            "faces_out": len(result.faces),
            "wall_seconds": statistics.median(w for w, _ in seconds[key]),
            "cpu_seconds": statistics.median(c for _, c in seconds[key]),
            "watertight": is_watertight(result),
            "volume": volume(result),
            **surface_error(mesh, result, visible, samples),
        }
        if solid is not None:
            low, high = mesh.bounds
            pad = 0.03 * (high - low).max()
            points = np.random.default_rng(2).uniform(low - pad, high + pad, (INSIDE_POINTS, 3))
            exact, got = solid.inside(points), contains(result, points)
            row |= {
                "iou": float((exact & got).sum() / (exact | got).sum()),
                "volume_ratio": float(got.sum() / exact.sum()),
            }
        rows.append(row)
        iou = f" IoU {row['iou']:.4f} volume ×{row['volume_ratio']:.3f}" if solid else ""
        print(
            f"  {key:24} {row['wall_seconds']:7.3f} s  error {1e3 * row['mean']:.3f}e-3  "
            f"{'closed' if row['watertight'] else 'OPEN'}{iou}",
            flush=True,
        )
    return rows


def peak_memory(key: str, path: Path) -> int:
    """Peak memory in MB of a process that runs one method on one mesh, including libraries."""
    command = [sys.executable, __file__, "--worker", key, "--meshes", str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def worker(key: str, path: Path) -> None:
    """Print this process's peak memory; not ru_maxrss, which on Linux includes the parent's memory before the fork."""
    mesh = load_mesh(path)
    methods([])[0][key](mesh)
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshes", type=Path, help="folder of meshes, searched for *.obj")
    parser.add_argument("--count", type=int, default=6, help="how many of them, evenly picked")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip", action="append", default=[], help="a peer to leave out")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.meshes)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Measure every method on every mesh, print as it goes, and write the JSON."""
    import numba

    numba.set_num_threads(options.threads)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    table, absent = methods(options.skip)
    for name in absent:
        print(f"not installed, skipped: {name}")
    warm = solids()[1]
    for name in ("onet tight", "onet fusion"):  # compiled code is loaded once, as a user's session would
        table[name](warm.mesh)
    rows, largest = [], (0, Path())
    for solid in solids():
        print(solid.name)
        rows += measure(solid.name, solid.mesh, table, options.repeats, solid)
    if options.meshes:
        paths = sorted(options.meshes.rglob("*.obj"))
        for path in paths[:: max(1, len(paths) // options.count)][: options.count]:
            print(path.parent.name)
            mesh = load_mesh(path)
            largest = max(largest, (len(mesh.faces), path))
            rows += measure(path.parent.name, mesh, table, options.repeats, None)
    document = {
        "onet": __version__,
        "machine": {"processor": platform.processor() or platform.machine(), "threads": options.threads},
        "repeats": options.repeats,
        "inside_points": INSIDE_POINTS,
        "memory_mesh": f"{largest[1].parent.name} ({largest[0]:,} faces)" if largest[0] else None,
        "peak_memory_mb": {key: peak_memory(key, largest[1]) for key in table if largest[0]},
        "absent": absent,
        "rows": rows,
    }
    for key in table:
        mine = [r for r in rows if r["method"] == key]
        if mine:
            print(
                f"{key:24} median {statistics.median(r['wall_seconds'] for r in mine):.3f} s, "
                f"error {1e3 * statistics.median(r['mean'] for r in mine):.3f}e-3"
            )
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
