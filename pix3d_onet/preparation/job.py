"""``prepare``: from a source's listing to a data set, in parallel; finished shapes are never prepared again.

Guarantees: the bytes of a finished data set depend only on the settings and the source. Each shape is either in the
data set or in ``rejects.jsonl`` with its reason. A run that ends early, for any cause, loses at most the shapes that
were in progress.
"""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pix3d_onet.config import SPLITS, Backend, PrepareConfig
from pix3d_onet.data.sources.registry import own_terms
from pix3d_onet.data.store.card import CARD, NO_TERMS, Terms
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry, read_manifest
from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.data.store.rejects import REJECTS_FILE, read_rejects, write_rejects
from pix3d_onet.data.store.writer import write_shard
from pix3d_onet.errors import ConfigError, InputError, InterruptedRunError, OnetError, SettingError
from pix3d_onet.events import Emit, Note, Progress, ignore
from pix3d_onet.files import disk_trouble, file_digest, remove, unmark
from pix3d_onet.locks import locked
from pix3d_onet.machine.threads import usable_cores
from pix3d_onet.preparation.assemble import assemble, listing_digest, write_manifest
from pix3d_onet.preparation.execution.pool import Failure, Limits, Plan, run
from pix3d_onet.preparation.kernels import compile_kernels
from pix3d_onet.preparation.output_folder import TIMINGS, check_output, record_shards, shard_names
from pix3d_onet.preparation.reopen import read_timings, stored_outcome
from pix3d_onet.preparation.staging import (
    ALGORITHM,
    FileDigests,
    Outcome,
    Staging,
    StoredOutcome,
    fingerprint,
    read_digest,
)
from pix3d_onet.preparation.worker import Geometry, Task, prepare_shape, rejection
from pix3d_onet.setting_types import check_choice
from pix3d_onet.types import MANIFEST, PIX3D_INDEX, Rejected, SourceListing, SourceShape

TIME_LIMIT_SECONDS = 600.0
"""Default time limit per shape; the slowest real one takes a few seconds."""
MEMORY_LIMIT_BYTES = 8 << 30
"""Default limit of private memory per worker; real shapes need about a tenth of it."""
SPACE_HINT = "Finished shapes are kept: free some space and run the same command again."


@dataclass(frozen=True, slots=True)
class PrepareResult:
    """Result of :func:`prepare`.

    ``manifest``: of the finished data set; ``rejected``: all rows of ``rejects.jsonl``; ``up_to_date``: the data set
    was already finished; ``restored``: names of its shards that were damaged or missing and were written again;
    ``resumed``: number of shapes from an earlier, interrupted call; ``seconds``: wall time; ``stage_seconds``: seconds
    per stage, summed over the shapes of this call.
    """

    out: Path
    manifest: Manifest
    rejected: tuple[Rejected, ...]
    up_to_date: bool = False
    restored: tuple[str, ...] = ()
    resumed: int = 0
    seconds: float = 0.0
    stage_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Execution:
    """How to run; none of these settings changes the result.

    ``jobs``: worker processes (0 = one per core). ``backend``: ``loky`` (this machine), ``dask`` (with the address
    ``scheduler``) or ``inline`` (one shape after the other in this process, without limits, for a debugger).
    ``time_limit``: seconds per shape (0 = none). ``memory_limit``: bytes per worker (0 = none). ``retry_failed``: try
    stored rejects again. ``overwrite``: replace a data set with other settings or another source, and, in a folder
    that onet did not make, files with names that it writes. ``geometry``: replaces the mesh stage; it must be
    importable in the workers.
    """

    jobs: int = 0
    backend: Backend = "loky"
    scheduler: str | None = None
    time_limit: float = TIME_LIMIT_SECONDS
    memory_limit: int = MEMORY_LIMIT_BYTES
    retry_failed: bool = False
    overwrite: bool = False
    geometry: Geometry | None = None

    def __post_init__(self) -> None:
        check_choice("backend", self.backend, Backend)
        if (self.backend == "dask") != (self.scheduler is not None):
            raise ConfigError("`backend=dask` and `scheduler=ADDRESS` must be given together.")
        for name in ("jobs", "time_limit", "memory_limit"):
            if getattr(self, name) < 0:
                raise SettingError(name, "0 or more", getattr(self, name))


