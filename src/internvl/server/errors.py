"""One table: exception -> HTTP status, and OpenAI's `type` and `code`; one renderer for answers and streams.

What a client is told is the message of an `InternVLError` that is about the request. Of anything else, which
would be our own fault or the machine's, it is told the request id only; the log has the rest.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException

from internvl.chat.openai_body import BodyError
from internvl.errors import (
    CapacityError,
    ConfigError,
    ContextLengthError,
    InternVLError,
    MediaError,
    MissingDependencyError,
    RequestError,
)

logger = logging.getLogger(__name__)


class ApiError(InternVLError):
    """An error of the HTTP interface itself. `param` names the field that it is about."""

    def __init__(
        self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.param = param
        self.headers = dict(headers or {})


class InvalidBody(ApiError):
    """The body is no JSON, or not of the endpoint's form."""


class UnknownModel(ApiError):
    """A model that this server does not serve."""


class NotFound(ApiError):
    """No such file, batch or response, or not the caller's."""


class Conflict(ApiError):
    """It cannot be done in the state that the thing is in."""


class NotAuthenticated(ApiError):
    """No key, or a wrong one."""


class RateLimited(ApiError):
    """The caller asks more often, or more at once, than allowed."""


class TooLarge(ApiError):
    """The body is larger than allowed."""


class TooSlow(ApiError):
    """The body did not come in time."""


class Overloaded(ApiError):
    """The server has as much to do as it takes on."""


class Draining(ApiError):
    """The server is going down and takes nothing new."""


class Unsupported(ApiError):
    """The server was started without what this needs."""


class EngineEnded(ApiError):
    """The engine's thread has ended; only a new process helps."""


class Failed(ApiError):
    """Our fault. The message is fit for clients."""


class Rule(NamedTuple):
    """How an exception is told to a client."""

    status: int
    type: str
    code: str | None


#: The nearest class of an exception's ancestors decides.
TABLE: dict[type[Exception], Rule] = {
    ContextLengthError: Rule(400, "invalid_request_error", "context_length_exceeded"),
    MediaError: Rule(400, "invalid_request_error", "invalid_media"),
    RequestError: Rule(400, "invalid_request_error", "invalid_request"),
    ConfigError: Rule(400, "invalid_request_error", "invalid_value"),
    InvalidBody: Rule(400, "invalid_request_error", "invalid_body"),
    NotAuthenticated: Rule(401, "authentication_error", "invalid_api_key"),
    UnknownModel: Rule(404, "not_found_error", "model_not_found"),
    NotFound: Rule(404, "not_found_error", "not_found"),
    TooSlow: Rule(408, "invalid_request_error", "request_timeout"),
    Conflict: Rule(409, "invalid_request_error", "conflict"),
    TooLarge: Rule(413, "invalid_request_error", "request_too_large"),
    RateLimited: Rule(429, "rate_limit_error", "rate_limit_exceeded"),
    EngineEnded: Rule(500, "server_error", "engine_ended"),
    Failed: Rule(500, "server_error", "internal_error"),
    Unsupported: Rule(501, "server_error", "not_available"),
    MissingDependencyError: Rule(501, "server_error", "not_available"),
    CapacityError: Rule(503, "server_error", "overloaded"),
    Overloaded: Rule(503, "server_error", "overloaded"),
    Draining: Rule(503, "server_error", "shutting_down"),
}
_INTERNAL = Rule(500, "server_error", "internal_error")
_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 421: "wrong_host"}
#: Seconds after which a refused client may try again, where the raiser knows nothing better.
_RETRY_AFTER_S = 2
_PLACE = re.compile(r"(messages|input|prompt)\[\d+\][\w.\[\]]*")


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as it goes out."""

    status: int
    error: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's nested form."""
        return {"error": self.error}


def answer_for(error: BaseException, request_id: str) -> ErrorAnswer:
    """Return what a client is told about `error`; log what it is not told."""
    if isinstance(error, HTTPException):  # the framework's own: no such route, no such method
        code = _BY_STATUS.get(error.status_code, "invalid_request")
        kind = "not_found_error" if error.status_code == 404 else "invalid_request_error"
        return ErrorAnswer(
            error.status_code, _nested(str(error.detail), kind, None, code), dict(error.headers or {})
        )
    rule = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), _INTERNAL)
    if rule is _INTERNAL:
        logger.error("request %s failed", request_id, exc_info=error)
        message = f"internal error; the server's log says more under request id {request_id}"
        return ErrorAnswer(500, _nested(message, rule.type, None, rule.code))
    headers = dict(error.headers) if isinstance(error, ApiError) else {}
    if rule.status == 503:
        headers.setdefault("Retry-After", str(_RETRY_AFTER_S))
    param = error.param if isinstance(error, ApiError | BodyError) else _param(str(error))
    return ErrorAnswer(rule.status, _nested(str(error), rule.type, param, rule.code), headers)


def _nested(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": param, "code": code}


def _param(message: str) -> str | None:
    """Return the place that messages of `preprocess.messages` begin with."""
    place = _PLACE.match(message)
    return place[0] if place else None
