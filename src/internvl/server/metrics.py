"""What the server measures: Prometheus metrics in a registry of their own, and rates for estimates.

The engine's counters and gauges are read when somebody asks (`_EngineCollector`), so they cost nothing
otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from internvl.engine.engine import Engine
from internvl.types import Response, Usage

#: Field of `engine.stats.Counters` -> name and help of the metric.
ENGINE_COUNTERS = {
    "requests_finished": ("answers_finished", "Answers that ended by themselves"),
    "aborts": ("answers_aborted", "Answers that ended because somebody asked, or left"),
    "failures": ("answers_failed", "Answers that ended with an error"),
    "preemptions": ("preemptions", "Times an answer gave its cache blocks to another"),
    "prompt_tokens": ("prompt_tokens", "Tokens of started prompts"),
    "prefix_hit_tokens": ("prefix_hit_tokens", "Prompt tokens whose keys and values were kept from before"),
    "prefill_tokens": ("prefill_tokens", "Prompt tokens computed"),
    "decode_tokens": ("generated_tokens", "Tokens generated"),
    "picture_hits": ("picture_hits", "Pictures that did not need the vision tower"),
    "picture_misses": ("picture_misses", "Pictures that did"),
    "tiles_encoded": ("tiles_encoded", "Tiles that passed through the vision tower"),
    "vision_s": ("vision_seconds", "Seconds in the vision tower"),
    "model_s": ("model_seconds", "Seconds in the language model"),
    "steps": ("steps", "Steps of the engine"),
}
#: Field or property of `engine.stats.EngineStats` -> name and help of the metric.
ENGINE_GAUGES = {
    "num_running": ("answers_running", "Answers that are computed now"),
    "num_waiting": ("answers_waiting", "Answers in the queue"),
    "num_rows": ("answers_together", "Answers that can be decoded together"),
    "num_blocks": ("kv_blocks", "Blocks of the key-value cache"),
    "num_used_blocks": ("kv_blocks_used", "Blocks that running answers hold"),
    "num_cached_blocks": ("kv_blocks_cached", "Free blocks that hold an earlier conversation's beginning"),
    "kv_usage": ("kv_usage_ratio", "Share of the blocks that running answers hold"),
    "prefix_hit_ratio": ("prefix_hit_ratio", "Share of prompt tokens that did not need to be computed"),
    "picture_hit_ratio": ("picture_hit_ratio", "Share of pictures that did not need the vision tower"),
    "cached_pictures": ("cached_pictures", "Pictures whose embeddings are kept"),
    "cached_picture_bytes": ("cached_picture_bytes", "Bytes of these embeddings"),
}
_FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_REQUEST_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_TILES = (0, 1, 2, 4, 7, 13, 26, 52, 104)
#: Share of the newest measurement in a rate.
_NEWEST = 0.2


class Rate:
    """A moving average of seconds per something; None until something was measured."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def add(self, seconds: float, count: int) -> None:
        """Take a measurement of `count` of them."""
        if count <= 0:
            return
        new = max(0.0, seconds) / count
        self.seconds = new if self.seconds is None else (1 - _NEWEST) * self.seconds + _NEWEST * new


@dataclass(slots=True)
class Rates:
    """Seconds per unit of work, as last seen under the load of then."""

    tile: Rate
    prompt_token: Rate
    answer_token: Rate


class Metrics:
    """The server's metrics; handlers report to it."""

    def __init__(self, engine: Engine, num_open: Callable[[], int]) -> None:
        """`num_open`: how many HTTP requests are open now."""
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(engine))
        self.rates = Rates(Rate(), Rate(), Rate())
        self.http_requests = Counter(
            "internvl_http_requests",
            "HTTP requests; status 499: the client left",
            ("route", "status"),
            registry=self._registry,
        )
        Gauge(
            "internvl_http_requests_open",
            "Requests that are read, prepared or answered",
            registry=self._registry,
        ).set_function(num_open)
        self._first_token = self._histogram(
            "time_to_first_token_seconds",
            "From the prompt's arrival at the engine to the first token",
            _FIRST_TOKEN_S,
        )
        self._token = self._histogram(
            "inter_token_latency_seconds", "Between two tokens of an answer", _TOKEN_S
        )
        self._request = self._histogram(
            "request_seconds", "From the prompt's arrival to the last token", _REQUEST_S
        )
        self._tiles = self._histogram("request_tiles", "Tiles of one request", _TILES)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def watch(self) -> AnswerWatch:
        """Return what measures one request from now on."""
        return AnswerWatch(self)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"internvl_{name}", text, buckets=buckets, registry=self._registry)

    def answered(self, usage: Usage, seconds: float) -> None:
        """Count a request whose answers are complete."""
        self._request.observe(seconds)
        self._tiles.observe(sum(item.num_tiles for item in usage.media))

    def started(self, usage: Usage, seconds: float) -> None:
        """Count a first token."""
        self._first_token.observe(seconds)
        tiles = sum(item.num_tiles for item in usage.media) if not usage.cached_media else 0
        self.rates.tile.add(usage.vision_s, tiles)
        self.rates.prompt_token.add(
            usage.time_to_first_token_s - usage.vision_s, usage.prompt_tokens - usage.cached_tokens
        )

    def stepped(self, seconds: float, num_tokens: int) -> None:
        """Count the tokens of one delta."""
        self._token.observe(seconds / num_tokens)
        self.rates.answer_token.add(seconds, num_tokens)


class AnswerWatch:
    """Measures one request by its deltas."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._started_at = time.perf_counter()
        self._last_at: dict[int, float] = {}

    def see(self, delta: Response, *, last: bool) -> None:
        """Take the next delta; `last`: all answers are complete with it."""
        now = time.perf_counter()
        before = self._last_at.get(delta.choice)
        if not self._last_at:
            self._metrics.started(delta.usage, now - self._started_at)
        elif before is not None and delta.token_ids:
            self._metrics.stepped(now - before, len(delta.token_ids))
        self._last_at[delta.choice] = now
        if last:
            self._metrics.answered(delta.usage, now - self._started_at)


class _EngineCollector(Collector):
    """Reads the engine's own numbers when metrics are asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Yield the engine's metrics."""
        stats = self._engine.stats()
        for field, (name, text) in ENGINE_COUNTERS.items():
            yield CounterMetricFamily(f"internvl_{name}", text, value=getattr(stats.counters, field))
        for field, (name, text) in ENGINE_GAUGES.items():
            yield GaugeMetricFamily(f"internvl_{name}", text, value=getattr(stats, field))
