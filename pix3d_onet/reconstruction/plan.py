"""What is about to be done: which mask, camera and output belong to which picture, and what is missing.

All of it before anything heavy is imported, so that a wrong argument is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from pix3d_onet.config import ExtractionConfig, Frame, MachineConfig, MaskRule, MeshFormat, check_choice
from pix3d_onet.data.images.decoding import no_file
from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.files import check_writable
from pix3d_onet.reconstruction.outcome import Reconstruction, no_mesh

MESH_SUFFIXES = tuple(f".{name}" for name in get_args(MeshFormat))
FORMAT: MeshFormat = "glb"
"""The format where neither the output's name nor the format is given."""
PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".avif", ".jp2", ".tga", ".ppm", ".pgm", ".pbm"),
)
"""Endings of the masks in a folder; of several masks of one picture the first of these is taken."""
MASK_RULES: tuple[MaskRule, ...] = get_args(MaskRule)
PREVIEW_SUFFIX = ".preview.png"
"""Ending of the previews: never the name of a photo, and so known again when a pattern names them with the photos."""
NETWORK_FILE = Path("best/model.safetensors")
"""A run's network; ``learning.checkpoint`` has the name, but cannot be asked for it without importing torch."""
NAMED_RUNS = 4
"""Runs that an error names at most; as in ``learning.checkpoint``."""


@dataclass(frozen=True, slots=True)
class Request:
    """Which pictures are to become meshes, with which network, masks and cameras, and what is written where.

    ConfigError for values that contradict each other.
    """

    run: Path
    """A run's folder, or a network's file."""
    images: tuple[Path, ...]
    """The photos."""
    masks: tuple[str, ...] = ()
    """Mask file (one for each picture), a folder of masks, auto, or rembg."""
    poses: tuple[Path, ...] = ()
    """Camera file (one for each picture)."""
    pose_from: Path | None = None
    """A pix3d.json that has the pictures: mask and camera."""
    out: str | None = None
    """Mesh file, or a folder (an existing one, without an ending, or with a slash at its end)  [default: the
    picture's name here]."""
    format: MeshFormat | None = None
    """Mesh format  [default: that of the output's ending, or glb]."""
    frame: Frame = "normalised"
    """original = that of the CAD model in the picture's record."""
    preview: bool = True
    """Write a PNG beside each mesh."""
    page: bool = False
    """Write an interactive HTML view beside each mesh."""
    sheet: Path | None = None
    """Write all previews to this one .png, too, also of pictures without a mesh."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: int = 0
    """Threads on the CPU, 0 = as many as there are free cores."""
    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)
    """How the meshes are taken from the network's field."""

    def __post_init__(self) -> None:
        MachineConfig(self.threads)
        check_choice("frame", self.frame, Frame)
        if self.format is not None:
            check_choice("format", self.format, MeshFormat)
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise ConfigError(f"`sheet={self.sheet}` must end in .png: it is a picture of that format.")
        if self.sheet is not None and not self.preview:
            raise ConfigError("`sheet` shows the previews: leave out `preview=False`.")
        if self.frame == "original" and self.pose_from is None:
            raise ConfigError("`frame='original'` needs the models' index.", hint="Give `pose_from=pix3d.json`.")


@dataclass(frozen=True, slots=True)
class Job:
    """One picture: its file, its mask (file, ``auto``, ``rembg`` or None), where to write, and its camera.

    ``problem`` says why it cannot be used, where that can be seen without reading anything.
    """

    image: Path
    mask: Path | MaskRule | None
    out: Path
    pose: Path | None = None
    problem: str = ""

    @property
    def preview(self) -> Path:
        """Where its preview goes."""
        return self.out.with_suffix(PREVIEW_SUFFIX)

    @property
    def page(self) -> Path:
        """Where its interactive page goes."""
        return self.out.with_suffix(".html")


@dataclass(frozen=True, slots=True)
class Plan:
    """A request whose files have been looked at: one job per picture, in order; ``left_out`` seem to be previews."""

    request: Request
    jobs: tuple[Job, ...]
    left_out: tuple[Path, ...] = ()


