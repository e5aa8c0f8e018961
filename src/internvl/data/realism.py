"""Turn a clean drawing into a photograph or a scan of it, and say where everything went.

In: a picture and the size of its smallest text. Out: a `Photo`: the worn picture and the way that points took, so that
`move_boxes` brings the boxes of a truth along. Wear is held back where it would make the text illegible.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from internvl.data.sample import Json, Split

Look = Literal["clean", "scan", "photo"]
LOOKS: tuple[Look, ...] = ("clean", "scan", "photo")
Grid = np.ndarray
LEGIBLE_PX = 13
"""Text is never made smaller than this, pixels of the em."""
_CELL = 64
"""Pixels of a mesh cell; inside a cell the warp is bilinear."""
_BANK = 1024


@dataclass(frozen=True, slots=True)
class Warp:
    """Where points of the drawing lie in the photo: a homography, then the dents of the paper.

    The warp is made backwards, as pictures are sampled: `source = to_source @ (x, y, 1) + dents(x, y)`.
    """

    to_source: np.ndarray
    """(3, 3), photo -> drawing."""
    offset: tuple[float, float]
    """Where the drawing lies on its desk."""
    dents: Grid
    """(rows, columns, 2) in pixels of the drawing, spread over the photo; zeros if the paper is flat."""
    size: tuple[int, int]
    """Width and height of the photo."""

    def sources(self, points: np.ndarray) -> np.ndarray:
        """Return where points of the photo, (n, 2), come from."""
        return _project(self.to_source, points) + self._dents_at(points)

    def forward(self, points: np.ndarray) -> np.ndarray:
        """Return where points of the drawing, (n, 2), went. Dents are small and smooth, so a few rounds are exact."""
        targets = points + np.asarray(self.offset)
        inverse = np.linalg.inv(self.to_source)
        found = _project(inverse, targets)
        if self.dents.any():
            for _ in range(8):
                found = _project(inverse, targets - self._dents_at(found))
        return found

    def _dents_at(self, points: np.ndarray) -> np.ndarray:
        rows, columns, _ = self.dents.shape
        x = np.clip(points[:, 0] / self.size[0] * (columns - 1), 0, columns - 1.001)
        y = np.clip(points[:, 1] / self.size[1] * (rows - 1), 0, rows - 1.001)
        i, j = y.astype(int), x.astype(int)
        v, u = (y - i)[:, None], (x - j)[:, None]
        d = self.dents
        upper = d[i, j] * (1 - u) + d[i, j + 1] * u
        lower = d[i + 1, j] * (1 - u) + d[i + 1, j + 1] * u
        return upper * (1 - v) + lower * v


@dataclass(frozen=True, slots=True)
class Photo:
    """A worn picture and how its points moved."""

    image: Image.Image
    warp: Warp | None
    """None: nothing moved."""
    text_px: float
    """Size of the smallest text now."""
    look: Look

    def box(self, box: Sequence[float]) -> list[float]:
        """Return the upright box around what was in `box`, cut to the picture."""
        if self.warp is None:
            return list(box)
        x0, y0, x1, y1 = box
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)
        moved = self.warp.forward(corners)
        low, high = moved.min(axis=0), moved.max(axis=0)
        w, h = self.image.size
        return [
            round(float(np.clip(value, 0, side)), 1)
            for value, side in zip((*low, *high), (w, h, w, h), strict=True)
        ]

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Return (n, 4) boxes as `box` does, many at once; not cut to the picture."""
        if self.warp is None or not len(boxes):
            return boxes
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2).astype(float)
        moved = self.warp.forward(corners).reshape(-1, 4, 2)
        return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1).astype(np.float32)


def move_boxes(truth: Json, photo: Photo) -> None:
    """Move every `box` of a truth along with a photo, in place."""
    if photo.warp is None:
        return
    if isinstance(truth, dict):
        for key, value in truth.items():
            if key == "box":
                truth[key] = photo.box(value)
            else:
                move_boxes(value, photo)
    elif isinstance(truth, list):
        for value in truth:
            move_boxes(value, photo)


