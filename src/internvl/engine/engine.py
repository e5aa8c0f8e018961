"""The engine's face: submit, stream, abort. Everything that answers goes through it.

In: messages (or ModelInputs) and a GenerationConfig; out: `Response` deltas. Pictures and prompts are
prepared in the caller's thread; one worker thread owns the model and decodes all open requests together.
Callers: `pipeline`, commands, and anything else that wants answers; every method may be called from any
thread.
"""

from __future__ import annotations

import queue
import weakref
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from internvl.engine.adapters import Adapters
from internvl.engine.blocks import BlockManager
from internvl.engine.config import EngineConfig, session_length
from internvl.engine.context import check_context, room_for_answer
from internvl.engine.encoder import tiles_per_call
from internvl.engine.generation_maker import GenerationMaker
from internvl.engine.memory import plan_memory
from internvl.engine.pictures import place_pictures
from internvl.engine.request import Request
from internvl.engine.runner import Runner
from internvl.engine.scheduler import Scheduler
from internvl.engine.stats import Counters, EngineStats
from internvl.engine.worker import Worker
from internvl.errors import CapacityError, InternVLError, RequestError
from internvl.models.internvl import InternVLModel
from internvl.nn.allocator import keep_freed_memory
from internvl.nn.device import free_bytes
from internvl.preprocess.processor import Processor, TileLimits
from internvl.types import Conversation, GenerationConfig, Message, ModelInputs, Response

Prompt = Sequence[Message] | Conversation | ModelInputs

#: Prompt tokens per step on a CPU while answers are being decoded. A CPU needs no more of them at once to be busy, and
#: who reads an answer waits for 0.3 s instead of 1.2 (0.5B decoder, 2 cores).
CPU_CHUNK_BESIDE = 256


