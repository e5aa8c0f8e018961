"""Who is next: priorities, and a fair share for every user. Plain Python: no torch.

Higher priorities go first. Among equals what was interrupted goes first, then the user who has been served the
fewest tokens ("virtual token counter", arXiv:2401.00588): somebody who asks a thousand questions at once delays
his own answers and not those of others. Within a user it is the order of arrival.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Hashable, Iterator

from internvl.engine.request import Generation


class WaitingQueue:
    """Generations without a row."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, list[Generation]] = {}
        self._size = 0
        """Other threads may ask for it, for which the queues are not safe."""
        self._num_open: Counter[Hashable] = Counter()
        self._served: dict[Hashable, int] = {}
        """Tokens computed for each user who has something open."""

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Generation]:
        for queue in self._queues.values():
            yield from queue

    def open(self, generation: Generation) -> None:
        """Take in a new generation. Its user starts level with the one served least."""
        user = generation.request.user
        if user not in self._served:
            self._served[user] = min(self._served.values(), default=0)
        self._num_open[user] += 1
        self.push(generation)

    def push(self, generation: Generation) -> None:
        """Let an opened generation wait (again)."""
        queue = self._queues.setdefault(generation.request.user, [])
        insort(queue, generation, key=_rank)
        self._size += 1

    def first(self) -> Generation | None:
        """Return who is next."""
        heads = (queue[0] for queue in self._queues.values())
        return min(
            heads,
            key=lambda each: (_rank(each)[:2], self._served[each.request.user], each.number),
            default=None,
        )

    def remove(self, generation: Generation) -> None:
        """Take a waiting generation out."""
        user = generation.request.user
        queue = self._queues[user]
        queue.remove(generation)
        self._size -= 1
        if not queue:
            del self._queues[user]

    def serve(self, generation: Generation, num_tokens: int) -> None:
        """Count tokens that were computed for an opened generation."""
        self._served[generation.request.user] += num_tokens

    def close(self, generation: Generation) -> None:
        """Forget a finished generation, and its user with his last one."""
        user = generation.request.user
        self._num_open[user] -= 1
        if not self._num_open[user]:
            del self._num_open[user], self._served[user]


def _rank(generation: Generation) -> tuple[int, bool, int]:
    """Order within a user: priority, then what was interrupted, then arrival."""
    return -generation.request.priority, not generation.num_preemptions, generation.number
