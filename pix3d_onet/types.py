"""Frozen records that the stages pass to each other; numpy only.

Frames
------
*model*: the CAD file's own axes (Pix3D: +x left, +y up, +z inward), original units.
*normalised*: ``X_n = (X - loc) / scale``; bounding box of the watertight mesh centred at the origin, longest
side 1. Everything stored in a data set is in this frame.
*camera*: ``X_cam = pose @ X_n`` in normalised units; the camera looks along +z.
*pixel*: ``(u, v, 1) ~ intrinsics @ X_cam``, continuous, (0, 0) is the top-left corner of the top-left pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]
Int16 = NDArray[np.int16]
Bool = NDArray[np.bool_]


MESH_SUFFIXES = (".obj", ".off", ".ply", ".stl", ".glb", ".gltf")
"""Endings of the mesh files that are read, in any case."""


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles in any frame: ``vertices`` (V, 3) float64, ``faces`` (F, 3) int64 into ``vertices``.

    Anything array-like is converted. Faces are counter-clockwise seen from outside, if the orientation is known.
    Raises ValueError for wrong array shapes and for faces that are not whole numbers; NaN and bad indices are checked
    by ``geometry.mesh.cleaning.clean``.
    """

    vertices: Float64
    faces: Int64

    def __post_init__(self) -> None:
        vertices = np.ascontiguousarray(self.vertices, dtype=np.float64)
        given = np.asarray(self.faces)
        if given.dtype.kind == "f" and not (np.isfinite(given).all() and (given % 1 == 0).all()):
            raise ValueError("faces must be whole numbers, the indices of vertices")
        faces = np.ascontiguousarray(given, dtype=np.int64)
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise ValueError(f"vertices must be (V, 3), not {vertices.shape}")
        if faces.ndim != 2 or faces.shape[1] != 3:
            raise ValueError(f"faces must be (F, 3), not {faces.shape}")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", faces)

    @property
    def triangles(self) -> Float64:
        """(F, 3, 3) float64: the corners of every face."""
        return self.vertices[self.faces]

    @property
    def bounds(self) -> Float64:
        """(2, 3) float64: lowest and highest corner of the bounding box. ValueError if there are no vertices."""
        columns = self.vertices.T  # one by one: twenty times as fast as along axis 0
        return np.array([[c.min() for c in columns], [c.max() for c in columns]])


@dataclass(frozen=True, slots=True, eq=False)
class Normalisation:
    """``normalised = (original - loc) / scale``; ``loc`` (3,) float64 and ``scale`` in model units."""

    loc: Float64
    scale: float

    def apply(self, points: Float64) -> Float64:
        """(N, 3) model frame → (N, 3) normalised frame."""
        return (points - self.loc) / self.scale

    def undo(self, points: Float64) -> Float64:
        """(N, 3) normalised frame → (N, 3) model frame."""
        return points * self.scale + self.loc


