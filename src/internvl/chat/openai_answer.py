"""Complete answers -> the body of an OpenAI chat completion, as plain data ready for JSON.

The form is the one that the server answers in (`server.schemas.chat.ChatCompletion`).
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Collection, Sequence
from typing import Any

from internvl.preprocess.processor import Processor
from internvl.types import GenerationConfig, MediaUsage, Response, TokenLogprob, ToolCall
from internvl.version import __version__

FINGERPRINT = f"internvl-{__version__}"
#: JSON has no infinity; OpenAI's number for "never".
_NEVER = -9999.0


def chat_completion(
    answers: Sequence[Response], *, model: str, processor: Processor, gen_config: GenerationConfig
) -> dict[str, Any]:
    """Return the body for the n answers to one conversation.

    Args:
        answers: Complete, in the order of their choices; thoughts and calls apart from the text.
        model: The name to give.
        processor: Of the model that answered; spells the tokens of log-probabilities.
        gen_config: What the answers were made with.
    """
    stops = {*processor.stop_token_ids, *gen_config.stop_token_ids}
    return {
        **answer_head("chatcmpl-", "chat.completion", model),
        "choices": [
            {
                "index": answer.choice,
                "message": message_of(answer),
                "logprobs": logprobs_of(answer, stops, processor),
                "finish_reason": answer.finish_reason,
            }
            for answer in answers
        ],
        "usage": usage_of(answers),
    }


def answer_head(prefix: str, kind: str, model: str) -> dict[str, Any]:
    """Return what every completion and chunk begins with: a new id, its kind, the time, who answers."""
    return {
        "id": f"{prefix}{secrets.token_hex(16)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": FINGERPRINT,
    }


def message_of(answer: Response) -> dict[str, Any]:
    """Return an answer as a message."""
    content = None if answer.tool_calls and not answer.text else answer.text
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if answer.reasoning_content is not None:
        message["reasoning_content"] = answer.reasoning_content
    if answer.tool_calls:
        message["tool_calls"] = [_call(call) for call in answer.tool_calls]
    return message


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def usage_of(answers: Sequence[Response]) -> dict[str, Any]:
    """Return what the n answers to one prompt cost together."""
    prompt = answers[0].usage
    completion = sum(answer.usage.completion_tokens for answer in answers)
    details = {
        "cached_tokens": prompt.cached_tokens,
        "image_tokens": sum(item.num_tokens for item in prompt.media),
    }
    return {
        "prompt_tokens": prompt.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt.prompt_tokens + completion,
        "prompt_tokens_details": details,
        "media": [media_of(item) for item in prompt.media],
    }


def media_of(item: MediaUsage) -> dict[str, Any]:
    """Return what one picture or frame cost."""
    facts: dict[str, Any] = {
        "kind": item.kind,
        "width": item.width,
        "height": item.height,
        "tiles": item.num_tiles,
        "columns": item.grid.columns,
        "rows": item.grid.rows,
        "tokens": item.num_tokens,
    }
    if item.kind == "frame":
        facts |= {name: getattr(item, name) for name in ("video", "frame_index", "timestamp_s")}
    return facts


def logprobs_of(answer: Response, stops: Collection[int], processor: Processor) -> dict[str, Any] | None:
    """Return log-probabilities of an answer or a delta, without the token that ended it (one of `stops`): it is no
    part of the text."""
    tokens = answer.logprobs
    if tokens is None:
        return None
    if answer.finish_reason == "stop" and tokens and tokens[-1].token_id in stops:
        tokens = tokens[:-1]
    return {"content": [_token(token, processor) for token in tokens], "refusal": None}


def _token(token: TokenLogprob, processor: Processor) -> dict[str, Any]:
    top = [_candidate(*pair, processor) for pair in token.top]
    return {**_candidate(token.token_id, token.logprob, processor), "top_logprobs": top}


def _candidate(token_id: int, logprob: float, processor: Processor) -> dict[str, Any]:
    data = processor.tokenizer.token_bytes(token_id)
    is_control = data is None
    text = processor.tokenizer.id_to_token(token_id) if data is None else data.decode(errors="replace")
    shown = logprob if math.isfinite(logprob) else _NEVER
    return {"token": text, "logprob": shown, "bytes": None if is_control else list(data or b"")}
