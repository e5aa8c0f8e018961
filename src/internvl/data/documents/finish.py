"""The last step of every document: photograph the sheet, bring the truth along, note how small the text is."""

from __future__ import annotations

import random
from collections.abc import Sequence

from internvl.data.documents.sheet import Sheet
from internvl.data.realism import move_boxes, photograph
from internvl.data.sample import DataSample, Json, Marks, Split, Turn
from internvl.preprocess.tiling import tile_grid

TILE = 448
MAX_TILES = 12


def finish(
    rng: random.Random,
    sheet: Sheet,
    *,
    skill: str,
    language: str,
    turns: list[Turn],
    truth: dict[str, Json],
    split: Split,
    looks: Sequence[float] = (0.4, 0.3, 0.3),
) -> DataSample:
    """Wear the picture of a sheet and return the sample, with the place of every glyph.

    Adds to the truth: `look`; `min_text_px`, the em of the smallest text in the picture; `min_text_px_tiled`, the same
    after the resize to the tile grid (448-pixel tiles, at most 12).
    """
    photo = photograph(rng, sheet.image, text_px=sheet.min_size, split=split, weights=looks)
    move_boxes(truth, photo)
    truth["look"] = photo.look
    truth["min_text_px"] = round(photo.text_px, 1)
    truth["min_text_px_tiled"] = round(photo.text_px * tile_scale(photo.image.size), 1)
    glyphs = sheet.glyphs
    return DataSample(
        images=[photo.image],
        turns=turns,
        truth=truth,
        skill=skill,
        language=language,
        glyphs=[] if glyphs is None else [Marks(glyphs.names, photo.boxes(glyphs.boxes))],
    )


def tile_scale(size: tuple[int, int], max_tiles: int = MAX_TILES) -> float:
    """Return how much a picture grows when it is resized to its tiles: the smaller of the two sides' factors."""
    columns, rows = tile_grid(*size, max_tiles=max_tiles, image_size=TILE)
    return min(columns * TILE / size[0], rows * TILE / size[1])
