"""Match each picture with its mask, camera and output file, and report what is missing.

This needs no heavy import, so that a wrong argument is reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from pix3d_onet.config import ExtractionConfig, Frame, MachineConfig, MaskRule, MeshFormat
from pix3d_onet.data.images.decoding import no_file
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.files import check_writable
from pix3d_onet.reconstruction.outcome import Reconstruction, no_mesh
from pix3d_onet.runs.folder import check_network
from pix3d_onet.setting_types import check_choice

OUTPUT_SUFFIXES = tuple(f".{name}" for name in get_args(MeshFormat))
FORMAT: MeshFormat = "glb"
"""The format if neither the output's name nor the format is given."""
PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".avif", ".jp2", ".tga", ".ppm", ".pgm", ".pbm"),
)
"""File extensions of masks in a folder; if one picture has several masks, the first in this list wins."""
NEW_MASK = "give another with `masks`, or let onet find the object with `masks='auto'`"
MASK_RULES: tuple[MaskRule, ...] = get_args(MaskRule)
PREVIEW_SUFFIX = ".preview.png"
"""Suffix of previews. No photo has it, so previews are recognised if a pattern such as ``*.png`` includes them."""


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of a reconstruction: network, pictures, masks, cameras and outputs.

    ConfigError for values that contradict each other.
    """

    run: Path
    """A run's folder, or a network's file."""
    images: tuple[Path, ...]
    """The photos."""
    masks: tuple[str, ...] = ()
    """Mask file (one per picture), a folder of masks, auto, or rembg."""
    poses: tuple[Path, ...] = ()
    """Camera file (one per picture)."""
    pose_from: Path | None = None
    """A pix3d.json that lists the pictures; their masks and cameras are taken from it."""
    out: str | None = None
    """Mesh file or folder. A folder exists, has no file extension, or ends in a slash  [default: the picture's name
    in the current folder]."""
    format: MeshFormat | None = None
    """Mesh format  [default: from the file extension of the output, else glb]."""
    frame: Frame = "normalised"
    """Frame of the mesh; original = that of the CAD model in the picture's record."""
    preview: bool = True
    """Write a PNG beside each mesh."""
    page: bool = False
    """Write an interactive HTML view beside each mesh."""
    sheet: Path | None = None
    """Also write all previews to this one .png, including pictures without a mesh."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: int = 0
    """Threads on the CPU, 0 = as many as there are free cores."""
    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)
    """How the meshes are extracted from the network's field."""

    def __post_init__(self) -> None:
        MachineConfig(self.threads)
        check_choice("frame", self.frame, Frame)
        if self.format is not None:
            check_choice("format", self.format, MeshFormat)
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise ConfigError(f"`sheet={self.sheet}` must end in .png, its only format.")
        if self.sheet is not None and not self.preview:
            raise ConfigError("`sheet` shows the previews: leave out `preview=False`.")
        if self.frame == "original" and self.pose_from is None:
            raise ConfigError("`frame='original'` needs the index of the models.", hint="Give `pose_from=pix3d.json`.")


@dataclass(frozen=True, slots=True)
class Job:
    """One picture: its file, its mask (file, ``auto``, ``rembg`` or None), its output and its camera file.

    ``problem`` says why it cannot be used, as far as this is known without reading any file.
    """

    image: Path
    mask: Path | MaskRule | None
    out: Path
    pose: Path | None = None
    problem: str = ""

    @property
    def preview(self) -> Path:
        """Path of its preview."""
        return self.out.with_suffix(PREVIEW_SUFFIX)

    @property
    def page(self) -> Path:
        """Path of its interactive page."""
        return self.out.with_suffix(".html")


@dataclass(frozen=True, slots=True)
class Plan:
    """A request with one job per picture, in order; ``left_out``: pictures skipped as previews of earlier meshes."""

    request: Request
    jobs: tuple[Job, ...]
    left_out: tuple[Path, ...] = ()


def make_plan(request: Request) -> Plan:
    """Check all files of the request without opening any.

    ConfigError if the matching is ambiguous or an output would overwrite an input; InputError if the run or the index
    is missing, an output cannot be written, or no picture can be used.
    """
    images, masks, poses = request.images, request.masks, request.poses
    kept = photos_among(images)
    if len(masks) == len(images):
        masks = tuple(masks[i] for i in kept)
    if len(poses) == len(images):
        poses = tuple(poses[i] for i in kept)
    jobs = match([images[i] for i in kept], masks, poses, request.out, request.format)
    check_places(jobs, request)
    for _, place in places(jobs, request):
        check_writable(place, file=True)
    jobs = [replace(job, problem=problem_of(job, masks)) for job in jobs]
    check_network(request.run)
    if request.pose_from is not None and not request.pose_from.exists():
        raise InputError(f"Pix3D index not found: {request.pose_from}.")
    if all(job.problem for job in jobs):
        raise no_mesh([Reconstruction(str(job.image), error=job.problem) for job in jobs])
    return Plan(request, tuple(jobs), tuple(image for i, image in enumerate(images) if i not in kept))


