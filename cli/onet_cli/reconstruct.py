"""``onet reconstruct``: photos to meshes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onet_cli import ui
from onet_cli.reconstruct_plan import (
    FORMAT,
    MESH_SUFFIXES,
    Job,
    check_options,
    check_places,
    photos_among,
    places,
    plan,
    problem_of,
)
from pix3d_onet.config import LEAST_FACES, MAX_RESOLUTION, MIN_RESOLUTION, PrepareConfig
from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.events import Note
from pix3d_onet.files import check_writable
from pix3d_onet.runs.folder import RunFolder, check_network

if TYPE_CHECKING:
    from pix3d_onet.events import Emit, Event
    from pix3d_onet.learning.extraction.predictor import NetworkPredictor
    from pix3d_onet.reconstruction.photo import PhotoRecord
    from pix3d_onet.types import Mesh, Normalisation, UInt8, View

PREPARE = PrepareConfig()
CAMERA_HINT = "Give camera files (--pose, one for each IMAGE) or the pictures' index (--pose-from pix3d.json)."
ALIKE = 3
"""Warnings of one kind that are said in full; of the rest one line says how many there are, and of which pictures."""
MOST_DECIMALS = 6
"""Of a probability that is shown to a person."""
NAMED = 20
"""Pictures that one line names with their reasons."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one picture; ``error`` says why there is no mesh.

    ``mask`` is what cut the object out (``data.images.cutout.PhotoView``) and ``highest`` the highest occupancy
    probability that the network gave; both None where it did not come so far.
    """

    image: str
    mesh: str | None = None
    preview: str | None = None
    page: str | None = None
    vertices: int = 0
    faces: int = 0
    queries: int = 0
    mask: str | None = None
    highest: float | None = None
    error: str | None = None


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option(
    "--mask", "masks", multiple=True, help="Mask file (one for each IMAGE), a folder of masks, auto, or rembg."
)
@click.option("-o", "--out", type=click.Path(), help="Mesh file, or a folder [default: IMAGE's name here].")
@click.option(
    "--format",
    "format_",
    type=click.Choice([s[1:] for s in MESH_SUFFIXES]),
    help=f"Mesh format [default: that of -o's ending, or {FORMAT}].",
)
@click.option(
    "--resolution",
    type=int,
    default=128,
    show_default=True,
    help=f"Cells an axis, from {MIN_RESOLUTION} to {MAX_RESOLUTION}.",
)
@click.option(
    "--coarse",
    type=int,
    default=32,
    show_default=True,
    help="Cells an axis of the first lattice: thinner parts can be missed.",
)
@click.option(
    "--threshold", type=float, help="Occupancy probability of the surface, between 0 and 1 [default: the run's, 0.2]."
)
@click.option("--refine", is_flag=True, help="Move vertices onto the level set along the field's gradient.")
@click.option("--simplify", type=int, metavar="FACES", help=f"Simplify to about so many faces, at least {LEAST_FACES}.")
@click.option(
    "--pose", "poses", multiple=True, type=click.Path(path_type=Path), help="Camera file (one for each IMAGE)."
)
@click.option("--pose-from", type=click.Path(path_type=Path), help="A pix3d.json that has the IMAGEs: mask and camera.")
@click.option(
    "--frame",
    type=click.Choice(["normalised", "original"]),
    default="normalised",
    show_default=True,
    help="original = that of the CAD model in the record of --pose-from.",
)
@click.option("--preview/--no-preview", default=True, show_default=True, help="Write a PNG beside each mesh.")
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    help="Write all previews to this one .png, too, also of pictures without a mesh.",
)
@click.option(
    "--open", "open_", is_flag=True, help="Write an interactive HTML view beside each mesh and open the first."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of the decoder's products; bf16 is meant for GPUs.",
)
@click.option("--strict", is_flag=True, help="Leave with status 4 when a picture could not be used.")
@ui.common_options
def reconstruct(
    *,
    run: Path,
    images: tuple[Path, ...],
    masks: tuple[str, ...],
    out: str | None,
    format_: str | None,
    poses: tuple[Path, ...],
    sheet: Path | None,
    strict: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Turn photos into closed meshes with the trained network RUN.

    The object must be cut out: by --mask, by the picture's own transparency, or by --mask auto (what differs from the
    colours along the picture's border). A camera file, needed only by networks trained with --pose, is JSON: a 4×4
    matrix (normalised frame to camera), or {"pose": …, "focal": …} with the focal length in widths of the whole photo.

    \b
    Example:
      onet reconstruct runs/convnext chair.jpg --mask chair_mask.png -o chair.glb
      onet reconstruct runs/convnext photos/*.jpg --mask auto -o meshes --format obj
      onet reconstruct runs/convnext-fp3-pose img/chair/0001.png --pose-from pix3d.json
    """
    check_options(options, sheet)
    kept = photos_among(images)
    if len(masks) == len(images):
        masks = tuple(masks[i] for i in kept)
    if len(poses) == len(images):
        poses = tuple(poses[i] for i in kept)
    jobs = plan([images[i] for i in kept], masks, poses, out, format_)
    check_places(jobs, options, sheet)
    for _, place in places(jobs, options, sheet):
        check_writable(place, file=True)
    jobs = [replace(job, problem=problem_of(job, masks)) for job in jobs]
    check_network(run)
    if options["pose_from"] is not None and not options["pose_from"].exists():
        raise InputError(f"Pix3D index not found: {options['pose_from']}.")
    if all(job.problem for job in jobs):
        raise failure([Made(str(job.image), error=job.problem) for job in jobs])
    made: list[Made] = []
    document: dict[str, Any] = {}
    try:
        with ui.live(quiet=quiet, verbose=verbose) as emit:
            for image in (image for i, image in enumerate(images) if i not in kept):
                emit(Note(f"{image} is left out: it seems to be a preview. Give it alone to have it taken.", "warning"))
            network, records = load(run, jobs, options)
            check_places(jobs, options, sheet, files_of(run, jobs, records))
            document["run"] = dict(network.settings)
            work(network, jobs, records, options, emit, made)
    except BaseException:  # Ctrl-C, a full disk: what is finished has its line all the same
        if made:
            finish(made, document, sheet, as_json=as_json, quiet=quiet)
        raise
    finish(made, document, sheet, as_json=as_json, quiet=quiet)
    failed = [m for m in made if m.error]
    if len(failed) == len(made):
        raise failure(failed)
    show_page(made)
    if failed and strict:
        raise click.exceptions.Exit(4)