def prepare(
    listing: SourceListing,
    config: PrepareConfig,
    out: Path,
    execution: Execution | None = None,
    *,
    terms: Terms = NO_TERMS,
    emit: Emit = ignore,
) -> PrepareResult:
    """Prepare the shapes of ``listing`` into the data set ``out``; guarantees: see the module.

    ``terms``: licence and attribution for the data card. What is not given there is taken from the present card, if a
    user wrote it, else from the table of sources.

    Raises BusyError if another process writes to ``out``; InputError if no shape is usable (``rejects.jsonl`` says
    why), if ``out`` has other content, or if the disk is full; ConfigError if ``out`` is a folder of sources;
    InterruptedRunError on Ctrl-C or SIGTERM.
    """
    start = time.perf_counter()
    _refuse_sources(listing, out)
    _refuse_equal_ids(listing)
    shapes = sorted(listing.shapes, key=lambda s: s.object_id)
    taken = tuple(shapes[: config.limit] if config.limit else shapes)
    execution = execution or Execution()
    if not taken:
        raise _no_record(listing, out)
    job = _Job(listing, taken, config, out, execution, terms, emit)
    with interruptible(), locked(out, emit), disk_trouble(out, SPACE_HINT):
        shards = shard_names(len(taken), config.shapes_per_shard)
        ours = check_output(out, shards, overwrite=execution.overwrite, emit=emit)
        done = job.existing() if ours else None
        if done is not None:
            manifest, restored = job.with_terms(done[0]), done[1]
            seconds = time.perf_counter() - start
            return PrepareResult(out, manifest, _known_rejects(out, manifest), True, restored, seconds=seconds)
        if not ours:
            job.claim()
        outcomes, resumed = job.prepare_shapes()
        manifest = job.assemble(outcomes)
    stages: Counter[str] = Counter()
    for outcome in outcomes.values():
        stages.update(outcome.seconds)
    seconds = time.perf_counter() - start
    return PrepareResult(out, manifest, read_rejects(out), resumed=resumed, seconds=seconds, stage_seconds=dict(stages))


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One call of :func:`prepare` after its checks; used while the folder is locked."""

    listing: SourceListing
    shapes: tuple[SourceShape, ...]
    config: PrepareConfig
    out: Path
    execution: Execution
    given: Terms
    emit: Emit

    @property
    def staging(self) -> Staging:
        return Staging(self.out)

    @property
    def source(self) -> dict[str, Any]:
        listing = listing_digest(self.listing, self.shapes)
        return {"kind": self.listing.kind, "listing_sha256": listing, "algorithm": ALGORITHM}

    def claim(self) -> None:
        """Mark the folder and remove its manifest, which must not be mistaken for that of the new data set."""
        record_shards(self.out, ())
        remove(self.out / MANIFEST)

    def existing(self) -> tuple[Manifest, tuple[str, ...]] | None:
        """The manifest if ``out`` already holds this data set, and which damaged shards were prepared again; else None.

        If source files have changed, or ``retry_failed`` is given and something was rejected, the data set is turned
        back into parts, without the shapes that must be prepared again.
        """
        if not (self.out / MANIFEST).exists():
            return None
        manifest = self._matching_manifest()
        if manifest is None:
            return None
        sound = {s.file for s in manifest.shards if _is_intact(self.out / s.file, s.sha256)}
        again = self._outdated(manifest)
        if (again or len(sound) < len(manifest.shards)) and self._made_by_another_algorithm(manifest):
            self.claim()
            return None
        if again:
            self._unpack(manifest, sound, again)
            return None
        self.staging.remove()  # left if a run was killed just after it wrote the manifest
        unmark(self.out)
        damaged = tuple(s.file for s in manifest.shards if s.file not in sound)
        if damaged:
            self._repair(manifest, sound)
        return manifest, damaged

    def with_terms(self, manifest: Manifest) -> Manifest:
        """The finished data set with the terms of this call and of its card; both files are written if they change."""
        source = {**manifest.source, **self.terms.to_json()}
        if source == manifest.source:
            return manifest
        manifest = dataclasses.replace(manifest, source=source)
        write_manifest(self.out, manifest)
        return manifest

    @property
    def terms(self) -> Terms:
        """The terms of this call, else those that the user wrote into the card."""
        return self.given.or_else(own_terms(self.out))

    def _made_by_another_algorithm(self, manifest: Manifest) -> bool:
        """Whether its shapes must not be mixed with new ones; then InputError without ``overwrite``."""
        if manifest.source.get("algorithm", 1) == ALGORITHM:
            return False
        if not self.execution.overwrite:
            text = f"{self.out} was prepared by a version of onet with other algorithms; its shapes cannot be mixed."
            raise InputError(text, hint="Name another `out`, or prepare everything again with `overwrite=True`.")
        return True

    def _outdated(self, manifest: Manifest) -> set[str]:
        """Ids of shapes to prepare again: changed ones; with ``retry_failed`` also those with rejects."""
        sources = {s.object_id: s for s in self.shapes}

        def changed_since(entry: ShapeEntry) -> bool:
            shape = sources[entry.object_id]
            return (
                read_digest(shape, self.config, entry.record_ids, FileDigests(self.listing.root)) != entry.source_sha256
            )

        changed = {e.object_id for e in manifest.shapes if e.source_sha256 and changed_since(e)}
        if changed:
            names = ", ".join(sorted(changed)[:3]) + (", …" if len(changed) > 3 else "")
            what = f"preparing again {len(changed)} of {len(sources)} shapes ({names})"
            self.emit(Note(f"files of the source have changed: {what}.", "warning"))
        if self.execution.retry_failed:
            changed |= sources.keys() - {e.object_id for e in manifest.shapes}
            changed |= self._stored_rejects().keys() & sources.keys()
        return changed

    def _stored_rejects(self) -> dict[str, list[Rejected]]:
        """Rows of ``rejects.jsonl`` by shape, without the rejects of the listing, which each call makes again."""
        rows: dict[str, list[Rejected]] = {}
        for row in read_rejects(self.out):
            if row not in self.listing.rejected:
                rows.setdefault(row.object_id, []).append(row)
        return rows

    def _matching_manifest(self) -> Manifest | None:
        """The manifest if settings and source are the same; else None with ``overwrite``, InputError without."""
        try:
            manifest = read_manifest(self.out)
            differs = _differences(manifest, self.config, self.source)
        except InputError:
            if not self.execution.overwrite:
                raise
            differs = "damaged manifest"
        if not differs:
            return manifest
        if not self.execution.overwrite:
            hint = "Name another `out`, or replace it with `overwrite=True`."
            raise InputError(f"{self.out} holds another data set ({differs}).", hint=hint)
        self.claim()
        return None

    def _unpack(self, manifest: Manifest, sound: set[str], again: set[str]) -> None:
        """Turn the data set back into parts, without the shapes ``again`` and those in damaged shards."""
        rows = self._stored_rejects()
        timings = read_timings(self.out / TIMINGS)
        self.staging.open()
        sources = {s.object_id: s for s in self.shapes}
        with Dataset(self.out) as data:
            for entry in manifest.shapes:
                if entry.shard in sound and entry.object_id not in again:
                    key = fingerprint(sources[entry.object_id], self.config, FileDigests(self.listing.root))
                    seconds = timings.get(entry.object_id, {})
                    outcome = stored_outcome(data, entry, tuple(rows.get(entry.object_id, ())), seconds)
                    self.staging.save(dataclasses.replace(outcome, key=key))
        self.claim()

    def _repair(self, manifest: Manifest, sound: set[str]) -> None:
        """Write damaged shards again. InputError, and nothing is changed, if the bytes would differ."""
        sources = {s.object_id: s for s in self.shapes}
        for shard in manifest.shards:
            if shard.file in sound:
                continue
            members = [sources[e.object_id] for e in manifest.shapes if e.shard == shard.file]
            text = f"{shard.file} is damaged or missing: preparing {len(members)} of {len(sources)} shapes again."
            self.emit(Note(text, "warning"))
            outcomes, _ = self.prepare_shapes(members)
            made = [self.staging.load(s.object_id, outcomes[s.object_id].key) for s in members]
            again = write_shard(self.staging.folder / shard.file, made)
            if again.sha256 != shard.sha256:
                raise InputError(
                    f"{shard.file} cannot be restored: the source's files or onet have changed since.",
                    hint="Prepare everything again with `overwrite=True`.",
                )
            (self.staging.folder / shard.file).replace(self.out / shard.file)
        self.staging.remove()

    def prepare_shapes(self, shapes: Sequence[SourceShape] | None = None) -> tuple[dict[str, StoredOutcome], int]:
        """Prepare ``shapes`` (None: all) that are not stored yet: object id → outcome, and how many were stored before.

        Each finished shape is written to disk before the next one is awaited.
        """
        shapes = self.shapes if shapes is None else shapes
        self.staging.open()
        outcomes: dict[str, StoredOutcome] = {}
        for shape in shapes:
            found = self._resumable(shape)
            if found is not None:
                outcomes[shape.object_id] = found
        resumed = len(outcomes)
        if resumed:
            self.emit(Note(f"{resumed} of {len(shapes)} shapes are already finished."))
        lost = sum(not o.ok for o in outcomes.values())
        todo = [
            Task(s, self.listing.root, self.config, self.execution.geometry)
            for s in shapes
            if s.object_id not in outcomes
        ]
        if todo and self.execution.backend == "loky" and self.execution.geometry is None:
            compile_kernels(jobs=self.execution.jobs, emit=self.emit)
        self.emit(Progress("prepare", resumed, len(shapes), lost, unit="shapes"))
        with closing(self._run(todo)) as results:
            for task, result in results:
                outcome = (
                    rejection(task, "worker", result.reason, result.detail) if isinstance(result, Failure) else result
                )
                self.staging.save(outcome)
                outcomes[outcome.object_id] = outcome.stored
                lost += outcome.prepared is None
                self.emit(Progress("prepare", len(outcomes), len(shapes), lost, outcome.object_id, "shapes"))
        return outcomes, resumed

    def _resumable(self, shape: SourceShape) -> StoredOutcome | None:
        """The stored outcome of a shape if it is still valid and, with ``retry_failed``, no reject."""
        if not self.staging.holds(shape.object_id):  # cheaper than the fingerprint, which reads the shape's files
            return None
        found = self.staging.find(shape.object_id, fingerprint(shape, self.config, FileDigests(self.listing.root)))
        if found is not None and not found.ok and self.execution.retry_failed:
            return None
        return found

    def _run(self, todo: Sequence[Task]) -> Generator[tuple[Task, Outcome | Failure], None, None]:
        chosen = self.execution
        plan = Plan(
            prepare_shape,
            Limits(chosen.time_limit, chosen.memory_limit),
            min(chosen.jobs or usable_cores(), max(len(todo), 1)),
            chosen.backend,
            chosen.scheduler,
            "" if chosen.geometry else "pix3d_onet.preparation.from_mesh",
        )
        return run(todo, plan)

    def assemble(self, outcomes: Mapping[str, StoredOutcome]) -> Manifest:
        """Write the data set from the parts, then remove them. InputError if no shape could be prepared."""
        prepared = [(o.object_id, o.key) for o in outcomes.values() if o.ok]
        lost = [r for o in outcomes.values() for r in o.rejected]
        rejected = [*self.listing.rejected, *lost]
        if not prepared:
            write_rejects(self.out, rejected)
            raise self._no_shape(lost)
        terms = self.terms.to_json()
        if kept := terms.keys() - self.given.to_json().keys():
            names = " and ".join(f"`{name}`" for name in sorted(kept, reverse=True))
            self.emit(Note(f"{self.out / CARD} keeps what was written there; {names} would replace it."))
        source = {**self.source, **terms}
        manifest = assemble(self.out, self.config, source, self.listing, self.shapes, prepared, rejected)
        self.staging.remove()
        if self.config.split in ("shape", "image"):
            kind = "groups" if self.config.split == "shape" else "images"
            self._note_empty_splits(manifest.counts[f"{kind}_by_split"], "group" if kind == "groups" else "picture")
        return manifest

    def _note_empty_splits(self, dealt: Mapping[str, int], what: str) -> None:
        empty = [s for s, share in zip(SPLITS, self.config.fractions, strict=True) if share > 0 and dealt[s] == 0]
        if empty:
            change = "Change `group_by`, or add" if self.listing.grouping else "Add"
            few = f"{total} {what}s are" if (total := sum(dealt.values())) > 1 else f"1 {what} is"
            text = f"{few} too few for all splits: no shape is in {' or '.join(empty)}. {change} shapes."
            self.emit(Note(text, "warning"))

    def _no_shape(self, lost: Sequence[Rejected]) -> InputError:
        """The error for a run in which every shape was rejected: reasons of the shapes, then of unusable records."""
        total, before = len(self.shapes), len(self.listing.rejected)
        which = f"none of {total} shapes" if total > 1 else "the only shape"
        text = f"{which} could {'be' if total > 1 else 'not be'} prepared: {_reasons(lost)}."
        if before:
            records = f"{before} records" if before > 1 else "1 record"
            text += f" Besides, {records} of the source cannot be used: {_reasons(self.listing.rejected)}."
        hint = f"{self.out / REJECTS_FILE} names each; `retry_failed=True` tries the shapes again."
        return InputError(text, hint=hint)


def _refuse_sources(listing: SourceListing, out: Path) -> None:
    """ConfigError if ``out`` is the source's folder or a Pix3D release."""
    if out.resolve() == listing.root.resolve() or (out / PIX3D_INDEX).exists():
        raise ConfigError(f"`out={out}` is a folder of sources.", hint="Name another one for the data set.")


