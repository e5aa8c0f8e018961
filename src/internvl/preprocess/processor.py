"""Messages -> `ModelInputs`: the composition of intake, tiling, template and tokenizer.

In: OpenAI-style messages. Out: `input_ids` (T,) with `image_token_id` at every image token, `pixel_values`
(N, 3, h, w), and what each picture costs. Called by the engine and by training, so both see the same prompts.

Shapes: `T` tokens, `N` tiles, `K` image tokens per tile.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from internvl.config.model import HF_TEMPLATE, ModelConfig, TilePolicy
from internvl.errors import CheckpointError, MediaError, RequestError
from internvl.media.image import open_image
from internvl.media.limits import DEFAULT_LIMITS, DEFAULT_POLICY, AddressPolicy, MediaLimits
from internvl.preprocess import tiling
from internvl.preprocess.chat_template import ChatTemplate, find_template, template_of
from internvl.preprocess.frames import Frame, FrameTiles, open_clip
from internvl.preprocess.messages import Clip, Part, Picture, Role, Turn, check_tiles, parse_messages
from internvl.preprocess.tile_policy import choose_grid
from internvl.preprocess.tokenizer import GROUNDING_TOKENS, Segment, Tokenizer
from internvl.preprocess.tool_format import ToolFormat, tool_format_of
from internvl.types import Conversation, MediaUsage, ModelInputs, TileGrid

if TYPE_CHECKING:
    import torch

Messages = Sequence[Mapping[str, Any]] | Conversation

IMAGE_START, IMAGE_CONTEXT, IMAGE_END = "<img>", "<IMG_CONTEXT>", "</img>"


@dataclass(frozen=True, slots=True, kw_only=True)
class TileLimits:
    """How finely pictures are cut where a message does not say it itself; None = as the model says."""

    min_tiles: int | None = None
    max_tiles: int | None = None
    thumbnail: bool | None = None
    policy: TilePolicy | None = None
    """How tiles are spent, see `tile_policy`."""


class Processor:
    """Turns conversations into model inputs for one checkpoint."""

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        template: str | None = None,
        *,
        limits: MediaLimits = DEFAULT_LIMITS,
        policy: AddressPolicy = DEFAULT_POLICY,
        special_tokens_in_answers: bool | None = None,
    ) -> None:
        """Combine a model's description with its tokenizer.

        Args:
            config: Decides tiles, image tokens and the default template.
            tokenizer: Of the same checkpoint.
            template: Name of another template (`chat_template.TEMPLATES`).
            limits: On the size of pictures and files.
            policy: Where pictures may be read from. A server denies local files here.
            special_tokens_in_answers: Whether special tokens spelled in assistant messages count. None: as
                in the reference, where the family's answers keep them (see `skip_special_tokens`). Set False
                where clients, not the model, write the assistant messages.

        Raises:
            ConfigError: There is no such template.
            CheckpointError: The tokenizer lacks the image tokens or the template's stop token.
        """
        self.config = config
        self.tokenizer = tokenizer
        self.template: ChatTemplate = template_of(config) if template is None else find_template(template)
        self.tool_format: ToolFormat = tool_format_of(tokenizer)
        self.limits = limits
        self.policy = policy
        self._frame_tiles = FrameTiles()
        self.image_token_id = self._required_id(IMAGE_CONTEXT)
        self._required_id(IMAGE_START), self._required_id(IMAGE_END)
        self._required_id(self.template.stop_tokens[0])
        keep = (
            not self.skip_special_tokens if special_tokens_in_answers is None else special_tokens_in_answers
        )
        self._spellable = self._spellable_tokens(keep)

    @property
    def skip_special_tokens(self) -> bool:
        """Whether the family's reference drops special tokens from answers.

        The V3.5 package keeps them, so `<ref>` and `<box>` show; all others drop them.
        """
        v3_5 = self.config.text.family in ("qwen3", "qwen3_moe", "gpt_oss")
        return not v3_5 or self.config.template == HF_TEMPLATE

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Ids that end an answer."""
        ids = (self.tokenizer.token_to_id(token) for token in self.template.stop_tokens)
        return tuple(i for i in ids if i is not None)

    # -- pictures

    def tile_grid(self, width: int, height: int, min_tiles: int = 1, max_tiles: int = 12) -> TileGrid:
        """Return (columns, rows) for a picture of this size in pixels."""
        limits = TileLimits(min_tiles=min_tiles, max_tiles=max_tiles)
        return self._usage((width, height), [limits], limits, index=0).grid

    def tiles(
        self, image: Any, min_tiles: int = 1, max_tiles: int = 12, thumbnail: bool = True
    ) -> torch.Tensor:
        """Cut one picture.

        Args:
            image: Anything that `media.image.open_image` reads.
            min_tiles: Fewest tiles, the thumbnail not counted.
            max_tiles: Most tiles, the thumbnail not counted.
            thumbnail: Append an overview if the grid has several tiles.

        Returns:
            float32 (N, 3, h, w), normalised; h = w = `config.image_size`.
        """
        limits = TileLimits(min_tiles=min_tiles, max_tiles=max_tiles, thumbnail=thumbnail)
        return self._normalize([self._cut(self._open(Picture(source=image, where="image"), limits, 0))])

    @property
    def spellable(self) -> Mapping[Role, frozenset[str]]:
        """Which added tokens the text of each role may name; in other words they are plain text."""
        return self._spellable

    def cut(
        self, pictures: Sequence[Picture], *, tile_limits: TileLimits = TileLimits()
    ) -> tuple[list[MediaUsage], np.ndarray[Any, np.dtype[np.uint8]]]:
        """Open and cut pictures that belong to no message (training writes its conversations itself).

        Returns:
            What each picture costs, and their tiles one after the other: uint8 (N, S, S, 3).

        Raises:
            MediaError: A picture cannot be read; the message begins with its `where`.
        """
        usages, cuts = [], []
        for index, picture in enumerate(pictures):
            opened = self._open(picture, tile_limits, index)
            usages.append(opened.usage)
            cuts.append(self._cut(opened))
        size = self.config.image_size
        return usages, np.concatenate(cuts) if cuts else np.zeros((0, size, size, 3), dtype=np.uint8)

    # -- conversations

    def render(
        self,
        messages: Messages,
        *,
        tile_limits: TileLimits = TileLimits(),
        add_generation_prompt: bool = True,
    ) -> str:
        """Return the prompt text, every picture written out as its image tokens."""
        turns = self._turns(messages)
        opened = self._open_all(turns, tile_limits)
        return "".join(text for text, _ in self._segments(turns, opened, add_generation_prompt))

    def plan(self, messages: Messages, *, tile_limits: TileLimits = TileLimits()) -> list[MediaUsage]:
        """Say what the pictures of a conversation will cost, before anything is cut (no `content_hash`)."""
        return [opened.usage for opened in self._open_all(self._turns(messages), tile_limits).values()]

    def plan_sizes(
        self, sizes: Sequence[tuple[int, int]], *, tile_limits: TileLimits = TileLimits()
    ) -> list[MediaUsage]:
        """Say what pictures of these sizes (width, height in pixels) will cost."""
        return [self._usage(size, [tile_limits], tile_limits, index) for index, size in enumerate(sizes)]

    def __call__(
        self,
        messages: Messages,
        *,
        tile_limits: TileLimits = TileLimits(),
        add_generation_prompt: bool = True,
    ) -> ModelInputs:
        """Return everything that the model needs to answer a conversation.

        Args:
            messages: OpenAI-style, see `preprocess.messages`; a `Conversation` where there are tools.
            tile_limits: For pictures whose part does not say it.
            add_generation_prompt: End with the header of the answer; False for a finished conversation.

        Raises:
            RequestError: The messages do not make a conversation.
            MediaError: A picture cannot be read.
        """
        import torch

        turns = self._turns(messages)
        opened = self._open_all(turns, tile_limits)
        segments = self._segments(turns, opened, add_generation_prompt)
        ids = self.tokenizer.encode_segments(segments)
        media, cuts = [], []
        for each in opened.values():
            cut = self._cut(each)
            digest = hashlib.sha256(np.asarray(cut.shape, dtype=np.int64).tobytes())
            digest.update(cut.data)
            media.append(replace(each.usage, content_hash=digest.hexdigest()))
            cuts.append(cut)
        expected = sum(usage.num_tokens for usage in media)
        found = ids.count(self.image_token_id)
        # text cannot spell the image token, so this can only be our own mistake
        assert found == expected, f"{found} image tokens in the prompt, {expected} for the pictures"
        return ModelInputs(
            input_ids=torch.tensor(ids, dtype=torch.int64),
            pixel_values=self._normalize(cuts) if cuts else None,
            media=media,
            prompt="".join(text for text, _ in segments),
        )

    # -- inside

    def _turns(self, messages: Messages) -> list[Turn]:
        """Check a conversation; what it says about tools becomes text."""
        talk = messages if isinstance(messages, Conversation) else Conversation(messages=messages)
        turns = self._with_frames(parse_messages(talk.messages))
        return self.tool_format.spell(turns, talk.tools, self.template.default_system)

    def _with_frames(self, turns: list[Turn]) -> list[Turn]:
        """Open the videos, so that each counts as its frames."""
        numbers = itertools.count()

        def opened(part: Part) -> Part:
            if not isinstance(part, Clip):
                return part
            return open_clip(part, next(numbers), limits=self.limits, policy=self.policy)

        return [replace(turn, parts=tuple(opened(part) for part in turn.parts)) for turn in turns]

    def _segments(
        self, turns: list[Turn], opened: Mapping[str, _Opened], add_generation_prompt: bool
    ) -> list[Segment]:
        def show(picture: Picture) -> str:
            return IMAGE_START + IMAGE_CONTEXT * opened[picture.where].usage.num_tokens + IMAGE_END

        return self.template.render(
            turns, show=show, spellable=self._spellable, add_generation_prompt=add_generation_prompt
        )

    def keeps_shape(self, limits: TileLimits) -> bool:
        """Whether pictures that do not say it themselves lie in their tiles unstretched (policy "fit")."""
        return (limits.policy or self.config.tile_policy) == "fit"

    def _open_all(self, turns: list[Turn], limits: TileLimits) -> dict[str, _Opened]:
        """Open the pictures in prompt order; keys are their places in the messages."""
        pictures = [picture for turn in turns for picture in turn.pictures]
        return {picture.where: self._open(picture, limits, index) for index, picture in enumerate(pictures)}

    def _open(self, picture: Picture, limits: TileLimits, index: int) -> _Opened:
        frame = picture.source
        fit = self.keeps_shape(limits)
        if isinstance(frame, Frame):  # its content is decoded when it is cut
            usage = self._usage(frame.size, [picture, limits], limits, index)
            return _Opened(frame, replace(usage, **frame.facts), fit)
        try:
            image = open_image(picture.source, limits=self.limits, policy=self.policy)
        except MediaError as error:
            raise MediaError(f"{picture.where}: {error}") from error
        return _Opened(image, self._usage(image, [picture, limits], limits, index), fit)

    def _usage(
        self,
        picture: Image.Image | tuple[int, int],
        wishes: Sequence[Picture | TileLimits],
        limits: TileLimits,
        index: int,
    ) -> MediaUsage:
        """Return what a picture of this content or size costs; the first wish that says something decides."""

        def wish(name: str) -> Any:
            return next((value for each in wishes if (value := getattr(each, name)) is not None), None)

        policy = limits.policy or self.config.tile_policy
        # a model without dynamic tiling sees one tile, unless someone asks for more
        dynamic = self.config.dynamic_tiling or policy != "reference"
        default_max = self.config.max_tiles if dynamic else 1
        most = wish("max_tiles")
        limit = check_tiles(default_max if most is None else most, "max_tiles")
        least = wish("min_tiles")
        if least is None:
            least = min(self.config.min_tiles if dynamic else 1, limit)
        if check_tiles(least, "min_tiles") > limit:
            raise RequestError(f"min_tiles {least} exceeds max_tiles {limit}. Lower one or raise the other.")
        grid = choose_grid(
            picture,
            policy=policy,
            min_tiles=least,
            max_tiles=most,
            default_max_tiles=default_max,
            image_size=self.config.image_size,
        )
        wanted = wish("thumbnail")
        width, height = picture.size if isinstance(picture, Image.Image) else picture
        usage = MediaUsage(
            index=index,
            width=width,
            height=height,
            grid=grid,
            thumbnail=tiling.has_thumbnail(grid, self.config.use_thumbnail if wanted is None else wanted),
            num_tokens=0,
        )
        return replace(usage, num_tokens=usage.num_tiles * self.config.tokens_per_tile)

    def _cut(self, opened: _Opened) -> np.ndarray[Any, np.dtype[np.uint8]]:
        grid, thumbnail = opened.usage.grid, opened.usage.thumbnail

        def cut(image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
            return tiling.cut_tiles(
                image,
                grid=grid,
                image_size=self.config.image_size,
                thumbnail=thumbnail,
                fit=opened.fit,
            )

        if isinstance(opened.image, Frame):
            return self._frame_tiles.of(opened.image, (grid, thumbnail, opened.fit), cut)
        return cut(opened.image)

    def _normalize(self, cuts: list[np.ndarray[Any, np.dtype[np.uint8]]]) -> torch.Tensor:
        """Join uint8 (n, S, S, 3) of each picture into float32 (N, 3, S, S)."""
        from internvl.preprocess.transforms import normalize

        return normalize(np.concatenate(cuts))

    def _spellable_tokens(self, special_in_answers: bool) -> dict[Role, frozenset[str]]:
        """Say which added tokens the text of each role may name.

        A user may mark regions (`<ref>`, `<box>`, `<quad>`) and nothing else. The system message, which is
        the operator's, and answers may also name added words that are not special (`<think>`). Answers of
        families that keep special tokens may hold any but the image token and what ends an answer.
        """
        added = self.tokenizer.added_tokens
        words = frozenset(name for name, token in added.items() if not token.special) | GROUNDING_TOKENS
        barred = frozenset((IMAGE_CONTEXT, *self.template.stop_tokens))
        answers = (frozenset(added) if special_in_answers else words) - barred
        # what a tool found is less trusted than anyone
        return {
            "user": GROUNDING_TOKENS,
            "system": words - barred,
            "assistant": answers,
            "tool": GROUNDING_TOKENS,
        }

    def _required_id(self, token: str) -> int:
        i = self.tokenizer.token_to_id(token)
        if i is None:
            raise CheckpointError(
                f"the tokenizer has no {token!r}, which the template {self.template.name!r} needs. "
                "Use the tokenizer files of the same checkpoint, or another template."
            )
        return i


@dataclass(frozen=True, slots=True)
class _Opened:
    """A picture in memory, or a frame that is still in its video, and its cost."""

    image: Image.Image | Frame
    usage: MediaUsage
    fit: bool = False
    """Keeps its shape when it is cut."""