def load(
    run: Path, jobs: Sequence[Job], options: dict[str, Any]
) -> tuple[NetworkPredictor, Mapping[Path, PhotoRecord]]:
    """The network, and what the index says of pictures. InputError where the network needs cameras that none gives."""
    from pix3d_onet.learning.device import choose_device
    from pix3d_onet.learning.extraction.predictor import network_predictor
    from pix3d_onet.reconstruction.photo import read_records

    keys = ("threshold", "resolution", "coarse", "precision")
    network = network_predictor(run, device=choose_device(options["device"]), **{k: options[k] for k in keys})
    index = options["pose_from"]
    if network.model.config.pose != "none" and index is None and not all(job.pose for job in jobs):
        raise InputError(f"the network of {run} needs the camera of every picture.", hint=CAMERA_HINT)
    return network, (read_records(index) if index is not None else {})


def files_of(run: Path, jobs: Sequence[Job], records: Mapping[Path, PhotoRecord]) -> dict[Path, str]:
    """What is read of the run and by way of the index, and what it is."""
    found = dict.fromkeys(RunFolder(run).best.parent.glob("*"), "the run's network")
    for job in jobs:
        record = records.get(job.image.resolve())
        if record is not None and record.mask is not None:
            found[record.mask] = "the mask of a record"
        if record is not None and record.checked is not None:
            found[record.checked.model] = "the model of a record"
    return found


def work(
    network: NetworkPredictor,
    jobs: Sequence[Job],
    records: Mapping[Path, PhotoRecord],
    options: dict[str, Any],
    emit: Emit,
    made: list[Made],
) -> None:
    """Make every mesh and note it in ``made``; a picture that cannot be used becomes a line, not an end."""
    from pix3d_onet.events import Progress

    grouped = Grouped(emit)
    try:
        for done, job in enumerate(jobs):
            try:
                if job.problem:
                    raise InputError(job.problem)
                made.append(make(network, job, records, options, grouped))
            except RejectError as error:
                made.append(Made(str(job.image), error=str(error.message)))
            except InputError as error:
                made.append(Made(str(job.image), error=str(error)))
            if made[-1].error and len(jobs) > 1:
                emit(Note(sentence(made[-1]), "warning"))
            emit(Progress("reconstruct", done + 1, len(jobs), rejected=sum(m.error is not None for m in made)))
    finally:
        grouped.say_the_rest()


