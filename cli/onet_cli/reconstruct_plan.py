"""What ``onet reconstruct`` is about to do: which mask, camera and output belong to which picture, and what is missing.

All of it before anything heavy is imported, so that a slip of the keyboard is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix3d_onet.config import check_extraction
from pix3d_onet.errors import ConfigError, InputError

MESH_SUFFIXES = (".glb", ".obj", ".ply", ".stl", ".off")
FORMAT = "glb"
"""The format where neither -o nor --format names one."""
PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".avif", ".jp2", ".tga", ".ppm", ".pgm", ".pbm"),
)
"""Endings of the masks in a folder; of several masks of one picture the first of these is taken."""
MASK_WORDS = ("auto", "rembg")
"""What ``--mask`` may be but files and folders."""
PREVIEW_SUFFIX = ".preview.png"
"""Ending of the previews: never the name of a photo, and so known again when a pattern names them with the photos."""


@dataclass(frozen=True, slots=True)
class Job:
    """One picture: its file, its mask (file, ``auto``, ``rembg`` or None), where to write, and its camera.

    ``problem`` says why it cannot be used, where that can be seen without reading anything.
    """

    image: Path
    mask: Path | str | None
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


def check_options(options: dict[str, Any], sheet: Path | None) -> None:
    """ConfigError for values that cannot be meant: said before anything is loaded."""
    names = ("resolution", "threshold", "simplify", "coarse")
    check_extraction(**{name: options[name] for name in names})
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise ConfigError(f"--sheet {sheet} must end in .png: it is a picture of that format.")
    if sheet is not None and not options["preview"]:
        raise ConfigError("--sheet shows the previews: leave out --no-preview.")
    if options["frame"] == "original" and options["pose_from"] is None:
        raise ConfigError("--frame original needs the models' index.", hint="Give --pose-from pix3d.json.")


def names_a_mesh(out: Path | str | None, format_: str | None) -> bool:
    """Whether ``-o`` is a mesh file, else a folder: an existing one, without an ending, or with a slash at its end.

    ConfigError for ``-``, an ending that is neither's, or not --format's.
    """
    if str(out) == "-":
        raise ConfigError("-o -: a mesh is not written to stdout.", hint="Name a file or a folder.")
    if out is None or str(out).endswith("/") or Path(out).is_dir() or not Path(out).suffix:
        return False
    suffix = Path(out).suffix.lower()
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
    images: Sequence[Path], masks: Sequence[str], poses: Sequence[Path], out: Path | str | None, format_: str | None
) -> list[Job]:
    """Which mask, camera and output file belong to which picture. ConfigError where that is not clear."""
    single = names_a_mesh(out, format_)
    if single and len(images) > 1:
        raise ConfigError(f"-o {out} is one file for {len(images)} pictures.", hint="Give a folder.")
    if poses and len(poses) != len(images):
        raise ConfigError(f"--pose was given {len(poses)} times for {len(images)} pictures.")
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
            hint = "Name its mask, or leave out --mask where the picture has its own transparency."
            raise ConfigError(
                f"--mask {masks[0 if folder is not None else index]}: {mask} is the picture itself.", hint=hint
            )
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
    """The pictures in the one folder that ``--mask`` names, by their stem, the preferred first; None: it names none.

    Read once for all pictures. The endings' case does not matter, but for the order of what is otherwise equal.
    """
    if len(masks) != 1 or masks[0] in MASK_WORDS or not Path(masks[0]).is_dir():
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
    where the folder has none at all, the path that it would have, which does not exist. ConfigError for what can be
    neither, and for another number of masks than pictures.
    """
    if not masks:
        return None
    if len(masks) == 1 and masks[0] in MASK_WORDS:
        return masks[0]
    if folder is not None:
        found = folder.get(image.stem, ())
        same = [path for path in found if path.suffix.lower() == image.suffix.lower()]
        return next(iter([*same, *found]), Path(masks[0]) / image.name)
    if len(masks) != count:
        raise ConfigError(
            f"--mask was given {len(masks)} times for {count} pictures.", hint="One each, a folder, or auto."
        )
    given = masks[index]
    if given in MASK_WORDS:
        return given
    if Path(given).is_dir():
        raise ConfigError(f"--mask {given} is a folder: give it once, and no other mask.")
    if not Path(given).exists() and Path(given).suffix.lower() not in PICTURE_SUFFIXES:
        hint = f"Write it small: --mask {given.lower()}." if given.lower() in MASK_WORDS else ""
        raise ConfigError(f"--mask {given} is neither a file, a folder, auto nor rembg.", hint=hint)
    return Path(given)


def check_places(
    jobs: Sequence[Job], options: dict[str, Any], sheet: Path | None, others: Mapping[Path, str] | None = None
) -> None:
    """ConfigError where something would be written over an input, or two things to one place.

    ``others``: files that are read besides those that the jobs name, and what they are.
    """
    inputs: dict[Path, str] = {path.resolve(): what for path, what in (others or {}).items()}
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


def problem_of(job: Job, masks: Sequence[str]) -> str:
    """Why the picture cannot be used, as far as its files' existence says; empty where nothing is missing.

    ``masks`` is what ``--mask`` gave: one folder that lacks the mask is told by what was looked for in it.
    """
    if job.image.is_dir():
        return f"{job.image.name or job.image} is a folder: name its pictures"
    if not job.image.is_file():
        return f"{job.image.name} does not exist"
    if isinstance(job.mask, Path) and not job.mask.is_file():
        if len(masks) == 1 and Path(masks[0]).is_dir():
            endings = sorted(PICTURE_SUFFIXES, key=lambda ending: ending != job.image.suffix.lower())[:3]
            looked = f"{job.image.stem}{', '.join(endings)}, …"
            return f"no mask of {job.image.name} in {masks[0]} (looked for {looked})"
        return f"its mask {job.mask} does not exist"
    if job.pose is not None and not job.pose.exists():
        return f"its camera file {job.pose} does not exist"
    return ""
