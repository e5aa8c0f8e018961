"""The two files of a batch job: requests, one a line, and answers, appended one a line as they come.

What is in the file of answers is done. A process that is killed leaves at most one torn line at its end,
which the next one cuts off; nothing else is ever rewritten but where failed lines shall be tried again.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

from internvl.errors import RequestError

MAX_LINE_BYTES = 512 << 20
"""Of one request, pictures and videos in data URLs included."""
_MAX_ID = 512
#: What `str.splitlines` takes for the end of a line, and what has no UTF-8.
_ODD = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class BatchError(RequestError):
    """The files cannot be those of one batch job."""


@dataclass(frozen=True, slots=True)
class Line:
    """Where one request stands in the file. `custom_id` is None where the line has none to be answered by."""

    number: int
    """From 1, blank lines counted."""
    offset: int
    size: int
    custom_id: str | None
    problem: str | None = None
    """Why it is no request."""

    @property
    def key(self) -> str | int:
        """What its answer is found by: the custom_id, else the line's number."""
        return self.number if self.custom_id is None else self.custom_id


class Requests:
    """The file of requests, indexed; bodies are read when they are needed."""

    def __init__(self, path: Path) -> None:
        """Look through the file.

        Raises:
            BatchError: It cannot be read, is empty, or has a custom_id twice.
        """
        self.path = path
        self.models: set[str] = set()
        """Names of models that the bodies ask for."""
        try:
            with path.open("rb") as file:
                self.lines = list(self._index(file))
        except OSError as error:
            raise BatchError(f"{path}: cannot be read: {error.strerror}") from error
        if not self.lines:
            raise BatchError(f"{path} holds no requests: expected one JSON object a line")
        first: dict[str, int] = {}
        for line in self.lines:
            if line.custom_id is not None and first.setdefault(line.custom_id, line.number) != line.number:
                raise BatchError(
                    f"{path}: lines {first[line.custom_id]} and {line.number} have the same custom_id "
                    f"{line.custom_id!r}: expected each once, as answers are told apart by it"
                )

    def _index(self, file: BinaryIO) -> Iterator[Line]:
        number = offset = 0
        while raw := file.readline(MAX_LINE_BYTES):
            number, size = number + 1, len(raw)
            while not raw.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
                raw, size = rest, size + len(rest)  # too long a line; its parts are not kept
            if size > MAX_LINE_BYTES:
                yield Line(number, offset, 0, None, f"line {number} is longer than {MAX_LINE_BYTES} bytes")
            elif raw.strip():
                yield self._line(raw, number, offset)
            offset += size

    def _line(self, raw: bytes, number: int, offset: int) -> Line:
        try:
            request = _parse(raw)
        except ValueError as error:
            return Line(number, offset, len(raw), None, f"line {number} is no JSON object: {error}")
        custom_id = request.get("custom_id")
        if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _MAX_ID:
            problem = (
                f"line {number}: custom_id is {custom_id!r:.80}; expected a text of 1 to {_MAX_ID} characters"
            )
            return Line(number, offset, len(raw), None, problem)
        body = request.get("body")
        model = body.get("model") if isinstance(body, Mapping) else None
        if isinstance(model, str):
            self.models.add(model)
        return Line(number, offset, len(raw), custom_id)

    def read(self, line: Line) -> dict[str, Any]:
        """Return the request on a line that has no problem."""
        with self.path.open("rb") as file:
            file.seek(line.offset)
            return _parse(file.read(line.size))


class Done(NamedTuple):
    """What an earlier run left."""

    keys: set[str | int]
    failed: int


