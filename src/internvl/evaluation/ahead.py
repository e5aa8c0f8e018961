"""Samples made ahead of the model, in other processes, in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice

from internvl.evaluation.item import EvalSample, EvalSet

AHEAD_PER_WORKER = 8
"""Samples that wait for their turn; a page takes some megabytes."""

Wanted = tuple[EvalSet, str]
"""A set, and the id of one of its samples."""


def make_ahead(wanted: Iterable[Wanted], workers: int) -> Iterator[tuple[EvalSet, EvalSample]]:
    """Yield the samples, in the order wanted, making the next ones meanwhile.

    Args:
        wanted: What to make; read as far as is made ahead.
        workers: Processes; 0 makes each when it is asked for. Sets that are not costly are made here anyway.

    Raises:
        ConfigError: From a sample that cannot be made.
    """
    if workers < 1:
        for source, sample_id in wanted:
            yield source, source.make(sample_id)
        return
    # spawned, not forked: the engine's thread and torch's would break in a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        queue: deque[tuple[EvalSet, Future[EvalSample] | EvalSample]] = deque()
        todo = iter(wanted)

        def fill() -> None:
            for source, sample_id in islice(todo, AHEAD_PER_WORKER * workers - len(queue)):
                made = pool.submit(source.make, sample_id) if source.costly else source.make(sample_id)
                queue.append((source, made))

        try:
            fill()
            while queue:
                source, made = queue.popleft()
                sample = made.result() if isinstance(made, Future) else made
                fill()
                yield source, sample
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    # Ctrl-C reaches the whole group; the parent decides what ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave when the parent was killed: the pool's queue would keep its workers waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
