"""``onet prepare SOURCE``: one command per source in ``SOURCES``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from onet_cli import ui
from onet_cli.options import FOLDER, Numbers, setting
from pix3d_onet.config import PREPARE_PRESETS, Backend, PrepareConfig
from pix3d_onet.data.sources.registry import SOURCES, Source
from pix3d_onet.data.store.card import Terms
from pix3d_onet.data.store.rejects import REJECTS_FILE

if TYPE_CHECKING:
    from pix3d_onet.preparation.job import PrepareResult

STRICT_STATUS = 4
"""Exit status under ``--strict`` when something was rejected."""
GIB = 1 << 30
SIGMAS = Numbers(float, "X[,X…]", "numbers with commas")
EXECUTION = ("jobs", "backend", "scheduler", "time_limit", "memory_limit", "retry_failed", "overwrite")
"""Options that do not affect the data set."""
SPLITTING = {
    "shape": "groups stay together",
    "image": "pictures of one shape may be in two splits",
    "s1": "Mesh R-CNN's split by picture",
    "s2": "Mesh R-CNN's split by shape",
    "lst": "the source's own lists",
}
"""Split → what it does, for the help."""
SHOWN_REJECTS = 5
"""Rejects printed without ``-v``."""
GROUPED = {
    "auto": "derived from folders and names (--group-by auto)",
    "file": "one per file (--group-by file)",
    "folder": "one per folder (--group-by folder)",
    "top": "one per top-level folder (--group-by top)",
}
"""Grouping rule → text after the number of groups."""


@click.group()
def prepare() -> None:
    """Turn photos, masks and CAD models into a data set: pictures and labelled points.

    \b
    Example:
      onet prepare pix3d --root data/pix3d --category chair --out data/prepared/pix3d-chair

    Run an interrupted command again to continue it. The result is byte-identical for any number of jobs. Records that
    cannot be used are counted and listed in rejects.jsonl with a reason.
    """


def _with_data_options(source: Source) -> list[Any]:
    """Options that define the data set. All default to None, so that a preset fills in only what was not given."""

    def option(name: str, *flags: str, **options: Any) -> Any:
        return setting(PrepareConfig, name, *flags, unset=True, **options)

    splits = ("shape", *source.splits)
    how = f"How to split: {'; '.join(f'{name}: {SPLITTING[name]}' for name in splits)}."
    result = [
        option("watertight"),
        click.option(
            "--preset", type=click.Choice(list(PREPARE_PRESETS)), help="paper: settings of the report (fusion)."
        ),
        *(
            option(name)
            for name in ("points", "surface_points", "resolution", "image_size", "crop_margin", "mesh_error")
        ),
        option("render_views", default=source.render_views),
        option("split", type=click.Choice(splits), default=source.default_split, help=how),
        option("seed"),
        option("limit"),
    ]
    if not source.geometry:  # it has the surface that the labels come from
        sigmas = ",".join(map(str, PrepareConfig().near_sigma))
        result += [
            option("near_points"),
            option("near_sigma", type=SIGMAS, multiple=False, default_text=sigmas),
            option("sdf"),
        ]
    if {"s1", "s2"} & set(source.splits):
        help_ = "JSON file of a prescribed split; give one for train and one for test."
        result.append(click.option("--split-file", "split_files", multiple=True, type=FOLDER, help=help_))
    if "category" in source.takes:
        result.append(
            option("categories", "-c", "--category", default=source.default_category, metavar="NAME", multiple=True)
        )
    if "images-per-object" in source.takes:
        result.append(option("images_per_object"))
    if "flags" in source.takes:
        result.append(option("flags"))
    if "group-by" in source.takes:
        result += [option("group_by"), option("pattern", metavar="PATTERN", default_text="all")]
    if "require-pose" in source.takes:
        result.append(option("require_pose"))
    return result


RUN_OPTIONS: list[Any] = [
    click.option("--jobs", "-j", type=int, default=0, help="Worker processes.  [default: one per core]"),
    click.option(
        "--backend",
        type=click.Choice([name for name in get_args(Backend) if name != "inline"]),
        default="loky",
        show_default=True,
        help="loky: processes on this machine. dask: the workers of --scheduler.",
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler for --backend dask, e.g. tcp://host:8786."),
    click.option(
        "--time-limit", type=ui.Amount(), default=600.0, show_default=True, help="Seconds per shape; 0 = no limit."
    ),
    click.option(
        "--memory-limit", type=ui.Amount(), default=8.0, show_default=True, help="GiB per worker; 0 = no limit."
    ),
    click.option("--licence", default="", help="Licence of the source, for the data card; markdown."),
    click.option("--attribution", default="", help="Whom to name and what to cite, for the data card; markdown."),
    click.option("--retry-failed", is_flag=True, help="Try rejected shapes again."),
    click.option("--overwrite", is_flag=True, help="Replace another data set, or files of others in --out."),
    click.option("--strict", is_flag=True, help=f"Exit with status {STRICT_STATUS} when anything was rejected."),
]


def _root(source: Source) -> Any:
    if not source.root:
        return click.argument("root", metavar="DIR", type=FOLDER)
    help_ = f"Folder of the source; or set {source.env}." if source.env else "Folder of the source."
    shown: dict[str, Any] = {"default": source.root, "show_default": True, "envvar": source.env or None}
    return click.option("--root", type=FOLDER, help=help_, **shown)


def command(source: Source) -> click.Command:
    """The command ``onet prepare NAME`` for one source."""

    def body(root: Path, out: Path | None, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
        strict, split_files = options.pop("strict"), options.pop("split_files", ())
        terms = Terms(options.pop("licence"), options.pop("attribution"))
        running = {key: options.pop(key) for key in EXECUTION}
        config = configure(source, options)
        target = out or Path("data/prepared") / "-".join([source.name, *config.categories])
        with ui.live(quiet=quiet, verbose=verbose) as emit:
            from pix3d_onet.preparation.job import Execution, prepare

            running["memory_limit"] = int(running["memory_limit"] * GIB)
            execution = Execution(**running, geometry=source.load_geometry())
            listing = source.list(root, config, split_files=split_files)
            result = prepare(listing, config, target, execution, terms=terms, emit=emit)
        render(result, as_json=as_json, quiet=quiet, verbose=verbose)
        if strict and result.rejected:
            click.get_current_context().exit(STRICT_STATUS)

    body.__doc__ = f"{source.summary}\n\n\b\nExample:\n  onet prepare {source.name} {example(source)}\n"
    out_help = f"Folder of the data set.  [default: data/prepared/{source.name}-CATEGORY]"
    out_option = click.option("--out", "-o", type=FOLDER, help=out_help)
    decorated: Any = ui.common_options(body)
    for decorator in reversed([_root(source), out_option, *_with_data_options(source), *RUN_OPTIONS]):
        decorated = decorator(decorated)
    return click.command(source.name)(decorated)


def example(source: Source) -> str:
    """Arguments for the example in the help text."""
    where = f"--root {source.example}" if source.root else source.example
    if source.default_category == "all":
        return f"{where} --out data/prepared/{source.name}"
    return f"{where} --category {source.default_category} --out data/prepared/{source.name}-{source.default_category}"


def configure(source: Source, options: Mapping[str, Any]) -> PrepareConfig:
    """Settings from the source's defaults, then the preset, then the options given; later ones win."""
    chosen = {key: value for key, value in options.items() if value is not None and key != "preset" and value != ()}
    base: dict[str, Any] = {**source.defaults, "categories": (source.default_category,)}
    if options.get("preset"):
        base.update(PREPARE_PRESETS[options["preset"]])
    return PrepareConfig(**{**base, **chosen})


