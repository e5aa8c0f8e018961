"""What the engine has done since it started, and what it is doing. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Sums since the start, which only grow. The worker's thread writes them."""

    requests_finished: int = 0
    """Answers that ended by themselves (stop, length, repetition)."""
    aborts: int = 0
    """Answers that ended because somebody asked."""
    failures: int = 0
    """Answers that ended with an error."""
    preemptions: int = 0
    """Times that an answer gave its blocks to another and was computed again later."""
    prompt_tokens: int = 0
    """Tokens of the prompts that were started."""
    prefix_hit_tokens: int = 0
    """Those among `prompt_tokens` whose keys and values were there already."""
    prefill_tokens: int = 0
    """Tokens computed of prompts, and of answers after a preemption."""
    decode_tokens: int = 0
    """Tokens computed one by one: answers."""
    picture_hits: int = 0
    """Pictures of started prompts that did not need the vision tower."""
    picture_misses: int = 0
    """Pictures of started prompts that did."""
    tiles_encoded: int = 0
    """Tiles that passed through the vision tower."""
    vision_s: float = 0.0
    """Seconds spent in the vision tower."""
    model_s: float = 0.0
    """Seconds spent in the language model."""
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """What the engine is doing, how much it has done, and how much it did not need to do."""

    num_running: int
    num_waiting: int
    num_rows: int
    """Answers that can be decoded together."""
    block_size: int
    """Tokens per cache block."""
    num_blocks: int
    num_used_blocks: int
    """Blocks that running answers hold."""
    num_cached_blocks: int
    """Free blocks that still hold the beginning of some earlier conversation."""
    cached_pictures: int
    cached_picture_bytes: int
    picture_hits: int
    picture_misses: int
    counters: Counters
    """Sums since the start."""

    @property
    def kv_usage(self) -> float:
        """Share of the cache blocks that running answers hold."""
        return self.num_used_blocks / self.num_blocks

    @property
    def prefix_hit_ratio(self) -> float:
        """Share of all prompt tokens that did not need to be computed."""
        return self.counters.prefix_hit_tokens / max(1, self.counters.prompt_tokens)

    @property
    def picture_hit_ratio(self) -> float:
        """Share of all pictures that did not need the vision tower."""
        return self.picture_hits / max(1, self.picture_hits + self.picture_misses)