def photograph(
    rng: random.Random,
    image: Image.Image,
    *,
    text_px: float,
    split: Split = "train",
    weights: Sequence[float] = (0.4, 0.3, 0.3),
) -> Photo:
    """Wear a picture.

    Args:
        rng: All chance.
        image: The drawing, RGB.
        text_px: Size of its smallest text in pixels of the em.
        split: Held-out photos lie on other desks.
        weights: Of the looks: clean, scan, photo.
    """
    look = rng.choices(LOOKS, weights)[0]
    if look == "clean":
        return Photo(image, None, text_px, look)
    shrink = _shrink(rng, text_px)
    if look == "scan":
        image, warp = _scan_geometry(rng, image, shrink)
    else:
        image, warp, light = _photo_geometry(rng, image, shrink, text_px, split)
        image = ImageChops.multiply(image, light)
    text_px *= shrink
    image = _tone(rng, image, dark=look == "photo")
    if rng.random() < 0.35:
        # one box pass: a lens out of focus spreads light about evenly, and three passes cost three times as much
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 1.0) * min(1.6, 0.045 * text_px)))
    if rng.random() < 0.7:
        image = _add_noise(rng, image, sigma=rng.random() ** 2 * min(16.0, 0.8 * text_px))
    if rng.random() < 0.5:
        image = _compress(image, quality=rng.randint(35 if text_px > 18 else 55, 88))
    return Photo(image, warp, text_px, look)


def _shrink(rng: random.Random, text_px: float) -> float:
    least = min(1.0, LEGIBLE_PX / text_px)
    return 1.0 if rng.random() < 0.5 else rng.uniform(max(least, 0.55), 1.0)


def _scan_geometry(rng: random.Random, image: Image.Image, shrink: float) -> tuple[Image.Image, Warp]:
    """Lay the sheet a little askew on the glass."""
    w, h = image.size
    angle = rng.gauss(0, 0.6) if rng.random() < 0.6 else 0.0
    size = max(16, round(w * shrink)), max(16, round(h * shrink))
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    scale_x, scale_y = w / size[0], h / size[1]
    # photo -> its middle -> turned -> drawing
    to_source = (
        np.array([[1, 0, w / 2], [0, 1, h / 2], [0, 0, 1]])
        @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        @ np.array([[scale_x, 0, -w / 2], [0, scale_y, -h / 2], [0, 0, 1]])
    )
    warp = Warp(to_source, (0.0, 0.0), np.zeros((2, 2, 2)), size)
    if shrink < 1:
        image = image.resize(size, Image.Resampling.LANCZOS)
        to_source = np.diag([1 / scale_x, 1 / scale_y, 1.0]) @ to_source
    if angle:
        corner = image.getpixel((2, 2))
        image = image.transform(
            size,
            Image.Transform.AFFINE,
            tuple(to_source[:2].ravel()),
            Image.Resampling.BICUBIC,
            fillcolor=corner,
        )
    return image, warp


def _photo_geometry(
    rng: random.Random, image: Image.Image, shrink: float, text_px: float, split: Split
) -> tuple[Image.Image, Warp, Image.Image]:
    """Lay the sheet on a desk and look at it from an angle: (photo, warp, light on it)."""
    w, h = image.size
    margin = [rng.uniform(0.02, 0.07) * side for side in (w, h)]
    desk_size = round(w + 2 * margin[0]), round(h + 2 * margin[1])
    desk = _desk(rng, desk_size, split)
    _drop_shadow(rng, desk, margin, (w, h))
    desk.paste(image, (round(margin[0]), round(margin[1])))
    # the corners of the photo lie inside the desk, not beyond the sheet's corners
    reach = 0.9
    quad = [
        (x + sx * rng.random() * reach * margin[0], y + sy * rng.random() * reach * margin[1])
        for x, y, sx, sy in (
            (0, 0, 1, 1), (desk_size[0], 0, -1, 1), (desk_size[0], desk_size[1], -1, -1), (0, desk_size[1], 1, -1),
        )
    ]  # fmt: skip
    size = max(16, round(desk_size[0] * shrink)), max(16, round(desk_size[1] * shrink))
    if shrink < 1:  # sampling a mesh would alias
        desk = desk.resize(size, Image.Resampling.BOX)
    factors = desk_size[0] / size[0], desk_size[1] / size[1]
    to_source = _homography(size, quad)
    dents = _dents(rng, size, text_px) if rng.random() < 0.5 else np.zeros((2, 2, 2))
    warp = Warp(to_source, (round(margin[0]), round(margin[1])), dents, size)
    photo = _sample(desk, warp, factors)
    return photo, warp, _light(rng, size, dents)


