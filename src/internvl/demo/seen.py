"""What the model saw, as HTML: the very tiles of each picture in their grid, and what the answer took."""

from __future__ import annotations

import html
import secrets
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from PIL import Image

from internvl.demo.conversation import Cost
from internvl.demo.strings import Strings
from internvl.preprocess.tiling import cut_tiles
from internvl.types import MediaUsage

#: Pictures of one prompt whose tiles are shown: the last ones.
MAX_SHOWN = 12


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


def save_tiles(image: Image.Image, usage: MediaUsage, image_size: int, folder: Path) -> list[Path]:
    """Cut a picture as the model's input was cut, and write each tile; the overview, if any, is the last one.

    Args:
        image: RGB, as `media.image.open_image` returns it.
        usage: What the processor reported about it.
        image_size: Side of a tile, pixels.
        folder: Where the files go.
    """
    tiles = cut_tiles(image, grid=usage.grid, image_size=image_size, thumbnail=usage.thumbnail)
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


def show_tiles(
    media: Sequence[MediaUsage], tiles: dict[int, list[str]], image_size: int, strings: Strings
) -> str:
    """Return the tiles of a prompt's pictures as HTML.

    Args:
        media: Of the whole prompt.
        tiles: The addresses of a picture's tiles by the picture's index; pictures that are missing are left out.
        image_size: Side of a tile, pixels.
        strings: Of the reader's language.
    """
    if not media:
        return f'<p class="hint">{_text(strings("nothing_seen"))}</p>'
    shown = [usage for usage in reversed(media) if usage.index in tiles]  # the last question's first
    return "".join(_figure(usage, tiles[usage.index], image_size, strings) for usage in shown)


def _figure(usage: MediaUsage, urls: list[str], image_size: int, strings: Strings) -> str:
    name = strings("picture", number=usage.index + 1)
    columns, rows = usage.grid
    size = f"{usage.width}×{usage.height}"
    parts = f"{columns}×{rows}" + (" + 1" if usage.thumbnail else "")
    facts = f"{size} → {parts} · {strings('image_tokens')}: {usage.num_tokens}"
    caption = f"<b>{_text(name)}</b> <span>{_text(facts)}</span>"
    cells = []
    for n, url in enumerate(urls):
        overview = usage.thumbnail and n == len(urls) - 1
        alt = f"{name}, {strings('overview') if overview else strings('tile', number=n + 1)}"
        image = (
            f'<a href="{_text(url)}" target="_blank" rel="noopener"><img src="{_text(url)}" alt="{_text(alt)}" '
            f'title="{_text(alt)}" width="{image_size}" height="{image_size}" loading="lazy"></a>'
        )
        cells.append((overview, image))
    grid = "".join(image for overview, image in cells if not overview)
    extra = "".join(
        f'<div class="overview">{image}<small>{_text(strings("overview"))}</small></div>'
        for overview, image in cells
        if overview
    )
    # a picture reads from left to right in every language
    return (
        f'<figure class="tiles"><figcaption>{caption}</figcaption>'
        f'<div class="grid" dir="ltr" style="--columns:{columns}">{grid}</div>{extra}</figure>'
    )


def _text(value: str) -> str:
    return html.escape(value, quote=True)
