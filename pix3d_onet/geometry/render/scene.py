"""Render shaded pictures of a mesh with exact mask, depth and camera; a z-buffer rasteriser without OpenGL or GPU.

Frames are those of ``types``: ``X_cam = pose @ X``, ``(u, v, 1)·Z = intrinsics @ X_cam``, the camera looks along +z.
Random cameras follow Pix3D's convention (camera axes left, up, forward; negative focal entries), so that a pose has
the same meaning for a rendered view and for a photo.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pix3d_onet.errors import RejectError
from pix3d_onet.geometry.render.cameras import MARGIN, frame, random_pose
from pix3d_onet.geometry.render.kernels.raster import rasterise, resolve
from pix3d_onet.geometry.render.kernels.shading import corner_normals, shade
from pix3d_onet.geometry.render.look import CREASE, LIGHTS, welded
from pix3d_onet.seeding import generator
from pix3d_onet.types import Bool, Float32, Float64, Mesh, UInt8, View

Matrix = NDArray[np.floating[Any]]
GREY = (0.48, 0.46, 0.44)
"""Linear albedo of a mesh without colours."""
NEAR = 1e-4
"""Nearest drawn depth as a fraction of the distance to the farthest vertex; triangles that cross it are clipped."""
SUPERSAMPLE = 2
"""Samples per pixel along each axis."""


class Rendering(NamedTuple):
    """``rgb`` (H, W, 3) uint8 on white; ``mask`` (H, W) bool, at least half of the pixel covered; ``depth`` (H, W)
    float32, Z of the nearest sample in the pose's units, infinity if there is none."""

    rgb: UInt8
    mask: Bool
    depth: Float32


