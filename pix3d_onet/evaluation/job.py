"""Score runs and baselines on a data set, one row each, and compare the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from pix3d_onet.config import Baseline
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import ConfigError, InputError, SettingError
from pix3d_onet.evaluation.alignment import Aligned
from pix3d_onet.evaluation.baselines import baseline, load_training_shapes
from pix3d_onet.evaluation.cameras import CameraScores, mean_camera, summary
from pix3d_onet.evaluation.evaluate import Evaluation, evaluate, ideal_f_score, nearest_on, split_entries
from pix3d_onet.evaluation.external import mesh_folder
from pix3d_onet.evaluation.paired import Difference, differences
from pix3d_onet.evaluation.pix3d_protocol import Lattice, evaluate_pix3d
from pix3d_onet.evaluation.request import Request
from pix3d_onet.events import Emit, Note, ignore
from pix3d_onet.geometry.mesh.inside.winding import contains
from pix3d_onet.geometry.mesh.sampling import sample_surface
from pix3d_onet.learning.device import choose_device
from pix3d_onet.learning.extraction.predictor import NetworkPredictor, Predictor, network_predictor, run_settings
from pix3d_onet.learning.torch_threads import Threads

PROTOCOL_MESH = 32
"""Cells per axis of the mesh under Pix3D's protocol, which uses it only to see whether there is a surface."""
FEW_SAMPLES = 0.99
"""If a chair's expected F-score against itself is below this, there are too few samples for distances."""
BASE = "retrieval"
"""The default row to compare others with: a learned decoder should beat retrieval (Tatarchenko et al., CVPR 2019)."""


def evaluate_rows(request: Request, emit: Emit = ignore) -> Iterator[Evaluation | InputError]:
    """Score baselines first, then runs, then other methods' meshes, in the order given.

    If a row cannot be scored, its InputError is yielded in its place with a warning, and the others go on. Before the
    first row all runs are opened: InputError for a bad run, ConfigError for an unknown ``against``.
    """
    device = choose_device(request.device)
    with Dataset(request.data) as dataset, Threads(request.threads, device, emit) as threads:
        trained = open_runs(request, dataset.manifest.data_hash, threads, emit)
        names = [*request.baselines, *(network.name for network in trained), *request.meshes]
        if request.against is not None and request.against not in names:
            raise SettingError("against", f"one of the rows ({', '.join(names)})", request.against)
        if request.config.protocol == "onet":
            warn_about_few_samples(dataset, request, emit)
        config = request.config
        external = [
            mesh_folder(name, folder, config.mesh_frame, dataset, config.split, config.limit, emit=emit)
            for name, folder in request.meshes.items()
        ]
        rows: list[Predictor] = []
        if request.baselines:
            shapes = load_training_shapes(dataset, contains, emit=emit)
            rows += [baseline(name, shapes) for name in request.baselines]
        for row in [*rows, *trained, *external]:
            try:
                yield score(Aligned(row, config.align, config.seed), dataset, request, emit)
            except InputError as error:
                emit(Note(f"{row.name}: {error}", "warning"))
                if not (request.optional_baselines and row in rows):
                    yield error


def score(row: Aligned, dataset: Dataset, request: Request, emit: Emit) -> Evaluation:
    """Score one row with the request's protocol."""
    config = request.config
    if config.protocol == "pix3d":
        lattice = Lattice(config.voxels)
        return evaluate_pix3d(row, dataset, config.split, contains, lattice=lattice, limit=config.limit, emit=emit)
    cameras, network = None, row.predictor
    if isinstance(network, NetworkPredictor) and network.model.config.predicts_camera and config.align == "none":
        mean = mean_camera(dataset)
        cameras = CameraScores(network, mean) if mean is not None else None
    found = evaluate(
        row,
        dataset,
        config.split,
        contains=contains,
        sample_surface=sample_surface,
        samples=config.samples,
        limit=config.limit,
        seed=config.seed,
        search=nearest_on(choose_device(request.device)),
        extra=cameras,
        emit=emit,
    )
    return replace(found, cameras=summary([shape.values for shape in found.rows]))


def compare_rows(evaluations: Sequence[Evaluation], against: str | None = None) -> tuple[Difference, ...]:
    """Compare every row with the row ``against``; if it is missing, with retrieval, else with the first row."""
    names = [e.name for e in evaluations]
    base = next((name for name in (against, BASE) if name in names), names[0])
    scores = {e.name: {metric: e.by_record(metric) for metric in e.means} for e in evaluations}
    objects = {row.record_id: row.object_id for e in evaluations for row in e.rows}
    return differences(scores, objects, base, list(evaluations[0].means))


def combined(failed: Sequence[InputError]) -> InputError:
    """One error for all rows that failed."""
    return failed[0] if len(failed) == 1 else InputError(" ".join(str(error) for error in failed))


def open_runs(request: Request, data_hash: str, threads: Threads, emit: Emit) -> list[NetworkPredictor]:
    """The networks of the runs, with a warning for each one that was trained on other data."""
    extraction = request.extraction
    if request.config.protocol == "pix3d" and request.config.align == "none":
        extraction = replace(extraction, resolution=PROTOCOL_MESH)
    trained = []
    for run in request.runs:
        others = [seen for seen in run_settings(run).trained_on if seen != data_hash]
        if others:
            message = f"{run} was trained on other data ({', '.join(others)}): its training shapes may be among these."
            emit(Note(message, "warning"))
        trained.append(network_predictor(run, extraction, device=choose_device(request.device), threads=threads))
    return with_unique_names(trained, request.runs, [*get_args(Baseline), *request.meshes])


def with_unique_names(
    trained: Sequence[NetworkPredictor], runs: Sequence[Path], reserved: Sequence[str]
) -> list[NetworkPredictor]:
    """The networks with unique names, also among the ``reserved`` ones: if names are equal, as many parent folders are
    added as needed.

    ConfigError if a run is given twice.
    """
    names = [network.name for network in trained]
    if len(set(names) | set(reserved)) == len(names) + len(reserved):
        return list(trained)
    for depth in range(1, max(len(run.parts) for run in runs) + 1):
        ends = [Path(*run.parts[-depth:]).as_posix() for run in runs]
        if len(set(ends)) == len(ends):
            break
    else:
        raise ConfigError("the same run is given twice.")
    unique = [
        f"{name} ({end})" if names.count(name) > 1 or name in reserved else name
        for name, end in zip(names, ends, strict=True)
    ]
    return [replace(network, name=name) for network, name in zip(trained, unique, strict=True)]


def warn_about_few_samples(dataset: Dataset, request: Request, emit: Emit) -> None:
    """Emit a warning if there are so few samples that distances measure their spacing, not the surfaces'."""
    split = request.config.split
    stored = len(dataset.sample(split_entries(dataset, split)[0], split).surface_points)
    count = min(request.config.samples, stored)
    if count and (expected := ideal_f_score(count)) < FEW_SAMPLES:
        sides = f"even a chair against itself would get an F@1% of about {expected:.2f}"
        emit(Note(f"{count} samples per surface are few: {sides}.", "warning"))
