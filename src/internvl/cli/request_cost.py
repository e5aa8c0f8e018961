"""What a request costs before it runs: tiles and tokens of each picture, room in the session, memory, advice.

Pure arithmetic on sizes; `plan.py` reads the sizes and prints the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from internvl.cli.known_model import KnownModel
from internvl.cli.machine import Machine
from internvl.config import memory, presets
from internvl.config.memory import Dtype, MemoryEstimate
from internvl.config.model import ModelConfig
from internvl.preprocess.processor import TileLimits
from internvl.preprocess.tile_policy import choose_grid
from internvl.preprocess.tiling import has_thumbnail
from internvl.types import MediaUsage

#: <img> and </img> around every picture, and the line break behind it.
MARK_TOKENS = 3
#: "Image-1: " or "Frame-1: " before each of several pictures.
LABEL_TOKENS = 4

#: Tiles that share one call of the vision tower (see `EngineConfig.vision_batch_size`).
_TILES_AT_ONCE = {"cpu": 1, "cuda": 16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as far as its cost goes."""

    name: str
    width: int
    height: int
    is_frame: bool = False
    """A video frame: one tile, no thumbnail."""
    is_dense: bool = False
    """Full of small print, which the policy "auto" gives more tiles."""


def picture_usage(
    config: ModelConfig, pictures: Sequence[Picture], limits: TileLimits
) -> tuple[MediaUsage, ...]:
    """Return tiles and tokens of each picture, as `Processor.plan_sizes` does, without a tokenizer."""
    usages = []
    for index, picture in enumerate(pictures):
        wanted = TileLimits(min_tiles=1, max_tiles=1) if picture.is_frame else limits
        # a model without dynamic tiling sees one tile, unless someone asks for more
        policy = wanted.policy or config.tile_policy
        dynamic = config.dynamic_tiling or policy != "reference"
        default_max = config.max_tiles if dynamic else 1
        least = wanted.min_tiles
        if least is None:
            least = min(config.min_tiles if dynamic else 1, wanted.max_tiles or default_max)
        grid = choose_grid(
            (picture.width, picture.height),
            policy=policy,
            min_tiles=least,
            max_tiles=wanted.max_tiles,
            dense=picture.is_dense,
            default_max_tiles=default_max,
            image_size=config.image_size,
        )
        use_thumbnail = config.use_thumbnail if wanted.thumbnail is None else wanted.thumbnail
        usage = MediaUsage(
            index=index,
            kind="frame" if picture.is_frame else "image",
            width=picture.width,
            height=picture.height,
            grid=grid,
            thumbnail=has_thumbnail(grid, use_thumbnail),
            num_tokens=0,
        )
        usages.append(replace(usage, num_tokens=usage.num_tiles * config.tokens_per_tile))
    return tuple(usages)


