"""The server as a process: listens, and ends without cutting answers off."""

from __future__ import annotations

import ipaddress
import logging
import signal
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from internvl.server.service import Service

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn, told to drain: from the first signal on nothing new is let in, and what is open may end."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called with SIGTERM or SIGINT (Ctrl-C); a second Ctrl-C ends at once."""
        if not self._service.gate.draining:
            logger.info(
                "%s: %d requests are open and may go on for %g s",
                signal.Signals(sig).name,
                self._service.gate.num_open,
                self._service.config.drain_timeout_s,
            )
        self._service.gate.draining = True
        super().handle_exit(sig, frame)


def make_server(
    app: FastAPI, *, host: str, port: int, ssl_keyfile: Path | None = None, ssl_certfile: Path | None = None
) -> Server:
    """Return a server for an application of `create_app`; `run()` serves until a signal comes."""
    service: Service = app.state.service
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ssl_keyfile=ssl_keyfile,
        ssl_certfile=ssl_certfile,
        log_config=None,
        access_log=False,  # `RequestContext` writes one, with ids and without queries
        proxy_headers=False,  # anybody could claim to be another address
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=max(1, round(service.config.drain_timeout_s)),
    )
    return Server(config, service)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def loopback_hosts(host: str) -> tuple[str, ...]:
    """Return the Host headers that a server for this machine alone should answer."""
    return tuple(dict.fromkeys(("localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host)))
