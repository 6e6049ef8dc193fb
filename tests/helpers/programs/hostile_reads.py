"""Read mutated files with onet's commands and functions, each with limits of time and memory.

``python hostile_reads.py FOLDER FIRST COUNT`` makes valid inputs in FOLDER, then for each case a mutated copy. Prints a
JSON line before (``{"case": …}``) and after each case. A case that hangs ends the process.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from helpers.datasets import BOX_FACES, CORNERS, make_dataset
from helpers.programs import mutations
from helpers.stored_run import store_run
from helpers.stored_runs import make_run
from onet_cli.main import main

from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.errors import OnetError, RejectError
from pix3d_onet.files import file_digest, write_json
from pix3d_onet.geometry.mesh.reading import read_mesh
from pix3d_onet.geometry.mesh.writing import write_mesh
from pix3d_onet.learning.extraction.predictor import network_predictor
from pix3d_onet.learning.training.identity import stored_batch_size, unfinished_run
from pix3d_onet.runs.folder import is_run
from pix3d_onet.types import Mesh

SECONDS = 30
"""After so many the process ends: a case is hanging."""


def command(*arguments: object, out: io.StringIO | None = None) -> str:
    """What ``onet ARGUMENTS`` says on stderr; in front its status, and the length of what it prints (to ``out``)."""
    out, err, status = out or io.StringIO(), io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(a) for a in arguments])
    except SystemExit as left:
        status = int(left.code or 0)
    return f"{status} {len(out.getvalue())} {err.getvalue()}"


def called(function: Callable[[], object]) -> str:
    """What a function of the library raises, which must be one of its own errors."""
    try:
        function()
    except (OnetError, RejectError) as error:
        return f"1 0 {error}"
    return "0 0"


def read_all(folder: Path) -> None:
    """Every shape of a data set, and its splits in memory."""
    with Dataset(folder) as data:
        for entry in data.entries():
            data.sample(entry)
            data.cameras_known(entry)
        for split in ("train", "val", "test"):
            if data.entries(split):
                data.arrays(split)


def manifest(place: Path, rng: np.random.Generator) -> list[str]:
    mutations.odd_json_file(place / "data" / "manifest.json", rng)
    data = place / "data"
    return [command("inspect", data, "--no-sheet", "--qc"), command("verify", data), called(lambda: read_all(data))]


def shard(place: Path, rng: np.random.Generator) -> list[str]:
    data = place / "data"
    path = data / "shard-00000.h5"
    mutations.odd_shard(path, rng)
    document = json.loads((data / "manifest.json").read_text())
    document["shards"][0] |= {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    write_json(data / "manifest.json", document)
    assert read_manifest(data)
    return [command("verify", data), called(lambda: read_all(data))]


def run_record(place: Path, rng: np.random.Generator) -> list[str]:
    mutations.odd_json_file(place / "runs" / "resnet18-s0" / "run.json", rng)
    report = ("report", place / "runs", "--format", "html", "--no-figures", "--out", place / "report")
    return [command("report", place / "runs"), command(*report)]


def run_config(place: Path, rng: np.random.Generator) -> list[str]:
    run = place / "network"
    mutations.odd_json_file(run / "config.json", rng)
    identity = {"run_id": "0" * 12, "model": {}, "train": {}, "data": {}, "weights": ""}
    return [
        called(lambda: is_run(run)),
        called(lambda: stored_batch_size(run)),
        called(lambda: unfinished_run(run, identity, resume=True)),
    ]


def network(place: Path, rng: np.random.Generator) -> list[str]:
    best = place / "network" / "best"
    if rng.random() < 0.3:
        mutations.odd_json_file(best / "model.json", rng)
    else:
        mutations.odd_safetensors(best / "model.safetensors", rng)
    return [called(lambda: network_predictor(place / "network"))]


def examples(place: Path, rng: np.random.Generator) -> list[str]:
    mutations.odd_npz(place / "runs" / "resnet18-s0" / "examples.npz", rng)
    report = ("report", place / "runs", "--format", "html", "--no-figures", "--out", place / "report")
    return [command(*report)]


def gltf(place: Path, rng: np.random.Generator) -> list[str]:
    mutations.odd_glb(place / "mesh.glb", rng)
    return [called(lambda: read_mesh(place / "mesh.glb"))]


KINDS = (manifest, shard, run_record, run_config, network, examples, gltf)


def sound(folder: Path) -> None:
    """One of each input."""
    make_dataset(folder / "data", shapes=3, points=64, image_size=16)
    for name in ("resnet18", "resnet50"):
        made = make_run(folder / "runs", name, examples=1)
        made.rename(folder / "runs" / f"{name}-s0")
    store_run(folder / "network")
    shutil.copy(folder / "network" / "best" / "model.json", folder / "network" / "config.json")
    write_mesh(folder / "mesh.glb", Mesh(CORNERS, BOX_FACES))


def peak_kib() -> int:
    """The most memory since :func:`reset_peak_memory`."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def reset_peak_memory() -> int:
    """Start counting again; the memory in use now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_kib()


def attempt(folder: Path, number: int) -> dict[str, object]:
    """Case ``number``: its kind, what was said, seconds, and KiB above those in use before."""
    kind, rng = KINDS[number % len(KINDS)], np.random.default_rng(number)
    place = folder / "case"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder / "sound", place)
    before, start = reset_peak_memory(), time.perf_counter()
    signal.alarm(SECONDS)
    try:
        said, failed = kind(place, rng), ""
    except Exception as error:  # noqa: BLE001 - this is what must not happen; the test shows it
        said, failed = [], f"{type(error).__name__}: {error}"
    signal.alarm(0)
    return {
        "case": number,
        "kind": kind.__name__,
        "said": said,
        "failed": failed,
        "seconds": time.perf_counter() - start,
        "kib": peak_kib() - before,
    }


def say(line: dict[str, object]) -> None:
    """A line for the test that listens."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def run(folder: Path, first: int, count: int) -> None:
    """Every case of a range."""
    sound(folder / "sound")
    shutil.copytree(folder / "sound", folder / "case")
    for kind in KINDS:  # imports and compiled code are nobody's seconds
        with contextlib.suppress(Exception):
            kind(folder / "case", np.random.default_rng(0))
    for number in range(first, first + count):
        say({"case": number})
        say(attempt(folder, number))


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
