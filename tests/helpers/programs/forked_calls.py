"""Run calls of ``onet`` in separate processes, forked after the imports to save time.

Run as a script with a JSON list of ``[arguments, output, encoding, folder]``: ``output`` is ``closed`` (a pipe that
nobody reads), ``full`` (/dev/full) or ``file``, ``folder`` the call's own working folder, which is made. Prints a JSON
list of ``{status, out, err}``.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import traceback
from pathlib import Path

WARM = ("pix3d_onet.report.build", "pix3d_onet.evaluation.evaluate", "pix3d_onet.learning.training.run",
        "pix3d_onet.geometry.mesh.sampling", "pix3d_onet.inspection.verify", "pix3d_onet.preparation.job",
        "pix3d_onet.preparation.from_mesh", "pix3d_onet.reconstruction.job", "onet_cli.ui")  # fmt: skip


def opened(output: str, path: str) -> int:
    """A descriptor to write to."""
    if output == "closed":
        reader, writer = os.pipe()
        os.close(reader)
        return writer
    return os.open("/dev/full" if output == "full" else path, os.O_WRONLY | os.O_CREAT)


def child(arguments: list[str], output: str, encoding: str, folder: str, out: str, err: str) -> None:
    """Become the call: never returns. Ends as Python does, with what is left in the buffers, but frees no memory."""
    from onet_cli.main import main

    for number, descriptor in ((1, opened(output, out)), (2, os.open(err, os.O_WRONLY | os.O_CREAT))):
        os.dup2(descriptor, number)
    Path(folder).mkdir()
    os.chdir(folder)
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w")), encoding=encoding)
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w")), encoding=encoding, errors="backslashreplace", line_buffering=True
    )
    status: object = 1
    try:
        main(arguments)
    except SystemExit as leave:
        status = leave.code
    except BaseException:  # noqa: BLE001 - what Python would print
        traceback.print_exc()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = 120  # Python's own, with a complaint
    os._exit(int(str(status)))


def call(arguments: list[str], output: str, encoding: str, folder: str, name: str) -> dict[str, object]:
    """One call in a child process; ``name.out`` and ``name.err`` in the working folder get what it prints."""
    out, err = Path(f"{name}.out"), Path(f"{name}.err")
    pid = os.fork()
    if pid == 0:
        child(arguments, output, encoding, folder, str(out), str(err))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    printed = {p.suffix[1:]: p.read_bytes().decode(encoding) if p.exists() else "" for p in (out, err)}
    return {"status": status, **printed}


if __name__ == "__main__":
    for module in WARM:
        importlib.import_module(module)
    answers = [call(*each, f"call-{i}") for i, each in enumerate(json.loads(sys.argv[1]))]
    sys.stdout.write(json.dumps(answers))
