"""``onet bench``: train the missing runs of an ablation and print its table."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from onet_cli import ui
from onet_cli.options import DATA, FOLDER, SUITE_HELP, Numbers, flag_of, setting, threads_option
from pix3d_onet.config import RecipeName, TrainConfig

if TYPE_CHECKING:
    from pix3d_onet.ablation.bench import BenchResult, PlannedRun
    from pix3d_onet.ablation.selection import Selection
    from pix3d_onet.ablation.variants import Variant
    from pix3d_onet.events import Emit
    from pix3d_onet.report.build import Report


SEEDS = Numbers(int, "N,N,…", "seeds such as 0,1,2")


def recipe_option(name: str, **options: Any) -> Callable[[Any], Any]:
    """The option of a training setting whose default is the recipe's."""
    return setting(TrainConfig, name, unset=True, default_text="the recipe's", **options)


@click.command()
@click.option("--all", "all_", is_flag=True, help="The seven variants of Table 1 (the same as --suite table1).")
@click.option("--suite", multiple=True, help=SUITE_HELP)
@click.option("--variant", multiple=True, help="One variant, or timm:NAME for any encoder; repeatable.")
@click.option("--base", help="Variant to compare the others with  [default: the suite's]")
@click.option("--data", type=FOLDER, default=DATA, show_default=True, help="Prepared data set.")
@click.option("--out", type=FOLDER, default=Path("runs"), show_default=True, help="Folder for the runs.")
@click.option(
    "--preset", type=click.Choice(get_args(RecipeName)), help="Training settings  [default: the suite's, or paper]"
)
@recipe_option("steps")
@recipe_option("batch_size", type=click.IntRange(min=1), help="Pictures per step.")
@recipe_option("image_size")
@click.option(
    "--seeds",
    type=SEEDS,
    help="Train each variant once per seed  [default: the suite's, or 0]",
)
@recipe_option("pretrained")
@click.option("--weights", type=FOLDER, help="File for the variants that start from weights (suite pretrain).")
@click.option("--init-from", type=FOLDER, help="Run for the variants that start from a run (suite pretrain).")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@threads_option
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Runs trained at the same time, each in its own process and on its own GPU  "
    "[default: 1; with --backend dask one per worker]",
)
@click.option(
    "--backend",
    type=click.Choice(["local", "dask"]),
    default="local",
    show_default=True,
    help="local: this machine. dask: the workers of --scheduler.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler for --backend dask, e.g. tcp://host:8786.")
