"""One conversation over several turns. Made by `Pipeline.session` or `Pipeline.chat`; used by `internvl
chat`."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from internvl.chat.call_forms import user_message
from internvl.chat.options import AnswerReader, read_chat_options
from internvl.engine.engine import Engine
from internvl.errors import RequestError
from internvl.media.image import open_image
from internvl.media.video import load_video
from internvl.types import GenerationConfig, Message, Response


class Session:
    """One conversation: its messages so far, the last response, and the history as (question, answer) pairs.

    Pictures and videos are opened once and encoded once: later turns find their features (or the whole prefix)
    cached.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        system: str | None = None,
        enable_thinking: bool | None = None,
        adapter: str | None = None,
    ) -> None:
        """Start with no messages but `system`; `enable_thinking` as in calling a pipeline."""
        self._engine = engine
        self._options = read_chat_options(enable_thinking=enable_thinking)
        self.adapter = adapter
        """Which of the engine's adapters answers; None: the model itself. May change between questions."""
        self.messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self.history: list[tuple[Any, str]] = []
        self.response: Response | None = None
        self.generator: Iterator[Response] | None = None
        """The deltas of a streamed answer, while there are any."""

    def __iter__(self) -> Iterator[Response]:
        """Iterate over the deltas of the answer that `chat(..., stream_response=True)` started."""
        return iter(self.generator or ())

    def ask(
        self, prompt: Any, gen_config: GenerationConfig | None = None, *, fit_answer: bool = False
    ) -> Generator[Response]:
        """Ask the next question and yield the deltas of its answer (arguments as in `Engine.submit`).

        A question whose answer fails is forgotten. When the iteration is left early (Ctrl-C), what was shown
        counts as the answer, so that the conversation can go on from what the reader saw. Thoughts are not
        part of it: the model is not shown them again.
        """
        question = self._opened(user_message(prompt))
        if gen_config is not None and gen_config.n != 1:
            raise RequestError(f"a conversation goes on from one answer; gen_config.n is {gen_config.n}")
        options, processor = self._options, self._engine.processor
        request = self._engine.submit(
            options.conversation([*self.messages, question]),
            None if gen_config is None and options.plain else options.gen_config(gen_config, processor),
            fit_answer=fit_answer or gen_config is None,
            adapter=self.adapter,
        )
        return self._take(prompt, question, self._engine.stream(request), options.reader(processor))

    def _take(
        self, prompt: Any, question: Message, deltas: Generator[Response], reader: AnswerReader
    ) -> Generator[Response]:
        whole: Response | None = None
        try:
            with closing(deltas):
                for delta in map(reader.read, deltas):
                    whole = Response().extend(delta) if whole is None else whole.extend(delta)
                    yield delta
        finally:
            self.generator = None
            if whole is not None:
                self.response = whole
            # to say nothing is an answer, too; to be stopped before the first word is none
            if whole and whole.finish_reason != "error" and (whole.text or whole.finish_reason == "stop"):
                self.messages += [question, {"role": "assistant", "content": whole.text}]
                self.history.append((prompt, whole.text))

    def _opened(self, message: Message) -> Message:
        """Read the question's pictures and videos now: a URL is fetched once, not with every turn."""
        if isinstance(message["content"], str):
            return message
        return {**message, "content": [self._opened_part(part) for part in message["content"]]}

    def _opened_part(self, part: dict[str, Any]) -> dict[str, Any]:
        processor = self._engine.processor
        limits, policy = processor.limits, processor.policy
        if part["type"] == "image":
            return {**part, "image": open_image(part["image"], limits=limits, policy=policy)}
        if part["type"] == "video":
            return {**part, "video": load_video(part["video"], limits=limits, policy=policy)}
        return part
