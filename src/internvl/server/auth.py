"""API keys: several, each known by a name and kept only as a hash."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from internvl.errors import ConfigError
from internvl.server.errors import NotAuthenticated

_NAME = re.compile(r"[\w.@-]{1,64}")
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")
_MIN_KEY_CHARS = 8


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key. The name is what logs, limits and files know; a key can be changed under its name."""

    name: str
    digest: bytes
    """sha256 of the key; keys are long and random, so a slow hash would protect nothing more."""


def read_key(text: str) -> ApiKey:
    """Return the key that a text says: "secret", "name secret", or with "sha256:<hex>" for the secret.

    Raises ConfigError, without repeating the secret.
    """
    *names, secret = text.split()[-2:] or [""]
    if len(text.split()) > 2 or not secret:
        raise ConfigError("an API key is one word, or a name, a blank and one word")
    hashed = _HASHED.fullmatch(secret)
    if hashed is None and len(secret) < _MIN_KEY_CHARS:
        raise ConfigError(
            f"an API key has {len(secret)} characters; expected at least {_MIN_KEY_CHARS}, e.g. from"
            " python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    digest = bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(secret.encode()).digest()
    name = names[0] if names else f"key-{digest.hex()[:12]}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name an API key; expected up to 64 letters, digits or . _ @ -")
    return ApiKey(name, digest)


def read_key_file(path: Path) -> list[ApiKey]:
    """Return the keys of a file: one a line as in `read_key`; empty lines and lines with # do not count.

    Raises ConfigError that names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the API keys: {error}") from error
    keys = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        try:
            keys += [read_key(text)] if text else []
        except ConfigError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from error
    if not keys:
        raise ConfigError(f"{path} holds no API key; expected one a line")
    return keys


class KeyRing:
    """The keys that open this server."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    @property
    def asks(self) -> bool:
        """Whether a key is needed at all."""
        return bool(self._keys)

    def find(self, authorization: str) -> ApiKey:
        """Return the key that a header "Authorization: Bearer ..." holds. Raises NotAuthenticated.

        All keys are compared, in constant time, so that nothing can be learnt from how long it takes.
        """
        scheme, _, secret = authorization.partition(" ")
        digest = hashlib.sha256(secret.strip().encode("utf-8", "surrogateescape")).digest()
        matches = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        if scheme.lower() != "bearer" or not matches:
            said = "a wrong API key" if authorization else "no API key"
            raise NotAuthenticated(
                f"the request brings {said}; send the header Authorization: Bearer <key>",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return matches[0]
