"""Analyse the source: modules, their imports, and their compiled functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"pix3d_onet": ROOT / "pix3d_onet", "onet_cli": ROOT / "cli/onet_cli"}


def modules() -> dict[str, Path]:
    """Dotted name → file of every module of the library and the command line."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(p for p in parts if p != "__init__")])] = path
    return found


def _run_on_import(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: no bodies of functions, nothing under ``if TYPE_CHECKING``."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _run_on_import(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in ("body", "orelse", "finalbody"):
                yield from _run_on_import(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from _run_on_import(handler.body)


def imports(source: str, known: Iterable[str]) -> set[str]:
    """The ``known`` modules that a module's text imports when it is imported (absolute imports)."""
    found: set[str] = set()
    for node in _run_on_import(ast.parse(source).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            children = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (children & set(known)) or {node.module}
            if not children <= set(known):
                found.add(node.module)
    return found & set(known)


def import_circle(sources: Mapping[str, str]) -> list[str]:
    """Modules that import each other in a circle, the first again at the end; empty where there is none."""
    graph = {name: imports(text, sources) - {name} for name, text in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def kernels(source: str) -> dict[str, set[str]]:
    """Name of every function that a decorator ``…jit`` compiles → the functions of its file that call it."""
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]

    def compiled(function: ast.FunctionDef) -> bool:
        heads = (d.func if isinstance(d, ast.Call) else d for d in function.decorator_list)
        return any(ast.unparse(head).endswith("jit") for head in heads)

    calls = {f.name: {n.func.id for n in ast.walk(f) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
             for f in functions}  # fmt: skip
    return {f.name: {g for g, called in calls.items() if f.name in called} for f in functions if compiled(f)}


def compared(source: str) -> set[str]:
    """The kernels that the tests in ``source`` compare with a reference: the names in ``@pytest.mark.kernel(…)``."""
    decorators = (d for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) for d in n.decorator_list)
    marks = (d for d in decorators if isinstance(d, ast.Call) and ast.unparse(d.func) == "pytest.mark.kernel")
    return {ast.literal_eval(argument) for mark in marks for argument in mark.args}


def without_reference(sources: Iterable[str], known: set[str]) -> set[str]:
    """Kernels with no reference: neither compared themselves nor, if private, part of one in their file that is."""
    missing: set[str] = set()
    for source in sources:
        callers = kernels(source)
        for name in callers:
            above, reached = [name], {name}
            while above:
                step = above.pop()
                more = callers.get(step, set()) - reached if step.startswith("_") else set()
                reached |= more
                above += more
            if not reached & known:
                missing.add(name)
    return missing
