"""``onet prepare SOURCE``: one command a line of ``SOURCES``; parse, call, render."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onet_cli import ui
from pix3d_onet.config import PREPARE_PRESETS, WATERTIGHT_METHODS, PrepareConfig
from pix3d_onet.data.sources.registry import SOURCES, Source
from pix3d_onet.data.store.rejects import REJECTS_FILE

if TYPE_CHECKING:
    from pix3d_onet.preparation.job import PrepareResult

STRICT_STATUS = 4
"""Exit status under ``--strict`` when something was rejected."""
DEFAULTS = PrepareConfig()
GIB = 1 << 30


@click.group()
def prepare() -> None:
    """Photos, masks and CAD models -> a data set of labelled points.

    \b
    Example:
      onet prepare pix3d --root data/pix3d --category chair --out data/prepared/pix3d-chair

    A run that was interrupted continues when the same command is given again. The result is the same to the byte for
    any number of jobs. What cannot be used is counted and stands in rejects.jsonl with its reason.
    """


def _with_data_options(source: Source) -> list[Any]:
    """The options that say what is prepared; all default to None, so that a preset can be told from a choice."""
    d = DEFAULTS
    option = click.option
    splits = ["shape", *source.splits]
    result = [
        option("--watertight", type=click.Choice(WATERTIGHT_METHODS), help=f"Method.  [default: {d.watertight}]"),
        option("--preset", type=click.Choice(list(PREPARE_PRESETS)), help="paper: the report's own settings (fusion)."),
        option("--points", type=int, help=f"Labelled points a shape.  [default: {d.points}]"),
        option("--surface-points", type=int, help=f"Surface samples a shape.  [default: {d.surface_points}]"),
        option("--resolution", type=int, help=f"Voxels along the longest side.  [default: {d.resolution}]"),
        option("--image-size", type=int, help=f"Side of the stored images, pixels.  [default: {d.image_size}]"),
        option("--crop-margin", type=float, help=f"White margin around the object.  [default: {d.crop_margin}]"),
        option("--mesh-error", type=float, help=f"Error of the stored mesh.  [default: {d.mesh_error}]"),
        option("--render-views", type=int, help=f"Rendered views a shape.  [default: {source.render_views}]"),
        option("--split", type=click.Choice(splits), help=f"How to split.  [default: {source.default_split}]"),
        option("--seed", type=int, help="Seed of everything random.  [default: 0]"),
        option("--limit", type=int, help="Take only the first N shapes.  [default: all]"),
    ]
    if {"s1", "s2"} & set(source.splits):
        help_ = "JSON of a prescribed split (repeat for train and test)."
        result.append(option("--split-file", "split_files", multiple=True, type=click.Path(path_type=Path), help=help_))
    if "category" in source.takes:
        help_ = f"Category, repeatable; all = every one.  [default: {source.default_category}]"
        result.append(option("-c", "--category", "categories", multiple=True, metavar="NAME", help=help_))
    if "images-per-object" in source.takes:
        help_ = f"Pictures of a shape.  [default: {d.images_per_object}]"
        result.append(option("--images-per-object", type=click.Choice(["one", "all"]), help=help_))
    if "flags" in source.takes:
        help_ = "clean: neither truncated nor occluded.  [default: all]"
        result.append(option("--flags", type=click.Choice(["clean", "all"]), help=help_))
    if "require-pose" in source.takes:
        result.append(option("--require-pose", is_flag=True, default=None, help="Reject pictures without a camera."))
    return result


RUN_OPTIONS: list[Any] = [
    click.option("--jobs", "-j", type=int, default=0, help="Worker processes.  [default: one a core]"),
    click.option(
        "--backend",
        type=click.Choice(["loky", "dask"]),
        default="loky",
        show_default=True,
        help="loky: processes of this machine. dask: the workers of --scheduler.",
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler (tcp://host:8786), with --backend dask."),
    click.option(
        "--time-limit", type=ui.Amount(), default=600.0, show_default=True, help="Seconds a shape may take (0: any)."
    ),
    click.option(
        "--memory-limit", type=ui.Amount(), default=8.0, show_default=True, help="GiB a worker may take (0: any)."
    ),
    click.option("--retry-failed", is_flag=True, help="Try again what was rejected before."),
    click.option("--overwrite", is_flag=True, help="Replace a data set of other settings in --out."),
    click.option("--strict", is_flag=True, help=f"Exit with status {STRICT_STATUS} when anything was rejected."),
]


def _root(source: Source) -> Any:
    folder = click.Path(path_type=Path)
    if not source.root:
        return click.argument("root", metavar="DIR", type=folder)
    help_ = f"Folder of the source; also {source.env}." if source.env else "Folder of the source."
    shown: dict[str, Any] = {"default": source.root, "show_default": True, "envvar": source.env or None}
    return click.option("--root", type=folder, help=help_, **shown)


def command(source: Source) -> click.Command:
    """``onet prepare NAME`` for one line of the table."""

    def body(root: Path, out: Path | None, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
        run_options = {key: options.pop(key) for key in RUN_KEYS}
        split_files = options.pop("split_files", ())
        config = configure(source, options)
        target = out or Path("data/prepared") / "-".join([source.name, *config.categories])
        with ui.live(quiet=quiet, verbose=verbose) as emit:
            result = _prepare(source, root, config, target, split_files, run_options, emit)
        render(result, as_json=as_json, quiet=quiet, verbose=verbose)
        if run_options["strict"] and result.rejected:
            click.get_current_context().exit(STRICT_STATUS)

    body.__doc__ = f"{source.summary}\n\n\b\nExample:\n  onet prepare {source.name} {source.example}\n"
    out_help = f"Folder of the data set.  [default: data/prepared/{source.name}-CATEGORY]"
    out_option = click.option("--out", "-o", type=click.Path(path_type=Path), help=out_help)
    decorated: Any = ui.common_options(body)
    for decorator in reversed([_root(source), out_option, *_with_data_options(source), *RUN_OPTIONS]):
        decorated = decorator(decorated)
    return click.command(source.name)(decorated)


RUN_KEYS = ("jobs", "backend", "scheduler", "time_limit", "memory_limit", "retry_failed", "overwrite", "strict")


def configure(source: Source, options: Mapping[str, Any]) -> PrepareConfig:
    """Settings from the options given: those of the preset, then what was chosen by hand."""
    chosen = {key: value for key, value in options.items() if value is not None and key != "preset" and value != ()}
    base: dict[str, Any] = {**source.defaults, "categories": (source.default_category,)}
    if options.get("preset"):
        base.update(PREPARE_PRESETS[options["preset"]])
    return PrepareConfig(**{**base, **chosen})


def _prepare(
    source: Source, root: Path, config: PrepareConfig, out: Path, split_files: Any, chosen: Mapping[str, Any], emit: Any
) -> PrepareResult:
    from pix3d_onet.preparation.job import Execution, prepare

    execution = Execution(
        jobs=chosen["jobs"],
        backend=chosen["backend"],
        scheduler=chosen["scheduler"],
        time_limit=chosen["time_limit"],
        memory_limit=int(chosen["memory_limit"] * GIB),
        retry_failed=chosen["retry_failed"],
        overwrite=chosen["overwrite"],
        geometry=source.load_geometry(),
    )
    return prepare(source.list(root, config, split_files=tuple(split_files)), config, out, execution, emit=emit)


def document(result: PrepareResult) -> dict[str, Any]:
    """The ``--json`` document."""
    from dataclasses import asdict

    counts, manifest = result.manifest.counts, result.manifest
    return {
        "out": str(result.out),
        "data_hash": manifest.data_hash,
        "config": dict(manifest.config),
        "up_to_date": result.up_to_date,
        "resumed": result.resumed,
        "seconds": round(result.seconds, 3),
        "shapes": counts["prepared"],
        **{key: counts[key] for key in ("rejected", "rejected_by_reason", "records", "skipped")},
        "shapes_by_split": counts["shapes_by_split"],
        "images_by_split": counts["images_by_split"],
        "bytes": counts["bytes"],
        "bytes_per_shape": round(counts["bytes"] / counts["prepared"]),
        "stage_seconds": {stage: round(t, 3) for stage, t in result.stage_seconds.items()},
        "rejects": [asdict(r) for r in result.rejected],
    }


def render(result: PrepareResult, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Show what was prepared."""
    found = document(result)
    if as_json:
        ui.print_json(found)
        return
    console = ui.out()
    if quiet:
        return
    state = "finished before, nothing to do" if result.up_to_date else f"{found['seconds']:.1f} s"
    rows: list[tuple[str, object]] = [
        ("shapes", f"{found['shapes']} prepared" + (f" ({result.resumed} before)" if result.resumed else "")),
        ("rejected", _counted(found["rejected_by_reason"], found["rejected"])),
        ("records", _counted(found["skipped"], found["records"], "not taken: ")),
        ("split", " / ".join(f"{n} {s}" for s, n in found["shapes_by_split"].items())),
        ("pictures", " / ".join(f"{n} {s}" for s, n in found["images_by_split"].items())),
        ("on disk", f"{found['bytes'] / 1e6:.1f} MB, {found['bytes_per_shape'] / 1e6:.2f} MB a shape"),
        ("data hash", found["data_hash"]),
    ]
    fresh = found["shapes"] + found["rejected"]
    for stage, seconds in found["stage_seconds"].items():
        if stage != "mesh_total":
            rows.append((f"  {stage}", f"{seconds / fresh:.3f} s a shape"))
    console.print(ui.table(f"{result.out} ({state})", ["what", "how much"], rows))
    for row in result.rejected[: None if verbose else SHOWN_REJECTS]:
        where = " ".join(filter(None, (row.object_id, row.record_id)))
        console.print(f"rejected {where}: {row.reason}: {row.detail}", style="yellow", markup=False, soft_wrap=True)
    if len(result.rejected) > SHOWN_REJECTS and not verbose:
        console.print(
            f"... and {len(result.rejected) - SHOWN_REJECTS} more in {result.out / REJECTS_FILE}", markup=False
        )


SHOWN_REJECTS = 5


def _counted(reasons: Mapping[str, int], total: int, lead: str = "") -> str:
    listed = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
    return f"{total} ({lead}{listed})" if listed else str(total)


for _source in SOURCES.values():
    prepare.add_command(command(_source))