class Grouped:
    """Passes events on; of warnings that picture after picture brings, the first few, then the other names.

    Two warnings are of one kind when they begin alike after the picture's name: up to a bracket or a semicolon.
    """

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.kinds: dict[str, list[str]] = {}

    def __call__(self, event: Event) -> None:
        """Pass the event on, unless it is one too many."""
        if isinstance(event, Note) and event.level == "warning":
            name, _, said = event.message.partition(": ")
            kind = (said or name).partition(" (")[0].partition(";")[0].rstrip(".")
            alike = self.kinds.setdefault(kind, [])
            alike.append(name)
            if len(alike) > ALIKE:
                return
        self.emit(event)

    def say_the_rest(self) -> None:
        """One line for each kind of which something was held back."""
        for kind, names in self.kinds.items():
            if len(names) > ALIKE:
                self.emit(Note(f"… and {len(names) - ALIKE} more: {kind}: {', '.join(names[ALIKE:])}.", "warning"))


def make(
    network: NetworkPredictor, job: Job, records: Mapping[Path, PhotoRecord], options: dict[str, Any], emit: Emit
) -> Made:
    """One picture to its files. Raises RejectError or InputError where it cannot be used."""
    from pix3d_onet.geometry.mesh.writing import write_mesh
    from pix3d_onet.reconstruction.photo import read_photo, read_pose
    from pix3d_onet.types import Mesh

    posed, index = network.model.config.pose != "none", options.get("pose_from")
    record = records.get(job.image.resolve())
    if posed and job.pose is None:
        check_camera(record, index)
    elif record is None and index is not None:
        emit(Note(f"{job.image}: {index} has no record of it.", "warning"))
    camera = read_pose(job.pose) if posed and job.pose is not None else None
    if camera is not None and network.model.config.pose == "6d" and math.isnan(camera.focal):
        hint = 'Add "focal", in widths of the whole photo: {"pose": …, "focal": …}.'
        raise InputError(f"the network needs the focal length, too, and {job.pose} has none.", hint=hint)
    original = frame_of(record, index) if options.get("frame") == "original" else None
    view = read_photo(
        job.image,
        job.mask,
        record,
        normalise,
        size=max(PREPARE.image_size, network.image_size or 0),
        margin=network.crop_margin,
        camera=camera,
        need_camera=posed,
        emit=emit,
    )
    with network.field(view) as (field, where):
        result = network.extract(field, where, refine=options["refine"], simplify_to=options["simplify"], emit=emit)
    if not len(result.mesh.faces):
        level = network.threshold
        asked = f"{level:.2f}" if round(level, 2) == level else f"{level:g}"
        seen = f"highest occupancy {probability(result.highest, level)}, threshold {asked}"
        error = f"the network sees nothing in it: {seen}. Try a lower --threshold."
        return Made(str(job.image), queries=result.queries, mask=view.mask_from, highest=result.highest, error=error)
    mesh = result.mesh
    placed = mesh if original is None else Mesh(original.undo(mesh.vertices), mesh.faces)
    write_mesh(job.out, placed, result.normals)
    shown, page = extras(view, mesh, job, options)
    return Made(
        str(job.image),
        str(job.out),
        shown,
        page,
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        queries=result.queries,
        mask=view.mask_from,
        highest=result.highest,
    )


def probability(value: float, threshold: float) -> str:
    """``value``, below ``threshold``, with as few decimals, from two on, as part it from zero and the threshold."""
    for decimals in range(2, MOST_DECIMALS + 1):
        text = f"{value:.{decimals}f}"
        if 0 < float(text) < threshold:
            return text
    return f"below 1e-{MOST_DECIMALS}" if value < 10**-MOST_DECIMALS else f"{value!r}"


def check_camera(record: PhotoRecord | None, index: Path | None) -> None:
    """InputError unless the picture's record in ``index`` has a camera: it says what is missing."""
    if record is None:
        raise InputError(f"{index} has no record of it, so no camera.", hint="Give its camera by --pose.")
    if record.checked is None:
        raise InputError(f"its record in {index} cannot be used: {record.reason}.", hint="Give its camera by --pose.")
    if record.checked.camera is None:
        raise InputError(f"its record in {index} has no camera.", hint="Give one by --pose.")


def frame_of(record: PhotoRecord | None, index: Path | None) -> Normalisation:
    """What takes the mesh to the frame of its record's model, to the tolerance of :func:`normalise`.

    InputError where the picture has no record in ``index``, or one that cannot be used, so no model.
    """
    if record is None:
        raise InputError(f"{index} has no record of it, so no frame of a model.")
    if record.checked is None:
        raise InputError(f"its record in {index} cannot be used, so no frame of a model: {record.reason}.")
    return normalise(record.checked.model)