class Engine:
    """One model and one processor, answering many requests at once."""

    def __init__(
        self, model: InternVLModel, processor: Processor, config: EngineConfig | None = None
    ) -> None:
        self.model = model
        self.processor = processor
        self.config = config or EngineConfig()
        self._adapters = Adapters(model, self.config.adapters)
        self.memory = plan_memory(
            self.config,
            model,
            session_len=session_length(self.config, model.config.text),
            free=free_bytes(model.device),
        )
        self.session_len = self.memory.session_len
        self.num_rows = self.config.max_batch_size
        if model.device.type == "cpu":
            keep_freed_memory()
        num_blocks = self.memory.num_blocks
        reuse = self.config.enable_prefix_caching
        self._blocks = BlockManager(num_blocks, self.config.block_size, keep_idle=reuse)
        counters = Counters()
        self._runner = Runner(
            model,
            num_blocks=num_blocks,
            block_size=self.config.block_size,
            num_rows=self.num_rows,
            vision_cache_bytes=self.config.vision_cache_bytes,
            counters=counters,
            adapters=self._adapters,
        )
        self._scheduler = Scheduler(
            self._blocks,
            num_rows=self.num_rows,
            chunk_tokens=self.config.prefill_chunk_tokens,
            chunk_tokens_beside=CPU_CHUNK_BESIDE if model.device.type == "cpu" else None,
            tiles_per_step=tiles_per_call(model, self.config.vision_batch_size),
            share_prefixes=reuse,
            position_limit=model.decoder.rope.length_limit,
            on_start=self._runner.pictures.start,
            counters=counters,
        )
        self._worker = Worker(
            self._runner,
            self._scheduler,
            max_open=self.num_rows + self.config.max_waiting_requests,
            max_tile_bytes=self.memory.tiles,
        )
        self._maker = GenerationMaker(processor, self.config.seed)
        # The worker's thread does not know the engine, so an engine nobody holds is closed; so is one at
        # exit.
        self._close = weakref.finalize(self, _close, self._worker, self._adapters)

    # -- asking

    def prepare(self, messages: Sequence[Message] | Conversation) -> ModelInputs:
        """Return the prompt and the tiles of a conversation, cut as this engine's configuration says."""
        return self.processor(messages, tile_limits=self.tile_limits)

    @property
    def tile_limits(self) -> TileLimits:
        """How pictures are cut that do not say it themselves."""
        config = self.config
        return TileLimits(min_tiles=config.min_tiles, max_tiles=config.max_tiles, policy=config.tile_policy)

    def submit(
        self,
        prompt: Prompt,
        gen_config: GenerationConfig | None = None,
        *,
        fit_answer: bool = False,
        index: int = 0,
        deltas: queue.SimpleQueue[Response] | None = None,
        priority: int = 0,
        user: Hashable = None,
        adapter: str | None = None,
        cache_salt: str | None = None,
    ) -> Request:
        """Start answering `prompt` and return at once.

        Args:
            prompt: OpenAI-style messages, or what `prepare` made of them.
            gen_config: How to answer; None: greedy, at most 512 tokens or what the session has room for.
            fit_answer: Shorten `max_new_tokens` to the room that the session has left, instead of refusing.
            index: Copied into the responses; the place in a batch.
            deltas: The queue that the deltas go to; by default one of the request's own, which `stream`
            reads.
            priority: Higher goes first, and takes the place of lower where there is no other.
            user: Whose request it is; users with something open get equal shares of the engine.
            adapter: Which of `EngineConfig.adapters` answers; None: the model itself.
            cache_salt: Computed prefixes and pictures are shared only with requests of the same salt, so that nobody
            else can tell by the time they take what was asked; None is a salt too.

        Raises:
            RequestError: The request cannot be answered; ContextLengthError: it does not fit (token bill).
            MediaError: A picture cannot be read.
            CapacityError: Too many requests, or too many tiles, are waiting.
        """
        self._adapters.check(adapter)
        self._worker.check_room(1 if gen_config is None else gen_config.n)
        inputs = prompt if isinstance(prompt, ModelInputs) else self.prepare(prompt)
        gen_config = self._checked(inputs, gen_config or GenerationConfig(), fit_answer or gen_config is None)
        pictures, positions = place_pictures(inputs, self.model.config, self.model.image_token_id)
        request = Request(
            replace(inputs, pixel_values=None),
            gen_config,
            pictures=pictures,
            image_positions=positions,
            priority=priority,
            user=user,
            adapter=adapter,
            cache_salt=cache_salt,
            index=index,
            deltas=deltas or queue.SimpleQueue(),
            num_open=gen_config.n,
        )
        self._worker.submit(request, self._maker.generations(request))
        return request

    def stream(self, request: Request) -> Generator[Response]:
        """Yield the deltas of a request until its answers are complete; raise what made it fail.

        Leaving the iteration early (a break, Ctrl-C) aborts the request.
        """
        num_open = request.gen_config.n
        try:
            while num_open:
                delta = request.deltas.get()
                num_open -= delta.finish_reason is not None
                if delta.finish_reason == "error" and request.error is not None:
                    raise request.error
                yield delta
        finally:
            if num_open:
                request.abort()

    def abort(self, request: Request) -> None:
        """Stop answering; the stream ends with finish_reason "abort" and what there is. Any thread, any
        moment."""
        request.abort()

    def generate(
        self,
        prompts: Sequence[Prompt],
        gen_config: GenerationConfig | Sequence[GenerationConfig] | None = None,
        *,
        on_finished: Callable[[Response], None] | None = None,
        adapter: str | None = None,
    ) -> list[Response]:
        """Answer all prompts, as many together as fit; return n responses per prompt, in the prompts' order.

        A prompt that fails gives a response with finish_reason "error" and `error_message`; the others go on.
        `adapter` as in `submit`.
        """
        deltas = self.stream_all(prompts, gen_config, adapter=adapter)
        return collect_answers(deltas, on_finished=on_finished)

    def stream_all(
        self,
        prompts: Sequence[Prompt],
        gen_config: GenerationConfig | Sequence[GenerationConfig] | None = None,
        *,
        fit_answer: bool = False,
        adapter: str | None = None,
    ) -> Generator[Response]:
        """Yield the deltas of all prompts as they come; `index` and `choice` say which answer each belongs
        to. `fit_answer` and `adapter` as in `submit`.

        Prompts are prepared a little ahead of what fits, not all at once: their tiles take memory. Where others
        leave no room now, prompts wait for it.
        """
        self._adapters.check(adapter)
        gen_configs = _one_each(gen_config, len(prompts))
        deltas: queue.SimpleQueue[Response] = queue.SimpleQueue()
        todo: deque[tuple[int, Prompt, GenerationConfig | None]] = deque(
            (index, prompt, config)
            for index, (prompt, config) in enumerate(zip(prompts, gen_configs, strict=True))
        )
        num_open: dict[int, int] = {}
        requests: dict[int, Request] = {}
        try:
            while todo or requests:
                if todo and len(requests) < self.num_rows + 2:
                    index, prompt, config = todo.popleft()
                    try:
                        prompt = prompt if isinstance(prompt, ModelInputs) else self.prepare(prompt)
                        requests[index] = self.submit(
                            prompt, config, fit_answer=fit_answer, index=index, deltas=deltas, adapter=adapter
                        )
                        num_open[index] = requests[index].gen_config.n
                        continue
                    except CapacityError:
                        todo.appendleft((index, prompt, config))
                        if not requests:
                            self._worker.wait_for_room()
                            continue
                    except InternVLError as error:
                        yield Response(index=index, finish_reason="error", error_message=str(error))
                        continue
                delta = deltas.get()
                num_open[delta.index] -= delta.finish_reason is not None
                if not num_open[delta.index]:
                    del requests[delta.index]
                yield delta
        finally:
            for request in requests.values():
                request.abort()

    # -- state

    def stats(self) -> EngineStats:
        """Return a snapshot of the engine's work and caches."""
        features, blocks = self._runner.features, self._blocks
        counters = replace(self._scheduler.counters)
        return EngineStats(
            num_running=self._scheduler.num_running,
            num_waiting=self._scheduler.num_waiting,
            num_rows=self.num_rows,
            block_size=blocks.block_size,
            num_blocks=blocks.num_blocks,
            num_used_blocks=blocks.num_blocks - blocks.num_free,
            num_cached_blocks=blocks.num_idle,
            cached_pictures=len(features),
            cached_picture_bytes=features.size_bytes,
            picture_hits=counters.picture_hits,
            picture_misses=counters.picture_misses,
            counters=counters,
        )

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that requests may ask for."""
        return self._adapters.names

    @property
    def closed(self) -> bool:
        """Whether nothing is answered any more: it was closed, or its thread ended by a bug."""
        return self._worker.closed

    def close(self) -> None:
        """End open requests with finish_reason "abort" and the worker's thread. More than once is fine."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- a request's parts

    def _checked(
        self, inputs: ModelInputs, gen_config: GenerationConfig, fit_answer: bool
    ) -> GenerationConfig:
        """Return the configuration to use; raise when prompt and answer do not fit, or ids do not exist."""
        vocab_size = self.model.config.text.vocab_size
        for name in ("stop_token_ids", "bad_token_ids"):
            for token_id in getattr(gen_config, name):
                if not 0 <= token_id < vocab_size:
                    raise RequestError(f"{name} holds {token_id}; the model's ids are 0 to {vocab_size - 1}")
        num_prompt_tokens = len(inputs.input_ids)
        if fit_answer:
            room = room_for_answer(num_prompt_tokens, self.session_len, gen_config.max_new_tokens)
            gen_config = gen_config.replace(max_new_tokens=room)
        check_context(
            num_prompt_tokens=num_prompt_tokens,
            media=inputs.media,
            max_new_tokens=gen_config.max_new_tokens,
            session_len=self.session_len,
            model_context=self.model.config.text.max_position,
        )
        return gen_config


def _close(worker: Worker, adapters: Adapters) -> None:
    worker.close()
    adapters.close()


def collect_answers(
    deltas: Iterable[Response], *, on_finished: Callable[[Response], None] | None = None
) -> list[Response]:
    """Return the complete answers in the order of prompts and choices; `on_finished` is told of each when it ends."""
    answers: dict[tuple[int, int], Response] = {}
    for delta in deltas:
        key = delta.index, delta.choice
        answers[key] = answers[key].extend(delta) if key in answers else delta
        if on_finished is not None and delta.finish_reason is not None:
            on_finished(answers[key])
    return [answers[key] for key in sorted(answers)]


def _one_each(
    gen_config: GenerationConfig | Sequence[GenerationConfig] | None, count: int
) -> list[GenerationConfig | None]:
    """Return one configuration per prompt."""
    if gen_config is None or isinstance(gen_config, GenerationConfig):
        return [gen_config] * count
    if len(gen_config) != count:
        raise RequestError(f"{len(gen_config)} gen_configs for {count} prompts; give one, or one per prompt")
    return list(gen_config)
