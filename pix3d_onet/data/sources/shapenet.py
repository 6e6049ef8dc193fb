"""Read ShapeNetCore v1 and v2 (Chang et al. 2015), with Choy's renderings (3D-R2N2, ECCV 2016) if present.

Files below the root::

    ShapeNetCore.v1/<synset>/<model>/model.obj                        or the synsets directly in the root
    ShapeNetCore.v2/<synset>/<model>/models/model_normalized.obj      likewise
    ShapeNetRendering/<synset>/<model>/rendering/{00..23}.png         with rendering_metadata.txt

If the root is the folder of the synsets, the renderings may be beside it; then the listing's root is its parent.

ShapeNet's model axes are +y up and -z front, as in Pix3D, so poses have the same meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pix3d_onet.config import PrepareConfig
from pix3d_onet.errors import InputError, RejectError
from pix3d_onet.files import inside, read_text
from pix3d_onet.types import Camera, Rejected, SourceListing, SourceShape, SourceView

SYNSETS = {
    "02691156": "airplane", "02747177": "trash-bin", "02773838": "bag", "02801938": "basket", "02808440": "bathtub",
    "02818832": "bed", "02828884": "bench", "02843684": "birdhouse", "02871439": "bookshelf", "02876657": "bottle",
    "02880940": "bowl", "02924116": "bus", "02933112": "cabinet", "02942699": "camera", "02946921": "can",
    "02954340": "cap", "02958343": "car", "02992529": "cellphone", "03001627": "chair", "03046257": "clock",
    "03085013": "keyboard", "03207941": "dishwasher", "03211117": "display", "03261776": "earphone",
    "03325088": "faucet", "03337140": "file-cabinet", "03467517": "guitar", "03513137": "helmet", "03593526": "jar",
    "03624134": "knife", "03636649": "lamp", "03642806": "laptop", "03691459": "loudspeaker", "03710193": "mailbox",
    "03759954": "microphone", "03761084": "microwave", "03790512": "motorbike", "03797390": "mug", "03928116": "piano",
    "03938244": "pillow", "03948459": "pistol", "03991062": "pot", "04004475": "printer", "04074963": "remote",
    "04090263": "rifle", "04099429": "rocket", "04225987": "skateboard", "04256520": "sofa", "04330267": "stove",
    "04379243": "table", "04401088": "telephone", "04460130": "tower", "04468005": "train", "04530566": "vessel",
    "04554684": "washer",
}  # fmt: skip
"""WordNet offset → category, for the 55 categories of ShapeNetCore (taxonomy.json)."""
CORES = ("ShapeNetCore.v2", "ShapeNetCore.v1", ".")
RENDERINGS = "ShapeNetRendering"
MODELS = ("models/model_normalized.obj", "model.obj")
"""Path of the mesh in a model's folder: v2, v1."""
CHOY_SIDE = 137
"""Side of Choy's pictures, pixels."""
CHOY_FOCAL_MM, CHOY_SENSOR_MM = 35.0, 32.0
"""Focal length and sensor width of Choy's Blender camera, millimetres."""
CHOY_DISTANCE = 1.75
"""Blender units per unit of distance in ``rendering_metadata.txt``."""
METADATA = "rendering_metadata.txt"
MAX_METADATA_BYTES = 1 << 20
STAGE = "parse"


def list_shapenet(root: Path, config: PrepareConfig, *, split_files: Sequence[Path] = ()) -> SourceListing:
    """Every model of the chosen categories (names of :data:`SYNSETS` or WordNet offsets), sorted by id.

    A model is its own group; its id is ``synset/model``. Models without a mesh file and renderings without a readable
    camera are rejects. Raises InputError if ``root`` holds no synset, ConfigError for an unknown category.
    """
    if not root.is_dir():
        raise InputError(f"no ShapeNet folder at {root}.", hint="Name the folder that holds ShapeNetCore's synsets.")
    core = next((root / c for c in CORES if any(_synsets(root / c))), None)
    if core == root / "." and not (root / RENDERINGS).is_dir() and (root.resolve().parent / RENDERINGS).is_dir():
        core, root = root.resolve(), root.resolve().parent  # the renderings are beside the folder of the synsets
    if core is None:
        raise InputError(
            f"{root} holds no ShapeNet synset.", hint="Looked for folders such as 03001627/<model>/model.obj."
        )
    categories = {p.name: SYNSETS.get(p.name, p.name) for p in _synsets(core)}
    config.check_categories(categories.values(), "by name or WordNet offset, the source", categories)
    shapes: list[SourceShape] = []
    rejected: list[Rejected] = []
    others = 0
    for folder in sorted(_synsets(core)):
        models = sorted(p for p in folder.iterdir() if p.is_dir())
        if not (config.takes(folder.name) or config.takes(categories[folder.name])):
            others += len(models)
            continue
        for model in models:
            _add(root, model, shapes, rejected)
    records = len(shapes) + sum(r.record_id == r.object_id for r in rejected) + others
    skipped = {"category": others} if others else {}
    return SourceListing("shapenet", root, tuple(shapes), tuple(rejected), records, skipped=skipped)


