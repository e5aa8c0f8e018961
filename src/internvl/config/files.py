"""The small files of a checkpoint directory, read and checked: JSON objects and texts. No torch.

A directory may come from anywhere, so sizes are bounded, and everything wrong is a CheckpointError that names the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from internvl.errors import CheckpointError

MAX_FILE_BYTES = 64 * 2**20
"""The largest of the family are the tokenizers of 20 MB (GPT-OSS)."""


def read_bytes(path: Path) -> bytes:
    """Read a file of bounded size."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise CheckpointError(
                f"{path} has {size / 2**20:.0f} MiB; files beside the weights are limited to "
                f"{MAX_FILE_BYTES // 2**20} MiB. Is it the right file?"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; a checkpoint directory needs it") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def read_text(path: Path) -> str:
    """Read a UTF-8 file."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 text (byte {error.start})") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    return parse_json_object(path, read_text(path))


def parse_json_object(path: Path, text: str) -> dict[str, Any]:
    """Parse the text of a JSON file that holds an object."""
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a JSON {type(value).__name__}; expected an object")
    return value
