"""Lists in pages, as OpenAI has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from internvl.server.errors import NotFound


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_HasId)


def page_of(items: Sequence[T], *, after: str | None, limit: int) -> tuple[Sequence[T], bool]:
    """Return up to `limit` items behind the one with the id `after`, and whether there are more.

    Raises NotFound when there is no such item.
    """
    start = 0
    if after is not None:
        places = [place for place, item in enumerate(items) if item.id == after]
        if not places:
            raise NotFound(f"after={after!r:.80} is not in the list", param="after")
        start = places[0] + 1
    return items[start : start + limit], len(items) > start + limit
