"""What people pass to a pipeline -> conversations.

The forms are LMDeploy's: 'text'; ('text', picture), ('text', [pictures]) and the other way round; OpenAI
messages; `ModelInputs`; and lists of any of these. A picture is a PIL image, a path, a URL, a data URL,
bytes or an array; a video stands where a picture does (`media.kind` tells them apart). No torch and no pixels
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internvl.errors import RequestError
from internvl.media.frame_list import is_frame_folder
from internvl.media.kind import VIDEO_SUFFIXES, media_kind
from internvl.types import Message, ModelInputs

FORMS = (
    "expected 'text', ('text', picture), ('text', [pictures]), a list of messages, ModelInputs,"
    " or a list of these"
)

_MEDIA_SUFFIXES = (
    *(".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif"),
    *(".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"),
    *VIDEO_SUFFIXES,
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Conversations to answer, and whether the caller passed one or a list."""

    prompts: list[list[Message] | ModelInputs]
    single: bool


def read_prompts(prompts: Any) -> Batch:
    """Return the conversations that `prompts` means.

    Raises RequestError that names the place of what is none.
    """
    if isinstance(prompts, list) and not _is_conversation(prompts):
        return Batch(
            [_read_prompt(prompt, f"prompts[{n}]") for n, prompt in enumerate(prompts)], single=False
        )
    return Batch([_read_prompt(prompts, "prompts")], single=True)


def user_message(prompt: Any, where: str = "prompt") -> Message:
    """Return the user message that 'text' or a tuple of text and pictures or videos means."""
    if isinstance(prompt, str):
        return {"role": "user", "content": prompt}
    if not isinstance(prompt, tuple):
        raise RequestError(f"{where} is {type(prompt).__name__}; expected 'text' or ('text', pictures)")
    if len(prompt) != 2:
        raise RequestError(
            f"{where} is a tuple of {len(prompt)}; expected ('text', picture) or ('text', [pictures])"
        )
    text, pictures = _text_and_pictures(*prompt, where)
    parts: list[Any] = [_part(picture) for picture in pictures]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def looks_like_media(text: str) -> bool:
    """Whether a string names a picture or a video rather than asks something: a URL, a path that exists or
    ends so, a folder of frames."""
    one_word = not any(letter.isspace() for letter in text)
    if text.startswith(("http://", "https://", "file://", "data:image/", "data:video/")):
        return one_word
    named = one_word and Path(text).suffix.lower() in _MEDIA_SUFFIXES
    return named or _is_file(text) or is_frame_folder(text)


def _part(media: Any) -> dict[str, Any]:
    kind = media_kind(media)
    return {"type": kind, kind: media}


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long a name, a NUL: no path
        return False


def _is_conversation(prompts: list[Any]) -> bool:
    return bool(prompts) and all(isinstance(item, Mapping) for item in prompts)


def _read_prompt(prompt: Any, where: str) -> list[Message] | ModelInputs:
    if isinstance(prompt, ModelInputs):
        return prompt
    if isinstance(prompt, list) and _is_conversation(prompt):
        return [dict(message) for message in prompt]
    if isinstance(prompt, str | tuple):
        return [user_message(prompt, where)]
    raise RequestError(f"{where} is {type(prompt).__name__}; {FORMS}")


def _text_and_pictures(first: Any, second: Any, where: str) -> tuple[str, Sequence[Any]]:
    """Tell the text of a pair from its pictures; of two strings the first is the text, unless only it
    names media."""
    swapped = not isinstance(first, str) or (
        isinstance(second, str) and looks_like_media(first) and not looks_like_media(second)
    )
    text, pictures = (second, first) if swapped else (first, second)
    if not isinstance(text, str):
        raise RequestError(
            f"{where} pairs {type(first).__name__} with {type(second).__name__}; one of them must be the text"
        )
    if isinstance(pictures, list | tuple) and media_kind(pictures) == "image":
        return text, pictures
    if pictures is None:
        return text, ()
    return text, (pictures,)