def normalise(model: Path) -> Normalisation:
    """The normalisation of a training shape, from the box of its mesh as it lies in the file.

    A prepared data set takes the box of the watertight mesh. The two boxes differ by up to 0.4 % of the longest side
    with ``--watertight tight``, and so do the frame and the pose that are made here: watertighting a model for every
    photo would take longer than reconstructing it.
    """
    from pix3d_onet.geometry.mesh.cleaning import box_normalisation
    from pix3d_onet.geometry.mesh.reading import load_mesh

    return box_normalisation(load_mesh(model))


def extras(view: View, mesh: Mesh, job: Job, options: dict[str, Any]) -> tuple[str | None, str | None]:
    """Write the preview and the interactive page that were asked for, beside the mesh; their paths."""
    shown = page = None
    if options["preview"]:
        from pix3d_onet.geometry.render.preview import preview

        shown = job.preview
        write_png(shown, preview(view, mesh))
    if options["open_"]:
        from pix3d_onet.files import write_text
        from pix3d_onet.report.html.mesh_view import mesh_page

        page = job.page
        write_text(page, mesh_page({"Reconstruction": mesh}, job.out.stem, picture=view.rgb))
    return (str(shown) if shown else None, str(page) if page else None)


def write_sheet(path: Path, made: Sequence[Made]) -> None:
    """All previews as one picture, two pictures a row; where there is no mesh, the photo and why."""
    import numpy as np
    from PIL import Image

    from pix3d_onet.data.images.decoding import read_rgb
    from pix3d_onet.geometry.render.preview import contact_sheet, labelled, without_mesh

    tiles = []
    for m in made:
        if m.preview is not None:
            tile = np.asarray(Image.open(m.preview).convert("RGB"))
        else:
            try:
                photo = read_rgb(Path(m.image), upright=True)[0]
            except RejectError:
                photo = None
            tile = without_mesh(photo, "nothing found" if m.highest is not None else str(m.error))
        tiles.append(labelled(tile, Path(m.image).name))
    write_png(path, contact_sheet(tiles))


def write_png(path: Path, rgb: UInt8) -> None:
    """Write (H, W, 3) uint8 as PNG, aside and renamed."""
    from PIL import Image

    from pix3d_onet.files import writing

    with writing(path) as part:
        Image.fromarray(rgb).save(part, "PNG", optimize=True)


def finish(made: Sequence[Made], document: dict[str, Any], sheet: Path | None, *, as_json: bool, quiet: bool) -> None:
    """The sheet, one line a mesh or the JSON ``document`` with them, and under ``-q`` what could not be used."""
    if sheet is not None:
        write_sheet(sheet, made)
    if as_json:
        ui.print_json(document | {"meshes": [asdict(m) for m in made]})
    elif not quiet:
        for m in made:
            if m.mesh is not None:
                beside = "".join(f", {Path(p).name}" for p in (m.preview, m.page) if p)
                click.echo(f"{m.mesh}: {m.vertices} vertices, {m.faces} faces{beside}")
    failed = [m for m in made if m.error]
    if quiet and 0 < len(failed) < len(made):  # a warning each without -q; where all failed, the error names them
        click.echo(f"{len(failed)} of {len(made)} pictures could not be used: {reasons(failed)}", err=True)


def show_page(made: Sequence[Made]) -> None:
    """Open the first interactive page, or say that the user has to."""
    page = next((Path(m.page).resolve() for m in made if m.page), None)
    if page is not None and click.launch(page.as_uri()):
        click.echo(f"open {page} in a browser", err=True)


def sentence(made: Made) -> str:
    """What is wrong with a picture, with its path, and that only once."""
    image, error = Path(made.image), str(made.error)
    name = image.name or made.image
    for start in (f"{name} ", f"no mask of {name} "):
        if error.startswith(start):
            return error.replace(name, made.image, 1)
    return f"{made.image}: {error}"


def reasons(failed: Sequence[Made]) -> str:
    """Every picture that cannot be used and why, in one line."""
    more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    return "; ".join(sentence(m).rstrip(".") for m in failed[:NAMED]) + f"{more}."


def failure(failed: Sequence[Made]) -> InputError:
    """The error where there is no mesh at all."""
    if len(failed) > 1:
        return InputError(f"no mesh of any of {len(failed)} pictures: {reasons(failed)}")
    said = sentence(failed[0]).rstrip(".") + "."
    return InputError(f"no mesh of {said}" if said.startswith(f"{failed[0].image}: ") else said)
