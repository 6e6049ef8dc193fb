"""Prepare one shape in a worker: mesh → watertight → points and labels, pictures → views; or a reject.

A worker writes no files; it returns its result to the process that does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pix3d_onet.config import PrepareConfig
from pix3d_onet.data.images.crop import load_view
from pix3d_onet.errors import MissingDependencyError, RejectError
from pix3d_onet.files import digest
from pix3d_onet.machine.checks import missing_dependency
from pix3d_onet.preparation.mask_quality import with_mask_figures
from pix3d_onet.preparation.staging import FileDigests, Outcome, fingerprint, read_digest
from pix3d_onet.types import Normalisation, PreparedShape, Provenance, Rejected, SourceShape, View

if TYPE_CHECKING:
    from pix3d_onet.preparation.from_mesh import GeometryResult

Geometry = Callable[[SourceShape, PrepareConfig, Path], "GeometryResult"]
"""Mesh stage: a function of a shape, the settings and the source's root, outside of which no file is read."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One shape to prepare. ``geometry``: mesh stage (None: ``preparation.from_mesh``)."""

    shape: SourceShape
    root: Path
    config: PrepareConfig
    geometry: Geometry | None = None


def prepare_shape(task: Task) -> Outcome:
    """Prepare one shape. Any failure caused by the shape becomes its reject; a broken installation raises.

    Raises MissingDependencyError if a library is missing or cannot be loaded.
    """
    shape = task.shape
    seconds: dict[str, float] = {}
    contents = FileDigests(task.root)
    key = fingerprint(shape, task.config, contents)
    try:
        start = time.perf_counter()
        result = _geometry(task)
        seconds.update(result.seconds)
        seconds["mesh_total"] = time.perf_counter() - start
        start = time.perf_counter()
        views, rejected = _photos(task, result.stored.normalisation, contents)
        seconds["images"] = time.perf_counter() - start
        geometry = replace(result.stored, qc=with_mask_figures(result.stored.qc, views, task.config.crop_margin))
        if rejected and not views and not task.config.render_views:
            return Outcome(shape.object_id, None, rejected, seconds, key)
        if task.config.render_views:
            start = time.perf_counter()
            views += _rendered(task, result)
            seconds["render"] = time.perf_counter() - start
    except RejectError as error:
        return rejection(task, error.stage or "mesh", error.reason, error.message, key)
    except (ImportError, MissingDependencyError) as error:
        raise _broken_install(error) from None
    except MemoryError:
        return rejection(task, "worker", "memory", "needs more memory than a worker may use", key)
    except Exception as error:  # noqa: BLE001 — the run continues; the reject says what happened
        if isinstance(error, OSError) and "shared object" in str(error):  # a shared library is missing
            raise _broken_install(error) from None
        detail = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return rejection(task, "worker", "unexpected", detail, key)
    provenance = Provenance(
        source_mesh=shape.mesh.relative_to(task.root).as_posix(),
        mesh_sha256=contents.mesh(shape.mesh),
        source_sha256=read_digest(shape, task.config, [v.record_id for v in views], contents),
    )
    prepared = PreparedShape(shape.identity, geometry, tuple(views), provenance, seconds)
    return Outcome(shape.object_id, prepared, rejected, seconds, key)


def _broken_install(error: Exception) -> MissingDependencyError:
    if isinstance(error, MissingDependencyError):
        return error
    absent = missing_dependency(error) if isinstance(error, ModuleNotFoundError) else None
    if absent is not None:
        return absent
    hint = "Run pip install 'pix3d-onet[geometry]'; `onet doctor` names missing system libraries."
    return MissingDependencyError(f"a library for meshes cannot be loaded: {error}.", hint=hint)


def rejection(task: Task, stage: str, reason: str, detail: str, key: str = "") -> Outcome:
    """The outcome of a rejected shape; its row names the shape's first record."""
    key = key or fingerprint(task.shape, task.config, FileDigests(task.root))
    record = task.shape.views[0].record_id if task.shape.views else ""
    row = Rejected(task.shape.object_id, record, stage, reason, " ".join(detail.split()))
    return Outcome(task.shape.object_id, None, (row,), key=key)


def _geometry(task: Task) -> GeometryResult:
    shape = task.shape
    if task.geometry is not None:
        return task.geometry(shape, task.config, task.root)
    try:
        from pix3d_onet.preparation.from_mesh import shape_geometry
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a failing import is a broken installation, not the shape's fault
        raise _broken_install(error) from None

    return shape_geometry(shape.mesh, shape.object_id, task.config, root=task.root, voxel=shape.voxel)


def _photos(task: Task, normalisation: Normalisation, contents: FileDigests) -> tuple[list[View], tuple[Rejected, ...]]:
    """The shape's views, and the rejects of its pictures; ``images_per_object`` ``one``: only the first usable one."""
    views, rejected = [], []
    size, margin = task.config.image_size, task.config.crop_margin
    for source in task.shape.views:
        try:
            options = {"record_id": source.record_id, "size": size, "margin": margin, "on_white": source.on_white}
            view = load_view(source.image, source.mask, source.camera, normalisation, **options)  # type: ignore[arg-type]
            views.append(replace(view, sha256=contents.file(source.image) or ""))
        except RejectError as error:
            row = (task.shape.object_id, source.record_id, error.stage or "image", error.reason, error.message)
            rejected.append(Rejected(*row))
            continue
        if task.config.images_per_object == "one":
            break
    return views, tuple(rejected)


def _rendered(task: Task, result: GeometryResult) -> list[View]:
    from pix3d_onet.geometry.render.scene import random_views

    config, name = task.config, task.shape.object_id
    views = random_views(result.full_mesh, config.render_views, config.seed, name, config.image_size)
    return [replace(view, sha256=digest(view.rgb.tobytes())) for view in views]
