"""Does a request fit into the session? If not, the bill: what costs how many tokens, and what to do. No
torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from internvl.errors import ContextLengthError
from internvl.types import MediaUsage


def room_for_answer(num_prompt_tokens: int, session_len: int, wanted: int) -> int:
    """Return how long an answer of at most `wanted` tokens may be; at least 1, which may then not fit."""
    return max(1, min(wanted, session_len - num_prompt_tokens))


def check_context(
    *,
    num_prompt_tokens: int,
    media: Sequence[MediaUsage],
    max_new_tokens: int,
    session_len: int,
    model_context: int,
) -> None:
    """Raise ContextLengthError, with the token bill, when prompt and answer do not fit into `session_len`."""
    needed = num_prompt_tokens + max_new_tokens
    if needed <= session_len:
        return
    num_image_tokens = sum(item.num_tokens for item in media)
    lines = [f"the request needs {needed} tokens, session_len is {session_len}:"]
    lines.append(f"  {num_prompt_tokens - num_image_tokens:>7}  text, roles and picture marks")
    lines += [f"  {tokens:>7}  {what}" for tokens, what in _bill(media)]
    lines.append(f"  {max_new_tokens:>7}  answer (max_new_tokens)")
    lines.append("To make it fit: " + "; ".join(_ways_out(needed, media, session_len, model_context)) + ".")
    raise ContextLengthError("\n".join(lines))


def _bill(media: Sequence[MediaUsage]) -> list[tuple[int, str]]:
    """Return tokens and what they are for: a line for each picture, and for each video."""
    lines = []
    for video, group in groupby(media, key=lambda item: item.video):
        items = list(group)
        if video is None:
            lines += [(item.num_tokens, describe(item)) for item in items]
        else:
            tokens = sum(item.num_tokens for item in items)
            count = f"{len(items)} frame{'s' * (len(items) > 1)}"
            lines.append((tokens, f"video {video + 1}, {count}, each {_size_and_tiles(items[0])}"))
    return lines


def describe(item: MediaUsage) -> str:
    """Return one line about a picture: its number, size, tiles and tokens per tile."""
    return f"{item.kind} {item.index + 1}, {_size_and_tiles(item)}"


def _size_and_tiles(item: MediaUsage) -> str:
    thumbnail = " + overview" if item.thumbnail else ""
    grid = f"{item.grid.columns}x{item.grid.rows} tiles{thumbnail}"
    per_tile = item.num_tokens // item.num_tiles
    return f"{item.width}x{item.height}: {grid} = {item.num_tiles} x {per_tile}"


def _ways_out(needed: int, media: Sequence[MediaUsage], session_len: int, model_context: int) -> list[str]:
    ways = []
    if any(item.num_tiles > 1 for item in media):
        ways.append('fewer tiles per picture (EngineConfig.max_tiles, or "max_tiles" beside the picture)')
    frames = [item for item in media if item.kind == "frame"]
    if frames:
        ways.append('fewer frames ("num_frames" beside the video)')
    if len(media) - len(frames) > 1:
        ways.append("fewer pictures")
    ways.append("a smaller max_new_tokens")
    if session_len < model_context:
        ways.append(
            f"a larger EngineConfig.session_len (at least {needed}; this model's context is {model_context})"
        )
    return ways
