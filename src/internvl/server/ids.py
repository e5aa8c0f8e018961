"""Ids of answers, files and batches."""

from __future__ import annotations

import re
import secrets


def new_id(prefix: str) -> str:
    """Return an id that cannot be guessed, e.g. "chatcmpl-" and 32 digits."""
    return f"{prefix}{secrets.token_hex(16)}"


def is_id(text: str, prefix: str) -> bool:
    """Whether a text has the form of `new_id(prefix)`; then it is safe as a file name."""
    return re.fullmatch(re.escape(prefix) + "[0-9a-f]{32}", text) is not None