def make_plan(request: Request) -> Plan:
    """Look at every file that the request names, without opening any.

    ConfigError where it is not clear what belongs together or something would be written over an input; InputError
    where the run or the index is missing, a place cannot be written to, or no picture can be used.
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
    check_run(request.run)
    if request.pose_from is not None and not request.pose_from.exists():
        raise InputError(f"Pix3D index not found: {request.pose_from}.")
    if all(job.problem for job in jobs):
        raise no_mesh([Reconstruction(str(job.image), error=job.problem) for job in jobs])
    return Plan(request, tuple(jobs), tuple(image for i, image in enumerate(images) if i not in kept))


def names_a_mesh(out: Path | str | None, format_: str | None) -> bool:
    """Whether ``out`` is a mesh file, else a folder: an existing one, without an ending, or with a slash at its end.

    ConfigError for ``-``, an ending that is neither's, or not that of the format.
    """
    if str(out) == "-":
        raise ConfigError("`out=-`: a mesh is not written to stdout.", hint="Name a file or a folder.")
    if out is None or str(out).endswith("/") or Path(out).is_dir() or not Path(out).suffix:
        return False
    suffix = Path(out).suffix.lower()
    if suffix not in MESH_SUFFIXES:
        endings = ", ".join(MESH_SUFFIXES)
        raise ConfigError(
            f"`out={out}`: no mesh format ends in {suffix} ({endings}).", hint="Or give an existing folder."
        )
    if format_ not in (None, suffix[1:]):
        raise ConfigError(f"`out={out}` and `format={format_}` contradict each other.", hint="Leave out `format`.")
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


def match(
    images: Sequence[Path], masks: Sequence[str], poses: Sequence[Path], out: Path | str | None, format_: str | None
) -> list[Job]:
    """Which mask, camera and output file belong to which picture. ConfigError where that is not clear."""
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
            raise ConfigError(f"two pictures would be written to {target}.", hint="Call onet once for each.")
        target = free[0]
        taken[target] = image
        mask = mask_for(image, index, masks, len(images), folder)
        if isinstance(mask, Path) and mask.resolve() == image.resolve():
            given = masks[0 if folder is not None else index]
            hint = "Name its mask, or leave out `masks` where the picture has its own transparency."
            raise ConfigError(f"`masks={given}`: {mask} is the picture itself.", hint=hint)
        jobs.append(Job(image, mask, target, poses[index] if poses else None))
    return jobs


def other_places(image: Path, target: Path, taken: Mapping[Path, Path]) -> list[Path]:
    """Where ``image`` may be written when ``target`` is ``taken`` by another picture: named by what parts the two.

    ``a.gif`` and ``a.png`` of one folder differ in their endings, ``x/a.png`` and ``y/a.png`` in their folders.
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
    """The pictures in the one folder that ``masks`` names, by their stem, the preferred first; None: it names none.

    Read once for all pictures. The endings' case does not matter, but for the order of what is otherwise equal.
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
    """The rule of that name; None for the name of a file or folder."""
    return next((rule for rule in MASK_RULES if rule == mask), None)


def mask_for(
    image: Path, index: int, masks: Sequence[str], count: int, folder: Mapping[str, Sequence[Path]] | None
) -> Path | MaskRule | None:
    """The mask of one picture: none, a word, a folder's file of the same name, or the one at its place.

    ``folder`` is what :func:`folder_of_masks` found. A mask with the picture's own ending comes before all others;
    where the folder has none at all, the path that it would have, which does not exist. ConfigError for what can be
    neither, and for another number of masks than pictures.
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
            f"`masks` was given {len(masks)} times for {count} pictures.", hint="One each, a folder, or auto."
        )
    given = masks[index]
    if (rule := rule_of(given)) is not None:
        return rule
    if Path(given).is_dir():
        raise ConfigError(f"`masks={given}` is a folder: give it once, and no other mask.")
    if not Path(given).exists() and Path(given).suffix.lower() not in PICTURE_SUFFIXES:
        hint = f"Write it small: `masks={given.lower()}`." if given.lower() in MASK_RULES else ""
        raise ConfigError(f"`masks={given}` is neither a file, a folder, auto nor rembg.", hint=hint)
    return Path(given)


def check_places(jobs: Sequence[Job], request: Request, others: Mapping[Path, str] | None = None) -> None:
    """ConfigError where something would be written over an input, or two things to one place.

    ``others``: files that are read besides those that the jobs name, and what they are.
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
            raise ConfigError(f"{what} would be written over {inputs[target]}: {place}.", hint="Choose another place.")
        if target in written:
            raise ConfigError(f"{what} and {written[target]} would both be written to {place}.", hint="Choose another.")
        written[target] = what


def places(jobs: Sequence[Job], request: Request) -> list[tuple[str, Path]]:
    """Everything that will be written: what it is, and where."""
    found = [("the mesh", job.out) for job in jobs]
    found += [("the preview", job.preview) for job in jobs if request.preview]
    found += [("the page", job.page) for job in jobs if request.page]
    return [*found, *([("`sheet`", request.sheet)] if request.sheet is not None else [])]


def check_run(run: Path) -> None:
    """InputError unless ``run`` (a run's folder, or a network's file) has a network and its description.

    A folder of runs is told which it has.
    """
    network = run if run.suffix == ".safetensors" else run / NETWORK_FILE
    if not run.exists():
        raise InputError(f"run not found: {run}.", hint="Train one with `onet train`.")
    if not network.is_file():
        runs = [str(p.parents[1]) for depth in ("*", "*/*") for p in sorted(run.glob(f"{depth}/{NETWORK_FILE}"))]
        hint = "A run has one after its first validation." if run.is_dir() else "Train one with `onet train`."
        if runs:
            named = ", ".join(runs[:NAMED_RUNS]) + (", …" if len(runs) > NAMED_RUNS else "")
            hint = f"Name one of its runs: {named}."
        raise InputError(f"{run} holds no trained network.", hint=hint)
    if not network.with_suffix(".json").is_file():
        raise InputError(f"description of the run's network not found: {network.with_suffix('.json')}.")


def problem_of(job: Job, masks: Sequence[str]) -> str:
    """Why the picture cannot be used, as far as its files' existence says; empty where nothing is missing.

    ``masks`` as given: one folder that lacks the mask is told by what was looked for in it.
    """
    if job.image.is_dir():
        return f"{job.image.name or job.image} is a folder: name its pictures"
    if not job.image.is_file():
        why = no_file(job.image)
        return f"{job.image.name if why == 'does not exist' else job.image} {why}"
    if isinstance(job.mask, Path) and not job.mask.is_file():
        if len(masks) == 1 and Path(masks[0]).is_dir():
            endings = sorted(PICTURE_SUFFIXES, key=lambda ending: ending != job.image.suffix.lower())[:3]
            looked = f"{job.image.stem}{', '.join(endings)}, …"
            return f"no mask of {job.image.name} in {masks[0]} (looked for {looked})"
        return f"its mask {job.mask} does not exist"
    if job.pose is not None and not job.pose.exists():
        return f"its camera file {job.pose} does not exist"
    return ""