def names_a_mesh(out: Path | str | None, format_: str | None) -> bool:
    """Whether ``out`` is a mesh file. A folder is a path that exists as one, has no file extension, or ends in a slash.

    ConfigError for ``-``, for an unknown file extension, and for one that contradicts the format.
    """
    if str(out) == "-":
        raise ConfigError("`out=-`: a mesh is not written to stdout.", hint="Name a file or a folder.")
    if out is None or str(out).endswith("/") or Path(out).is_dir() or not Path(out).suffix:
        return False
    suffix = Path(out).suffix.lower()
    if suffix not in OUTPUT_SUFFIXES:
        endings = ", ".join(OUTPUT_SUFFIXES)
        raise ConfigError(
            f"`out={out}`: no mesh format ends in {suffix} ({endings}).", hint="Or give an existing folder."
        )
    if format_ not in (None, suffix[1:]):
        raise ConfigError(f"`out={out}` and `format={format_}` contradict each other.", hint="Leave out `format`.")
    return True


def photos_among(images: Sequence[Path]) -> list[int]:
    """Indices of the pictures that are not previews of earlier meshes (a pattern such as ``*.png`` includes those).

    A single picture is never skipped, whatever its name. InputError if all of several pictures are previews.
    """
    if len(images) == 1:
        return [0]
    kept = [i for i, image in enumerate(images) if not image.name.endswith(PREVIEW_SUFFIX)]
    if not kept:
        raise InputError(f"all {len(images)} pictures are previews of meshes (*{PREVIEW_SUFFIX}).", hint="Name photos.")
    return kept


def match(
    images: Sequence[Path], masks: Sequence[str], poses: Sequence[Path], out: Path | str | None, format_: str | None
) -> list[Job]:
    """One job per picture, with its mask, camera and output file. ConfigError if the matching is ambiguous."""
    single = names_a_mesh(out, format_)
    if single and len(images) > 1:
        raise ConfigError(f"`out={out}` is one file for {len(images)} pictures.", hint="Give a folder.")
    if poses and len(poses) != len(images):
        raise ConfigError(f"`poses` was given {len(poses)} times for {len(images)} pictures.")
    folder = folder_of_masks(masks)
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    for index, image in enumerate(images):
        target = Path(out or "") if single else Path(out or "") / f"{image.stem}.{format_ or FORMAT}"
        free = [place for place in [target, *other_places(image, target, taken)] if place not in taken]
        if not free:
            raise ConfigError(f"two pictures would be written to {target}.", hint="Call onet once per picture.")
        target = free[0]
        taken[target] = image
        mask = mask_for(image, index, masks, len(images), folder)
        if isinstance(mask, Path) and mask.resolve() == image.resolve():
            given = masks[0 if folder is not None else index]
            hint = "Name its mask, or leave out `masks` if the picture has an alpha channel."
            raise ConfigError(f"`masks={given}`: {mask} is the picture itself.", hint=hint)
        jobs.append(Job(image, mask, target, poses[index] if poses else None))
    return jobs


def other_places(image: Path, target: Path, taken: Mapping[Path, Path]) -> list[Path]:
    """Other output names for ``image`` if ``target`` is ``taken`` by another picture, built from what differs.

    ``a.gif`` and ``a.png`` in one folder differ in their extensions, ``x/a.png`` and ``y/a.png`` in their folders.
    """
    first = taken.get(target)
    ending, folder = image.suffix[1:].lower(), image.parent.name or image.resolve().parent.name
    by_ending = target.with_name(f"{target.stem}-{ending}{target.suffix}")
    by_folder = target.with_name(f"{folder}-{target.name}")
    both = target.with_name(f"{folder}-{by_ending.name}")
    if first is None or first.parent == image.parent:
        return [by_ending] if ending else []
    return [by_folder, *([by_ending, both] if ending else [])]


def folder_of_masks(masks: Sequence[str]) -> Mapping[str, Sequence[Path]] | None:
    """If ``masks`` is one folder: stem → the pictures in it with that stem, the preferred one first. Else None.

    The folder is read once for all pictures. The case of extensions matters only to break ties in the order.
    """
    if len(masks) != 1 or masks[0] in MASK_RULES or not Path(masks[0]).is_dir():
        return None
    found: dict[str, list[Path]] = {}
    for path in sorted(Path(masks[0]).iterdir()):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            found.setdefault(path.stem, []).append(path)
    return {
        stem: sorted(paths, key=lambda p: PICTURE_SUFFIXES.index(p.suffix.lower())) for stem, paths in found.items()
    }


