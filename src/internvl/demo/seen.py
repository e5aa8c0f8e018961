"""What the model saw, as HTML: the very tiles of each picture in their grid, and what the answer took."""

from __future__ import annotations

import html
import secrets
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from PIL import Image

from internvl.demo.conversation import Cost
from internvl.demo.strings import Strings
from internvl.preprocess.tiling import cut_tiles
from internvl.types import MediaUsage

#: Pictures and frames of one prompt whose tiles are shown: the last ones.
MAX_SHOWN = 24


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture, or a video with its frames, and where its tiles are."""

    number: int
    """In the conversation, from 1."""
    media: tuple[MediaUsage, ...]
    """One; of a video one for each frame."""
    urls: tuple[tuple[str, ...], ...]
    """Addresses of the tiles of each of `media`."""


class TileFolder:
    """Files of the tiles that browser windows look at; only the latest views are kept."""

    def __init__(self, root: Path, *, max_views: int = 64) -> None:
        self._root = root
        self._max_views = max_views
        self._views: OrderedDict[str, Path] = OrderedDict()
        self._lock = Lock()

    def new_view(self, window: str) -> Path:
        """Return an empty folder for a window's tiles; its former one goes, and so does the oldest of too many."""
        path = self._root / secrets.token_hex(16)
        path.mkdir(parents=True)
        with self._lock:
            old = [self._views.pop(window)] if window in self._views else []
            self._views[window] = path
            while len(self._views) > self._max_views:
                old.append(self._views.popitem(last=False)[1])
        for each in old:
            shutil.rmtree(each, ignore_errors=True)
        return path


def save_tiles(
    image: Image.Image, usage: MediaUsage, image_size: int, folder: Path, *, fit: bool
) -> list[Path]:
    """Cut a picture as the model's input was cut, and write each tile; the overview, if any, is the last one.

    Args:
        image: RGB, as `media.image.open_image` returns it.
        usage: What the processor reported about it.
        image_size: Side of a tile, pixels.
        folder: Where the files go.
        fit: The picture keeps its shape (`Processor.keeps_shape`).
    """
    tiles = cut_tiles(image, grid=usage.grid, image_size=image_size, thumbnail=usage.thumbnail, fit=fit)
    paths = []
    for n, tile in enumerate(tiles):
        path = folder / f"{usage.index}-{n}.webp"
        Image.fromarray(tile).save(path, "WEBP", lossless=True, quality=0, method=0)  # to the bit, fast
        paths.append(path)
    return paths


def show_cost(cost: Cost | None, strings: Strings) -> str:
    """Return the numbers of the last answer as HTML; empty before there is one."""
    if cost is None:
        return ""
    speed = "–" if cost.tokens_per_s is None else strings("per_second", number=f"{cost.tokens_per_s:.0f}")
    kept = strings("from_before", number=cost.cached_tokens) if cost.cached_tokens else ""
    facts = [
        (strings("tiles"), f"{cost.num_tiles}", ""),
        (strings("image_tokens"), f"{cost.image_tokens}", ""),
        (strings("prompt_tokens"), f"{cost.prompt_tokens}", kept),
        (strings("answer_tokens"), f"{cost.answer_tokens}", ""),
        (strings("first_token"), strings("seconds", number=f"{cost.first_token_s:.2f}"), ""),
        (strings("speed"), speed, ""),
    ]
    cells = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}{f'<small>{_text(note)}</small>' if note else ''}</dd></div>"
        for name, value, note in facts
    )
    return f'<dl class="facts">{cells}</dl>'


def show_tiles(shown: Sequence[Shown], image_size: int, strings: Strings) -> str:
    """Return the tiles of a prompt's pictures and videos as HTML, the last question's first.

    Args:
        shown: In the order of the conversation.
        image_size: Side of a tile, pixels.
        strings: Of the reader's language.
    """
    if not shown:
        return f'<p class="hint">{_text(strings("nothing_seen"))}</p>'
    return "".join(_figure(each, image_size, strings) for each in reversed(shown))


def _figure(shown: Shown, image_size: int, strings: Strings) -> str:
    first = shown.media[0]
    image_tokens = sum(usage.num_tokens for usage in shown.media)
    size = f"{first.width}×{first.height}"
    if first.kind == "frame":
        name = strings("video", number=shown.number)
        columns = min(4, len(shown.media))
        parts = f"{len(shown.media)} × {first.num_tiles}"
        tiles = [
            _tile(url, f"{name}, {_frame_name(usage, strings)}", image_size)
            for usage, urls in zip(shown.media, shown.urls, strict=True)
            for url in urls
        ]
        overview = ""
    else:
        name = strings("picture", number=shown.number)
        columns = first.grid.columns
        parts = f"{columns}×{first.grid.rows}" + (" + 1" if first.thumbnail else "")
        names = [strings("tile", number=n + 1) for n in range(first.grid.num_tiles)]
        names += [strings("overview")] if first.thumbnail else []
        tiles = [
            _tile(url, f"{name}, {each}", image_size) for url, each in zip(shown.urls[0], names, strict=True)
        ]
        overview = _overview(tiles.pop(), strings) if first.thumbnail else ""
    facts = f"{size} → {parts} · {strings('image_tokens')}: {image_tokens}"
    # a picture reads from left to right in every language
    return (
        f'<figure class="tiles"><figcaption><b>{_text(name)}</b> <span>{_text(facts)}</span></figcaption>'
        f'<div class="grid" dir="ltr" style="--columns:{columns}">{"".join(tiles)}</div>{overview}</figure>'
    )


def _frame_name(usage: MediaUsage, strings: Strings) -> str:
    name = strings("frame", number=(usage.frame_index or 0) + 1)
    if usage.timestamp_s is None:
        return name
    return f"{name}, {strings('seconds', number=f'{usage.timestamp_s:.1f}')}"


def _tile(url: str, alt: str, image_size: int) -> str:
    return (
        f'<a href="{_text(url)}" target="_blank" rel="noopener"><img src="{_text(url)}" alt="{_text(alt)}" '
        f'title="{_text(alt)}" width="{image_size}" height="{image_size}" loading="lazy"></a>'
    )


def _overview(tile: str, strings: Strings) -> str:
    return f'<div class="overview">{tile}<small>{_text(strings("overview"))}</small></div>'


def _text(value: str) -> str:
    return html.escape(value, quote=True)