def document(result: PrepareResult) -> dict[str, Any]:
    """The ``--json`` document."""
    from dataclasses import asdict

    counts, manifest = result.manifest.counts, result.manifest
    return {
        "out": str(result.out),
        "data_hash": manifest.data_hash,
        "config": dict(manifest.config),
        "up_to_date": result.up_to_date,
        "restored": list(result.restored),
        "resumed": result.resumed,
        "seconds": round(result.seconds, 3),
        "shapes": counts["prepared"],
        **{key: counts[key] for key in ("rejected", "rejected_by_reason", "records", "skipped")},
        **{key: counts[key] for key in ("used", "rejected_records") if key in counts},  # earlier data sets lack them
        "groups": sum(counts["groups_by_split"].values()),
        **({"grouping": counts["grouping"]} if "grouping" in counts else {}),
        "shapes_by_split": counts["shapes_by_split"],
        "images_by_split": counts["images_by_split"],
        "bytes": counts["bytes"],
        "bytes_per_shape": round(counts["bytes"] / counts["prepared"]),
        "stage_seconds": {stage: round(t, 3) for stage, t in result.stage_seconds.items()},
        "rejects": [asdict(r) for r in result.rejected],
    }


def render(result: PrepareResult, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Print the counts, sizes and times, and the first rejects."""
    found = document(result)
    if as_json:
        ui.print_json(found)
        return
    console = ui.out()
    if quiet:
        return
    grouping = result.manifest.counts.get("grouping", "")
    state = "already complete" if result.up_to_date and not result.restored else f"{found['seconds']:.1f} s"
    rows: list[tuple[str, object]] = [
        ("shapes", f"{found['shapes']} prepared" + (f" ({result.resumed} before)" if result.resumed else "")),
        ("records", records_line(found)),
        ("rejected", counted_by(found["rejected_by_reason"], f"{found['rejected']} in {REJECTS_FILE}")),
        ("groups", f"{sum(result.manifest.counts['groups_by_split'].values())} {GROUPED.get(grouping, '')}".rstrip()),
        ("split", " / ".join(f"{n} {s}" for s, n in found["shapes_by_split"].items())),
        ("pictures", " / ".join(f"{n} {s}" for s, n in found["images_by_split"].items())),
        ("on disk", f"{found['bytes'] / 1e6:.1f} MB, {found['bytes_per_shape'] / 1e6:.2f} MB per shape"),
        ("data hash", found["data_hash"]),
    ]
    fresh = found["shapes"] + found["rejected"]
    for stage, seconds in found["stage_seconds"].items():
        if stage != "mesh_total":
            rows.append((f"  {stage}", f"{seconds / fresh:.3f} s per shape"))
    console.print(ui.table(f"{result.out} ({state})", ["what", "how much"], rows))
    for row in result.rejected[: None if verbose else SHOWN_REJECTS]:
        where = " ".join(filter(None, (row.object_id, row.record_id)))
        console.print(f"rejected {where}: {row.reason}: {row.detail}", style="yellow", soft_wrap=True)
    if len(result.rejected) > SHOWN_REJECTS and not verbose:
        console.print(f"... and {len(result.rejected) - SHOWN_REJECTS} more in {result.out / REJECTS_FILE}")
    if result.restored:
        console.print(f"Damaged or missing, and written again: {', '.join(result.restored)}.", soft_wrap=True)
    if result.rejected and (result.up_to_date or result.resumed):
        console.print(
            "What was rejected by an earlier call is tried again, once it is mended, with --retry-failed.",
            soft_wrap=True,
        )


def records_line(found: Mapping[str, Any]) -> str:
    """What became of the source's records: those used, rejected and not taken are all of them."""
    not_taken = counted_by(found["skipped"], f"{sum(found['skipped'].values())} not taken")
    if "used" not in found:
        return f"{found['records']}: {not_taken}"
    return f"{found['records']}: {found['used']} used, {found['rejected_records']} rejected, {not_taken}"


def counted_by(causes: Mapping[str, int], total: str) -> str:
    """``3 rejected (2 bad-pose, 1 bad-mesh)``; without causes only ``total``."""
    listed = ", ".join(f"{n} {cause}" for cause, n in causes.items())
    return f"{total} ({listed})" if listed else total


for _source in SOURCES.values():
    prepare.add_command(command(_source))
