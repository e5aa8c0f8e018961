"""Where a message's pictures and videos stand in its text.

Source: the recorded prompts of the model cards and of transformers' processor. Called by
`preprocess.chat_template`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from internvl.errors import RequestError
from internvl.preprocess.parts import PLACEHOLDERS, Clip, Picture

if TYPE_CHECKING:
    from internvl.preprocess.messages import Turn

#: Before each frame. Model cards and transformers write it so for every family; training from V2.5 on has
#: "Frame-1: ", which a text with `<image>` placeholders of its own can ask for.
FRAME_LABEL = "Frame{}: "
VIDEO_PLACEHOLDER = "<video>"

_IMAGE = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
_IMAGE_OR_VIDEO = re.compile("|".join(map(re.escape, (*PLACEHOLDERS, VIDEO_PLACEHOLDER))))

Placed = list[str | Picture]


def place_pictures(turn: Turn, style: Literal["numbered", "inline"]) -> Placed:
    """Return a turn's text with its pictures, and the frames of its videos, where the prompt will show them.

    Placeholders in the text are filled in order: `<image>` by pictures, `<video>` by all frames of a video,
    one a line after its number. If there are as many `<image>` as pictures and frames together, each takes
    one, and no label is added. What has no placeholder stands before the text: "numbered" is the GitHub
    family's form (a line `<image>` for one picture, lines "Image-1: <image>" and so on for several), "inline"
    is transformers' (`<image>` and a line end at the place of each part).
    Numbers start at 1 in every message and every video: the reference numbers the pictures of a question by
    themselves, and earlier turns keep the numbers they had when they were asked.

    Raises:
        RequestError: As many placeholders as pictures or videos were expected.
    """
    if turn.role != "user":
        return list(turn.texts)
    images = [part for part in turn.parts if isinstance(part, Picture)]
    clips = [part for part in turn.parts if isinstance(part, Clip)]
    joint = "\n" if style == "numbered" else ""
    text = joint.join(turn.texts)
    num_images = len(_IMAGE.findall(text))
    num_videos = text.count(VIDEO_PLACEHOLDER) if clips else 0
    if clips and not num_videos and num_images > len(images):
        return _fill(text, turn.pictures)  # frames are pictures to a text that names every one of them
    if num_images and num_images != len(images):
        raise _mismatch(num_images, "image", len(images), "picture")
    if num_videos and num_videos != len(clips):
        raise _mismatch(num_videos, "video", len(clips), "video")
    if style == "inline" and not (num_images or num_videos):
        return [
            piece
            for part in turn.parts
            for piece in ([part] if isinstance(part, str) else [*_show(part), "\n"])
        ]
    placed: Placed = []
    number = 0
    for part in turn.parts:
        if isinstance(part, Picture) and not num_images:
            number += 1
            label = [f"Image-{number}: "] if len(images) > 1 and style == "numbered" else []
            placed += [*label, part, "\n"]
        elif isinstance(part, Clip) and not num_videos:
            placed += [*_show(part), "\n"]
    return [*placed, *_fill_by_kind(text, images if num_images else [], clips if num_videos else [])]


def _show(part: Picture | Clip) -> Placed:
    if isinstance(part, Picture):
        return [part]
    shown: Placed = []
    for number, frame in enumerate(part.frames, start=1):
        shown += [("\n" if number > 1 else "") + FRAME_LABEL.format(number), frame]
    return shown


def _fill(text: str, pictures: Sequence[Picture]) -> Placed:
    texts = _IMAGE.split(text)
    if len(texts) - 1 != len(pictures):
        raise _mismatch(len(texts) - 1, "image", len(pictures), "picture or frame")
    filled: Placed = [texts[0]]
    for picture, after in zip(pictures, texts[1:], strict=True):
        filled += [picture, after]
    return filled


def _fill_by_kind(text: str, images: Sequence[Picture], clips: Sequence[Clip]) -> Placed:
    """Fill the placeholders of those kinds that are given; the others are words."""
    waiting: dict[bool, Iterator[Picture | Clip]] = {False: iter(images), True: iter(clips)}
    filled: Placed = []
    end = 0
    for found in _IMAGE_OR_VIDEO.finditer(text):
        part = next(waiting[found.group() == VIDEO_PLACEHOLDER], None)
        if part is not None:
            filled += [text[end : found.start()], *_show(part)]
            end = found.end()
    return [*filled, text[end:]]


def _mismatch(placeholders: int, name: str, parts: int, noun: str) -> RequestError:
    return RequestError(
        f"a user message has {_count(placeholders, 'placeholder')} (<{name}>) in its text and "
        f"{_count(parts, noun)}; expected as many of one as of the other, or no placeholder"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
