"""From a prompt to a running answer, on the event loop: what blocks is done in threads, what waits is bounded.

`Answering.start` reads media, cuts tiles and hands the prompt to the engine; the `Running` it returns yields the
deltas. A caller that is cancelled (its client has gone) stops all of it: before the engine knows of the
request nothing is submitted, afterwards it is aborted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from PIL import Image

from internvl.engine.context import check_context
from internvl.engine.engine import Engine
from internvl.engine.request import Request
from internvl.errors import ContextLengthError, RequestError
from internvl.media.image import read_size
from internvl.media.source import Blob
from internvl.preprocess.messages import Clip, Picture, parse_messages
from internvl.preprocess.processor import IMAGE_CONTEXT, Processor
from internvl.server.caller import NOBODY, Caller
from internvl.server.config import ServerConfig
from internvl.server.errors import EngineEnded, TooLarge
from internvl.server.limits import Budget
from internvl.server.media import MediaReader, Read, fill, find_sources, media_limits
from internvl.server.metrics import Metrics
from internvl.server.running import DeltaQueue, Running
from internvl.types import Conversation, GenerationConfig, MediaUsage, Message, ModelInputs

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: Threads for what takes milliseconds, so that a text need not wait behind somebody's video.
_HELPERS = 4
#: Longer than any real text's tokens on average; what holds more is refused unseen.
_CHARS_PER_TOKEN = 32
#: A prompt has hundreds in a row; one is enough to read.
_IMAGE_TOKENS = re.compile(f"(?:{re.escape(IMAGE_CONTEXT)})+")
_STAND_IN = Image.new("RGB", (8, 8))
Messages = Sequence[Mapping[str, Any]]


class Counted(NamedTuple):
    """What a prompt costs."""

    prompt_tokens: int
    media: list[MediaUsage]


class Answering:
    """Turns prompts of HTTP requests into running requests of the engine."""

    def __init__(
        self,
        engine: Engine,
        processor: Processor,
        config: ServerConfig,
        media: MediaReader,
        metrics: Metrics,
    ) -> None:
        """`processor`: of the engine's checkpoint, with a server's rules about what clients write."""
        self._engine = engine
        self._metrics = metrics
        self._processor = processor
        self._config = config
        self._media = media
        self._limits = media_limits(config)
        self._cutters = ThreadPoolExecutor(config.prepare_threads, thread_name_prefix="internvl-cut")
        self._helpers = ThreadPoolExecutor(_HELPERS, thread_name_prefix="internvl-help")
        # beyond its own plan the engine refuses; here who comes later waits
        self._tiles = Budget(min(config.max_prepared_bytes, engine.memory.tiles))

    def close(self) -> None:
        """End the threads."""
        for threads in (self._cutters, self._helpers):
            threads.shutdown(wait=False, cancel_futures=True)

    async def start(
        self,
        prompt: Conversation | ModelInputs,
        gen_config: GenerationConfig,
        *,
        fit_answer: bool = False,
        caller: Caller = NOBODY,
        adapter: str | None = None,
        cache_salt: str | None = None,
    ) -> Running:
        """Prepare a prompt and submit it.

        Args:
            prompt: A conversation as clients write it, or ids.
            gen_config: How to answer.
            fit_answer: Shorten the answer to the room that the session has.
            caller: Whose uploaded files the messages may name, and whose share of the engine they take.
            adapter: Which of the engine's adapters answers.
            cache_salt: As in `Engine.submit`.

        Raises:
            InternVLError: Whatever is wrong with the request, or the server has no room.
        """
        held = AsyncExitStack()
        try:
            inputs = prompt if isinstance(prompt, ModelInputs) else await self.prepare(prompt, caller, held)
            deltas, watch = DeltaQueue(), self._metrics.watch()
            request = await self._submit(
                partial(
                    self._engine.submit,
                    inputs,
                    gen_config,
                    fit_answer=fit_answer,
                    deltas=deltas,
                    user=caller.name,
                    priority=caller.priority,
                    adapter=adapter,
                    cache_salt=cache_salt,
                )
            )
            if self._config.log_prompts:
                ids = inputs.input_ids.tolist()
                text = inputs.prompt or self._processor.tokenizer.decode(ids, skip_special_tokens=False)
                logger.info("prompt: %s", _IMAGE_TOKENS.sub(IMAGE_CONTEXT, text))
            return Running(request, deltas, held, watch, log_text=self._config.log_prompts)
        except BaseException:
            await held.aclose()
            raise

    def check_text_length(self, num_chars: int) -> None:
        """Refuse texts that cannot fit before they are cut into tokens, which may take minutes."""
        most = self._engine.session_len * _CHARS_PER_TOKEN
        if num_chars > most:
            raise ContextLengthError(
                f"the texts have {num_chars} characters; session_len is {self._engine.session_len} tokens, which hold"
                f" {most} at the very most. Send less, or part of it"
            )

    async def count(self, talk: Conversation, caller: Caller = NOBODY) -> Counted:
        """Return what a prompt will cost; pictures are neither decoded nor cut. Errors as of `start`."""
        files = ExitStack()
        try:
            self._check_tools(talk)
            messages, media = await self._read(talk.messages, caller.owner, files)
            stood_in = replace(talk, messages=[_with_stand_ins(message) for message in messages])
            inputs = await self._help(lambda: self._processor(stood_in))
        finally:
            files.close()
        in_their_place = sum(item.num_tokens for item in inputs.media)
        prompt_tokens = len(inputs.input_ids) - in_their_place + sum(item.num_tokens for item in media)
        return Counted(prompt_tokens, media)

    async def prepare(self, talk: Conversation, caller: Caller, held: AsyncExitStack) -> ModelInputs:
        """Return prompt and tiles; `held` gives back the room that the tiles take."""
        files = ExitStack()
        try:
            self._check_tools(talk)
            messages, media = await self._read(talk.messages, caller.owner, files)
            filled = replace(talk, messages=messages)
            size = sum(item.num_tiles for item in media) * self._tile_bytes
            await held.enter_async_context(self._tiles.hold(size))
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._cutters if media else self._helpers,
                lambda: self._processor(filled, tile_limits=self._engine.tile_limits),
            )
        finally:
            files.close()

    def _check_tools(self, talk: Conversation) -> None:
        self.check_text_length(len(json.dumps(list(talk.tools), ensure_ascii=False)))

    @property
    def _tile_bytes(self) -> int:
        """Of one tile, (3, S, S) float32."""
        return 3 * 4 * self._processor.config.image_size**2

    async def _read(
        self, messages: Messages, owner: str, files: ExitStack
    ) -> tuple[list[Message], list[MediaUsage]]:
        """Return the messages with their pictures' bytes, which `files` forgets, and what these will cost."""
        named, sources = find_sources(messages)
        # what is wrong with the messages is said before anything is fetched
        turns = parse_messages(named)
        self.check_text_length(sum(len(text) for turn in turns for text in turn.texts))
        reads = await self._media.read(sources, owner)
        files.callback(self._media.forget, reads)
        filled = fill(named, sources, reads)
        parts = [part for turn in parse_messages(filled) for part in turn.parts if not isinstance(part, str)]
        return filled, await self._help(lambda: self._plan(parts, reads))

    def _plan(self, parts: Sequence[Picture | Clip], reads: Sequence[Read]) -> list[MediaUsage]:
        """Refuse what is too large before it is decoded: a picture of a few kB may hold 80 million pixels."""
        num_pixels = 0
        media: list[MediaUsage] = []
        usual = self._engine.tile_limits
        for part, read in zip(parts, reads, strict=True):
            if isinstance(read.content, Blob):
                size, count, least = read_size(read.content, limits=self._limits), 1, part.min_tiles
                most = part.max_tiles
                num_pixels += size[0] * size[1]
            else:  # frames are decoded one by one; each is one tile unless asked otherwise
                size, count = (read.content.width, read.content.height), len(read.content)
                least = part.min_tiles or 1
                most = part.max_tiles or least
            limits = replace(
                usual,
                min_tiles=least or usual.min_tiles,
                max_tiles=most or usual.max_tiles,
                thumbnail=part.thumbnail,
            )
            media += self._processor.plan_sizes([size], tile_limits=limits) * count
        if num_pixels > self._config.max_total_pixels:
            raise TooLarge(
                f"the pictures of this request have {num_pixels / 1e6:.0f} Mpx together; the limit is"
                f" {self._config.max_total_pixels / 1e6:.0f} Mpx"
            )
        media = [replace(item, index=index) for index, item in enumerate(media)]
        if media:
            check_context(
                num_prompt_tokens=sum(item.num_tokens for item in media),
                media=media,
                max_new_tokens=1,
                session_len=self._engine.session_len,
                model_context=self._engine.model.config.text.max_position,
            )
        return media

    async def _submit(self, submit: Callable[[], Request]) -> Request:
        submitted = asyncio.ensure_future(self._help(submit))
        try:
            return await asyncio.shield(submitted)
        except asyncio.CancelledError:
            submitted.add_done_callback(_abort_submitted)
            raise
        except RequestError:
            if self._engine.closed:
                raise EngineEnded("the engine has ended; the server has to be started again") from None
            raise

    async def _help(self, work: Callable[[], T]) -> T:
        """Run what takes milliseconds."""
        return await asyncio.get_running_loop().run_in_executor(self._helpers, work)


def _abort_submitted(submitted: asyncio.Future[Request]) -> None:
    """The client went while its request was handed over."""
    if not submitted.cancelled() and submitted.exception() is None:
        submitted.result().abort()


def _with_stand_ins(message: Message) -> Message:
    """Return a message with tiny pictures of one tile in the places of its own; its texts stay as they are."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    made = []
    for part in content:
        if part.get("type") == "image":
            made.append({"type": "image", "image": _STAND_IN, "max_tiles": 1})
        elif part.get("type") == "video":
            made.append({"type": "video", "video": [_STAND_IN] * len(part["video"])})
        else:
            made.append(part)
    return {**message, "content": made}
