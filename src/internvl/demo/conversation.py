"""A conversation as the browser keeps it: turns of text and picture ids, and what the answers cost.

The browser's copy is the only one, and it comes back with every question, so it is read like anything that comes
over the network: checked, bounded, never trusted. No Gradio and no torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from internvl.demo.pictures import is_picture_id, is_video_id
from internvl.errors import RequestError
from internvl.types import FinishReason, Message, Usage

#: What one conversation may hold. The browser's store ends at about 5 MB anyway.
MAX_TURNS = 400
MAX_CHARACTERS = 1_000_000
MAX_PICTURES = 64

_VERSION = 1
_NOTES = ("stop", "length", "abort", "repetition", "tool_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an answer took: `Usage` in the few numbers that are shown."""

    num_pictures: int = 0
    num_tiles: int = 0
    image_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    first_token_s: float = 0.0
    total_s: float = 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """Speed behind the first token; None where one token or no time tells nothing."""
        seconds = self.total_s - self.first_token_s
        return (self.answer_tokens - 1) / seconds if self.answer_tokens > 1 and seconds > 0 else None

    @classmethod
    def of(cls, usage: Usage) -> Cost:
        """Return the cost that a response reports."""
        return cls(
            num_pictures=len(usage.media),
            num_tiles=sum(media.num_tiles for media in usage.media),
            image_tokens=sum(media.num_tokens for media in usage.media),
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            answer_tokens=usage.completion_tokens,
            first_token_s=round(usage.time_to_first_token_s, 4),
            total_s=round(usage.total_s, 4),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question or an answer."""

    role: Literal["user", "assistant"]
    text: str
    pictures: tuple[str, ...] = ()
    """Ids in the picture store, of a question."""
    finish_reason: FinishReason | None = None
    """Of an answer."""
    model: str = ""
    """Which model answered."""
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in their order: a question, its answer, the next question, ..."""

    turns: tuple[Turn, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.turns)

    @property
    def pictures(self) -> tuple[str, ...]:
        """Ids of all pictures, in prompt order."""
        return tuple(picture for turn in self.turns for picture in turn.pictures)

    def asked(self, text: str, pictures: tuple[str, ...]) -> Conversation:
        """Return the conversation with a further question. Raises RequestError when it grows too long."""
        return _bounded(Conversation((*self.turns, Turn(role="user", text=text, pictures=pictures))))

    def answered(self, answer: Turn) -> Conversation:
        """Return the conversation with the answer to its last question."""
        return Conversation((*self.turns, answer))

    def before(self, index: int) -> tuple[Conversation, Turn]:
        """Return what came before the question at, or last before, `index`, and that question.

        Raises RequestError: There is none.
        """
        for place in range(min(index, len(self.turns) - 1), -1, -1):
            if self.turns[place].role == "user":
                return Conversation(self.turns[:place]), self.turns[place]
        raise RequestError("there is no question to ask again; ask one first")

    def messages(
        self, open_picture: Callable[[str], Any], *, system: str | None = None, max_tiles: int | None = None
    ) -> list[Message]:
        """Return OpenAI-style messages, pictures in front of their question.

        Args:
            open_picture: Returns what stands for an id in a part {"type": "image", "image": ...}, or of a
                video {"type": "video", "video": ...}.
            system: System message; None leaves it to the model's template.
            max_tiles: Of each picture (a video's frames have one each); None leaves it to the model.
        """
        messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        tiles = {} if max_tiles is None else {"max_tiles": max_tiles}
        for turn in self.turns:
            parts: list[Any] = [
                {"type": "video", "video": open_picture(picture)}
                if is_video_id(picture)
                else {"type": "image", "image": open_picture(picture), **tiles}
                for picture in turn.pictures
            ]
            content = [*parts, {"type": "text", "text": turn.text}] if parts else turn.text
            messages.append({"role": turn.role, "content": content})
        return messages

    def to_json(self) -> dict[str, Any]:
        """Return what the browser keeps."""
        return {"version": _VERSION, "turns": [_turn_to_json(turn) for turn in self.turns]}


def read_conversation(data: Any) -> Conversation:
    """Return the conversation that a browser sent.

    Raises RequestError: It is none, or larger than a conversation may be.
    """
    if data is None:
        return Conversation()
    if not isinstance(data, Mapping) or data.get("version") != _VERSION:
        raise RequestError(
            "the conversation in the browser's store was not written by this version; clear it"
        )
    turns = data.get("turns")
    if not isinstance(turns, list) or len(turns) > MAX_TURNS:
        raise RequestError(f"the conversation has no list of at most {MAX_TURNS} turns; clear it")
    conversation = Conversation(tuple(_read_turn(turn, f"turns[{n}]") for n, turn in enumerate(turns)))
    for n, turn in enumerate(conversation.turns):
        if turn.role != ("user", "assistant")[n % 2]:
            raise RequestError(f"turns[{n}] is from the {turn.role}; expected question and answer in turn")
    return _bounded(conversation)


def _bounded(conversation: Conversation) -> Conversation:
    sizes = (
        (len(conversation.turns), MAX_TURNS, "turns"),
        (sum(len(turn.text) for turn in conversation.turns), MAX_CHARACTERS, "characters"),
        (len(conversation.pictures), MAX_PICTURES, "pictures"),
    )
    for size, limit, name in sizes:
        if size > limit:
            raise RequestError(
                f"the conversation would have {size} {name}; the limit is {limit}. Start a new one."
            )
    return conversation


def _turn_to_json(turn: Turn) -> dict[str, Any]:
    data: dict[str, Any] = {"role": turn.role, "text": turn.text}
    if turn.pictures:
        data["pictures"] = list(turn.pictures)
    if turn.role == "assistant":
        data |= {"finish_reason": turn.finish_reason, "model": turn.model}
    if turn.cost is not None:
        data["cost"] = {name: getattr(turn.cost, name) for name in Cost.__slots__}
    return data


def _read_turn(data: Any, where: str) -> Turn:
    role = data.get("role") if isinstance(data, Mapping) else None
    if role not in ("user", "assistant") or not isinstance(data.get("text"), str):
        raise RequestError(f"{where} of the conversation has no role and text; clear it")
    pictures = data.get("pictures") or ()
    if not isinstance(pictures, list | tuple) or not all(is_picture_id(picture) for picture in pictures):
        raise RequestError(f"{where} of the conversation names pictures that cannot be; clear it")
    turn = Turn(role=role, text=data["text"], pictures=tuple(pictures))
    if role == "user":
        return turn
    if pictures:
        raise RequestError(f"{where} of the conversation is an answer with pictures; clear it")
    reason, model = data.get("finish_reason"), data.get("model")
    return replace(
        turn,
        finish_reason=reason if reason in _NOTES else None,
        model=model[:200] if isinstance(model, str) else "",
        cost=_read_cost(data.get("cost"), where),
    )


def _read_cost(data: Any, where: str) -> Cost | None:
    """Numbers that are only shown: each is bounded, so that they can be."""
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise RequestError(f"{where} of the conversation has no readable cost; clear it")
    values = {name: data.get(name, 0) for name in Cost.__slots__}
    for name, value in values.items():
        kinds = int | float if name.endswith("_s") else int
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value < 1e12:
            raise RequestError(f"{where} of the conversation has an impossible cost: {name}; clear it")
    return Cost(**values)
