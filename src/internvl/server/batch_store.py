"""Batches on disk: a batch that was accepted outlives the server, however it ends.

Of each batch there are `<id>.json` (its state), `<id>.requests` (a link to the uploaded file, so that deleting
that one changes nothing) and, while it runs, `<id>.answers`, which `chat.batch` appends to.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from internvl.media.source import short_name
from internvl.server.data_dir import DataDir, read_json, sync_folder, write_json
from internvl.server.errors import NotFound
from internvl.server.ids import is_id

PREFIX = "batch_"
OPEN = ("validating", "in_progress", "finalizing", "cancelling")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The state of one batch."""

    id: str
    owner: str
    endpoint: str
    input_file_id: str
    status: str
    created_at: int
    metadata: dict[str, str] | None = None
    times: dict[str, int] = field(default_factory=dict)
    """Status -> when the batch came into it."""
    output_file_id: str | None = None
    error_file_id: str | None = None
    problem: str | None = None
    """Why it failed."""
    total: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def is_open(self) -> bool:
        """Whether something is left to do."""
        return self.status in OPEN


class BatchStore:
    """All batches of one server. Any thread."""

    def __init__(self, data: DataDir) -> None:
        self._folder = data.folder("batches")
        self._lock = threading.RLock()
        self._batches = {batch.id: batch for path in self._folder.glob("*.json") if (batch := _read(path))}

    def add(self, batch: Batch, requests: Path) -> None:
        """Keep a new batch; when this returns, it will be done. `requests`: the uploaded file."""
        link = self.requests(batch.id)
        try:
            os.link(requests, link)
        except OSError:  # a file system without links
            shutil.copyfile(requests, link)
        with self._lock:
            write_json(self._folder / f"{batch.id}.json", asdict(batch))
            self._batches[batch.id] = batch

    def change(
        self, batch_id: str, status: str | None = None, *, lasting: bool = True, **changes: Any
    ) -> Batch:
        """Change a batch and return it; `lasting=False`: not on disk (counts, which are counted again).

        A batch that somebody cancels meanwhile only comes to its end, as cancelled.
        """
        with self._lock:
            batch = replace(self._batches[batch_id], **changes)
            if batch.status == "cancelling":
                status = {"in_progress": None, "finalizing": None, "completed": "cancelled"}.get(
                    status or "", status
                )
            if status is not None and status != batch.status:
                batch = replace(batch, status=status, times={**batch.times, status: int(time.time())})
            if lasting:
                write_json(self._folder / f"{batch_id}.json", asdict(batch))
            self._batches[batch_id] = batch
        return batch

    def get(self, batch_id: str, owner: str) -> Batch:
        """Return an owner's batch. Raises NotFound: there is none, or it is another's."""
        batch = self._batches.get(batch_id)
        if batch is None or batch.owner != owner:
            raise NotFound(f"there is no batch {short_name(batch_id)!r}", param="batch_id")
        return batch

    def owned_by(self, owner: str) -> list[Batch]:
        """Return an owner's batches, the newest first."""
        with self._lock:
            mine = [batch for batch in self._batches.values() if batch.owner == owner]
        return sorted(mine, key=lambda batch: (batch.created_at, batch.id), reverse=True)

    def open(self) -> list[Batch]:
        """Return what is left to do, the oldest first."""
        with self._lock:
            unfinished = [batch for batch in self._batches.values() if batch.is_open]
        return sorted(unfinished, key=lambda batch: (batch.created_at, batch.id))

    def status(self, batch_id: str) -> str:
        """Return a batch's status."""
        return self._batches[batch_id].status

    def requests(self, batch_id: str) -> Path:
        """Where a batch's requests lie."""
        return self._folder / f"{batch_id}.requests"

    def answers(self, batch_id: str) -> Path:
        """Where a batch's answers grow."""
        return self._folder / f"{batch_id}.answers"

    def drop_work_files(self, batch_id: str) -> None:
        """Remove requests and answers of a batch that has ended; its files of answers are kept elsewhere."""
        self.requests(batch_id).unlink(missing_ok=True)
        self.answers(batch_id).unlink(missing_ok=True)
        sync_folder(self._folder)


def _read(path: Path) -> Batch | None:
    facts = read_json(path)
    if facts is None or not is_id(path.stem, PREFIX) or facts.get("id") != path.stem:
        return None
    try:
        return Batch(**facts)
    except TypeError:
        return None