@click.option(
    "--examples/--no-examples",
    default=True,
    show_default=True,
    help="Reconstruct pictures for the figures after each run.",
)
@click.option("--watch", is_flag=True, help="Show all runs in a live table while they train.")
@click.option("--report/--no-report", "with_report", default=True, help="Write OUT/report.", show_default=True)
@click.option("--overwrite", is_flag=True, help="Also use a folder that onet did not make.")
@click.option("--dry-run", is_flag=True, help="Print the plan and train nothing.")
@ui.common_options
def bench(
    *,
    all_: bool,
    suite: tuple[str, ...],
    variant: tuple[str, ...],
    base: str | None,
    data: Path,
    out: Path,
    weights: Path | None,
    init_from: Path | None,
    device: str,
    threads: int,
    jobs: int | None,
    backend: str,
    scheduler: str | None,
    examples: bool,
    watch: bool,
    with_report: bool,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> None:
    """Run an ablation and print its table: Table 1 beside the numbers published in the report, or another suite.

    --suite my.toml trains variants of your own, with labels, base and recipe (docs/variants.md).

    Finished runs are kept, and an interrupted run is continued. If a run fails, the others go on, the table is printed
    without it, and the exit status is 3. The same command tries failed runs again.

    \b
    Example:
      onet bench --all --data data/prepared/pix3d-chair --preset quick
      onet bench --variant resnet18 --variant convnext --seeds 0,1,2
      onet bench --suite my.toml --variant timm:mobilenetv3_small_050
      onet bench --suite pyramid --jobs 4 --watch
      onet bench --all --backend dask --scheduler tcp://HEAD:8786
    """
    if (backend == "dask") != (scheduler is not None):
        raise click.UsageError("--backend dask and --scheduler ADDRESS must be given together.")
    from pix3d_onet.ablation.bench import bench as run_bench
    from pix3d_onet.ablation.bench import missing_start
    from pix3d_onet.ablation.selection import select
    from pix3d_onet.files import check_writable

    chosen = select((("table1",) if all_ else ()) + suite, variant, base)
    given = {"weights": weights, "init_from": init_from}
    starts = {key: path.absolute() for key, path in given.items() if path is not None}
    plan = make_plan(chosen, data, out, settings, starts)
    for v in chosen.variants:
        if (needed := missing_start(v, starts)) and not quiet:
            ui.say(f"{v.name} is left out: it starts from {flag_of(needed)}.", err=True)
    if dry_run:
        render_plan(plan, as_json=as_json)
        return
    if any(p.state != "done" for p in plan):
        check_writable(out)
    from onet_cli.watch import live_table
    from pix3d_onet.ablation.cluster import Cluster
    from pix3d_onet.learning.device import devices_of_jobs, nth_device
    from pix3d_onet.learning.training.run import train
    from pix3d_onet.report.build import write_default_report

    shown = live_table(plan, verbose=verbose) if watch and not quiet else ui.live(quiet=quiet, verbose=verbose)
    with shown as emit:
        result = run_bench(
            plan,
            data,
            functools.partial(train, threads=threads, examples=examples),
            out=out,
            devices=devices_of_jobs(device, jobs or 1),
            cluster=Cluster(scheduler, functools.partial(nth_device, device), jobs or 0) if scheduler else None,
            overwrite=overwrite,
            emit=emit,
        )
        made = summarise(result, chosen, out=out, data=data, emit=emit)
    if with_report:  # before printing, so that the files are also written if the output pipe is closed
        with ui.live(quiet=quiet, verbose=verbose) as emit:
            write_default_report(made, out, chosen.name, overwrite=overwrite, emit=emit)
    render(made, result, as_json=as_json, quiet=quiet)
    if result.failures:
        names = ", ".join(f.run.name for f in result.failures)
        many = ui.counted(len(result.failures), "run")
        ui.say(f"onet: error: {many} failed: {names}. Their cells in the table are blank.", err=True)
        raise click.exceptions.Exit(3)


def make_plan(
    chosen: Selection, data: Path, out: Path, settings: dict[str, Any], starts: Mapping[str, Path]
) -> tuple[PlannedRun, ...]:
    """The requested runs; their ids depend on the data set's content. Options override the suite file."""
    from pix3d_onet.ablation.bench import plan_runs
    from pix3d_onet.ablation.recipes import RECIPES
    from pix3d_onet.data.store.manifest import read_manifest
    from pix3d_onet.learning.network.weights_file import weights_path
    from pix3d_onet.learning.training.identity import initial_run, run_identity

    changed = {k: v for k, v in settings.items() if k not in ("preset", "seeds") and v is not None}
    config = RECIPES[settings["preset"] or chosen.preset or "paper"].train
    config = dataclasses.replace(config, **{**chosen.recipe, **changed})
    seeds = settings["seeds"] or chosen.seeds or (0,)
    data_hash = read_manifest(data).data_hash

    def identity(variant: Variant, config: TrainConfig) -> str:
        start = starts.get(variant.start)
        weights = weights_path(start) if start and variant.start == "weights" else None
        init = initial_run(start if variant.start == "init_from" else None, variant.model)
        return run_identity(variant.model, config, data_hash, weights, init)

    return plan_runs(chosen.variants, seeds, config, out, identity, starts)


def summarise(result: BenchResult, chosen: Selection, *, out: Path, data: Path, emit: Emit) -> Report:
    """The table of the requested variants, including runs of earlier calls."""
    from pix3d_onet.ablation.stored_runs import key_of
    from pix3d_onet.report.build import TableOptions, read_report

    key = key_of(result.runs[0], result.runs)
    return read_report(out, setting=key, options=TableOptions(chosen, all_rows=True), data=data, emit=emit)


def render_plan(plan: Sequence[PlannedRun], *, as_json: bool) -> None:
    """Print the planned runs and their states."""
    rows = [(p.variant.name, p.config.seed, p.run_id, p.state) for p in plan]
    if as_json:
        keys = ("variant", "seed", "run_id", "state")
        states = [dict(zip(keys, row, strict=True)) | {"path": p.folder} for row, p in zip(rows, plan, strict=True)]
        ui.print_json({"plan": states})
        return
    ui.out().print(ui.table("Plan", ("variant", ">seed", "run", "state"), rows))


def render(made: Report, result: BenchResult, *, as_json: bool, quiet: bool) -> None:
    """Print the table or its JSON document, then the number of runs trained."""
    from onet_cli.tables import print_table

    if as_json:
        ui.print_json(
            {**made.table.to_json(), "trained": result.trained, "failed": [f.run.name for f in result.failures]}
        )
    else:
        print_table(ui.out(), made.table)
    if not quiet:
        ui.say(f"{result.trained} trained, {len(result.runs) - result.trained} already there.", err=True)
