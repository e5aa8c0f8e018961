"""What is asked: samples (pictures or a clip) and the questions about each. A question is an `Item`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from internvl.evaluation.verdict import Truth
from internvl.types import Message

CLIP_FRAMES = 8
"""Frames taken from a video file; as many as the generated clips have."""

Picture = Image.Image | Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question about a sample."""

    question: str
    truth: Truth
    metric: str
    task: str
    """Kind of question, for figures by kind."""
    language: str = "en"
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is known of it, for figures by it: text, whole numbers, truth values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSample:
    """Pictures, or one clip, and what is asked about them, each time in a fresh conversation."""

    id: str
    """Unique in its set."""
    media: tuple[Picture, ...]
    """Pictures in order; of a clip its frames, or one file."""
    items: tuple[Item, ...]
    clip: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    """As `Item.facts`, of all items."""

    def message(self, item: Item) -> Message:
        """Return the user message that asks `item`: media first, in the family's own form."""
        if self.clip:
            whole_file = len(self.media) == 1 and isinstance(self.media[0], Path)
            part: dict[str, Any] = {
                "type": "video",
                "video": self.media[0] if whole_file else list(self.media),
            }
            parts = [part | ({"num_frames": CLIP_FRAMES} if whole_file else {})]
        else:
            parts = [{"type": "image", "image": picture} for picture in self.media]
        return {"role": "user", "content": [*parts, {"type": "text", "text": item.question}]}


class EvalSet(Protocol):
    """A named list of samples, each made when it is its turn. It can be pickled."""

    @property
    def name(self) -> str:
        """E.g. "generated:lines"."""
        ...

    @property
    def sample_ids(self) -> Sequence[str]:
        """Ids of all samples, known before any is made."""
        ...

    @property
    def skipped(self) -> Mapping[str, int]:
        """Reason -> number of questions (of generated sets: samples) that cannot be asked here."""
        ...

    @property
    def costly(self) -> bool:
        """Whether making a sample takes long enough to be done in another process."""
        ...

    def make(self, sample_id: str) -> EvalSample:
        """Return one sample; a pure function of the id."""
        ...
