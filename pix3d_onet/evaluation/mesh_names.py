"""Find another method's mesh of a picture by its name, and read it once in a process of limited time and memory.

A mesh belongs to a picture if it has a name of the picture, otherwise if it has a name of its shape. Names of a picture
are its id without the file ending (``img/chair/1807.jpg``: ``img/chair/1807``), with it, and each end of these after a
``/`` (``1807``); names of a shape likewise. A ``/`` is written as a folder or as ``-``. A mesh has the name of its file
without its ending, or of a folder if it is the only mesh below it (``1807/0/mesh.obj``). The longest name counts.

Scripts that number their outputs in the order of their arguments need a file ``pictures.txt`` in the folder: line k
names the picture of folder or file k, counted from 0.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pix3d_onet.data.sources.mesh_folder import mesh_files
from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.events import Emit, Note, Progress, ignore
from pix3d_onet.files import inside, read_text
from pix3d_onet.geometry.mesh.inside.any_mesh import inside_any_mesh
from pix3d_onet.geometry.mesh.reading import read_mesh
from pix3d_onet.geometry.mesh.sampling import draw_cells
from pix3d_onet.lattice import decode_points
from pix3d_onet.machine.threads import usable_cores
from pix3d_onet.preparation.execution.pool import Failure, Limits, Plan, run
from pix3d_onet.types import MESH_SUFFIXES, Rejected

ORDER = "pictures.txt"
"""Names the pictures of numbered outputs."""
MAX_ORDER_BYTES = 1 << 20
"""Larger lists are refused."""
LIMITS = Limits(seconds=120.0, memory=8 << 30)
"""Time and memory in which one mesh must be read and tried."""
NAMED = 3
"""Most meshes that a note names."""
PROBES = 1000
"""Points of the trial inside test."""


@dataclass(frozen=True, slots=True)
class MeshNames:
    """The meshes of a folder by name: those of files, and for each folder those below it."""

    root: Path
    files: Mapping[str, Sequence[Path]]
    folders: Mapping[str, Sequence[Path]]

    def find(self, names: Iterable[tuple[str, bool]]) -> Path | None:
        """The mesh with the first of ``names`` that one has; each is given with whether it stands for one picture only.

        None if there is none. RejectError ``ambiguous-mesh`` if the name stands for several pictures or several meshes.
        """
        for name, unique in names:
            found = self.files.get(name) or self.folders.get(name)
            if not found:
                continue
            if not unique:
                raise RejectError("ambiguous-mesh", f"several pictures or shapes are called {name}", "mesh")
            if len(found) > 1:
                listed = ", ".join(p.relative_to(self.root).as_posix() for p in found[:3])
                raise RejectError("ambiguous-mesh", f"{len(found)} meshes are called {name}: {listed}", "mesh")
            return found[0]
        return None


def mesh_names(root: Path) -> MeshNames:
    """List the meshes of a folder. InputError if it is not one or has none, or if its list of pictures is damaged."""
    if not root.is_dir():
        raise InputError(f"no folder of meshes at {root}.")
    order = _order(root)
    files, folders = defaultdict(list), defaultdict(list)
    for path in sorted(mesh_files(root)):
        relative = path.relative_to(root)
        first, *rest = relative.with_suffix("").parts
        for start in order.get(first, (first,)):
            name = PurePosixPath(start, *rest)
            files[flat(name.as_posix())].append(path)
            for folder in list(name.parents)[:-1]:
                folders[flat(folder.as_posix())].append(path)
    if not files:
        raise InputError(f"{root} holds no mesh file.", hint=f"Looked for {', '.join(MESH_SUFFIXES)}.")
    return MeshNames(root, files, folders)


def _order(root: Path) -> dict[str, tuple[str, ...]]:
    """Number → names of its picture, from the list of pictures; empty without one."""
    path = root / ORDER
    if not path.exists():
        return {}
    try:
        lines = read_text(path, limit=MAX_ORDER_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from None
    return {str(k): tuple(dict.fromkeys(map(flat, ends(line.strip())))) for k, line in enumerate(lines) if line.strip()}


def flat(name: str) -> str:
    """A name with ``-`` for ``/``."""
    return name.replace("/", "-")


def ends(identifier: str) -> list[str]:
    """Names of a picture or shape, the longest first."""
    path = PurePosixPath(identifier)
    found = []
    for k in range(len(path.parts) if path.name else 0):
        end = PurePosixPath(*path.parts[k:])
        found += [end.as_posix(), end.with_suffix("").as_posix()]
    return list(dict.fromkeys(found))


def all_names(identifiers: Iterable[str]) -> dict[str, list[tuple[str, bool]]]:
    """Identifier → its names, longest first, each with whether no other identifier has it."""
    names = {identifier: list(dict.fromkeys(map(flat, ends(identifier)))) for identifier in dict.fromkeys(identifiers)}
    owners = Counter(name for found in names.values() for name in found)
    return {identifier: [(name, owners[name] == 1) for name in found] for identifier, found in names.items()}


def usable_meshes(
    root: Path, pictures: Mapping[str, str], *, limits: Limits = LIMITS, emit: Emit = ignore
) -> dict[str, Path | Rejected]:
    """Record id → its mesh, or why it has none; ``pictures``: record id → object id.

    InputError if no picture has a mesh, usable or not.
    """
    listed = mesh_names(root)
    of_picture, of_shape = all_names(pictures), all_names(pictures.values())
    found: dict[str, Path | Rejected] = {}
    for record, shape in pictures.items():
        try:
            path = listed.find([*of_picture[record], *of_shape[shape]])
            if path is None:
                raise RejectError("missing-mesh", "no mesh has its name or that of its shape", "mesh")
            found[record] = inside(root, path.relative_to(root).as_posix())
        except RejectError as error:
            found[record] = Rejected(shape, record, error.stage or "mesh", error.reason, error.message)
    if all(isinstance(f, Rejected) and f.reason == "missing-mesh" for f in found.values()):
        record, shape = next(iter(pictures.items()))
        raise InputError(f"no mesh in {root} has the name of a picture ({ends(record)[-1]}) or shape ({shape}).")
    _tell_unused(listed, found.values(), emit)
    problems = _problems(root, [f for f in found.values() if isinstance(f, Path)], limits, emit)
    for record, mesh in found.items():
        if isinstance(mesh, Path) and (problem := problems.get(mesh)):
            found[record] = replace(problem, object_id=pictures[record], record_id=record)
    return found


def _tell_unused(listed: MeshNames, found: Iterable[Path | Rejected], emit: Emit) -> None:
    """A note on meshes that are used for no picture; a warning if pictures lack a mesh, since names may be wrong."""
    found = list(found)
    used = {f for f in found if isinstance(f, Path)}
    paths = sorted({path for same in listed.files.values() for path in same})
    names = [p.relative_to(listed.root).as_posix() for p in paths if p not in used]
    if not names:
        return
    lacking = any(isinstance(f, Rejected) and f.reason == "missing-mesh" for f in found)
    text = f"{len(names)} of {len(paths)} meshes in {listed.root} are used for no picture of the split"
    listing = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    why = f" Lines of {ORDER} are counted from 0." if lacking and (listed.root / ORDER).exists() else ""
    emit(Note(f"{text}: {listing}.{why}", "warning" if lacking else "info"))


def _problems(root: Path, paths: Sequence[Path], limits: Limits, emit: Emit) -> dict[Path, Rejected]:
    """The meshes that cannot be used, or only with more time or memory than ``limits``."""
    tasks = [(path, root) for path in dict.fromkeys(paths)]
    plan: Plan[tuple[Path, Path], Rejected | None] = Plan(probe, limits, jobs=min(usable_cores(), max(len(tasks), 1)))
    problems: dict[Path, Rejected] = {}
    outcomes = run(tasks, plan)
    for done, ((path, _), outcome) in enumerate(outcomes, 1):
        if isinstance(outcome, Failure):
            problems[path] = Rejected("", "", "worker", outcome.reason, outcome.detail)
        elif outcome is not None:
            problems[path] = outcome
        emit(Progress(f"read {root.name}", done, len(tasks), len(problems)))
    return problems


def probe(task: tuple[Path, Path]) -> Rejected | None:
    """In a worker: read a mesh and use it a little; why it cannot be used, or None."""
    path, root = task
    try:
        mesh = read_mesh(path, root=root).mesh
        inside_any_mesh(mesh)[0](decode_points(draw_cells(PROBES, 0)))
    except RejectError as error:
        return Rejected("", "", error.stage or "mesh", error.reason, error.message)
    except MemoryError:
        return Rejected("", "", "worker", "memory", "needs more memory than a worker may use")
    return None