def choy_camera(azimuth: float, elevation: float, distance: float) -> Camera:
    """The camera of a line of ``rendering_metadata.txt``: degrees, degrees, and a distance in units of 1.75.

    Blender's camera starts on the +x axis, is rotated by minus the azimuth around +z (up) and by the elevation upwards,
    and looks at the origin. The OBJ importer rotates the model's (x, y, z) to (x, -z, y). So in the model frame the
    camera is at (cos a cos e, sin e, sin a cos e). Camera axes of the result: left, up, forward.
    """
    a, e = math.radians(azimuth), math.radians(elevation)
    forward = -np.array([math.cos(e) * math.cos(a), math.sin(e), math.cos(e) * math.sin(a)])
    left = np.cross([0.0, 1.0, 0.0], forward)
    left /= np.linalg.norm(left)
    rotation = np.stack([left, np.cross(forward, left), forward])
    focal = CHOY_FOCAL_MM / CHOY_SENSOR_MM * CHOY_SIDE
    return Camera(rotation, np.array([0.0, 0.0, distance * CHOY_DISTANCE]), focal, CHOY_SIDE, CHOY_SIDE)


def _synsets(core: Path) -> Iterator[Path]:
    if core.is_dir():
        yield from (p for p in core.iterdir() if len(p.name) == 8 and p.name.isdigit() and p.is_dir())


def _add(root: Path, model: Path, shapes: list[SourceShape], rejected: list[Rejected]) -> None:
    synset, name = model.parent.name, model.name
    object_id = f"{synset}/{name}"
    try:
        paths = [inside(root, (model / m).relative_to(root).as_posix()) for m in MODELS]
        mesh = next((p for p in paths if p.is_file()), None)
        if mesh is None:
            raise RejectError("missing-model", f"{object_id} has no {' or '.join(MODELS)}")
    except RejectError as error:
        rejected.append(Rejected(object_id, object_id, STAGE, error.reason, error.message))
        return
    views, lost = _choy_views(root, synset, name)
    rejected += lost
    shapes.append(SourceShape(object_id, SYNSETS.get(synset, synset), object_id, mesh, tuple(views)))


def _choy_views(root: Path, synset: str, name: str) -> tuple[list[SourceView], list[Rejected]]:
    object_id, views, rejected = f"{synset}/{name}", [], []
    relative = f"{RENDERINGS}/{synset}/{name}/rendering"
    try:
        folder = inside(root, relative)
        present = folder.is_dir()
        lines = read_text(folder / METADATA, limit=MAX_METADATA_BYTES).splitlines() if present else []
    except RejectError as error:
        return [], [Rejected(object_id, f"{object_id}/{METADATA}", STAGE, error.reason, error.message)]
    except (OSError, UnicodeDecodeError) as error:
        detail = f"{METADATA} cannot be read: {error}"
        return [], [Rejected(object_id, f"{object_id}/{METADATA}", STAGE, "bad-cameras", detail)]
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        record = f"{object_id}/{number:02d}"
        try:
            azimuth, elevation, _, distance = (float(word) for word in line.split()[:4])
            if not all(map(math.isfinite, (azimuth, elevation, distance))) or distance <= 0:
                raise ValueError(line)
            image = inside(root, f"{relative}/{number:02d}.png")
            if not image.is_file():
                raise RejectError("missing-image", f"{relative}/{image.name} does not exist")
            views.append(SourceView(record, image, None, choy_camera(azimuth, elevation, distance)))
        except ValueError:
            rejected.append(Rejected(object_id, record, STAGE, "bad-pose", f"{METADATA}: {line[:60]!r}"))
        except RejectError as error:
            rejected.append(Rejected(object_id, record, STAGE, error.reason, error.message))
    return views, rejected
