"""How the server behaves: limits, keys, addresses. Plain data; `cli/serve.py` makes it from options."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from internvl.errors import ConfigError
from internvl.server.auth import ApiKey, read_key

_POSITIVE = (
    *("max_concurrent_requests", "max_body_bytes", "max_inflight_body_bytes", "max_file_bytes"),
    *("max_stored_bytes", "max_stored_files", "max_media_per_request", "max_media_bytes", "max_media_pixels"),
    *(
        "max_request_media_bytes",
        "max_inflight_media_bytes",
        "max_video_bytes",
        "video_timeout_s",
        "write_timeout_s",
        "drain_timeout_s",
    ),
    *("max_total_pixels", "max_prepared_bytes", "media_timeout_s", "body_timeout_s", "fetch_threads"),
    *("max_json_items", "max_answer_tokens", "prepare_threads", "requests_per_minute"),
    *("max_concurrent_per_key", "max_batch_lines", "ping_interval_s"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Everything about the server that is not about the engine (`EngineConfig`)."""

    model_names: tuple[str, ...] = ("internvl",)
    """Names that requests may call the model by; the first one is shown."""
    api_keys: tuple[ApiKey, ...] = ()
    """Keys that open the server; texts are read by `auth.read_key` and kept only as hashes. Empty: nobody is
    asked."""

    # -- how much at once
    max_concurrent_requests: int = 256
    """Requests that are read, prepared or answered; one more gets 503 and a Retry-After."""
    max_concurrent_per_key: int | None = None
    """The same for one key (without keys: one address); one more gets 429."""
    requests_per_minute: int | None = None
    """Of one key (without keys: one address), as a token bucket that holds one minute's worth."""
    max_answer_tokens: int | None = None
    """Longest answer that a request may ask for; None = what the session has room for."""

    # -- sizes
    max_body_bytes: int = 64 << 20
    """Of a request with JSON, counted while it is read."""
    max_inflight_body_bytes: int = 1 << 30
    """Of all requests together; one more gets 503."""
    max_json_items: int = 500_000
    """Values in a JSON body, roughly: what a small body may grow to in memory."""
    body_timeout_s: float = 30.0
    """Longest silence while a body is read."""
    write_timeout_s: float = 60.0
    """Longest time that a client may take to accept a piece of an answer."""
    max_media_per_request: int = 128
    """Pictures and videos; of one video as many frames."""
    max_media_bytes: int = 64 << 20
    """Of one encoded picture."""
    max_video_bytes: int = 256 << 20
    """Of one encoded video."""
    max_media_pixels: int = 80_000_000
    """Of one picture."""
    max_request_media_bytes: int = 256 << 20
    """Of all encoded media of a request together, as far as they are in memory."""
    max_inflight_media_bytes: int = 2 << 30
    """Of all requests together; one more gets 503."""
    max_total_pixels: int = 240_000_000
    """Of all pictures of a request, read from their headers before anything is decoded."""
    max_prepared_bytes: int = 2 << 30
    """Of the tiles of all requests that wait or run; further ones wait before their pictures are cut."""

    # -- media from elsewhere
    allowed_media_domains: tuple[str, ...] = ()
    """Hosts that pictures may be fetched from; empty = any public one."""
    allow_private_media: bool = False
    """Fetch from private and loopback addresses too: for tests and closed networks."""
    media_timeout_s: float = 20.0
    video_timeout_s: float = 30.0
    """For a video's download, for looking through it, and for decoding its frames, each."""

    # -- files and batches
    data_dir: Path | None = None
    """Where uploaded files and batches lie; None: a directory that ends with the server."""
    max_file_bytes: int = 512 << 20
    max_stored_bytes: int = 16 << 30
    """Of one key's files together."""
    max_stored_files: int = 10_000
    """Of one key."""
    max_batch_lines: int = 50_000

    # -- browsers
    allow_origins: tuple[str, ...] = ()
    """Web pages that may call this server (CORS); empty = none."""
    allow_credentials: bool = False
    allow_methods: tuple[str, ...] = ("GET", "POST", "DELETE")
    allow_headers: tuple[str, ...] = ("*",)
    allowed_hosts: tuple[str, ...] = ()
    """Host headers that are answered, against DNS rebinding; empty = any."""

    # -- its end
    drain_timeout_s: float = 30.0
    """After SIGTERM: how long open requests may go on."""

    # -- threads, logs
    prepare_threads: int = os.cpu_count() or 1
    """Threads that decode and cut pictures."""
    fetch_threads: int = 16
    """Threads that wait for other servers."""
    log_prompts: bool = False
    """Write prompts and answers to the log."""
    ping_interval_s: float = 15.0
    """A stream in which nothing happens says so this often, so that proxies keep it open."""

    def __post_init__(self) -> None:
        for name in ("api_keys", "allowed_media_domains", "allow_origins", "allowed_hosts", "model_names"):
            if isinstance(getattr(self, name), str):
                raise ConfigError(f"ServerConfig: {name} is a string; expected a tuple of strings")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"ServerConfig: {name} is {value}, must be positive")
        if not self.model_names or not all(self.model_names):
            raise ConfigError("ServerConfig: model_names must hold at least one name")
        object.__setattr__(
            self, "api_keys", tuple(read_key(key) if isinstance(key, str) else key for key in self.api_keys)
        )
        names = [key.name for key in self.api_keys]
        if len(set(names)) < len(names):
            raise ConfigError(f"ServerConfig: two API keys have one name; names: {', '.join(sorted(names))}")
        if self.allow_credentials and "*" in self.allow_origins:
            raise ConfigError(
                "ServerConfig: allow_credentials with allow_origins '*' would let every web page act for its"
                " visitor; name the origins"
            )
