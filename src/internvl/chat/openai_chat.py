"""One OpenAI chat completion from its body to its answer, without HTTP: what batch jobs do line by line.

Engine, constraints, tools and thinking are the ones of every other path (`chat.options`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from internvl.chat.openai_answer import chat_completion
from internvl.chat.openai_body import ChatBody, read_chat_body
from internvl.chat.openai_fields import SAMPLING
from internvl.chat.options import ChatOptions, read_chat_options
from internvl.chat.reasoning import THINKING_DEFAULTS
from internvl.engine.engine import Engine, collect_answers
from internvl.engine.request import Request
from internvl.types import GenerationConfig, Response

_NO_EFFORT = ("none", "minimal")


class Aborted(Exception):
    """Somebody stopped the answer; it did not fail."""


@dataclass(frozen=True, slots=True)
class ChatTask:
    """A checked chat completion, ready for an engine."""

    engine: Engine
    body: ChatBody
    options: ChatOptions
    gen_config: GenerationConfig

    @property
    def adapter(self) -> str | None:
        """The adapter that the body's `model` names; None: the model itself."""
        return self.body.model if self.body.model in self.engine.adapters else None

    def submit(self) -> Request:
        """Prepare the prompt and hand it to the engine; raises as `Engine.submit` does."""
        return self.engine.submit(
            self.options.conversation(self.body.messages),
            self.gen_config,
            fit_answer=self.body.fit_answer,
            adapter=self.adapter,
            cache_salt=self.body.cache_salt,
        )

    def collect(self, request: Request, *, on_tokens: Callable[[int], None] | None = None) -> list[Response]:
        """Wait for the n answers.

        Raises:
            Aborted: The request was aborted.
            Exception: What made it fail.
        """
        readers = [self.options.reader(self.engine.processor) for _ in range(self.gen_config.n)]

        def deltas() -> Iterator[Response]:
            for raw in self.engine.stream(request):
                if raw.finish_reason == "abort":
                    raise Aborted
                if on_tokens is not None:
                    on_tokens(len(raw.token_ids))
                yield raw if self.options.plain else readers[raw.choice].read(raw)

        return collect_answers(deltas())

    def completion(self, answers: list[Response], model: str) -> dict[str, Any]:
        """Return the body of the answer; `model` is the name it gives."""
        return chat_completion(
            answers, model=model, processor=self.engine.processor, gen_config=self.gen_config
        )


def read_chat_task(
    body: Mapping[str, Any], engine: Engine, *, default_max_tokens: int | None = None
) -> ChatTask:
    """Check the body of a chat completion against what this engine can do.

    Raises:
        RequestError: What is wrong, and where (`openai_body.BodyError` with the field's name).
    """
    asked = read_chat_body(body, default_max_tokens=default_max_tokens)
    thinking = asked.thinking
    if thinking is None and asked.reasoning_effort is not None:
        thinking = asked.reasoning_effort not in _NO_EFFORT
    options = read_chat_options(
        tools=asked.tools or None,
        tool_choice=asked.tool_choice,
        parallel_tool_calls=asked.parallel_tool_calls,
        enable_thinking=thinking,
    )
    gen_config = asked.gen_config
    if thinking and not any(body.get(name) is not None for name in SAMPLING):
        # greedy thoughts tend to go in circles
        gen_config = gen_config.replace(
            **{name: THINKING_DEFAULTS[name] for name in ("do_sample", "temperature")}
        )
    return ChatTask(engine, asked, options, options.gen_config(gen_config, engine.processor))
