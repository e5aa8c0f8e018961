"""What is asked of the engine, and one answer on its way. No torch.

A `Request` is the caller's handle: a prompt, how to answer it, and the stream of what comes back. It asks
for `n` answers; each is a `Generation`, the unit that the scheduler gives cache blocks and the runner computes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from internvl.engine.answer import Answer, Piece
from internvl.engine.pictures import PlacedPicture
from internvl.types import GenerationConfig, ModelInputs, Response

if TYPE_CHECKING:
    from internvl.engine.sampler import Sampler


@dataclass(slots=True, eq=False)
class Request:
    """A prompt, how to answer it, and where the answers go. Made by `Engine.submit`."""

    inputs: ModelInputs
    """The prompt, without its tiles: those are in `pictures`, until they are encoded."""
    gen_config: GenerationConfig
    pictures: list[PlacedPicture] = field(default_factory=list)
    image_positions: list[int] = field(default_factory=list)
    """Places of the image tokens in the prompt."""
    priority: int = 0
    """Higher goes first."""
    user: Hashable = None
    """Whose it is; users get equal shares of the engine."""
    adapter: str | None = None
    """Which of the engine's adapters answers; None: the model itself."""
    cache_salt: str | None = None
    """What must be equal for two requests to share what was computed for one of them."""
    index: int = 0
    """Which prompt of a batch."""
    deltas: queue.SimpleQueue[Response] = field(default_factory=queue.SimpleQueue)
    """The stream; several requests may share one."""
    submitted_at: float = field(default_factory=time.perf_counter)
    num_open: int = 0
    """Answers that are not finished."""
    error: Exception | None = None
    """Why it failed, when the finish_reason is "error"."""
    _abort: threading.Event = field(default_factory=threading.Event)

    @property
    def tile_bytes(self) -> int:
        """What the tiles take that the vision tower has not seen yet."""
        tiles = (placed.picture.tiles for placed in self.pictures)
        return sum(each.nbytes for each in tiles if each is not None)

    @property
    def abort_requested(self) -> bool:
        """Whether somebody asked to stop; the engine acts on it before its next step."""
        return self._abort.is_set()

    def abort(self) -> None:
        """Ask the engine to stop; the stream then ends with finish_reason "abort". Any thread, any moment."""
        self._abort.set()


@dataclass(slots=True, eq=False)
class Generation:
    """One answer on its way: a prompt, the tokens so far, and the cache blocks that hold them."""

    request: Request
    choice: int
    """Which of the request's `n` answers."""
    prompt_ids: list[int]
    prompt_keys: list[Hashable]
    """What each prompt token *is*: its id, or for an image token the picture's hash and the place in it."""
    answer: Answer
    sampler: Sampler
    number: int = -1
    """Order of arrival at the scheduler."""
    row: int = -1
    """Number of its row while it runs; -1 while it waits."""
    blocks: list[int] = field(default_factory=list)
    """Its cache blocks, in order."""
    digests: list[bytes] = field(default_factory=list)
    """Of the leading full blocks, as far as somebody asked."""
    num_published: int = 0
    """Leading blocks that others may share."""
    num_cached_tokens: int = 0
    """Prompt tokens whose keys and values were there already."""
    num_stored_tokens: int = 0
    """Tokens whose keys and values are in its blocks."""
    num_preemptions: int = 0
    first_token_at: float | None = None
    vision_s: float = 0.0
    """Seconds spent in the vision tower."""
    cached_media: int = 0
    """Pictures that did not need the vision tower."""
    pending: Piece = field(default_factory=Piece)
    """What is not yet in the stream."""

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt and of the answer so far."""
        return len(self.prompt_ids) + len(self.answer.token_ids)

    @property
    def num_tokens_at_most(self) -> int:
        """Tokens of the prompt and of the longest answer."""
        return len(self.prompt_ids) + self.request.gen_config.max_new_tokens

    @property
    def num_left(self) -> int:
        """Tokens to compute before the next one can be chosen: one while decoding."""
        return self.num_tokens - self.num_stored_tokens

    @property
    def num_missing_tiles(self) -> int:
        """Tiles that the vision tower has to see before the rest of the prompt can be computed."""
        stored = self.num_stored_tokens
        if stored >= len(self.prompt_ids):
            return 0
        return sum(placed.picture.num_missing for placed in self.request.pictures if placed.stop > stored)

    def token_ids(self, start: int, stop: int) -> list[int]:
        """Return the ids of tokens [start, stop) of prompt and answer."""
        return _slice(self.prompt_ids, self.answer.token_ids, start, stop)

    def keys(self, start: int, stop: int) -> list[Hashable]:
        """Return what tokens [start, stop) of prompt and answer are."""
        return _slice(self.prompt_keys, self.answer.token_ids, start, stop)


def _slice(prompt: Sequence[Any], answer: Sequence[int], start: int, stop: int) -> list[Any]:
    size = len(prompt)
    if stop <= size:
        return list(prompt[start:stop])
    return [*prompt[start:], *answer[max(0, start - size) : stop - size]]
