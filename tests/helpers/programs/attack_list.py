"""Run one attack of each kind in SECURITY.md, and report the message, the time and the memory.

``python attack_list.py FOLDER`` prints a JSON line for each: ``{"case", "line", "printed", …}``.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
from helpers.programs.hostile_reads import called, command, peak_kib, read_all, reset_peak_memory, say, sound
from helpers.programs.mutations import deep
from PIL import Image

from pix3d_onet.data.images.cutout import load_cutout
from pix3d_onet.files import file_digest, write_json
from pix3d_onet.files.npz import read_arrays
from pix3d_onet.geometry.mesh.reading import read_mesh
from pix3d_onet.learning.extraction.predictor import network_predictor
from pix3d_onet.learning.import_original import load_original

Attack = Callable[[Path], Callable[[], str]]


def shown(*arguments: object) -> str:
    """As ``command``, with what it prints on stdout."""
    printed = io.StringIO()
    status, _, said = command(*arguments, out=printed).split(" ", 2)
    return f"{status} {len(printed.getvalue())} {printed.getvalue()}{said}"


def resealed(data: Path) -> Callable[[], str]:
    """Read all of a data set whose first shard was changed, after its checksum was made to fit."""
    path, document = data / "shard-00000.h5", json.loads((data / "manifest.json").read_text())
    document["shards"][0] |= {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    write_json(data / "manifest.json", document)
    return lambda: called(lambda: read_all(data))


def f1_bytes_from_elsewhere(at: Path) -> Callable[[], str]:
    with h5py.File(at / "data" / "shard-00000.h5", "r+") as file:
        shape = file["points"].shape
        del file["points"]
        file.create_dataset("points", shape, "u2", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    return resealed(at / "data")


def f2_declared_sizes(at: Path) -> Callable[[], str]:
    with h5py.File(at / "data" / "shard-00000.h5", "r+") as file:
        del file["mesh/vertices"]
        file.create_dataset("mesh/vertices", (1 << 31, 3), "f4", chunks=(1 << 16, 3), compression="gzip")
    return resealed(at / "data")


def f3_endless_files(at: Path) -> Callable[[], str]:
    (at / "data" / "manifest.json").unlink()
    os.mkfifo(at / "data" / "manifest.json")
    return lambda: command("verify", at / "data")


def f4_f5_f6_names(at: Path) -> Callable[[], str]:
    path = at / "data" / "manifest.json"
    document = json.loads(path.read_text())
    document["shapes"][0]["split"] = "\x1b[2J[/red]$(touch x)\u202e"
    path.write_text(json.dumps(document))
    return lambda: shown("verify", at / "data")


def f7_f8_cells(at: Path) -> Callable[[], str]:
    path = at / "runs" / "resnet18-s0" / "run.json"
    path.write_text(path.read_text().replace('"resnet18"', '"=1+1<img src=x>[a"', 1))
    return lambda: shown("report", at / "runs", "--format", "csv")


def f7_f8_files(at: Path) -> Callable[[], str]:
    f7_f8_cells(at)

    def read() -> str:
        """The cells of every file of a report, after what it said."""
        said = command("report", at / "runs", "--format", "html", "--no-figures", "--out", at / "report")
        cells = [f"{path.name}: {path.read_text()}" for path in sorted((at / "report").glob("*.[mcth]*"))]
        named = [line for text in cells for line in text.splitlines() if "1+1" in line]
        return f"{said}{' | '.join(line[:200] for line in named)}"

    return read


def f9_examples(at: Path) -> Callable[[], str]:
    with zipfile.ZipFile(at / "runs" / "resnet18-s0" / "examples.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rgb.npy", bytes(1 << 30))
    return lambda: command("report", at / "runs", "--format", "html", "--no-figures", "--out", at / "report")


def f10_network(at: Path) -> Callable[[], str]:
    path = at / "network" / "best" / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    ours = json.loads(header["__metadata__"]["onet"])
    ours["model"] |= {"hidden_dim": 8192, "blocks": 100}
    header["__metadata__"]["onet"] = json.dumps(ours)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return lambda: called(lambda: network_predictor(at / "network"))


def f10_stride(at: Path) -> Callable[[], str]:
    names = ("encoder.features.layer4.1.conv2.weight", "encoder.fc.weight", "decoder.bn.conv_gamma.weight")
    state = {n: torch.zeros(1).expand(1 << 20, 1 << 20) for n in (*names, "decoder.block0.bn_0.conv_gamma.weight")}
    torch.save({"model": state}, at / "o.pt")
    return lambda: called(lambda: load_original(at / "o.pt"))


def f10_deflated(at: Path) -> Callable[[], str]:
    with zipfile.ZipFile(at / "o.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("o/data.pkl", b"")
        archive.writestr("o/data/0", bytes(1 << 30))
    return lambda: called(lambda: load_original(at / "o.pt"))


def f11_mesh(at: Path) -> Callable[[], str]:
    accessor = {"componentType": 5126, "count": 1 << 30, "type": "VEC3"}
    document = {
        "asset": {"version": "2.0"},
        "accessors": [accessor],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
    }
    (at / "a.gltf").write_text(json.dumps(document))
    return lambda: called(lambda: read_mesh(at / "a.gltf"))


def f12_npz(at: Path) -> Callable[[], str]:
    arrays = {f"a{i}": np.zeros(1 << 20, dtype=np.uint8) for i in range(500)}
    np.savez_compressed(at / "a.npz", **arrays)
    del arrays

    def read() -> str:
        try:
            return f"0 0 {len(read_arrays(at / 'a.npz'))}"
        except ValueError as error:
            return f"1 0 {error}"

    return read


def f13_foreign_folder(at: Path) -> Callable[[], str]:
    for name in ("shard-00007.h5", "qc.csv", "thesis.txt"):
        (at / "foreign").mkdir(exist_ok=True)
        (at / "foreign" / name).write_text("mine")
    (at / "meshes" / "chair").mkdir(parents=True)
    for i in range(2):
        shutil.copy(at / "mesh.glb", at / "meshes" / "chair" / f"{i}.glb")
    return lambda: command("prepare", "meshes", at / "meshes", "--out", at / "foreign")


def f14_linked_member(at: Path) -> Callable[[], str]:
    (at / "elsewhere").mkdir()
    (at / "runs" / "report").symlink_to(at / "elsewhere")
    return lambda: command("report", at / "runs", "--format", "html", "--no-figures")


def rough_deep_json(at: Path) -> Callable[[], str]:
    (at / "data" / "manifest.json").write_text("[" * 3_000_000)
    return lambda: command("inspect", at / "data")


def rough_deep_record(at: Path) -> Callable[[], str]:
    path = at / "runs" / "resnet18-s0" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "device": {"a": deep(500)}}))
    return lambda: command("report", at / "runs")


def rough_many_shapes(at: Path) -> Callable[[], str]:
    rough_many_problems(at, count=300_000)
    return lambda: command("verify", at / "data")


def rough_many_problems(at: Path, count: int = 30_000) -> Callable[[], str]:
    path = at / "data" / "manifest.json"
    document = json.loads(path.read_text())
    lean = {**document["shapes"][0], "split": "", "images": 0, "record_ids": [], "image_sha256": [], "image_splits": []}
    document["shapes"] = [{**lean, "object_id": f"{i}", "qc": {}} for i in range(count)]
    path.write_text(json.dumps(document))
    return lambda: command("verify", at / "data")


def rough_long_history(at: Path) -> Callable[[], str]:
    path = at / "runs" / "resnet18-s0" / "run.json"
    document = json.loads(path.read_text())
    row = document["history"][0]
    document["history"] = [{**row, "step": i} for i in range(200_000)]
    path.write_text(json.dumps(document))
    return lambda: command("report", at / "runs", "--format", "html", "--no-figures", "--out", at / "report")


def rough_deep_picture(at: Path) -> Callable[[], str]:
    Image.fromarray(np.zeros((9999, 9999), dtype=np.uint16)).save(at / "a.png")
    return lambda: called(lambda: load_cutout(at / "a.png", None, size=224, margin=0.1))


def rough_many_scans(at: Path) -> Callable[[], str]:
    Image.new("RGB", (4000, 4000)).save(at / "a.jpg", progressive=True)
    data = (at / "a.jpg").read_bytes()
    last = data[data.rfind(b"\xff\xda") : -2]
    (at / "a.jpg").write_bytes(data[:-2] + last * 2000 + data[-2:])
    return lambda: called(lambda: load_cutout(at / "a.jpg", None, size=224, margin=0.1))


def rough_reconstruct(at: Path) -> Callable[[], str]:
    rough_many_scans(at)
    return lambda: command("reconstruct", at / "network", at / "a.jpg", "--out", at / "a.glb")


ATTACKS: tuple[Attack, ...] = (
    *(
        f1_bytes_from_elsewhere,
        f2_declared_sizes,
        f3_endless_files,
        f4_f5_f6_names,
        f7_f8_cells,
        f7_f8_files,
        f9_examples,
    ),
    *(f10_network, f10_stride, f10_deflated, f11_mesh, f12_npz, f13_foreign_folder, f14_linked_member),
    *(rough_deep_json, rough_deep_record, rough_many_problems, rough_long_history),
    *(rough_many_shapes, rough_deep_picture, rough_many_scans, rough_reconstruct),
)


def run(folder: Path) -> None:
    """Every attack, each on a copy of its own, after each command has been used once on sound input."""
    sound(folder / "sound")
    data, runs = folder / "sound" / "data", folder / "sound" / "runs"
    command("verify", data)
    command("report", runs, "--format", "html", "--no-figures", "--out", folder / "warm")
    network_predictor(folder / "sound" / "network")
    for attack in ATTACKS:
        place = folder / attack.__name__
        shutil.copytree(folder / "sound", place)
        act = attack(place)
        before, start = reset_peak_memory(), time.perf_counter()
        status, printed, *line = act().split(" ", 2)
        say(
            {
                "case": attack.__name__,
                "line": " ".join(line).strip(),
                "printed": int(printed),
                "refused": status != "0",
                "seconds": round(time.perf_counter() - start, 1),
                "kib": peak_kib() - before,
            }
        )


if __name__ == "__main__":
    run(Path(sys.argv[1]))
