"""What is asked of the engine, and one answer on its way. No torch.

A `Request` is the caller's handle: a prompt, how to answer it, and the stream of what comes back. It asks
for `n` answers; each is a `Generation`, the unit that the scheduler gives a cache row and the runner
computes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from internvl.engine.answer import Answer, Piece
from internvl.types import GenerationConfig, ModelInputs, Response

if TYPE_CHECKING:
    from internvl.engine.sampler import Sampler


@dataclass(slots=True, eq=False)
class Request:
    """A prompt, how to answer it, and where the answers go. Made by `Engine.submit`."""

    inputs: ModelInputs
    gen_config: GenerationConfig
    index: int = 0
    """Which prompt of a batch."""
    deltas: queue.SimpleQueue[Response] = field(default_factory=queue.SimpleQueue)
    """The stream; several requests may share one."""
    submitted_at: float = field(default_factory=time.perf_counter)
    error: Exception | None = None
    """Why it failed, when the finish_reason is "error"."""
    _abort: threading.Event = field(default_factory=threading.Event)

    @property
    def abort_requested(self) -> bool:
        """Whether somebody asked to stop; the engine acts on it before its next step."""
        return self._abort.is_set()

    def abort(self) -> None:
        """Ask the engine to stop; the stream then ends with finish_reason "abort". Any thread, any moment."""
        self._abort.set()


@dataclass(slots=True, eq=False)
class Generation:
    """One answer on its way: a prompt in a cache row, and the tokens so far."""

    request: Request
    choice: int
    """Which of the request's `n` answers."""
    prompt_ids: list[int]
    prompt_keys: list[Hashable]
    """What each prompt token *is*: its id, or for an image token the picture's hash and the place in it."""
    answer: Answer
    sampler: Sampler
    row: int = -1
    """Cache row while it runs; -1 before."""
    num_cached_tokens: int = 0
    """Prompt tokens that the row already held."""
    num_stored_tokens: int = 0
    """Tokens whose keys and values are in the row."""
    first_token_at: float | None = None
    vision_s: float = 0.0
    """Seconds spent in the vision tower."""
    cached_media: int = 0
    """Pictures that did not need the vision tower."""
    pending: Piece = field(default_factory=Piece)
    """What is not yet in the stream."""

    @property
    def prompt_done(self) -> bool:
        """Whether the whole prompt is in the row, so that decoding may go on."""
        return self.num_stored_tokens >= len(self.prompt_ids)

    def stored_keys(self) -> list[Hashable]:
        """What the row holds now, one key per stored token."""
        return [*self.prompt_keys, *self.answer.token_ids][: self.num_stored_tokens]


def content_keys(inputs: ModelInputs, image_token_id: int, prompt_ids: list[int]) -> list[Hashable]:
    """Return one key per prompt token, equal exactly where the token's meaning is.

    Image tokens all have the same id; what tells pictures apart is the hash of their tiles. Tiles without
    a hash (hand-made ModelInputs) are like no other.
    """
    spans = [(media.content_hash or object(), media.num_tokens) for media in inputs.media]
    places = iter([(identity, k) for identity, size in spans for k in range(size)])
    return [next(places, (object(), 0)) if token == image_token_id else token for token in prompt_ids]
