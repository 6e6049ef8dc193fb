"""Turn many photos into mesh files with one network. A failed picture does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.events import Emit, Event, Note, Progress, ignore
from pix3d_onet.geometry.mesh.writing import write_mesh
from pix3d_onet.learning.device import choose_device
from pix3d_onet.learning.extraction.predictor import NetworkPredictor, network_predictor
from pix3d_onet.learning.torch_threads import Threads
from pix3d_onet.reconstruction.outcome import Reconstruction, sentence
from pix3d_onet.reconstruction.photo import CameraFile, PhotoRecord, read_pose, read_records
from pix3d_onet.reconstruction.plan import Job, Plan, check_places
from pix3d_onet.reconstruction.surface import Surface, check_camera, empty_message, frame_of, surface
from pix3d_onet.reconstruction.writing import write_page, write_preview
from pix3d_onet.runs.folder import RunFolder
from pix3d_onet.types import Mesh

SHOWN_PER_KIND = 3
"""Warnings of one kind that are shown in full; one line counts the others and names their pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class PhotoJob:
    """A plan with its network loaded and its index read; ``records`` are by the picture's resolved path."""

    plan: Plan
    network: NetworkPredictor
    records: Mapping[Path, PhotoRecord]
    threads: Threads | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The origin of the network and the extraction settings, for JSON."""
        return self.network.settings

    def run(self, emit: Emit = ignore) -> Iterator[Reconstruction]:
        """Yield one result per picture; a picture that cannot be used is a result with an error, not an exception.

        Other failures (full disk, Ctrl-C) are raised; the files of the pictures already yielded are complete.
        """
        jobs, failed = self.plan.jobs, 0
        collapsed = CollapsedWarnings(emit)
        try:
            with self.threads or nullcontext():
                for done, job in enumerate(jobs, 1):
                    made = self.attempt(job, collapsed)
                    yield made
                    failed += made.error is not None
                    if made.error and len(jobs) > 1:
                        emit(Note(sentence(made), "warning"))
                    emit(Progress("reconstruct", done, len(jobs), rejected=failed))
        finally:
            collapsed.emit_counts()

    def attempt(self, job: Job, emit: Emit) -> Reconstruction:
        """Write the files of one picture; if it cannot be used, the result says why."""
        try:
            if job.problem:
                raise InputError(job.problem)
            return self.make(job, emit)
        except RejectError as error:
            return Reconstruction(str(job.image), error=str(error.message))
        except InputError as error:
            return Reconstruction(str(job.image), error=str(error))

    def make(self, job: Job, emit: Emit) -> Reconstruction:
        """Write the files of one picture. Raises RejectError or InputError if it cannot be used."""
        request, record = self.plan.request, self.records.get(job.image.resolve())
        camera = self.camera(job, record, emit)
        original = frame_of(record, request.pose_from) if request.frame == "original" else None
        found = surface(self.network, job.image, job.mask, request.extraction, record=record, camera=camera, emit=emit)
        mesh, extraction = found.extraction.mesh, found.extraction
        if not len(mesh.faces):
            error = empty_message(extraction.highest, self.network.threshold)
            return reconstruction(job, found, error=error)
        placed = mesh if original is None else Mesh(original.undo(mesh.vertices), mesh.faces)
        write_mesh(job.out, placed, extraction.normals)
        if request.preview:
            write_preview(job.preview, found.view, mesh)
        if request.page:
            write_page(job.page, found.view, mesh, title=job.out.stem)
        return reconstruction(
            job,
            found,
            mesh=str(job.out),
            preview=str(job.preview) if request.preview else None,
            page=str(job.page) if request.page else None,
        )

    def camera(self, job: Job, record: PhotoRecord | None, emit: Emit) -> CameraFile | None:
        """The camera from the job's file if the network takes one; None: use that of the record, or none.

        InputError if the network needs a camera and there is none.
        """
        index, needs = self.plan.request.pose_from, self.network.model.config
        if needs.needs_pose and job.pose is None:
            check_camera(record, index)
        elif record is None and index is not None:
            emit(Note(f"{job.image}: {index} has no record of it.", "warning"))
        return read_pose(job.pose) if needs.takes_camera and job.pose is not None else None


def open_job(plan: Plan, emit: Emit = ignore) -> PhotoJob:
    """Load the network and the index of a plan.

    InputError if the network needs cameras and none are given, or if the run or the index is damaged; ConfigError if
    an output would overwrite a file of theirs.
    """
    request = plan.request
    for image in plan.left_out:
        emit(Note(f"{image} is skipped: it seems to be a preview. To use it, give it alone.", "warning"))
    device = choose_device(request.device)
    threads = Threads(request.threads, device, emit)
    network = network_predictor(request.run, request.extraction, device=device, threads=threads)
    index = request.pose_from
    if network.model.config.needs_pose and index is None and not all(job.pose for job in plan.jobs):
        hint = "Give camera files (`poses`, one per picture) or the pictures' index (`pose_from=pix3d.json`)."
        raise InputError(f"the network of {request.run} needs the camera of every picture.", hint=hint)
    records = read_records(index) if index is not None else {}
    check_places(plan.jobs, request, files_of(plan, records))
    return PhotoJob(plan, network, records, threads)


def files_of(plan: Plan, records: Mapping[Path, PhotoRecord]) -> dict[Path, str]:
    """Input files of the run and the index → a description of each, for error messages."""
    found = dict.fromkeys(RunFolder(plan.request.run).best.parent.glob("*"), "the run's network")
    for job in plan.jobs:
        record = records.get(job.image.resolve())
        if record is not None and record.mask is not None:
            found[record.mask] = "the mask of a record"
        if record is not None and record.checked is not None:
            found[record.checked.model] = "the model of a record"
    return found


def reconstruction(
    job: Job,
    found: Surface,
    *,
    mesh: str | None = None,
    preview: str | None = None,
    page: str | None = None,
    error: str | None = None,
) -> Reconstruction:
    """The result for a picture that the network has seen, with the files written."""
    extraction = found.extraction
    return Reconstruction(
        str(job.image),
        mesh,
        preview,
        page,
        vertices=len(extraction.mesh.vertices),
        faces=len(extraction.mesh.faces),
        queries=extraction.queries,
        mask=found.view.mask_from,
        highest=extraction.highest,
        error=error,
    )


class CollapsedWarnings:
    """Forward events; count repeated warnings after the first few of one kind, for one line with the pictures' names.

    Two warnings are of one kind if the text after the picture's name is equal up to a bracket or a semicolon.
    """

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.kinds: dict[str, list[str]] = {}

    def __call__(self, event: Event) -> None:
        """Forward the event, or hold it back if it is one of too many warnings of one kind."""
        if isinstance(event, Note) and event.level == "warning":
            name, _, said = event.message.partition(": ")
            kind = (said or name).partition(" (")[0].partition(";")[0].rstrip(".")
            similar = self.kinds.setdefault(kind, [])
            similar.append(name)
            if len(similar) > SHOWN_PER_KIND:
                return
        self.emit(event)

    def emit_counts(self) -> None:
        """Emit one line per kind of which warnings were held back."""
        for kind, names in self.kinds.items():
            if len(names) > SHOWN_PER_KIND:
                others = names[SHOWN_PER_KIND:]
                self.emit(Note(f"… and {len(others)} more: {kind}: {', '.join(others)}.", "warning"))