class Scene:
    """A mesh to be rendered many times; its normals are computed once.

    ``colours``: one linear albedo (3,) or one per face (F, 3); default a warm grey. RejectError ``empty-mesh`` if the
    mesh has no faces.
    """

    def __init__(self, mesh: Mesh, colours: NDArray[np.floating[Any]] | None = None) -> None:
        if not len(mesh.faces):
            raise RejectError("empty-mesh", "a mesh without faces cannot be drawn", "render")
        self.vertices = mesh.vertices
        self.faces = np.ascontiguousarray(mesh.faces, dtype=np.int32)
        self.normals = _normals(mesh)
        albedo = np.asarray(GREY if colours is None else colours, dtype=np.float32)
        self.colours = np.array(np.broadcast_to(albedo, (len(self.faces), 3)), order="C")

    def view(
        self, pose: Matrix, intrinsics: Matrix, size: int | tuple[int, int], *, supersample: int = SUPERSAMPLE
    ) -> Rendering:
        """Render one picture. ``pose`` (4, 4) mesh frame → camera; ``intrinsics`` (3, 3); ``size``: side or (width,
        height), pixels. With ``supersample`` 1, mask and depth are those of the pixel centres.
        """
        ids, inverse_depth, screen, faces, source, zoom = self._draw(pose, intrinsics, size, supersample)
        linear = np.empty((*ids.shape, 3), dtype=np.float32)
        lights = LIGHTS.copy()
        lights[:, :3] /= np.linalg.norm(lights[:, :3], axis=1, keepdims=True)
        rotation: Float64 = np.ascontiguousarray(pose[:3, :3], dtype=np.float64)
        rays = np.asarray(np.linalg.inv(zoom), dtype=np.float64)
        shade(ids, inverse_depth, screen, faces, source, self.normals, self.colours, rays, rotation, lights, linear)
        height, width = (side // supersample for side in ids.shape)
        rgb = np.empty((height, width, 3), dtype=np.uint8)
        mask = np.empty((height, width), dtype=np.bool_)
        depth = np.empty((height, width), dtype=np.float32)
        resolve(linear, ids, inverse_depth, supersample, rgb, mask, depth)
        return Rendering(rgb, mask, depth)

    def silhouette(self, pose: Matrix, intrinsics: Matrix, size: int | tuple[int, int]) -> Bool:
        """(H, W) bool: the mask of ``view``, without shading: pixels of which the mesh covers at least half."""
        ids, *_ = self._draw(pose, intrinsics, size, SUPERSAMPLE)
        height, width = (side // SUPERSAMPLE for side in ids.shape)
        covered = (ids >= 0).reshape(height, SUPERSAMPLE, width, SUPERSAMPLE).mean(axis=(1, 3))
        return np.asarray(covered >= 0.5)

    def _draw(
        self, pose: Matrix, intrinsics: Matrix, size: int | tuple[int, int], supersample: int
    ) -> tuple[Any, Any, Any, Any, Any, Float64]:
        """Face and 1/Z of every sample; vertices, faces and sources of the latter; intrinsics in samples."""
        width, height = (supersample * side for side in ((size, size) if isinstance(size, int) else size))
        zoom: Float64 = np.diag([supersample, supersample, 1.0]) @ np.asarray(intrinsics, dtype=np.float64)
        matrix = np.asarray(pose, dtype=np.float64)
        camera = self.vertices @ matrix[:3, :3].T + matrix[:3, 3]  # (V, 3)
        near = NEAR * max(float(camera[:, 2].max()), np.finfo(np.float64).tiny)
        faces, source = self.faces, np.arange(len(self.faces), dtype=np.int32)
        if camera[:, 2].min() < near:
            camera, faces, source = _clip(camera, faces, near)
        projected = camera @ zoom.T
        screen = np.empty_like(projected)
        with np.errstate(divide="ignore", invalid="ignore"):  # vertices behind the camera, unused after clipping
            screen[:, :2] = projected[:, :2] / projected[:, 2:]
            screen[:, 2] = 1.0 / camera[:, 2]
        ids = np.full((height, width), -1, dtype=np.int32)
        inverse_depth = np.zeros((height, width), dtype=np.float32)
        rasterise(screen, faces, inverse_depth, ids)
        return ids, inverse_depth, screen, faces, source, zoom


def random_views(
    mesh: Mesh, count: int, seed: int, name: str, size: int, *, margin: float = MARGIN, supersample: int = SUPERSAMPLE
) -> tuple[View, ...]:
    """``count`` shaded pictures of a mesh in the normalised frame from random cameras; ``name`` is the shape's id.

    Azimuth, elevation, roll, field of view and distance are uniform in the ranges of ``cameras``; the camera looks at
    the centre of the box. The picture is cropped to the object with ``margin``, like a photo; the intrinsics include
    the crop. View k depends only on ``seed``, ``name`` and k.
    """
    if count == 0:
        return ()
    scene = Scene(mesh)
    views = []
    for k in range(count):
        rng = generator(seed, "view", name, str(k))
        pose = random_pose(rng, mesh.bounds)
        intrinsics = frame(mesh.vertices, pose, size, margin)
        picture = scene.view(pose, intrinsics, size, supersample=supersample)
        views.append(
            View(
                rgb=picture.rgb,
                mask=picture.mask,
                pose=pose.astype(np.float32),
                intrinsics=intrinsics.astype(np.float32),
                record_id=f"{name}/view-{k:03d}",
                rendered=True,
            )
        )
    return tuple(views)


def _normals(mesh: Mesh) -> Float32:
    """(F, 3, 3) corner normals; vertices at the same position are merged, because OBJ exporters split them."""
    triangles = mesh.triangles
    face_normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    faces = welded(mesh.vertices)[mesh.faces].astype(np.int32)
    flat = faces.ravel()
    incident = (np.argsort(flat, kind="stable") // 3).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=int(flat.max()) + 1))]).astype(np.int32)
    return corner_normals(faces, face_normals, starts, incident, CREASE)


def _clip(camera: Float64, faces: Any, near: float) -> tuple[Float64, Any, Any]:
    """Clip triangles at the plane Z = near. Returns vertices (new ones appended), faces, and each face's source."""
    behind = camera[:, 2] < near
    hidden = behind[faces].sum(axis=1)
    keep = np.flatnonzero(hidden == 0)
    vertices, triangles, source = [], [faces[keep]], [keep]
    count = len(camera)
    for f in np.flatnonzero((hidden == 1) | (hidden == 2)):
        polygon = []
        corners = camera[faces[f]]
        for k in range(3):
            p, q = corners[k], corners[(k + 1) % 3]
            if p[2] >= near:
                polygon.append(p)
            if (p[2] >= near) != (q[2] >= near):
                share = (near - p[2]) / (q[2] - p[2])
                polygon.append(p + share * (q - p))
        vertices.extend(polygon)
        fan = [(count, count + k, count + k + 1) for k in range(1, len(polygon) - 1)]
        triangles.append(np.array(fan, dtype=np.int32))
        source.append(np.full(len(fan), f))
        count += len(polygon)
    extended = np.concatenate([camera, np.array(vertices).reshape(-1, 3)])
    return extended, np.concatenate(triangles).astype(np.int32), np.concatenate(source).astype(np.int32)
