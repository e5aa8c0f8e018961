"""An engine that says what a test wants: real prompts, tiles and costs, and answers that are written down."""

import itertools
import queue
import threading
from types import SimpleNamespace

from internvl.errors import InternVLError
from internvl.preprocess.processor import TileLimits
from internvl.types import GenerationConfig, Response, Usage
from tiny_engines import tiny_parts


class ScriptedRequest:
    def __init__(self, pieces, media, gen_config):
        self.pieces, self.media, self.gen_config = pieces, media, gen_config
        self.aborted = threading.Event()

    def abort(self):
        self.aborted.set()


class ScriptedEngine:
    """Answers a question by the last key of `script` that the question contains.

    A value is a text, told word by word, words to iterate over, or an exception.
    """

    def __init__(self, script=None, *, seconds_per_word=0.0):
        self.processor = tiny_parts()[1]
        self.tile_limits = TileLimits()
        self.script = {"": "I see.", **(script or {})}
        self.seconds_per_word = seconds_per_word
        self.asked = queue.Queue()
        self.adapters = ()
        self.adapters_asked = []
        self.num_running = 0

    def submit(self, messages, gen_config=None, *, fit_answer=False, user=None, adapter=None):
        inputs = self.processor(messages)
        self.asked.put(messages)
        self.adapters_asked.append(adapter)
        content = messages[-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        answer = next(value for key, value in reversed(self.script.items()) if key in text)
        if isinstance(answer, InternVLError):
            raise answer
        config = gen_config or GenerationConfig()
        return ScriptedRequest(answer, SimpleNamespace(ids=len(inputs.input_ids), media=inputs.media), config)

    def stream(self, request):
        if isinstance(request.pieces, Exception):
            raise request.pieces
        self.num_running += 1
        try:
            pieces = request.pieces
            words = iter(pieces.split(" ") if isinstance(pieces, str) else pieces)
            for count in itertools.count(1):
                word = None if request.aborted.wait(self.seconds_per_word) else next(words, None)
                reason = "abort" if request.aborted.is_set() else "stop" if word is None else None
                yield Response(
                    text="" if word is None else word if count == 1 else f" {word}",
                    generate_token_len=count,
                    finish_reason=reason,
                    usage=Usage(
                        prompt_tokens=request.media.ids,
                        completion_tokens=count,
                        media=tuple(request.media.media),
                        time_to_first_token_s=0.125,
                        total_s=0.125 + 0.1 * (count - 1),
                    ),
                )
                if reason:
                    return
        finally:
            self.num_running -= 1

    def abort(self, request):
        request.abort()

    def close(self):
        pass


def scripted_pipeline(engine):
    """What a model shelf holds."""
    return SimpleNamespace(engine=engine, close=engine.close)