def _sample(desk: Image.Image, warp: Warp, factors: tuple[float, float]) -> Image.Image:
    """Resample the desk through the mesh of a warp."""
    w, h = warp.size
    xs = np.unique(np.append(np.arange(0, w, _CELL), w))
    ys = np.unique(np.append(np.arange(0, h, _CELL), h))
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2).astype(float)
    source = (warp.sources(grid) / np.asarray(factors)).reshape(len(ys), len(xs), 2).tolist()
    mesh = [
        (
            (int(xs[j]), int(ys[i]), int(xs[j + 1]), int(ys[i + 1])),
            (*source[i][j], *source[i + 1][j], *source[i + 1][j + 1], *source[i][j + 1]),
        )
        for i in range(len(ys) - 1)
        for j in range(len(xs) - 1)
    ]
    return desk.transform(warp.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    full = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T
    return full[:, :2] / full[:, 2:]


def _homography(size: tuple[int, int], quad: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return the map of the corners of a picture (from the upper left, clockwise) to `quad`."""
    w, h = size
    rows, values = [], []
    for (x, y), (u, v) in zip(((0, 0), (w, 0), (w, h), (0, h)), quad, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows, dtype=float), values), 1.0).reshape(3, 3)


def _dents(rng: random.Random, size: tuple[int, int], text_px: float) -> Grid:
    """Return smooth random shifts: paper that was crumpled or does not lie flat."""
    noise = np.random.default_rng(rng.getrandbits(63))
    coarse = noise.standard_normal((2, rng.randint(3, 7), rng.randint(3, 7))).astype(np.float32)
    shape = 24, 32
    smooth = [np.asarray(Image.fromarray(c).resize(shape, Image.Resampling.BICUBIC)) for c in coarse]
    return np.stack(smooth, axis=-1).astype(float) * rng.uniform(0.1, 0.35) * min(text_px, 24, min(size) / 20)


def _light(rng: random.Random, size: tuple[int, int], dents: Grid) -> Image.Image:
    """Return what the light lets through: a slope, now and then a shadow, folds, dents."""
    rows, columns = 48, 36
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
    light = 1 - rng.uniform(0, 0.28) * (slope + 0.5)
    if rng.random() < 0.4:  # a hand, a phone, a window frame
        angle, soft = rng.uniform(0, 2 * np.pi), rng.uniform(0.01, 0.1)
        edge = np.cos(angle) * (x - rng.uniform(0.2, 0.8)) + np.sin(angle) * (y - rng.uniform(0.2, 0.8))
        light *= 1 - rng.uniform(0.15, 0.45) / (1 + np.exp(-edge / soft))
    if rng.random() < 0.3:  # a fold
        across = x if rng.random() < 0.5 else y
        away = across - rng.uniform(0.3, 0.7)
        light *= 1 - rng.uniform(0.05, 0.2) * np.exp(-np.abs(away) / 0.05) * (away > 0)
    if dents.any():
        bend = np.gradient(dents[..., 0], axis=1) + np.gradient(dents[..., 1], axis=0)
        bend = np.asarray(
            Image.fromarray(bend.astype(np.float32)).resize((columns, rows), Image.Resampling.BICUBIC)
        )
        light *= 1 - 0.12 * np.clip(bend / (np.abs(bend).max() + 1e-6), -1, 1)
    low = Image.fromarray((np.clip(light, 0.15, 1) * 255).astype(np.uint8))
    return Image.merge("RGB", [low.resize(size, Image.Resampling.BICUBIC)] * 3)


def _tone(rng: random.Random, image: Image.Image, *, dark: bool) -> Image.Image:
    """Change brightness, contrast and the colour of the light in one table look-up."""
    if not dark and rng.random() < 0.4:
        image = ImageOps.grayscale(image).convert("RGB")
    low, high = rng.choice(((0, 255), (0, 255), (rng.randint(0, 70), 255), (0, rng.randint(190, 255))))
    if dark and rng.random() < 0.25:  # a dim room
        low, high = 0, rng.randint(95, 170)
    warm = [1.0, 1.0, 1.0]
    if dark:
        warm = [1.0, rng.uniform(0.92, 1.0), rng.uniform(0.78, 1.0)]
        if rng.random() < 0.3:
            warm.reverse()
    gamma = rng.uniform(0.8, 1.25)
    ramp = (np.arange(256) / 255) ** gamma * (high - low) + low
    table = np.concatenate([np.clip(ramp * factor, 0, 255) for factor in warm]).astype(np.uint8)
    return image.point(table.tolist())


@lru_cache(maxsize=1)
def _noise_bank() -> Image.Image:
    # cut at random places: drawing normal numbers for every pixel costs more than drawing the picture
    noise = np.random.default_rng(0).standard_normal((_BANK, _BANK)) * 32 + 128
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


def _add_noise(rng: random.Random, image: Image.Image, sigma: float) -> Image.Image:
    """Add gray noise of some deviation; large pictures repeat it."""
    bank = _noise_bank()
    x, y = rng.randrange(_BANK), rng.randrange(_BANK)
    noise = Image.new("L", image.size)
    for left in range(-x, image.width, _BANK):
        for top in range(-y, image.height, _BANK):
            noise.paste(bank, (left, top))
    noise = noise.point([min(255, max(0, round((i - 128) * sigma / 32 + 128))) for i in range(256)])
    return ImageChops.add(image, Image.merge("RGB", [noise] * 3), 1.0, -128)


def _compress(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _drop_shadow(
    rng: random.Random, desk: Image.Image, margin: Sequence[float], size: tuple[int, int]
) -> None:
    """Darken the desk around the sheet."""
    spread = max(2, round(min(margin) * 0.35))
    x, y = round(margin[0]), round(margin[1])
    dx, dy = rng.randint(-spread, spread), rng.randint(0, spread)
    low = Image.new("L", (max(1, desk.width // 8), max(1, desk.height // 8)), 0)
    box = ((x + dx) / 8, (y + dy) / 8, (x + dx + size[0]) / 8, (y + dy + size[1]) / 8)
    ImageDraw.Draw(low).rectangle(box, fill=rng.randint(60, 150))
    low = low.filter(ImageFilter.GaussianBlur(max(0.5, spread / 12)))
    desk.paste((0, 0, 0), (0, 0), low.resize(desk.size, Image.Resampling.BILINEAR))


_DESKS = {
    "train": (((92, 58, 34), (150, 103, 66)), ((176, 141, 104), (214, 182, 146)), ((60, 62, 66), (92, 94, 99)),
              ((200, 200, 198), (226, 226, 224)), ((38, 52, 70), (66, 82, 104)), ((122, 32, 36), (150, 52, 54))),
    "held_out": (((70, 84, 62), (110, 124, 98)), ((24, 22, 22), (48, 44, 42)), ((190, 170, 190), (216, 200, 214))),
}  # fmt: skip


def _desk(rng: random.Random, size: tuple[int, int], split: Split) -> Image.Image:
    """Return a table: grain of wood, mottled stone or cloth between two tones."""
    dark, bright = rng.choice(_DESKS[split])
    kind = rng.random()
    if kind < 0.5:
        shape = (rng.randint(2, 5), rng.randint(40, 160))
        shape = shape if rng.random() < 0.5 else shape[::-1]
    else:
        shape = (rng.randint(3, 90), rng.randint(3, 90))
    grain = Image.frombytes("L", shape, rng.randbytes(shape[0] * shape[1]))
    grain = grain.resize(size, Image.Resampling.BILINEAR)
    return ImageOps.colorize(grain, dark, bright)
