"""``meshfix``: pymeshfix (Attene 2010) in a child process; its result is checked.

pymeshfix is licensed under the AGPL-3, and may crash or take minutes on defective meshes; the child process isolates
both. It drops parts that it cannot combine into one solid, so its result is used only if no surface was lost.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pix3d_onet.errors import MissingDependencyError
from pix3d_onet.geometry.mesh.cleaning import merge_vertices
from pix3d_onet.geometry.mesh.raycast import RayScene
from pix3d_onet.geometry.mesh.sampling import sample_surface
from pix3d_onet.geometry.mesh.topology import is_watertight, volume
from pix3d_onet.types import Mesh

TIME_LIMIT = 60.0
"""Time limit of pymeshfix, seconds."""
PROBES = 5000
"""Points on the input's surface whose distance to the result is measured."""
KEPT_SHARE = 0.99
"""Fraction of them that must be within the tolerance."""

_CHILD = """
import sys
import numpy as np
import pymeshfix
data = np.load(sys.argv[1], allow_pickle=False)
fix = pymeshfix.MeshFix(data["vertices"], data["faces"])
fix.repair(joincomp=True, remove_smallest_components=False)
np.savez(sys.argv[2], vertices=np.asarray(fix.points), faces=np.asarray(fix.faces))
"""


@dataclass(frozen=True, slots=True)
class MeshfixOutcome:
    """The repaired mesh; or None, and ``problem`` says why in one line."""

    mesh: Mesh | None
    problem: str = ""


def meshfix(mesh: Mesh, *, tolerance: float, time_limit: float = TIME_LIMIT) -> MeshfixOutcome:
    """Repair ``mesh``; the result is in the same frame. Surface farther than ``tolerance`` (its units) counts as lost.

    MissingDependencyError if pymeshfix is not installed.
    """
    merged = merge_vertices(mesh)
    with tempfile.TemporaryDirectory(prefix="onet-meshfix-") as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, vertices=merged.vertices, faces=merged.faces.astype(np.int32))
        command = [sys.executable, "-c", _CHILD, str(source), str(target)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=time_limit, check=False)
        except subprocess.TimeoutExpired:
            return MeshfixOutcome(None, f"took over {time_limit:g} s")
        if b"No module named 'pymeshfix'" in done.stderr:
            raise MissingDependencyError(
                "`watertight='meshfix'` needs pymeshfix.", hint="Install it with: pip install 'pix3d-onet[geometry]'"
            )
        if done.returncode != 0 or not target.exists():
            return MeshfixOutcome(None, f"pymeshfix ended with status {done.returncode}")
        with np.load(target, allow_pickle=False) as data:
            result = Mesh(data["vertices"], data["faces"])
    return _checked(merged, result, tolerance)


def _checked(before: Mesh, after: Mesh, tolerance: float) -> MeshfixOutcome:
    if not is_watertight(after):
        return MeshfixOutcome(None, "not closed after repair")
    if volume(after) < 0:
        after = Mesh(after.vertices, after.faces[:, ::-1])
    probes, _ = sample_surface(before, PROBES, 0, "meshfix")
    kept = float((RayScene(after).distance(probes) <= tolerance).mean())
    if kept < KEPT_SHARE:
        return MeshfixOutcome(None, f"{1 - kept:.1%} of the surface lost")
    return MeshfixOutcome(after)