def rule_of(mask: str) -> MaskRule | None:
    """The mask rule with this name; None if ``mask`` is the name of a file or folder."""
    return next((rule for rule in MASK_RULES if rule == mask), None)


def mask_for(
    image: Path, index: int, masks: Sequence[str], count: int, folder: Mapping[str, Sequence[Path]] | None
) -> Path | MaskRule | None:
    """The mask of one picture: None, a rule, the file of the same name in the folder, or the mask at its position.

    ``folder``: result of :func:`folder_of_masks`. A mask with the picture's own extension is preferred. If the folder
    has none, the path that it would have is returned, which does not exist. ConfigError for an unknown mask, and if
    there are several masks but not one per picture.
    """
    if not masks:
        return None
    if len(masks) == 1 and (rule := rule_of(masks[0])) is not None:
        return rule
    if folder is not None:
        found = folder.get(image.stem, ())
        same = [path for path in found if path.suffix.lower() == image.suffix.lower()]
        return next(iter([*same, *found]), Path(masks[0]) / image.name)
    if len(masks) != count:
        raise ConfigError(
            f"`masks` was given {len(masks)} times for {count} pictures.",
            hint="Give one per picture, a folder, or auto.",
        )
    given = masks[index]
    if (rule := rule_of(given)) is not None:
        return rule
    if Path(given).is_dir():
        raise ConfigError(f"`masks={given}` is a folder: give it once, and no other mask.")
    if not Path(given).exists() and Path(given).suffix.lower() not in PICTURE_SUFFIXES:
        hint = f"Write `masks={given.lower()}` in lower case." if given.lower() in MASK_RULES else ""
        raise ConfigError(f"`masks={given}` is neither a file, a folder, auto nor rembg.", hint=hint)
    return Path(given)


def check_places(jobs: Sequence[Job], request: Request, others: Mapping[Path, str] | None = None) -> None:
    """ConfigError if an output would overwrite an input, or if two outputs have the same path.

    ``others``: further input files → a description of each, for the message.
    """
    inputs: dict[Path, str] = {path.resolve(): what for path, what in (others or {}).items()}
    for job in jobs:
        inputs |= {job.image.resolve(): "a picture"}
        inputs |= {job.mask.resolve(): "a mask"} if isinstance(job.mask, Path) else {}
        inputs |= {job.pose.resolve(): "a camera file"} if job.pose is not None else {}
    if request.pose_from is not None:
        inputs[request.pose_from.resolve()] = "the index"
    written: dict[Path, str] = {}
    for what, place in places(jobs, request):
        target = place.resolve()
        if target in inputs:
            raise ConfigError(f"{what} would overwrite {inputs[target]}: {place}.", hint="Choose another path.")
        if target in written:
            raise ConfigError(f"{what} and {written[target]} would both be written to {place}.", hint="Choose another.")
        written[target] = what


def places(jobs: Sequence[Job], request: Request) -> list[tuple[str, Path]]:
    """All outputs: a description and the path of each."""
    found = [("the mesh", job.out) for job in jobs]
    found += [("the preview", job.preview) for job in jobs if request.preview]
    found += [("the page", job.page) for job in jobs if request.page]
    return [*found, *([("`sheet`", request.sheet)] if request.sheet is not None else [])]


def problem_of(job: Job, masks: Sequence[str]) -> str:
    """Which of the picture's files is missing; empty if none is.

    ``masks`` as given: if it is a folder without this picture's mask, the message says which names were tried.
    """
    if job.image.is_dir():
        return f"{job.image.name or job.image} is a folder: give its pictures instead"
    if not job.image.is_file():
        why = no_file(job.image)
        return f"{job.image.name if why == 'does not exist' else job.image} {why}"
    if isinstance(job.mask, Path) and not job.mask.is_file():
        if len(masks) == 1 and Path(masks[0]).is_dir():
            endings = sorted(PICTURE_SUFFIXES, key=lambda ending: ending != job.image.suffix.lower())[:3]
            looked = f"{job.image.stem}{', '.join(endings)}, …"
            return f"no mask of {job.image.name} in {masks[0]} (looked for {looked}): {NEW_MASK}"
        return f"its mask {job.mask} does not exist: {NEW_MASK}"
    if job.pose is not None and not job.pose.exists():
        return f"its camera file {job.pose} does not exist"
    return ""
