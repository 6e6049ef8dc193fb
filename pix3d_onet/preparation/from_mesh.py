"""Geometry of a shape from its mesh file: read, make watertight, normalise, label, sample, decimate, check quality."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.store.encoding import decode_distances, encode_distances, encode_normals
from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.mesh.cleaning import box_normalisation, transformed
from pix3d_onet.geometry.mesh.decimation import decimate
from pix3d_onet.geometry.mesh.distances import surface_distances
from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.reading import read_mesh
from pix3d_onet.geometry.mesh.sampling import draw_cells, draw_near_cells, sample_surface
from pix3d_onet.geometry.mesh.topology import bounds_solid, edge_counts, volume
from pix3d_onet.geometry.watertight.methods import watertight
from pix3d_onet.lattice import decode_points, encode_points
from pix3d_onet.preparation import quality
from pix3d_onet.types import Bool, Float32, Mesh, ShapeGeometry, UInt16


@dataclass(frozen=True, slots=True, eq=False)
class GeometryResult:
    """``stored``: geometry as a shard stores it; ``full_mesh``: before decimation, normalised; ``seconds`` per
    stage."""

    stored: ShapeGeometry
    full_mesh: Mesh
    seconds: dict[str, float]


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        except RejectError as error:
            raise error if error.stage else RejectError(error.reason, error.message, name) from None
        finally:
            self.seconds[name] = time.perf_counter() - start


def shape_geometry(
    path: Path, object_id: str, config: PrepareConfig, *, root: Path, voxel: Path | None = None
) -> GeometryResult:
    """The geometry of one shape. It depends only on the file, ``object_id`` and ``config``.

    ``root``: side files of the mesh are read only inside it; ``voxel``: the source's own occupancy grid, for quality
    figures. RejectError, with its stage, if the shape cannot be used.
    """
    watch = _Stopwatch()
    with watch.stage("mesh"):
        read = read_mesh(path, root=root)
        source = read.mesh
    with watch.stage("watertight"):
        result = watertight(source, method=config.watertight, resolution=config.resolution)
        normalisation = box_normalisation(result.mesh)
        full = transformed(result.mesh, normalisation)
        edges = edge_counts(full)
        if config.watertight != "none" and not (bounds_solid(edges) and volume(full) > 0):
            raise RejectError("not-watertight", "the result is not a closed solid", "watertight")
    with watch.stage("labels"):
        cells = draw_cells(config.points, config.seed, object_id)
        near_cells = draw_near_cells(full, config.near_points, config.near_sigma, config.seed, object_id)
        points, near = decode_points(cells), decode_points(near_cells)
        probe = quality.probe_surface(source, result, normalisation)
        inside = contains(full, np.concatenate([points, near, probe.points]))
        occupancy, near_inside, probe_inside = np.split(inside, np.cumsum([len(points), len(near)]))
    with watch.stage("near"):
        extra, extra_figures = _near(full, config, near_cells, points, near, occupancy, near_inside)
    with watch.stage("surface"):
        surface, normals = sample_surface(full, config.surface_points, config.seed, object_id)
    with watch.stage("decimate"):
        small, error = decimate(full, config.mesh_error)
    with watch.stage("qc"):
        report = quality.judge(
            source=source,
            probe=probe,
            probe_inside=probe_inside,
            result=result,
            full=full,
            edges=edges,
            stored=small,
            stored_error=error,
            normalisation=normalisation,
            points=points,
            occupancy=occupancy,
            voxel=voxel,
            reading=read.figures,
        )
        report |= extra_figures
    stored = ShapeGeometry(
        points_q=cells,
        occupancy=occupancy,
        surface_points_q=encode_points(surface),
        surface_normals_q=encode_normals(normals),
        mesh=small,
        normalisation=normalisation,
        qc=report,
        **extra,
    )
    return GeometryResult(stored, full, watch.seconds)


def _near(
    full: Mesh,
    config: PrepareConfig,
    near_cells: UInt16,
    points: Float32,
    near: Float32,
    occupancy: Bool,
    near_inside: Bool,
) -> tuple[dict[str, Any], dict[str, float]]:
    """The fields of :class:`ShapeGeometry` about points near the surface and signed distances, and their figures."""
    fields: dict[str, Any] = {}
    figures: dict[str, float] = {}
    if config.near_points:
        fields |= {"near_points_q": near_cells, "near_occupancy": near_inside}
        figures["near_occupied"] = round(float(near_inside.mean()), 9)
    if config.sdf:
        distances = surface_distances(full, np.concatenate([points, near]))
        codes = encode_distances(distances, np.concatenate([occupancy, near_inside]))
        fields["sdf_q"], near_codes = np.split(codes, [len(points)])
        figures["depth"] = round(float(-decode_distances(codes).min()), 9)
        if config.near_points:
            fields["near_sdf_q"] = near_codes
    return fields, figures
