"""How `internvl chat` shows an answer: text as it comes, why it ended, what it cost, or all of it as JSON."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from internvl.cli.output import print_json
from internvl.types import MediaUsage, Response, Usage

#: Endings that the reader should know of; "stop" needs no words.
_NOTES = {
    "length": "the answer is cut off here: --max-new-tokens {tokens}",
    "repetition": "stopped: the answer went in circles",
    "abort": "stopped",
}


@dataclasses.dataclass(slots=True, kw_only=True)
class AnswerPrinter:
    """Prints answers to stdout, and notes about them to stderr."""

    model: str
    as_json: bool = False
    with_stats: bool = False

    def print(self, deltas: Iterator[Response]) -> Response:
        """Print the answer as its deltas come and return it whole.

        Ctrl-C (KeyboardInterrupt) ends the line and goes on to the caller.
        """
        whole = Response()
        try:
            for delta in deltas:
                whole.extend(delta)
                if not self.as_json:
                    self._show(delta, whole)
        finally:
            if not self.as_json:
                _write(sys.stdout, "\n")
        if self.as_json:
            print_json(self._as_dict(whole))
        elif note := _NOTES.get(whole.finish_reason or ""):
            _write(sys.stderr, f"({note.format(tokens=whole.generate_token_len)})\n")
        if self.with_stats:
            _write(sys.stderr, describe_cost(whole.usage) + "\n")
        return whole

    @staticmethod
    def _show(delta: Response, whole: Response) -> None:
        """Print what is new; thoughts to stderr, so that stdout is the answer."""
        if delta.reasoning_content:
            _write(sys.stderr, delta.reasoning_content)
        if delta.text and delta.text == whole.text and whole.reasoning_content:
            _write(sys.stderr, "\n\n")
        _write(sys.stdout, delta.text)

    def _as_dict(self, response: Response) -> dict[str, Any]:
        thoughts = response.reasoning_content
        return {
            "model": self.model,
            **({} if thoughts is None else {"reasoning_content": thoughts}),
            "text": response.text,
            "finish_reason": response.finish_reason,
            "usage": _usage_as_dict(response.usage),
        }


def describe_cost(usage: Usage) -> str:
    """Return two lines: tiles and tokens; seconds and speed."""
    tiles = sum(media.num_tiles for media in usage.media)
    image_tokens = sum(media.num_tokens for media in usage.media)
    cached = f" ({usage.cached_tokens} kept from before)" if usage.cached_tokens else ""
    counts = [
        f"{_what_was_shown(usage)}, {_count(tiles, 'tile')}, {image_tokens} image tokens",
        f"prompt {usage.prompt_tokens} tokens{cached}",
        f"answer {usage.completion_tokens} tokens",
    ]
    decode_s = usage.total_s - usage.time_to_first_token_s
    seconds = [f"pictures {usage.vision_s:.2f} s", f"first token {usage.time_to_first_token_s:.2f} s"]
    seconds.append(f"total {usage.total_s:.2f} s")
    if usage.completion_tokens > 1 and decode_s > 0:
        seconds.append(f"{(usage.completion_tokens - 1) / decode_s:.1f} tokens/s")
    return f"[{'; '.join(counts)}]\n[{', '.join(seconds)}]"


def _what_was_shown(usage: Usage) -> str:
    frames = [media for media in usage.media if media.kind == "frame"]
    pictures = len(usage.media) - len(frames)
    videos = len({media.video for media in frames})
    shown = [_count(pictures, "picture")] if pictures or not frames else []
    return ", ".join(
        [*shown, *([f"{_count(len(frames), 'frame')} of {_count(videos, 'video')}"] * bool(frames))]
    )


def _usage_as_dict(usage: Usage) -> dict[str, Any]:
    fields = {name: getattr(usage, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    fields |= {"cached_tokens": usage.cached_tokens, "cached_media": usage.cached_media}
    fields["media"] = [_media_as_dict(media) for media in usage.media]
    for name in ("vision_s", "time_to_first_token_s", "total_s"):
        fields[name] = round(getattr(usage, name), 4)
    return fields


def _media_as_dict(media: MediaUsage) -> dict[str, Any]:
    fields = {name: getattr(media, name) for name in ("index", "kind", "width", "height", "thumbnail")}
    if media.kind == "frame":
        fields |= {name: getattr(media, name) for name in ("video", "frame_index", "timestamp_s")}
    grid = {"columns": media.grid.columns, "rows": media.grid.rows}
    return {**fields, **grid, "num_tiles": media.num_tiles, "num_tokens": media.num_tokens}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _write(stream: TextIO, text: str) -> None:
    stream.write(printable(text) if stream.isatty() else text)
    stream.flush()


def printable(text: str) -> str:
    """Return `text` with control characters spelled out: what a picture made the model say must not steer
    a terminal."""
    return "".join(
        letter if letter in "\n\t" or letter.isprintable() else repr(letter)[1:-1] for letter in text
    )
