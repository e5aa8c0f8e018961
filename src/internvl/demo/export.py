"""A conversation as a file to keep: Markdown to read, JSON for programs; pictures inside."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from internvl.demo.conversation import Conversation, Turn
from internvl.demo.pictures import is_video_id
from internvl.demo.strings import Strings

#: Returns a picture as a data: URL by its id, or None where it is gone.
DataUrl = Callable[[str], str | None]


def to_markdown(conversation: Conversation, data_url: DataUrl, strings: Strings) -> str:
    """Return the conversation as one Markdown document; pictures are data URLs.

    Args:
        conversation: What was said.
        data_url: Of what is to be seen; of a video a picture of its frames.
        strings: Of the reader's language.
    """
    pieces = [f"# {strings('conversation')}"]
    number = 0
    for turn in conversation.turns:
        pieces.append(f"## {strings('you') if turn.role == 'user' else turn.model or strings('model')}")
        for picture in turn.pictures:
            number += 1
            url = data_url(picture)
            name = strings("video" if is_video_id(picture) else "picture", number=number)
            pieces.append(f"![{name}]({url})" if url else f"({name}: {strings('picture_gone')})")
        pieces.append(turn.text)
        if turn.cost is not None:
            pieces.append(f"*{describe_answer(turn, strings)}*")
    return "\n\n".join(pieces) + "\n"


def to_json(conversation: Conversation, data_url: DataUrl, *, model: str, system: str | None = None) -> str:
    """Return the conversation as JSON: OpenAI's messages, and what each answer cost.

    The messages can be sent to `/v1/chat/completions` or passed to a pipeline. A picture that is gone is a text part.
    """

    def part(picture: str) -> dict[str, Any]:
        url = data_url(picture)
        if url is None:
            return {"type": "text", "text": "(a picture that is no longer there)"}
        kind = "video_url" if is_video_id(picture) else "image_url"
        return {"type": kind, kind: {"url": url}}

    messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
    for turn in conversation.turns:
        parts = [part(picture) for picture in turn.pictures]
        content = [*parts, {"type": "text", "text": turn.text}] if parts else turn.text
        messages.append({"role": turn.role, "content": content})
    answers = [
        {name: turn[name] for name in ("model", "finish_reason", "cost") if name in turn}
        for turn in conversation.to_json()["turns"]
        if turn["role"] == "assistant"
    ]
    return json.dumps(
        {"model": model, "messages": messages, "answers": answers}, ensure_ascii=False, indent=2
    )


def describe_answer(turn: Turn, strings: Strings) -> str:
    """Return one line: how an answer ended if not by itself, tiles, tokens, seconds, speed."""
    notes = {"abort": "stopped", "length": "cut_off", "repetition": "circles"}
    pieces = [strings(notes[turn.finish_reason])] if turn.finish_reason in notes else []
    cost = turn.cost
    if cost is not None:
        if cost.num_tiles:
            pieces.append(f"{strings('tiles')}: {cost.num_tiles}")
        pieces.append(f"{strings('prompt_tokens')}: {cost.prompt_tokens}")
        pieces.append(f"{strings('answer_tokens')}: {cost.answer_tokens}")
        pieces.append(f"{strings('first_token')}: {strings('seconds', number=f'{cost.first_token_s:.2f}')}")
        if cost.tokens_per_s is not None:
            pieces.append(strings("per_second", number=f"{cost.tokens_per_s:.0f}"))
    return " · ".join(pieces)
