"""/v1/files."""

from __future__ import annotations

from typing import Literal

from internvl.server.schemas.base import Sent

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]


class FileObject(Sent):
    """An uploaded file, or a file of answers."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]


class FileList(Sent):
    """Some of the caller's files."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(Sent):
    """A file that is gone."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]