def _refuse_equal_ids(listing: SourceListing) -> None:
    """InputError if two shapes have one id: one of them would replace the other."""
    counts = Counter(s.object_id for s in listing.shapes)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise InputError(f"two shapes of {listing.root} have the id {twice[0]}.", hint="Rename one of them.")


def _no_record(listing: SourceListing, out: Path) -> InputError:
    """The error for a source without a usable record; rejects are written unless ``out`` has a finished data set."""
    hint = "Look at the source's files."
    if listing.rejected:
        with suppress(OnetError), locked(out), disk_trouble(out, SPACE_HINT):
            if not check_output(out, (), overwrite=False) or not (out / MANIFEST).exists():
                record_shards(out, ())
                write_rejects(out, listing.rejected)
                hint = f"{out / REJECTS_FILE} names each."
    causes = ", ".join(f"{count} not taken ({cause})" for cause, count in sorted(listing.skipped.items()))
    reasons = "; ".join(filter(None, [_reasons(listing.rejected) if listing.rejected else "", causes]))
    return InputError(f"no usable record: {reasons or 'the source lists none'}.", hint=hint)


def _known_rejects(out: Path, manifest: Manifest) -> tuple[Rejected, ...]:
    """The rejects of a finished data set. InputError if they are not as many as its manifest counts."""
    rows, counted = read_rejects(out), manifest.counts.get("rejected", 0)
    if len(rows) != counted:
        text = f"{out / REJECTS_FILE} has {len(rows)} rejects, and the manifest counts {counted}."
        raise InputError(text, hint="Restore it from a copy, or prepare again with `overwrite=True`.")
    return rows


def _is_intact(path: Path, sha256: str) -> bool:
    try:
        return file_digest(path, follow=False) == sha256
    except OSError:
        return False


def _differences(manifest: Manifest, config: PrepareConfig, source: Mapping[str, Any]) -> str:
    """How a finished data set differs from the requested one, in words; empty if it does not."""
    default = {f.name: f.default for f in dataclasses.fields(config)}
    have, want = {**default, **manifest.config}, {**default, **config.to_json()}
    keys = [k for k in want if have[k] != want[k]]
    if keys:
        return ", ".join(f"{k} {have[k]!r} instead of {want[k]!r}" for k in keys[:3])
    if manifest.source.get("kind") != source["kind"]:
        return f"made from {manifest.source.get('kind')}"
    same = manifest.source.get("listing_sha256") == source["listing_sha256"]
    return "" if same else "its source has other records now"


def _reasons(rejected: Sequence[Rejected]) -> str:
    counts = Counter(r.reason for r in rejected)
    return ", ".join(f"{n} {reason}" for reason, n in counts.most_common()) or "the source lists none"


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into InterruptedRunError, after the workers are stopped."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if main else None
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "interrupted.", hint="Finished shapes are kept; the same command continues."
        ) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