@dataclass
class Answers:
    """The file of answers, locked and ready to be appended to. A context manager."""

    path: Path
    done: Done
    file: BinaryIO = field(repr=False)

    @classmethod
    def open(cls, path: Path, requests: Requests, *, retry_failed: bool = False) -> Self:
        """Open or create the file, mend a torn end, and see what is answered already.

        Args:
            path: Where answers go.
            requests: What they answer.
            retry_failed: First drop the failed answers of an earlier run, so that their requests are tried
                again.

        Raises:
            BatchError: It cannot be written, another process writes it, or it belongs to another batch.
        """
        if path.exists() and path.samefile(requests.path):
            raise BatchError(f"{path}: answers would overwrite the requests. Name another file")
        known = {line.key for line in requests.lines}
        if retry_failed and path.exists():
            with _locked(path) as file:
                _mend(file, path, known)
                _drop_failed(file, path)
        file = _locked(path)
        try:
            return cls(path, _mend(file, path, known), file)
        except BaseException:
            file.close()
            raise

    def append(self, line: Line, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> None:
        """Write one answer; when this returns, a kill cannot undo it."""
        row = {"id": f"batch_req_{secrets.token_hex(12)}", "custom_id": line.custom_id}
        data = _one_line({**row, "response": response, "error": error})
        try:
            self.file.write(data)
            self.file.flush()
        except OSError as failure:
            raise BatchError(f"{self.path}: cannot be written: {failure.strerror}") from failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync(self.file.fileno())
        self.file.close()


def _parse(raw: bytes) -> dict[str, Any]:
    """Return the object on a line; ValueError says why there is none."""
    try:
        value = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it is {type(value).__name__}")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _one_line(value: Mapping[str, Any]) -> bytes:
    """Return JSON in UTF-8, readable, with an end; nothing in it that some reader takes for the end of a line."""
    text = json.dumps(value, ensure_ascii=False)
    return _ODD.sub(lambda found: f"\\u{ord(found.group()):04x}", text).encode() + b"\n"


def _locked(path: Path) -> BinaryIO:
    """Open a file for appending, for this process alone."""
    try:
        file = path.open("a+b")
    except OSError as error:
        raise BatchError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise BatchError(
            f"{path} is being written by another process: wait for it, or name another file"
        ) from None
    return file


def _drop_failed(file: BinaryIO, path: Path) -> None:
    """Put a file without the failed answers in the place of this one, in one step."""
    file.seek(0)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as kept:
        kept.writelines(raw for raw in iter(file.readline, b"") if not _read_answer(raw)[1])
        kept.flush()
        os.fsync(kept.fileno())
    os.chmod(name, os.fstat(file.fileno()).st_mode & 0o777)
    os.replace(name, path)


def _mend(file: BinaryIO, path: Path, known: set[str | int]) -> Done:
    """Read the answers of earlier runs, and cut off a torn last line."""
    keys: set[str | int] = set()
    failed = end = 0
    file.seek(0)
    for number, raw in enumerate(iter(file.readline, b""), start=1):
        try:
            key, has_failed = _read_answer(raw)
        except ValueError as error:
            if file.read(1):  # not the last line
                raise BatchError(
                    f"{path}: line {number} is no answer of a batch ({error}): expected the file of an earlier "
                    "run, or none"
                ) from None
            break  # torn by a kill
        if key not in known:
            raise BatchError(
                f"{path}: line {number} answers {key!r}, which is not asked for: expected answers to the same "
                "requests. Name another file"
            )
        if not raw.endswith(b"\n"):
            file.write(b"\n")  # whole but for its end
            file.flush()
            raw += b"\n"
        end += len(raw)
        failed += has_failed and key not in keys
        keys.add(key)
    file.truncate(end)
    return Done(keys, failed)


def _read_answer(raw: bytes) -> tuple[str | int, bool]:
    """Return whose answer a line is and whether it failed; ValueError: it is none."""
    answer = _parse(raw)
    if "custom_id" not in answer or "response" not in answer:
        raise ValueError("it has no custom_id and response")
    error, response = answer.get("error"), answer.get("response")
    status = response.get("status_code") if isinstance(response, dict) else None
    if answer["custom_id"] is None:
        number = error.get("line") if isinstance(error, dict) else None
        if not isinstance(number, int):
            raise ValueError("it answers nothing")
        return number, True
    return str(answer["custom_id"]), error is not None or status != 200
