"""Write docs/architecture.md and its picture from the import contracts, docstrings and signatures.

Run: ``.venv/bin/python scripts/architecture.py`` (or ``make architecture``). ``tests/house/test_architecture.py``
checks that the page is up to date.
"""

from __future__ import annotations

import ast
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/architecture.md"
PICTURE = ROOT / "docs/assets/rooms.svg"
LIBRARY = "pix3d_onet"
PACKAGES = {LIBRARY: ROOT / LIBRARY, "onet_cli": ROOT / "cli/onet_cli"}

STEPS = (
    (
        "data.sources.registry",
        "Source.list",
        "lists the usable shapes and pictures in a stable order, and the rejects",
    ),
    (
        "preparation.job",
        "prepare",
        "closes meshes, labels points, crops pictures, splits shapes; writes the manifest last",
    ),
    ("learning.training.run", "train", "trains a network; writes its best checkpoint, history and scores"),
    ("report.table", "build_table", "makes Table 1 from the runs of one setting, with intervals and tests"),
    ("evaluation.evaluate", "evaluate", "scores a run or a baseline against the stored truth, one row per picture"),
)
"""The pipeline: module, function, what it does. What it takes is read from its signature."""

HEAD = """\
# Architecture

<!-- Written by scripts/architecture.py from the import contracts: change those, then run `make architecture`. -->

This page shows how the source is laid out: which folder does what, and which may import which.

![The rooms of the library in layers](assets/rooms.svg)

Each room is a folder (in the core: a file), named after its job. It may import from the layers below it, never from its
own layer or from one above. The small print in a room lists the layers inside it, also from top to bottom. The
contracts in `pyproject.toml` define this, and `lint-imports` checks it.
"""

TAIL = """\
To turn a photo into a mesh, `reconstruction` cuts out the object (`data.images`), extracts the surface with a stored
run's network (`learning.extraction`) and writes the mesh (`geometry.mesh`).

Each stage writes the files that the next one reads. So each stage can be interrupted, repeated and replaced on its own.
The [glossary](glossary.md) explains the terms.
"""

Layers = list[list[str]]


def contracts() -> tuple[Layers, dict[str, Layers]]:
    """The layers of rooms, top to bottom; and for rooms with an order of their own, that one."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layered = [c for c in found if c["type"] == "layers"]
    rooms = next(c for c in layered if "containers" not in c)
    inside = {container: _split(c["layers"]) for c in layered for container in c.get("containers", ())}
    return _split(rooms["layers"]), inside


def _split(layers: list[str]) -> Layers:
    return [[name.strip() for name in layer.replace(":", "|").split("|")] for layer in layers]


def source_of(name: str) -> Path:
    """The file of a module, or the ``__init__`` of a package."""
    package, *parts = name.split(".")
    place = PACKAGES[package].joinpath(*parts)
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def summary(name: str) -> str:
    """First line of a module's docstring."""
    return (ast.get_docstring(ast.parse(source_of(name).read_text())) or "").partition("\n")[0].replace("``", "`")


def signature(module: str, function: str) -> tuple[str, str]:
    """What a function of the library takes (its positional arguments) and gives, as its annotations say."""
    body: list[ast.stmt] = ast.parse(source_of(f"{LIBRARY}.{module}").read_text()).body
    for name in function.split("."):
        found = next(n for n in body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == name)
        body = found.body
    assert isinstance(found, ast.FunctionDef)
    assert found.returns is not None
    required = found.args.args[: len(found.args.args) - len(found.args.defaults)]
    taken = [f"{a.arg}: {ast.unparse(a.annotation)}" for a in required if a.annotation is not None]
    return ", ".join(taken), ast.unparse(found.returns)


def short(name: str) -> str:
    """A module's name without the library's."""
    return name.removeprefix(f"{LIBRARY}.")


WIDTH, GAP, ROW, LINE = 960, 12, 62, 17


def picture(layers: Layers, inside: dict[str, Layers]) -> str:
    """The layers as an SVG: a row of boxes each; a room's own order below its name."""
    parts, y = [], 40
    for layer in layers:
        height = ROW + LINE * max(len(inside.get(room, ())) for room in layer)
        width = (WIDTH - GAP * (len(layer) + 1)) / len(layer)
        for i, room in enumerate(layer):
            x = GAP + i * (width + GAP)
            kind = "room" if source_of(room).name == "__init__.py" else "file"
            parts.append(f'<rect class="{kind}" x="{x:.0f}" y="{y}" width="{width:.0f}" height="{height}" rx="6"/>')
            middle = x + width / 2
            parts.append(f'<text class="name" x="{middle:.0f}" y="{y + 36}">{escape(short(room))}</text>')
            for n, own in enumerate(inside.get(room, ())):
                text = escape(" | ".join(own))
                parts.append(f'<text x="{middle:.0f}" y="{y + 58 + n * LINE}">{text}</text>')
        y += height + GAP
    style = (
        "rect{stroke:#5c6bc0}.room{fill:#e8eaf6}.file{fill:#fff}"
        "text{font:12px sans-serif;text-anchor:middle;fill:#333}.name{font-size:15px;font-weight:bold}"
    )
    title = '<text x="480" y="24">imports point down only; shaded: a folder, white: a file</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img"><style>{style}</style>\n'
        f'<rect x="0" y="0" width="{WIDTH}" height="{y}" style="fill:#fff;stroke:none"/>\n{title}\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def page() -> str:
    """The page, without the picture."""
    layers, _ = contracts()
    rooms = "\n".join(f"| {n} | `{short(r)}` | {summary(r)} |" for n, s in enumerate(layers, 1) for r in s)
    lines = []
    for module, function, what in STEPS:
        takes, gives = signature(module, function)
        lines.append(f"| `{module}` | `{takes}` | `{gives}` | {what} |")
    way = "\n".join(lines)
    return (
        f"{HEAD}\n## Pipeline\n\nFive modules, what each takes and what it gives:\n\n"
        f"| module | takes | gives | that is |\n|---|---|---|---|\n{way}\n\n{TAIL}\n"
        f"## Rooms\n\nLayers from the top down.\n\n| layer | room | job |\n|---|---|---|\n{rooms}\n"
    )


def main() -> None:
    """Write both."""
    PAGE.write_text(page())
    PICTURE.write_text(picture(*contracts()))


if __name__ == "__main__":
    main()
