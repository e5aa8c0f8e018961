"""Nouns that cross layers: what a request says, what it costs, what comes back.

Nothing here imports torch, so that `import internvl` stays light. Shapes: `T` tokens, `N` tiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from internvl.answer_format import CONSTRAINTS, AnswerFormat, read_answer_format
from internvl.errors import ConfigError

if TYPE_CHECKING:
    import torch

#: One OpenAI-style message: {"role": ..., "content": str | list of parts}.
Message = dict[str, Any]

FinishReason = Literal["stop", "length", "abort", "repetition", "error", "tool_calls"]


class TileGrid(NamedTuple):
    """How a picture is cut: `columns` x `rows` square tiles, without the thumbnail."""

    columns: int
    rows: int

    @property
    def num_tiles(self) -> int:
        """Tiles in the grid; the thumbnail is not counted."""
        return self.columns * self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaUsage:
    """What one picture, or one frame of a video, costs: its tiles and its tokens."""

    index: int
    """Position of the picture in the whole conversation, from 0."""
    kind: Literal["image", "frame"] = "image"
    width: int
    """Pixels, after EXIF rotation."""
    height: int
    grid: TileGrid
    thumbnail: bool
    """Whether an overview tile was appended after the grid."""
    num_tokens: int
    """Image tokens in the prompt, without `<img>` and `</img>`."""
    video: int | None = None
    """Of a frame: which video of the conversation it belongs to, from 0."""
    frame_index: int | None = None
    """Of a frame: its number in the video's file, from 0."""
    timestamp_s: float | None = None
    """Of a frame: seconds from the video's first frame; None where the frames have no times."""
    content_hash: str = ""
    """sha256 of the tiles; equal pictures cut equally share it (feature cache key)."""

    @property
    def num_tiles(self) -> int:
        """Tiles given to the vision tower, thumbnail included."""
        return self.grid.num_tiles + int(self.thumbnail)


@dataclass(slots=True, kw_only=True)
class ModelInputs:
    """One conversation, ready for the model."""

    input_ids: torch.Tensor
    """(T,) int64, one `image_token_id` per image token."""
    pixel_values: torch.Tensor | None = None
    """(N, 3, h, w) float32, tiles of all pictures in prompt order; None without pictures."""
    media: list[MediaUsage] = field(default_factory=list)
    """One entry per picture, in prompt order; their num_tiles add up to N."""
    prompt: str = ""
    """The rendered text that `input_ids` encode."""


