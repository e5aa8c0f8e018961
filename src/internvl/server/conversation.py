"""A conversation as a request asks for it, and its way through the engine. Chat and responses share it.

What the fields mean is `chat.openai_body`'s and `chat.options`' to say; here is what the server adds: its
longest answer, and the place where prompts may be logged.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from internvl.chat.openai_body import BodyError, ChatBody, read_chat_body
from internvl.chat.options import ChatOptions, read_chat_options
from internvl.chat.reasoning import THINKING_DEFAULTS
from internvl.preprocess.processor import Processor
from internvl.server.answering import Running
from internvl.server.caller import Caller
from internvl.server.service import Service
from internvl.types import GenerationConfig, Response

logger = logging.getLogger(__name__)

#: Nearer to 0, dividing by a temperature overflows; the likeliest token wins there anyway.
_GREEDY_TEMPERATURE = 0.01
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed")
_NO_EFFORT = ("none", "minimal")


@dataclass(frozen=True, slots=True)
class Conversing:
    """A checked request for answers to a conversation."""

    body: ChatBody
    options: ChatOptions
    gen_config: GenerationConfig
    processor: Processor

    async def start(self, service: Service, caller: Caller) -> Running:
        """Hand the conversation to the engine."""
        if service.config.log_prompts:
            logger.info("prompt: %s", self.body.messages)
        return await service.answering.start(
            self.options.conversation(self.body.messages),
            self.gen_config,
            fit_answer=self.body.fit_answer,
            caller=caller,
        )

    async def deltas(self, running: Running) -> AsyncIterator[Response]:
        """Yield the deltas, thoughts and calls apart from the text."""
        readers = [self.options.reader(self.processor) for _ in range(self.gen_config.n)]
        async for delta in running:
            yield delta if self.options.plain else readers[delta.choice].read(delta)

    async def answer(self, service: Service, caller: Caller) -> list[Response]:
        """Return the n complete answers."""
        answers: dict[int, Response] = {}
        async with await self.start(service, caller) as running:
            async for delta in self.deltas(running):
                found = answers.get(delta.choice)
                answers[delta.choice] = delta if found is None else found.extend(delta)
        if service.config.log_prompts:
            logger.info("answers: %s", [answer.text for answer in answers.values()])
        return [answers[choice] for choice in sorted(answers)]


def read_conversation(fields: dict[str, Any], service: Service) -> Conversing:
    """Return what the fields of a chat completion ask for.

    Raises RequestError or ConfigError for what does not go together, or is more than the server allows.
    """
    longest = service.config.max_answer_tokens
    body = read_chat_body(
        {**fields, "temperature": _temperature(fields.get("temperature"))}, default_max_tokens=longest
    )
    gen_config = body.gen_config
    if not body.fit_answer and longest is not None and gen_config.max_new_tokens > longest:
        raise BodyError(
            f"max_tokens is {gen_config.max_new_tokens}; this server answers with at most {longest} tokens",
            "max_tokens",
        )
    thinking = body.thinking
    if thinking is None and body.reasoning_effort is not None:
        thinking = body.reasoning_effort not in _NO_EFFORT
    options = read_chat_options(
        tools=body.tools or None,
        tool_choice=body.tool_choice,
        parallel_tool_calls=body.parallel_tool_calls,
        enable_thinking=thinking,
    )
    if thinking and not any(fields.get(name) is not None for name in _SAMPLING):
        sampling = {name: THINKING_DEFAULTS[name] for name in ("do_sample", "temperature")}
        gen_config = gen_config.replace(**sampling)  # greedy thoughts tend to go in circles
    return Conversing(body, options, options.gen_config(gen_config, service.processor), service.processor)


def _temperature(asked: float | None) -> float | None:
    return 0.0 if asked is not None and asked < _GREEDY_TEMPERATURE else asked
