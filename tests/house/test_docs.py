"""The documentation cannot rot: the reference equals the commands, links exist, every code block runs.

A fenced block marked ``bash`` or ``python`` is run, page by page, block by block in order, in a folder that holds a
small data set and a small run. A block that cannot be run stands below a comment ``<!-- not run: the reason -->``;
output is marked ``text``, ``console`` or ``json``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from onet_cli.flags import in_flags

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]*) -->\n+)?^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^ *```$",
    re.M | re.S,
)
RUN = ("bash", "python")
OUTPUT = ("text", "console", "bibtex", "json", "csv", "yaml", "toml", "dockerfile", "")
SMALLER = {
    r"--steps \d+": "--steps 2",
    r"--objects \d+": "--objects 6",
    r"--preset quick": "--preset quick --steps 2 --batch-size 4 --image-size 64",
    r"--render-views \d+": "--render-views 2",
    r"--seeds [\d,]+": "--seeds 0",
    r"--jobs \d+": "--jobs 2",
    r"(--batch-size) \d+": r"\1 4",
    r"\bonet train(?! --help)": "onet train --no-pretrained --image-size 64",
}
"""What makes the documented commands small: the same commands on less data, for fewer steps."""


class Block(NamedTuple):
    page: str
    line: int
    language: str
    body: str
    reason: str | None


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    found = []
    for match in BLOCK.finditer(text):
        indent = match["indent"]
        body = "".join(line.removeprefix(indent) for line in match["body"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(path.relative_to(ROOT).as_posix(), line, match["language"], body, match["reason"]))
    return found


def runnable(path: Path) -> list[Block]:
    return [b for b in blocks(path) if b.language in RUN and b.reason is None]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_quality_figures_equals_their_table() -> None:
    expected = load(ROOT / "scripts/qc_reference.py").page()
    assert (ROOT / "docs/qc.md").read_text() == expected, "call make qc-reference"


def test_cli_reference_equals_the_commands() -> None:
    expected = load(ROOT / "scripts/cli_reference.py").page()
    written = (ROOT / "docs/reference/cli.md").read_text()
    assert written == expected, "run `make cli-reference`"


def test_api_reference_equals_the_signatures() -> None:
    expected = load(ROOT / "scripts/api_reference.py").page()
    assert (ROOT / "docs/reference/api.md").read_text() == expected, "run `make api-reference`"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_blocks_have_a_known_language(path: Path) -> None:
    assert [b for b in blocks(path) if b.language not in RUN + OUTPUT] == []
    assert path.read_text().count("```") == 2 * len(blocks(path)), "a fence is not closed, or not at the line's start"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_named_files_and_links_exist(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    missing = []
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) + re.findall(r'src="([^"]+)"', text):
        if "://" not in target and not (path.parent / target).exists():
            missing.append(target)
    assert missing == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")]
    assert [p for p in pages if p not in navigation] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_documented_commands_and_options_exist(path: Path) -> None:
    """Every `onet …` line in a code block names a real command and real options, also where it is not run."""
    import click
    from onet_cli.app import cli

    wrong = []
    for block in blocks(path):
        if block.language not in RUN:
            continue
        for line in block.body.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|[\s/])onet((?: +[^\s|;&#>)]+)+)", line.split(" #")[0])
            if not found or line.lstrip().startswith(("#", "docker", "sudo docker")):
                continue
            words = found[1].split()
            command: click.Command = cli
            while isinstance(command, click.Group) and words and not words[0].startswith("-"):
                child = command.get_command(click.Context(command), words.pop(0))
                if child is None:
                    wrong.append(line)
                    break
                command = child
            known = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)} | {
                "--help",
                "-h",
                "--version",
            }
            wrong += [f"{line}: {w}" for w in words if w.startswith("--") and w.split("=")[0] not in known]
    assert wrong == []


def test_quoted_error_lines_and_reasons_exist() -> None:
    """What troubleshooting.md quotes is what the code says: each quoted piece stands somewhere in the sources."""
    places = [ROOT / "pix3d_onet", ROOT / "cli", ROOT / "scripts"]
    files = [p for place in places for p in place.rglob("*") if p.suffix in (".py", ".sh")]
    sources = in_flags(re.sub(r"\s+", " ", " ".join(p.read_text() for p in files)), None)
    rows = re.findall(r"^\| (.*?) \| .* \|$", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
    quoted = [quote for row in rows for quote in re.findall(r"`([^`]+)`", row)]
    pieces = [piece.strip(" .:") for quote in quoted for piece in quote.removeprefix("setup: ").split("…")]
    assert len(pieces) > 40
    assert [piece for piece in pieces if len(piece) > 3 and piece not in sources] == []


def test_every_reason_of_a_reject_is_explained() -> None:
    """The other way round; the two reasons left out are of single photos and of meshes to evaluate, not of rejects."""
    sources = " ".join(p.read_text() for p in (ROOT / "pix3d_onet").rglob("*.py"))
    reasons = set(re.findall(r'RejectError\(\s*"([a-z-]+)"', sources)) - {"no-object", "ambiguous-mesh"}
    explained = (ROOT / "docs/troubleshooting.md").read_text()
    assert len(reasons) > 30
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in explained] == []


def test_site_builds_without_warnings(tmp_path: Path) -> None:
    # Not with --quiet: it hides warnings from --strict, too.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    # The theme announces its successor on stderr; this keeps it quiet.
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= 10
    # The reader's browser asks nobody else: no script, style, font or picture from another host.
    fetched = re.compile(r'<(?:script|img|link)[^>]*(?:src|href)="(https?:)?//[^"]+"')
    canonical = re.compile(r'rel="(?:canonical|prev|next)"')
    outside = [m.group() for p in pages for m in fetched.finditer(p.read_text()) if not canonical.search(m.group())]
    assert outside == []


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a reader has at hand: data/pix3d, the data set made of it, a run, a photo and its mask."""
    folder = tmp_path_factory.mktemp("workshop")
    run_bash(
        "onet synth pix3d data/pix3d --objects 8 --seed 0 -q\n"
        "onet prepare pix3d --out data/prepared/pix3d-chair --jobs 2 -q\n"
        "onet bench --variant resnet18 --data data/prepared/pix3d-chair --no-pretrained --preset quick -q\n",
        folder,
    )
    image, mask = (sorted((folder / "data/pix3d" / kind / "chair").iterdir())[0] for kind in ("img", "mask"))
    shutil.copy(image, folder / f"photo{image.suffix}")
    shutil.copy(mask, folder / f"mask{mask.suffix}")
    (folder / "scans").mkdir()
    for number, model in enumerate(sorted((folder / "data/pix3d/model/chair").rglob("*.obj"))[:6]):
        shutil.copy(model, folder / f"scans/part{number}.obj")
    return folder


def run_bash(body: str, folder: Path) -> None:
    for pattern, replacement in SMALLER.items():
        body = re.sub(pattern, replacement, body)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    environment.pop("ONET_PIX3D_ROOT", None)
    command = ["bash", "-euo", "pipefail", "-c", body]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{body}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def run_python(body: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", body], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{body}\n{done.stderr[-4000:]}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", [p for p in PAGES if runnable(p)], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_code_blocks_run(path: Path, workshop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(workshop, folder)
    for block in runnable(path):
        try:
            (run_bash if block.language == "bash" else run_python)(block.body, folder)
        except AssertionError as error:
            pytest.fail(f"{block.page}:{block.line}\n{error}", pytrace=False)
