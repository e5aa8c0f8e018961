"""/v1/batches."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from internvl.server.schemas.base import NotSupported, Sent, Strict

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
Status = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "cancelling", "cancelled", "expired"
]


class BatchRequest(Strict):
    """Body of POST /v1/batches."""

    input_file_id: Annotated[str, Field(max_length=128)]
    """An uploaded file with a request a line: {"custom_id", "method": "POST", "url", "body"}."""
    endpoint: Endpoint
    """The url of every line."""
    completion_window: Literal["24h"]
    """A promise that OpenAI gives; here a batch takes as long as it takes."""
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    output_expires_after: Annotated[Any, NotSupported((), "delete the files when you have them")] = None


class RequestCounts(Sent):
    """How far a batch is."""

    total: int
    completed: int
    failed: int


class BatchProblem(Sent):
    """Why a batch could not be begun or finished."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchProblems(Sent):
    """The same as a list."""

    object: Literal["list"]
    data: list[BatchProblem]


class BatchObject(Sent):
    """A batch."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None
    """Answers, one a line, when it has ended."""
    error_file_id: str | None
    """Requests that failed, likewise."""
    errors: BatchProblems | None
    created_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    expires_at: None = None
    expired_at: None = None
    request_counts: RequestCounts
    metadata: dict[str, str] | None


class BatchList(Sent):
    """Some of the caller's batches."""

    object: Literal["list"]
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
