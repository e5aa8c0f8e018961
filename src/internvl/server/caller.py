"""Who asks."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from fastapi import Depends, Request


class Caller(NamedTuple):
    """The one behind a request."""

    name: str
    """The name of a key, or an address: limits, shares of the engine and log lines go by it."""
    owner: str
    """Whom files and batches belong to: the name of a key; "" without keys, where all share them."""
    priority: int = 0
    """Of the engine's; batches have a lower one."""


NOBODY = Caller("", "")


def get_caller(request: Request) -> Caller:
    """Return who asks, as `guard.CallerGuard` found out (a FastAPI dependency)."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]