@dataclass(frozen=True)
class RequestCost:
    """One kind of request to one model on one machine."""

    model: KnownModel
    machine: Machine
    pictures: tuple[Picture, ...]
    limits: TileLimits
    text_tokens: int
    answer_tokens: int
    session_len: int
    dtype: Dtype
    batch_size: int
    chunk_tokens: int

    @cached_property
    def media(self) -> tuple[MediaUsage, ...]:
        """Tiles and tokens per picture."""
        return picture_usage(self.model.config, self.pictures, self.limits)

    @property
    def num_tiles(self) -> int:
        """Tiles of all pictures."""
        return sum(usage.num_tiles for usage in self.media)

    @property
    def image_tokens(self) -> int:
        """Tokens of all pictures, with what stands around each."""
        return sum(usage.num_tokens + self._around for usage in self.media)

    @property
    def _around(self) -> int:
        return MARK_TOKENS + (LABEL_TOKENS if len(self.pictures) > 1 else 0)

    @property
    def prompt_tokens(self) -> int:
        """Pictures, template, system message and question."""
        return self.image_tokens + self.text_tokens

    @property
    def needed_tokens(self) -> int:
        """Prompt and the longest answer asked for."""
        return self.prompt_tokens + self.answer_tokens

    @property
    def fits_session(self) -> bool:
        """Whether prompt and answer fit `session_len`."""
        return self.needed_tokens <= self.session_len

    @property
    def device(self) -> str:
        """Where the engine would run: the GPU if there is one."""
        return "cuda" if self.machine.gpus else "cpu"

    def memory(self, dtype: Dtype | None = None) -> MemoryEstimate:
        """Return the memory for this request in `dtype` (default: the one asked for)."""
        return memory.estimate(
            self.model.config,
            dtype=dtype or self.dtype,
            session_len=max(self.session_len, self.needed_tokens),
            batch_size=self.batch_size,
            num_tiles=self.num_tiles,
            prompt_tokens=self.prompt_tokens,
            tiles_at_once=_TILES_AT_ONCE[self.device],
            chunk_tokens=self.chunk_tokens,
        )

    def places(self, dtype: Dtype | None = None) -> list[str]:
        """Return where it fits at the moment, best first: "GPU", "RAM"."""
        return self.machine.places(self.memory(dtype).total)

    # -- what to change

    def token_advice(self) -> list[str]:
        """Return what to change so that the tokens fit; empty when they do."""
        if self.fits_session:
            return []
        advice = []
        limit = max(self.model.context_length, self.model.config.text.max_position)
        wanted = session_len_for(self.needed_tokens)
        if self.needed_tokens <= limit:
            advice.append(f"--session-len {min(wanted, limit)} holds it")
        else:
            advice.append(f"no session of this model holds it: its positions end at {limit:,}")
        fewer = self._fitting_max_tiles()
        if fewer is not None:
            tokens = replace(self, limits=replace(self.limits, max_tiles=fewer)).needed_tokens
            advice.append(f"--max-tiles {fewer} brings it down to {tokens:,} tokens")
        elif self.media:
            room = self.session_len - self.text_tokens - self.answer_tokens
            tile_tokens = self.model.config.tokens_per_tile + self._around
            advice.append(
                f"even with one tile per picture it does not fit: at most {max(room, 0) // tile_tokens} "
                "pictures of one tile do"
            )
        if self.text_tokens + self.answer_tokens > self.session_len:
            advice.append("text and answer alone exceed the session: fewer --max-new-tokens or --text-tokens")
        return advice

    def _fitting_max_tiles(self) -> int | None:
        """The most tiles per picture with which the request fits its session; None if no limit helps."""
        current = self.limits.max_tiles or self.model.config.max_tiles
        for most in range(current - 1, 0, -1):
            limits = replace(self.limits, max_tiles=most, min_tiles=min(self.limits.min_tiles or 1, most))
            if replace(self, limits=limits).fits_session:
                return most
        return None

    def memory_advice(self) -> list[str]:
        """Return what to change so that the memory suffices; empty when it does."""
        if self.places():
            return []
        advice = []
        if self.machine.places(self.memory().total, now=False):
            advice.append("it fits once other programs free their memory")
        for dtype in ("bfloat16", "int8", "int4"):
            smaller = self.memory(dtype).total < self.memory().total
            if smaller and self.places(dtype):
                ready = "" if dtype == "bfloat16" else ", from a quantised checkpoint"
                advice.append(f"--dtype {dtype} needs {self.memory(dtype).total / 1e9:.1f} GB{ready}")
                break
        if self.batch_size > 1:
            fewer = next(
                (n for n in range(self.batch_size - 1, 0, -1) if replace(self, batch_size=n).places()), 0
            )
            if fewer:
                advice.append(f"--batch {fewer} fits")
        shorter = session_len_for(self.needed_tokens)
        if shorter < self.session_len and replace(self, session_len=shorter).places():
            advice.append(f"--session-len {shorter} is enough for this request, and fits")
        if (other := self._smaller_model()) is not None:
            advice.append(f"{other} fits in {self.dtype}")
        return advice or ["no smaller format or model of this release fits: use a machine with more memory"]

    def _smaller_model(self) -> str | None:
        """The largest released model of the same release that fits as asked."""
        release = self.model.config.release
        best: tuple[int, str] | None = None
        for preset in presets.all_presets().values():
            if preset.config is None or preset.variant or preset.unsupported or preset.release != release:
                continue
            model = replace(self.model, name=preset.name, config=preset.config)
            size = memory.count_parameters(preset.config).total
            if (best is None or size > best[0]) and replace(self, model=model).places():
                best = (size, preset.name)
        return None if best is None else best[1]


def session_len_for(num_tokens: int) -> int:
    """Return the next power of two, at least 1024, that holds this many tokens."""
    return max(1024, 1 << (num_tokens - 1).bit_length())
