"""A conversation as a request asks for it, and its way through the engine. Chat and responses share it.

What the fields mean is said below `chat.openai_chat`, for batch jobs too; here is what the server adds: its
longest answer, and an answer's deltas on the event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from internvl.chat.openai_body import BodyError, ChatBody
from internvl.chat.openai_chat import ChatTask, read_chat_task
from internvl.server.caller import Caller
from internvl.server.running import Running
from internvl.server.service import Service
from internvl.types import GenerationConfig, Response


@dataclass(frozen=True, slots=True)
class Conversing:
    """A checked request for answers to a conversation."""

    task: ChatTask

    @property
    def body(self) -> ChatBody:
        """What was asked for."""
        return self.task.body

    @property
    def gen_config(self) -> GenerationConfig:
        """How to answer."""
        return self.task.gen_config

    async def start(self, service: Service, caller: Caller) -> Running:
        """Hand the conversation to the engine."""
        return await service.answering.start(
            self.task.options.conversation(self.body.messages),
            self.gen_config,
            fit_answer=self.body.fit_answer,
            caller=caller,
            adapter=self.task.adapter,
            cache_salt=self.body.cache_salt,
        )

    async def deltas(self, running: Running) -> AsyncIterator[Response]:
        """Yield the deltas, thoughts and calls apart from the text."""
        options, processor = self.task.options, self.task.engine.processor
        readers = [options.reader(processor) for _ in range(self.gen_config.n)]
        async for delta in running:
            yield delta if options.plain else readers[delta.choice].read(delta)

    async def answer(self, service: Service, caller: Caller) -> list[Response]:
        """Return the n complete answers."""
        answers: dict[int, Response] = {}
        async with await self.start(service, caller) as running:
            async for delta in self.deltas(running):
                found = answers.get(delta.choice)
                answers[delta.choice] = delta if found is None else found.extend(delta)
        return [answers[choice] for choice in sorted(answers)]


def read_conversation(fields: dict[str, Any], service: Service) -> Conversing:
    """Return what the fields of a chat completion ask for.

    Raises RequestError or ConfigError for what does not go together, or is more than the server allows.
    """
    longest = service.config.max_answer_tokens
    task = read_chat_task(fields, service.engine, default_max_tokens=longest)
    asked = task.gen_config.max_new_tokens
    if not task.body.fit_answer and longest is not None and asked > longest:
        raise BodyError(
            f"max_tokens is {asked}; this server answers with at most {longest} tokens", "max_tokens"
        )
    return Conversing(task)