#: The loop guard of conversations and evaluations: 20 times the same, be it one token or a phrase of 24. Tables and
#: dotted lines repeat less, and an endless answer ends before its 512 tokens.
LOOP_GUARD: dict[str, Any] = {"repetition_ngram_size": 24, "repetition_ngram_threshold": 20}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """How to answer one request. Field names and defaults are LMDeploy's.

    With `do_sample=False` the answer is greedy, whatever temperature, top_p and top_k say.
    """

    max_new_tokens: int = 512
    do_sample: bool = False
    temperature: float = 0.8
    top_p: float = 1.0
    top_k: int = 50
    """Sample among the k likeliest tokens; 0 = all."""
    min_p: float = 0.0
    """Drop tokens less likely than min_p x the likeliest one."""
    repetition_penalty: float = 1.0
    random_seed: int | None = None
    """Same seed, same answer, alone or in a batch. None draws one."""
    stop_words: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    bad_words: tuple[str, ...] = ()
    bad_token_ids: tuple[int, ...] = ()
    min_new_tokens: int = 0
    ignore_eos: bool = False
    skip_special_tokens: bool | None = None
    """None: as the model's family does it (V3.5 keeps them, earlier ones drop them)."""
    include_stop_str_in_output: bool = False
    logprobs: int | None = None
    """Return the log-probability of each token and of this many alternatives."""
    repetition_ngram_size: int = 0
    """Loop guard: stop with finish_reason "repetition" once an n-gram of up to this many tokens has
    repeated `repetition_ngram_threshold` times in a row; 0 = off."""
    repetition_ngram_threshold: int = 0
    n: int = 1
    response_format: Mapping[str, Any] | None = None
    """Constrain the answer, in OpenAI's and LMDeploy's words: {"type": "json_schema", "json_schema": {"name":
    ..., "schema": {...}}}, {"type": "json_object"}, {"type": "regex_schema", "regex_schema": ...} or
    {"type": "text"}. Needs the extra `structured`; so do the four fields below, of all which one may be set."""
    json_schema: Any = None
    """The answer is JSON that this schema admits (draft 2020-12): a mapping, its JSON text, or a class with
    pydantic's `model_json_schema`."""
    regex: str | None = None
    """The whole answer matches this expression (syntax of Rust's regex: no look-around, no back-references)."""
    choice: tuple[str, ...] | None = None
    """The answer is one of these."""
    grammar: str | None = None
    """The answer follows this grammar (llguidance's dialect of Lark)."""

    def __post_init__(self) -> None:
        for name in ("stop_words", "bad_words", "stop_token_ids", "bad_token_ids"):
            value = getattr(self, name)
            if value is None:
                value = ()
            elif isinstance(value, str):
                value = (value,)
            object.__setattr__(self, name, tuple(value))
        if isinstance(self.choice, list):
            object.__setattr__(self, "choice", tuple(self.choice))
        checks: Sequence[tuple[bool, str]] = (
            (self.max_new_tokens >= 1, "max_new_tokens must be at least 1"),
            (
                0 <= self.min_new_tokens <= self.max_new_tokens,
                "min_new_tokens must be in [0, max_new_tokens]",
            ),
            (0 <= self.temperature < math.inf, "temperature must be a number and not negative"),
            (0 < self.top_p <= 1, "top_p must be in (0, 1]"),
            (self.top_k >= 0, "top_k must not be negative (0 = all tokens)"),
            (0 <= self.min_p <= 1, "min_p must be in [0, 1]"),
            (self.repetition_penalty > 0, "repetition_penalty must be positive"),
            (self.logprobs is None or 0 <= self.logprobs <= 20, "logprobs must be in [0, 20]"),
            (self.repetition_ngram_size >= 0, "repetition_ngram_size must not be negative"),
            (self.n >= 1, "n must be at least 1"),
        )
        for ok, message in checks:
            if not ok:
                raise ConfigError(f"GenerationConfig: {message}")
        _ = self.answer_format  # say now what is wrong with it

    @property
    def answer_format(self) -> AnswerFormat | None:
        """What the answer must look like; None: anything.

        Raises:
            ConfigError: Two fields ask for it, or one of them says nothing that can be read.
        """
        return read_answer_format({name: getattr(self, name) for name in CONSTRAINTS})

    def replace(self, **changes: Any) -> GenerationConfig:
        """Return a copy with these fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Messages, and what they are answered with besides words."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    """Functions that the model may ask for: {"type": "function", "function": {"name", "description",
    "parameters"}} each, shown to it as they are."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model asks to be called."""

    id: str
    """"call_" and letters; the tool's answer names it."""
    name: str
    arguments: str
    """JSON text of an object."""


class TokenLogprob(NamedTuple):
    """One generated token, how likely it was, and the likeliest alternatives."""

    token_id: int
    logprob: float
    """Natural logarithm, of the model's distribution before temperature and cuts."""
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a request cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens whose keys and values were kept from an earlier turn."""
    cached_media: int = 0
    """Pictures that did not pass through the vision tower again."""
    media: tuple[MediaUsage, ...] = ()
    vision_s: float = 0.0
    """Seconds in the vision tower (0 when every picture was cached)."""
    time_to_first_token_s: float = 0.0
    total_s: float = 0.0

    @property
    def total_tokens(self) -> int:
        """Prompt and answer together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(slots=True, kw_only=True)
class Response:
    """An answer, or in a stream one piece of it (`text` and `token_ids` then hold only what is new)."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    input_token_len: int = 0
    generate_token_len: int = 0
    finish_reason: FinishReason | None = None
    """None while a stream goes on."""
    logprobs: list[TokenLogprob] | None = None
    index: int = 0
    """Which prompt of a batch this answers."""
    choice: int = 0
    """Which of the `n` answers to that prompt."""
    usage: Usage = field(default_factory=Usage)
    error_message: str | None = None
    reasoning_content: str | None = None
    """What the model thought before it answered, where thinking was asked for; not part of `text`."""
    tool_calls: list[ToolCall] | None = None
    """Functions to call, where tools were given; finish_reason is then "tool_calls"."""

    def __str__(self) -> str:
        return self.text

    def extend(self, delta: Response) -> Response:
        """Append the next piece of the same answer; its counts and usage replace the ones so far."""
        self.text += delta.text
        self.token_ids += delta.token_ids
        if delta.logprobs is not None:
            self.logprobs = [*(self.logprobs or []), *delta.logprobs]
        self.input_token_len = delta.input_token_len
        self.generate_token_len = delta.generate_token_len
        self.finish_reason = delta.finish_reason
        self.usage = delta.usage
        self.error_message = delta.error_message
        if delta.reasoning_content is not None:
            self.reasoning_content = (self.reasoning_content or "") + delta.reasoning_content
        if delta.tool_calls is not None:
            self.tool_calls = [*(self.tool_calls or []), *delta.tool_calls]
        return self
