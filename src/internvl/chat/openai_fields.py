"""The fields of an OpenAI chat completion: which are known, and what a value must be.

LMDeploy's and vLLM's extensions (`top_k`, `min_p`, `repetition_penalty`, `mm_processor_kwargs`, ...) mean here what
they mean there. Called by `chat.openai_body`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from internvl.answer_format import CONSTRAINTS
from internvl.errors import RequestError
from internvl.preprocess.messages import nearest

#: Fields that name or file a request and change nothing about its answer.
LABELS = ("user", "safety_identifier", "prompt_cache_key", "metadata", "request_id")

#: Fields of OpenAI's or LMDeploy's that cannot be honoured: the values that ask for nothing, and why.
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "presence_penalty": ((0, None), "use repetition_penalty"),
    "frequency_penalty": ((0, None), "use repetition_penalty"),
    "store": ((False, None), "answers are not kept"),
    "service_tier": (("auto", "default", None), "there is one tier"),
    "modalities": ((["text"], None), "answers are text"),
    "audio": ((None,), "answers are text"),
    "prediction": ((None,), "there is no speculative decoding"),
    "verbosity": (("medium", None), "say in the prompt how long the answer should be"),
    "web_search_options": ((None,), "nothing is searched"),
    "functions": ((None, []), "use tools"),
    "function_call": ((None, "none", "auto"), "use tool_choice"),
    "prompt_cache_retention": ((None, "in_memory"), "prefixes are kept in memory"),
    "do_preprocess": ((True, None), "the template is always applied; /v1/completions takes finished prompts"),
    "session_id": ((None, -1), "send the conversation so far; its prefix is cached"),
    "spaces_between_special_tokens": ((True, None), "decoding has one form"),
    "return_token_ids": ((False, None), "ask for logprobs"),
    "input_ids": ((None,), "send messages"),
    "image_data": ((None,), "send pictures as content parts"),
}

#: Ours, LMDeploy's or vLLM's name -> field of `GenerationConfig`, with what its value must be.
GENERATION: dict[str, tuple[str, str]] = {
    "temperature": ("temperature", "number"),
    "top_p": ("top_p", "number"),
    "top_k": ("top_k", "integer"),
    "min_p": ("min_p", "number"),
    "seed": ("random_seed", "integer"),
    "n": ("n", "integer"),
    "repetition_penalty": ("repetition_penalty", "number"),
    "min_new_tokens": ("min_new_tokens", "integer"),
    "min_tokens": ("min_new_tokens", "integer"),
    "ignore_eos": ("ignore_eos", "boolean"),
    "skip_special_tokens": ("skip_special_tokens", "boolean"),
    "include_stop_str_in_output": ("include_stop_str_in_output", "boolean"),
    "repetition_ngram_size": ("repetition_ngram_size", "integer"),
    "repetition_ngram_threshold": ("repetition_ngram_threshold", "integer"),
}
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed")
_OWN = (
    *("model", "messages", "max_tokens", "max_completion_tokens", "stop", "stop_token_ids", "bad_words"),
    *("logprobs", "top_logprobs", "logit_bias", "stream", "stream_options", "tools", "tool_choice"),
    *("parallel_tool_calls", "reasoning_effort", "enable_thinking", "chat_template_kwargs", "priority"),
    *("mm_processor_kwargs", "media_io_kwargs", "cache_salt"),
)
KNOWN_FIELDS = (*_OWN, *GENERATION, *CONSTRAINTS, *LABELS, *REFUSED)


class BodyError(RequestError):
    """A field of the body that cannot be right; `param` names it, as OpenAI's errors do."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def refuse_unknown(body: Mapping[str, Any]) -> None:
    """Raise BodyError for a field that is not known, or cannot be honoured as it is."""
    for name, value in body.items():
        if name not in KNOWN_FIELDS:
            raise BodyError(f"unknown field {name!r}. {nearest(name, KNOWN_FIELDS)}", str(name))
        if name in REFUSED and value not in REFUSED[name][0]:
            raise BodyError(f"{name} is not supported here: {REFUSED[name][1]}", name)


def kind_of(value: Any) -> str:
    """Return what JSON calls a value's type."""
    names: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "a boolean"),
        ((int, float), "a number"),
        (str, "a string"),
        (Mapping, "an object"),
        ((list, tuple), "a list"),
    ]
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def is_integer(value: Any) -> bool:
    """Whether a value is a whole number that fits in 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, int) or math.isfinite(value))
        and abs(value) < 2**63
    )


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "integer": (is_integer, "a whole number"),
    "number": (is_number, "a number"),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "string": (lambda value: isinstance(value, str), "a string"),
    "object": (lambda value: isinstance(value, Mapping), "an object"),
    "list": (lambda value: isinstance(value, list), "a list"),
}


def field_value(body: Mapping[str, Any], name: str, kind: str, where: str = "") -> Any:
    """Return a field's value of the right kind, or None; null counts as not given.

    Args:
        body: An object.
        name: Of the field.
        kind: A key of `_CHECKS`.
        where: What stands before the name in messages, e.g. "stream_options.".

    Raises:
        BodyError: It is of another kind.
    """
    value = body.get(name)
    check, expected = _CHECKS[kind]
    if value is not None and not check(value):
        raise BodyError(
            f"{where}{name} is {kind_of(value)} ({shown(value)}); expected {expected}", where + name
        )
    return value


def shown(value: Any) -> str:
    """Return a value as messages show it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def sub_fields(body: Mapping[str, Any], name: str, known: tuple[str, ...], where: str = "") -> dict[str, Any]:
    """Return the fields of an object inside the body; BodyError for one that is not in `known`."""
    inner = field_value(body, name, "object", where) or {}
    for key in inner:
        if key not in known:
            raise BodyError(
                f"{where}{name} has an unknown field {key!r}. {nearest(key, known)}", where + name
            )
    return {key: value for key, value in inner.items() if value is not None}