PIX3D_INDEX = "pix3d.json"
"""File name of a Pix3D release's index."""
MANIFEST = "manifest.json"
"""File name of a data set's manifest."""
PIX3D_SENSOR_MM = 32.0
"""Width of the sensor that Pix3D's focal lengths refer to, millimetres."""
SYNTHETIC_PREFIX = "SYNTH_"
"""How the names of synthetic shapes begin: a synthetic release has Pix3D's layout, but not its licence."""


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole camera in the model frame of a source, before cropping.

    ``X_cam = rotation @ X + translation``, ``u = width/2 - focal·X/Z``, ``v = height/2 - focal·Y/Z`` (Pix3D's
    convention, its page and Sun et al., CVPR 2018). ``rotation`` (3, 3), ``translation`` (3,) model units,
    ``focal``, ``width``, ``height`` in pixels of the original image; ``centre`` is the principal point (u, v), None =
    the middle of the image.
    """

    rotation: Float64
    translation: Float64
    focal: float
    width: int
    height: int
    centre: tuple[float, float] | None = None

    @property
    def intrinsics(self) -> Float64:
        """(3, 3) float64 K with ``(u, v, 1)·Z = K @ X_cam``; both focal entries are negative (see the class)."""
        u, v = self.centre or (self.width / 2, self.height / 2)
        return np.array([[-self.focal, 0.0, u], [0.0, -self.focal, v], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One picture of a shape as stored.

    ``rgb`` (H, W, 3) uint8, background white; ``mask`` (H, W) bool, true on the object;
    ``pose`` (4, 4) float32 rigid, normalised → camera frame in normalised units (all NaN if the source has
    none); ``intrinsics`` (3, 3) float32 after the crop (NaN likewise), see the module's frames;
    ``record_id``: the source's record; ``rendered``: a rendered picture, not a photo. ``sha256``: of the photo's file,
    or of a rendered picture's pixels (empty: not known).
    """

    rgb: UInt8
    mask: Bool
    pose: Float32
    intrinsics: Float32
    record_id: str
    rendered: bool = False
    sha256: str = ""

    @property
    def has_pose(self) -> bool:
        """Whether the source has a camera for this picture."""
        return bool(np.isfinite(self.pose).all())

    def without_camera(self) -> Self:
        """The picture as if its camera were not known."""
        pose, intrinsics = (np.full_like(part, np.nan) for part in (self.pose, self.intrinsics))
        return replace(self, pose=pose, intrinsics=intrinsics)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One shape of a data set, everything in the normalised frame.

    ``points`` (P, 3) float32 in [-0.55, 0.55]³ and ``occupancy`` (P,) bool: i.i.d. uniform, so that any slice is
    a random sample. ``surface_points`` (Q, 3) and ``surface_normals`` (Q, 3), both float32: uniform on the surface.
    ``mesh``: the watertight mesh, decimated to the error that the manifest gives.
    ``loc`` (3,) float64 and ``scale``: normalised = (original - loc) / scale.

    None if the data set was prepared without them: ``near_points`` (N, 3) float32 and ``near_occupancy`` (N,) bool,
    i.i.d. near the surface; ``sdf`` (P,) and ``near_sdf`` (N,) float32: signed distances of both kinds of points,
    negative inside, never 0.
    """

    object_id: str
    category: str
    points: Float32
    occupancy: Bool
    surface_points: Float32
    surface_normals: Float32
    mesh: Mesh
    images: tuple[View, ...]
    loc: Float64
    scale: float
    sdf: Float32 | None = None
    near_points: Float32 | None = None
    near_occupancy: Bool | None = None
    near_sdf: Float32 | None = None


@dataclass(frozen=True, slots=True)
class ShapeIdentity:
    """Which shape: ``object_id`` is unique in its data set and stable between runs; ``group`` is what a split keeps
    together (Pix3D: the shape's folder)."""

    object_id: str
    category: str
    group: str


@dataclass(frozen=True, slots=True, eq=False)
class ShapeGeometry:
    """What a shard stores of a shape besides its pictures, in stored form.

    ``points_q`` (P, 3) uint16 lattice cells (see ``lattice.decode_points``), ``occupancy`` (P,) bool labels of the
    *decoded* points; ``surface_points_q`` (Q, 3) uint16; ``surface_normals_q`` (Q, 2) uint8 octahedral; ``mesh`` in
    the normalised frame; ``qc`` JSON-able quality figures (no times: they would break byte identity).

    Where the settings ask for them: ``near_points_q`` (N, 3) uint16 and ``near_occupancy`` (N,) bool, points near the
    surface; ``sdf_q`` (P,) and ``near_sdf_q`` (N,) int16, see ``encoding.encode_distances``.
    """

    points_q: UInt16
    occupancy: Bool
    surface_points_q: UInt16
    surface_normals_q: UInt8
    mesh: Mesh
    normalisation: Normalisation
    qc: Mapping[str, Any] = field(default_factory=dict)
    near_points_q: UInt16 | None = None
    near_occupancy: Bool | None = None
    sdf_q: Int16 | None = None
    near_sdf_q: Int16 | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a shape was made from: ``source_mesh`` relative to the source's root, the digest of that file, and
    ``source_sha256`` over the content of all files that were read for it (empty: not known)."""

    source_mesh: str
    mesh_sha256: str
    source_sha256: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedShape:
    """One shape ready to be written to a shard; ``seconds`` per stage are kept outside the shards."""

    identity: ShapeIdentity
    geometry: ShapeGeometry
    views: tuple[View, ...]
    provenance: Provenance
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record or shape that cannot be used: counted, and written to ``rejects.jsonl``.

    ``stage``: where it was rejected (``unpack``, ``parse``, ``image``, ``mesh``, ``watertight``, ``labels``,
    ``worker``);
    ``reason``: a short stable code; ``detail``: one line for the user.
    """

    object_id: str
    record_id: str
    stage: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class SourceView:
    """A picture listed by a source: files inside its root, not yet read. ``camera`` None = the source has none.

    ``on_white``: if there is neither a mask file nor an alpha channel, every pixel that is not white is the object.
    """

    record_id: str
    image: Path
    mask: Path | None
    camera: Camera | None = None
    on_white: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SourceShape:
    """A shape listed by a source: files inside its root, not yet read.

    ``object_id``, ``category``, ``group``: see :class:`ShapeIdentity`. ``mesh``: the file with its geometry (the
    original layout: ``points.npz``); ``voxel``: the source's own occupancy grid, used only for quality control;
    ``cloud``: surface points of a source that has labels instead of meshes (``pointcloud.npz``); ``given_mesh``: the
    surface itself, if such a source has it (``mesh.off``).
    """

    object_id: str
    category: str
    group: str
    mesh: Path
    views: tuple[SourceView, ...]
    voxel: Path | None = None
    cloud: Path | None = None
    given_mesh: Path | None = None

    @property
    def identity(self) -> ShapeIdentity:
        """What the shape is called once prepared."""
        return ShapeIdentity(self.object_id, self.category, self.group)

    @property
    def further_files(self) -> tuple[Path | None, ...]:
        """The files that are read beside ``mesh``: a change of one is a change of the shape."""
        more = () if self.given_mesh is None else (self.given_mesh,)
        return (self.cloud or self.voxel, *more)


@dataclass(frozen=True, slots=True)
class SourceListing:
    """Contents of a source: its usable shapes in a stable order, and every record that was rejected while parsing.

    ``records``: number of records in the source's index; ``fixed_splits``: record id → split, if the source
    prescribes one (Mesh R-CNN's S1/S2, an original ``*.lst``); ``skipped``: number of records that the settings
    exclude and no shape has, per cause (``category``, ``flags``, ``same-shape``, ``not-in-split``, ``pattern``);
    ``grouping``: the rule for groups, if the user can choose one; ``by_picture``: whether a record is a picture, not a
    shape.
    """

    kind: str
    root: Path
    shapes: tuple[SourceShape, ...]
    rejected: tuple[Rejected, ...]
    records: int
    fixed_splits: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    grouping: str = ""
    by_picture: bool = False
