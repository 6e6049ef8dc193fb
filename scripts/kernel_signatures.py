"""Write pix3d_onet/preparation/kernel_signatures.json: the kernels that Python calls while a release is made, prepared
and verified, each with the types of its arguments, the slowest to compile first. Takes minutes: all is compiled anew.

    python scripts/kernel_signatures.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parent.parent / "pix3d_onet/preparation/kernel_signatures.json"


def called_kernels(folder: Path) -> list[tuple[str, str, str]]:
    """(module, kernel, signature) of what is compiled in this process, callees left out, slowest first."""
    from numba.core import event

    seconds: dict[tuple[str, str, str], float] = {}
    nested: list[float] = []

    class Listener(event.Listener):  # type: ignore[misc]
        def on_start(self, event: Any) -> None:
            nested.append(time.perf_counter())

        def on_end(self, event: Any) -> None:
            took = time.perf_counter() - nested.pop()
            function = event.data["dispatcher"].py_func
            if not nested and function.__module__.startswith("pix3d_onet."):
                seconds[function.__module__, function.__name__, repr(tuple(event.data["args"]))] = took

    event.register("numba:compile", Listener())
    from pix3d_onet.config import PrepareConfig
    from pix3d_onet.data.sources.pix3d import list_pix3d
    from pix3d_onet.geometry.synth.release import synth_pix3d
    from pix3d_onet.inspection.verify import verify
    from pix3d_onet.preparation.job import Execution, prepare

    config = PrepareConfig(points=20_000, surface_points=10_000, render_views=1, near_points=8, sdf=True)
    synth_pix3d(folder / "release", objects=6, seed=0)
    prepare(list_pix3d(folder / "release", config), config, folder / "data", Execution(backend="inline"))
    verify(folder / "data")
    return sorted(seconds, key=lambda kernel: -seconds[kernel])


def main() -> None:
    """Collect in a process of its own with an empty cache, then write the file."""
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(called_kernels(Path(sys.argv[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": f"{folder}/cache"}
        command = [sys.executable, __file__, folder]
        made = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    rows = ",\n".join(json.dumps(row) for row in json.loads(made))
    OUT.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
