"""``onet reconstruct``: photos to meshes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onet_cli import ui
from pix3d_onet.config import PrepareConfig, check_extraction
from pix3d_onet.errors import ConfigError, InputError, RejectError
from pix3d_onet.events import Note
from pix3d_onet.files import check_writable

if TYPE_CHECKING:
    from pix3d_onet.data.photo import PhotoRecord
    from pix3d_onet.events import Emit
    from pix3d_onet.learning.evaluate import NetworkPredictor
    from pix3d_onet.types import Mesh, Normalisation, UInt8, View

MESH_SUFFIXES = (".glb", ".obj", ".ply", ".stl", ".off")
FORMAT = "glb"
"""The format where neither -o nor --format names one."""
PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".avif", ".jp2", ".tga", ".ppm", ".pgm", ".pbm"),
)
"""Endings of the masks in a folder; of several masks of one picture the first of these is taken."""
PREVIEW_SUFFIX = ".preview.png"
"""Ending of the previews: never the name of a photo, and so known again when a pattern names them with the photos."""
PREPARE = PrepareConfig()
CAMERA_HINT = "Give camera files (--pose, one an IMAGE) or the index that has the pictures (--pose-from pix3d.json)."


@dataclass(frozen=True, slots=True)
class Job:
    """One picture: its file, its mask (file, ``auto``, ``rembg`` or None), where to write, and its camera."""

    image: Path
    mask: Path | str | None
    out: Path
    pose: Path | None = None

    @property
    def preview(self) -> Path:
        """Where its preview goes."""
        return self.out.with_suffix(PREVIEW_SUFFIX)

    @property
    def page(self) -> Path:
        """Where its interactive page goes."""
        return self.out.with_suffix(".html")


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one picture; ``error`` says why there is no mesh."""

    image: str
    mesh: str | None = None
    preview: str | None = None
    page: str | None = None
    vertices: int = 0
    faces: int = 0
    queries: int = 0
    error: str | None = None


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option("--mask", "masks", multiple=True, help="Mask file (one an IMAGE), a folder of masks, auto, or rembg.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Mesh file, or a folder [default: IMAGE's name here]."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice([s[1:] for s in MESH_SUFFIXES]),
    help=f"Mesh format [default: that of -o's ending, or {FORMAT}].",
)
@click.option("--resolution", type=int, default=128, show_default=True, help="Cells an axis.")
@click.option("--threshold", type=float, help="Occupancy probability of the surface [default: the run's, 0.2].")
@click.option("--refine", is_flag=True, help="Move vertices onto the level set along the field's gradient.")
@click.option("--simplify", type=int, metavar="FACES", help="Simplify to about so many faces.")
@click.option("--pose", "poses", multiple=True, type=click.Path(path_type=Path), help="Camera file (one an IMAGE).")
@click.option("--pose-from", type=click.Path(path_type=Path), help="A pix3d.json that has the IMAGEs: mask and camera.")
@click.option(
    "--frame",
    type=click.Choice(["normalised", "original"]),
    default="normalised",
    show_default=True,
    help="original = that of the CAD model in the record of --pose-from.",
)
@click.option("--preview/--no-preview", default=True, show_default=True, help="Write a PNG beside each mesh.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write all previews to this one PNG, too.")
@click.option(
    "--open", "open_", is_flag=True, help="Write an interactive HTML view beside each mesh and open the first."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Decoder.")
@click.option("--strict", is_flag=True, help="Leave with status 4 when a picture could not be used.")
@ui.common_options
def reconstruct(
    *,
    run: Path,
    images: tuple[Path, ...],
    masks: tuple[str, ...],
    out: Path | None,
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
    for place in {*(job.out for job in jobs), *([sheet] if sheet else [])}:
        check_writable(place)
    with ui.live(quiet=quiet, verbose=verbose) as emit:
        for image in (image for i, image in enumerate(images) if i not in kept):
            emit(Note(f"{image} is left out: it seems to be a preview. Give it alone to have it taken.", "warning"))
        made = work(run, jobs, options, emit)
    if sheet is not None:
        write_sheet(sheet, made)
    render(made, as_json=as_json, quiet=quiet)
    failed = [m for m in made if m.error]
    if len(failed) == len(made):
        raise InputError(f"no mesh of {made[0].image}{' or any other' if len(made) > 1 else ''}: {failed[0].error}")
    if failed and strict:
        raise click.exceptions.Exit(4)


def check_options(options: dict[str, Any], sheet: Path | None) -> None:
    """ConfigError for values that cannot be meant: said before anything is loaded."""
    check_extraction(resolution=options["resolution"], threshold=options["threshold"], simplify=options["simplify"])
    if sheet is not None and not options["preview"]:
        raise ConfigError("--sheet shows the previews: leave out --no-preview.")
    if options["frame"] == "original" and options["pose_from"] is None:
        raise ConfigError("--frame original needs the models' index.", hint="Give --pose-from pix3d.json.")


def names_a_mesh(out: Path | None, format_: str | None) -> bool:
    """Whether ``-o`` is a mesh file (else a folder). ConfigError for an ending that is neither's, or not --format's."""
    if out is None or out.is_dir() or not out.suffix:
        return False
    suffix = out.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        endings = ", ".join(MESH_SUFFIXES)
        raise ConfigError(f"-o {out}: no mesh format ends in {suffix} ({endings}).", hint="Or give an existing folder.")
    if format_ not in (None, suffix[1:]):
        raise ConfigError(f"-o {out} and --format {format_} contradict each other.", hint="Leave out --format.")
    return True


def photos_among(images: Sequence[Path]) -> list[int]:
    """Which of the pictures are not previews of earlier meshes, which a pattern such as ``*.png`` takes along.

    A picture that stands alone was meant, whatever its name. InputError where all of several are previews.
    """
    if len(images) == 1:
        return [0]
    kept = [i for i, image in enumerate(images) if not image.name.endswith(PREVIEW_SUFFIX)]
    if not kept:
        raise InputError(f"all {len(images)} pictures are previews of meshes (*{PREVIEW_SUFFIX}).", hint="Name photos.")
    return kept


def plan(
    images: Sequence[Path], masks: Sequence[str], poses: Sequence[Path], out: Path | None, format_: str | None
) -> list[Job]:
    """Which mask, camera and output file belong to which picture. ConfigError where that is not clear."""
    single = names_a_mesh(out, format_)
    if single and len(images) > 1:
        raise ConfigError(f"-o {out} is one file for {len(images)} pictures.", hint="Give a folder.")
    if poses and len(poses) != len(images):
        raise ConfigError(f"--pose was given {len(poses)} times for {len(images)} pictures.")
    folder = folder_of_masks(masks)
    jobs: list[Job] = []
    taken: set[Path] = set()
    for index, image in enumerate(images):
        target = out if single and out is not None else (out or Path()) / f"{image.stem}.{format_ or FORMAT}"
        if target in taken:  # the same name in two folders
            target = target.with_name(f"{image.parent.name}-{target.name}")
        if target in taken:
            raise ConfigError(f"two pictures would be written to {target}.", hint="Call onet once for each.")
        taken.add(target)
        mask = mask_for(image, index, masks, len(images), folder)
        if isinstance(mask, Path) and mask.resolve() == image.resolve():
            hint = "Name its mask, or leave out --mask where the picture has its own transparency."
            raise ConfigError(
                f"--mask {masks[0 if folder is not None else index]}: {mask} is the picture itself.", hint=hint
            )
        jobs.append(Job(image, mask, target, poses[index] if poses else None))
    return jobs


def folder_of_masks(masks: Sequence[str]) -> Mapping[str, Sequence[Path]] | None:
    """The pictures in the one folder that ``--mask`` names, by their stem, the preferred first; None: it names none.

    Read once for all pictures. The endings' case does not matter, but for the order of what is otherwise equal.
    """
    if len(masks) != 1 or masks[0] in ("auto", "rembg") or not Path(masks[0]).is_dir():
        return None
    found: dict[str, list[Path]] = {}
    for path in sorted(Path(masks[0]).iterdir()):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            found.setdefault(path.stem, []).append(path)
    return {
        stem: sorted(paths, key=lambda p: PICTURE_SUFFIXES.index(p.suffix.lower())) for stem, paths in found.items()
    }


def mask_for(
    image: Path, index: int, masks: Sequence[str], count: int, folder: Mapping[str, Sequence[Path]] | None
) -> Path | str | None:
    """The mask of one picture: none, a word, a folder's file of the same name, or the one at its place.

    ``folder`` is what :func:`folder_of_masks` found. A mask with the picture's own ending comes before all others;
    where the folder has none at all, the path that it would have, for the reader to miss.
    """
    if not masks:
        return None
    if len(masks) == 1 and masks[0] in ("auto", "rembg"):
        return masks[0]
    if folder is not None:
        found = folder.get(image.stem, ())
        same = [path for path in found if path.suffix.lower() == image.suffix.lower()]
        return next(iter([*same, *found]), Path(masks[0]) / image.name)
    if len(masks) != count:
        raise ConfigError(
            f"--mask was given {len(masks)} times for {count} pictures.", hint="One each, a folder, or auto."
        )
    return masks[index] if masks[index] in ("auto", "rembg") else Path(masks[index])


def check_places(jobs: Sequence[Job], options: dict[str, Any], sheet: Path | None) -> None:
    """ConfigError where something would be written over an input, or two things to one place."""
    inputs: dict[Path, str] = {}
    for job in jobs:
        inputs |= {job.image.resolve(): "a picture"}
        inputs |= {job.mask.resolve(): "a mask"} if isinstance(job.mask, Path) else {}
        inputs |= {job.pose.resolve(): "a camera file"} if job.pose is not None else {}
    if options["pose_from"] is not None:
        inputs[options["pose_from"].resolve()] = "the index"
    written: dict[Path, str] = {}
    for what, place in places(jobs, options, sheet):
        target = place.resolve()
        if target in inputs:
            raise ConfigError(f"{what} would be written over {inputs[target]}: {place}.", hint="Choose another place.")
        if target in written:
            raise ConfigError(f"{what} and {written[target]} would both be written to {place}.", hint="Choose another.")
        written[target] = what


def places(jobs: Sequence[Job], options: dict[str, Any], sheet: Path | None) -> list[tuple[str, Path]]:
    """Everything that will be written: what it is, and where."""
    found = [("the mesh", job.out) for job in jobs]
    found += [("the preview", job.preview) for job in jobs if options["preview"]]
    found += [("the page", job.page) for job in jobs if options["open_"]]
    return [*found, *([("--sheet", sheet)] if sheet is not None else [])]


def work(run: Path, jobs: Sequence[Job], options: dict[str, Any], emit: Emit) -> list[Made]:
    """Load the network once and make every mesh; a picture that cannot be used becomes a line, not an end."""
    from pix3d_onet.data.photo import read_records
    from pix3d_onet.events import Progress
    from pix3d_onet.learning.evaluate import network_predictor
    from pix3d_onet.learning.runtime import choose_device

    keys = ("threshold", "resolution", "precision")
    network = network_predictor(run, device=choose_device(options["device"]), **{k: options[k] for k in keys})
    index = options["pose_from"]
    if network.model.config.pose != "none" and index is None and not all(job.pose for job in jobs):
        raise InputError(f"the network of {run} needs the camera of every picture.", hint=CAMERA_HINT)
    records = read_records(index) if index is not None else {}
    made = []
    for done, job in enumerate(jobs):
        try:
            made.append(make(network, job, records, options, emit))
        except RejectError as error:
            made.append(Made(str(job.image), error=str(error.message)))
        except InputError as error:
            made.append(Made(str(job.image), error=str(error)))
        if made[-1].error and len(jobs) > 1:
            emit(Note(f"{job.image}: {made[-1].error}", "warning"))
        emit(Progress("reconstruct", done + 1, len(jobs), rejected=sum(m.error is not None for m in made)))
    return made


def make(
    network: NetworkPredictor, job: Job, records: Mapping[Path, PhotoRecord], options: dict[str, Any], emit: Emit
) -> Made:
    """One picture to its files. Raises RejectError or InputError where it cannot be used."""
    from pix3d_onet.data.photo import read_photo, read_pose
    from pix3d_onet.geometry.mesh import write_mesh
    from pix3d_onet.learning.examples import focal_of
    from pix3d_onet.learning.extract import extract_field, image_field
    from pix3d_onet.types import Mesh

    posed, index = network.model.config.pose != "none", options.get("pose_from")
    record = records.get(job.image.resolve())
    if posed and job.pose is None:
        check_camera(record, index)
    elif record is None and index is not None:
        emit(Note(f"{index} has no record of {job.image}.", "warning"))
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
    with image_field(
        network.model,
        view.rgb,
        pose=view.pose if view.has_pose else None,
        focal=focal_of(view),
        device=network.device,
        precision=network.precision,
        image_size=network.image_size,
    ) as (field, where):
        result = extract_field(
            field,
            resolution=network.resolution,
            threshold=network.threshold,
            refine=options["refine"],
            simplify_to=options["simplify"],
            device=where,
            emit=emit,
        )
    if not len(result.mesh.faces):
        raise InputError(
            "the network sees nothing in it (no point of the coarse lattice is above the threshold).",
            hint="Try a lower --threshold.",
        )
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
    )


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
    from pix3d_onet.geometry.mesh import box_normalisation, load_mesh

    return box_normalisation(load_mesh(model))


def extras(view: View, mesh: Mesh, job: Job, options: dict[str, Any]) -> tuple[str | None, str | None]:
    """Write the preview and the interactive page that were asked for, beside the mesh; their paths."""
    shown = page = None
    if options["preview"]:
        from pix3d_onet.geometry.preview import preview

        shown = job.preview
        write_png(shown, preview(view, mesh))
    if options["open_"]:
        from pix3d_onet.files import write_text
        from pix3d_onet.results.viewer import mesh_page

        page = job.page
        write_text(page, mesh_page({"Reconstruction": mesh}, job.out.stem, picture=view.rgb))
    return (str(shown) if shown else None, str(page) if page else None)


def write_sheet(path: Path, made: Sequence[Made]) -> None:
    """All previews as one picture, two pictures a row."""
    import numpy as np
    from PIL import Image

    from pix3d_onet.geometry.preview import contact_sheet

    pictures = [np.asarray(Image.open(m.preview).convert("RGB")) for m in made if m.preview is not None]
    if pictures:
        write_png(path, contact_sheet(pictures))


def write_png(path: Path, rgb: UInt8) -> None:
    """Write (H, W, 3) uint8 as PNG, aside and renamed."""
    from PIL import Image

    from pix3d_onet.files import writing

    with writing(path) as part:
        Image.fromarray(rgb).save(part, "PNG", optimize=True)


def render(made: Sequence[Made], *, as_json: bool, quiet: bool) -> None:
    """One line a mesh, or the JSON document; open the first page."""
    if as_json:
        ui.print_json({"meshes": [asdict(m) for m in made]})
    elif not quiet:
        for m in made:
            if m.mesh is not None:
                beside = "".join(f", {Path(p).name}" for p in (m.preview, m.page) if p)
                click.echo(f"{m.mesh}: {m.vertices} vertices, {m.faces} faces{beside}")
    page = next((m.page for m in made if m.page), None)
    if page is not None:
        click.launch(Path(page).resolve().as_uri())
