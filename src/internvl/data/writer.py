"""Write a skill's samples as training rows: many processes, finished shards kept, the same bytes every time.

Called by `internvl data make`. Below the output folder, for every skill:

    DIR/meta.json                      the family's meta file: one entry per skill, what `internvl train` reads
    DIR/receipt.json                   what was asked for (`Job`) and drawn with (hashes of data pack and fonts): a
                                       second run goes on, or is refused if it differs
    DIR/receipt.jsonl                  the family's rows: id, image, width, height, conversations
    DIR/receipt.truth.jsonl            beside each row: skill, language, metrics of the turns, truth
    DIR/receipt/00003/000601_0.jpg     pictures of shard 3

With format `wds` a shard is `receipt/00003.tar` (pictures, `ID.json` with the row, `ID.truth.json`), with `parquet`
it is `receipt/00003.parquet` (columns id, images, conversations, truth); the truth files stand beside either.
A shard is written under another name and renamed when it is whole, so that a killed run leaves whole shards only.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from internvl.data.fonts import font_files
from internvl.data.sample import Assets, Json, Split
from internvl.data.shards import (
    Shard,
    encode,
    replace,
    training_row,
    truth_row,
    write_lines,
    write_parquet,
    write_tar,
    write_text,
)
from internvl.data.skills import SKILLS, load_skill, make_sample
from internvl.errors import ConfigError

Format = Literal["jsonl", "wds", "parquet"]
FORMATS: tuple[Format, ...] = ("jsonl", "wds", "parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Samples `0 .. count` of one skill, in one folder."""

    skill: str
    count: int
    seed: int
    split: Split
    format: Format = "jsonl"
    shard_size: int = 200

    def __post_init__(self) -> None:
        if self.count < 1 or self.shard_size < 1:
            raise ConfigError(
                f"count ({self.count}) and shard size ({self.shard_size}) of skill {self.skill!r} must be 1 or more"
            )
        load_skill(self.skill)  # a wrong name shows before any work

    @property
    def num_shards(self) -> int:
        """Shards that hold `count` samples; the last one may be short."""
        return -(-self.count // self.shard_size)

    def indices(self, shard: int) -> range:
        """Samples of one shard."""
        return range(shard * self.shard_size, min(self.count, (shard + 1) * self.shard_size))

    def rows(self, directory: Path, shard: int) -> Path:
        """Where a shard's rows stand; the file is there when the shard is done."""
        return directory / self.skill / f"{shard:05d}.jsonl"


def _make_shard(job: Job, shard: int, shared: Path | None, tick: Callable[[], None]) -> Shard:
    made = Shard([], [], [])
    assets = Assets(shared=shared)
    for index in job.indices(shard):
        sample = make_sample(job.skill, job.seed, index, split=job.split, assets=assets)
        name = f"{job.skill}-{job.split}-{job.seed}-{index:06d}"
        folder = f"{job.skill}/{shard:05d}"
        stem = f"{folder}/{index:06d}/frame_" if sample.video else f"{folder}/{index:06d}_"
        paths = [f"{stem}{n}.jpg" for n in range(len(sample.images))]
        made.rows.append(training_row(sample, name, paths))
        made.truths.append(truth_row(sample, name))
        made.pictures.append(
            [(path, encode(image)) for path, image in zip(paths, sample.images, strict=True)]
        )
        tick()
    return made


def _write_shard(job: Job, shard: int, directory: Path, made: Shard) -> None:
    """Store a shard: pictures first, rows last, so that rows on disk mean a whole shard."""
    rows = job.rows(directory, shard)
    if job.format == "jsonl":
        # a shard that grew, or that a killed run left half done
        shutil.rmtree(directory / job.skill / f"{shard:05d}", ignore_errors=True)
        for path, data in (picture for pictures in made.pictures for picture in pictures):
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    elif job.format == "wds":
        replace(rows.with_suffix(".tar"), lambda target: write_tar(target, made))
    else:
        replace(rows.with_suffix(".parquet"), lambda target: write_parquet(target, made))
    replace(rows.with_suffix(".truth.jsonl"), lambda target: write_lines(target, made.truths))
    replace(rows, lambda target: write_lines(target, made.rows))


def _run_shard(job: Job, shard: int, directory: Path, shared: Path | None) -> None:
    _write_shard(job, shard, directory, _make_shard(job, shard, shared, _tick))


def open_jobs(jobs: Sequence[Job], directory: Path, *, shared: Path | None = None) -> list[tuple[Job, int]]:
    """Check the folder against `jobs` and return the shards that are missing.

    Raises:
        ConfigError: The folder cannot be used, holds samples of the same skill made otherwise, or a skill lacks what it
            draws with.
        MissingDependencyError: Or a package.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be made a folder: {error.strerror}") from None
    source = _drawn_from(shared)
    missing: list[tuple[Job, int]] = []
    for job in jobs:
        note = directory / f"{job.skill}.json"
        if note.exists():
            _check_same(job, source, note)
        shards = [shard for shard in range(job.num_shards) if not _is_whole(job, directory, shard)]
        if shards:  # before the work of another skill: does this one draw here?
            assets = Assets(shared=shared)
            make_sample(job.skill, job.seed, job.indices(shards[0])[0], split=job.split, assets=assets)
        missing += [(job, shard) for shard in shards]
    for job in jobs:
        kept = asdict(job) | source
        replace(directory / f"{job.skill}.json", lambda target, kept=kept: write_lines(target, [kept]))  # type: ignore[misc]
    return missing


def _drawn_from(shared: Path | None) -> dict[str, Json]:
    """What samples depend on beside their job: the data pack and the fonts of this machine, as short hashes."""
    files = [] if shared is None else sorted((shared / "data").glob("*/index.jsonl*"))
    texts = [] if shared is None else sorted((shared / "data" / "text").glob("*"))
    pack = [f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in (*files, *texts)]
    return {
        "data_pack": _short_hash(pack) if shared is not None else None,
        "fonts": _short_hash([path.name for path in font_files()]),
    }


def _short_hash(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]


def _is_whole(job: Job, directory: Path, shard: int) -> bool:
    """Whether rows, truths and pictures of a shard are all there."""
    rows = job.rows(directory, shard)
    if not rows.exists() or _count_lines(rows) != len(job.indices(shard)):
        return False
    truths = rows.with_suffix(".truth.jsonl")
    if not truths.exists() or _count_lines(truths) != len(job.indices(shard)):
        return False
    if job.format != "jsonl":
        return rows.with_suffix(".tar" if job.format == "wds" else ".parquet").exists()
    with rows.open(encoding="utf8") as file:
        for line in file:
            row = json.loads(line)
            pictures = row.get("image") or row.get("video") or []
            listed = [pictures] if isinstance(pictures, str) else pictures
            if not all((directory / name).exists() for name in listed):
                return False
    return True


def _check_same(job: Job, source: Mapping[str, Json], note: Path) -> None:
    """A folder may grow; everything else must be as it was."""
    try:
        before = json.loads(note.read_text(encoding="utf8"))
        assert isinstance(before, dict)
    except (ValueError, AssertionError):
        raise ConfigError(
            f"{note} is no note of what was asked for; remove it, or choose another --out"
        ) from None
    changed = [
        f"{key} {before.get(key)!r}, now {value!r}"
        for key, value in (asdict(job) | {key: source[key] for key in source if key in before}).items()
        if key != "count" and before.get(key) != value
    ]
    if job.count < before.get("count", 0):
        changed.append(f"count {before['count']}, now {job.count}")
    if changed:
        raise ConfigError(
            f"{note.parent} holds samples of skill {job.skill!r} made with {'; '.join(changed)}. "
            "Use the same settings (only a larger --count may differ), or another --out"
        )


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


# Progress of the workers: one number in shared memory, counted up sample by sample.
_counter: Any = None


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    # Ctrl-C reaches the whole group; the parent decides what ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave when the parent was killed: the pool's queue would keep its workers waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _tick() -> None:
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += 1


def write_jobs(
    jobs: Sequence[Job],
    directory: Path,
    *,
    shared: Path | None = None,
    workers: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Make everything that is missing, then join the shards' rows and write the meta file.

    Args:
        jobs: One per skill.
        directory: Where everything goes.
        shared: The folder that holds `data/`, or None.
        workers: Processes; 1 works in this one.
        on_progress: Called now and then with the samples that were made so far.

    Raises:
        ConfigError: The folder holds something else, or a skill lacks what it draws with.
    """
    missing = open_jobs(jobs, directory, shared=shared)
    done = 0
    if workers == 1:
        for job, shard in missing:

            def tick() -> None:
                nonlocal done
                done += 1
                if on_progress:
                    on_progress(done)

            _write_shard(job, shard, directory, _make_shard(job, shard, shared, tick))
    elif missing:
        for count in _in_processes(missing, directory, shared, min(workers, len(missing))):
            if on_progress:
                on_progress(count)
    for job in jobs:
        _join(job, directory)
    _write_meta(directory)


def _in_processes(
    missing: Sequence[tuple[Job, int]], directory: Path, shared: Path | None, workers: int
) -> Iterator[int]:
    """Work through the shards; yields how many samples are made, several times a second."""
    # spawned, not forked: the caller may have threads (progress bar, torch) that a fork would break
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    queue = iter(missing)
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(counter,)
    ) as pool:
        open_: set[Future[None]] = set()
        try:
            while True:
                for job, shard in islice(queue, 2 * workers - len(open_)):
                    open_.add(pool.submit(_run_shard, job, shard, directory, shared))
                if not open_:
                    break
                finished, open_ = wait(open_, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                yield counter.value
        finally:
            for future in open_:
                future.cancel()
    yield counter.value


def _join(job: Job, directory: Path) -> None:
    """Join the rows of all shards into the files that the meta file names."""
    for suffix in (".jsonl", ".truth.jsonl"):
        parts = [job.rows(directory, shard).with_suffix(suffix) for shard in range(job.num_shards)]

        def copy(target: Path, parts: Sequence[Path] = parts) -> None:
            with target.open("wb") as file:
                for part in parts:
                    file.write(part.read_bytes())

        replace(directory / f"{job.skill}{suffix}", copy)


def _write_meta(directory: Path) -> None:
    """Write the family's meta file over every skill of the folder."""
    meta: dict[str, Json] = {}
    for note in sorted(directory.glob("*.json")):
        if note.stem not in SKILLS:
            continue
        found = json.loads(note.read_text(encoding="utf8"))
        job = Job(**{key: found[key] for key in Job.__dataclass_fields__ if key in found})
        annotation = f"{job.skill}.jsonl"
        if job.format != "jsonl":
            ending = "tar" if job.format == "wds" else "parquet"
            annotation = f"{job.skill}/{{00000..{job.num_shards - 1:05d}}}.{ending}"
        meta[job.skill] = {
            "root": ".",
            "annotation": annotation,
            "data_augment": False,
            "repeat_time": 1,
            "length": job.count,
        }
    text = json.dumps(meta, indent=2) + "\n"
    replace(directory / "meta.json", lambda target: write_text(target, text))
