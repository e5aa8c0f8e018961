import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from internvl.demo.conversation import Cost
from internvl.demo.seen import Shown, TileFolder, save_tiles, show_cost, show_tiles
from internvl.demo.strings import Strings, tables
from internvl.preprocess.processor import TileLimits
from internvl.types import MediaUsage, TileGrid
from tiny_engines import picture, tiny_parts


def usage(index=0, columns=3, rows=2, thumbnail=True):
    grid = TileGrid(columns, rows)
    return MediaUsage(
        index=index, width=120, height=80, grid=grid, thumbnail=thumbnail, num_tokens=4 * (columns * rows + 1)
    )


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))
        else:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("policy", ["reference", "fit"])
def test_the_tiles_shown_are_the_tiles_that_the_model_gets(tmp_path, policy):
    _, processor = tiny_parts()
    limits = TileLimits(policy=policy)
    messages = [{"role": "user", "content": [{"type": "image", "image": picture()}]}]
    inputs = processor(messages, tile_limits=limits)
    (media,) = inputs.media
    fit = processor.keeps_shape(limits)
    paths = save_tiles(picture(), media, processor.config.image_size, tmp_path, fit=fit)
    assert len(paths) == len(inputs.pixel_values) == media.num_tiles > 1
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for path, pixels in zip(paths, inputs.pixel_values, strict=True):
        with Image.open(path) as tile:
            shown = np.asarray(tile.convert("RGB"), dtype=np.float64)
        given = (pixels.permute(1, 2, 0).numpy() * std + mean) * 255
        assert np.array_equal(shown, given.round())


@pytest.mark.parametrize("language", tables())
def test_every_tile_has_a_name_in_the_readers_language_and_the_markup_is_sound(language):
    strings = Strings(language)
    names = tuple(f"a{n}" for n in range(7))
    shown = [Shown(1, (usage(),), (names,)), Shown(2, (usage(1, 1, 1, thumbnail=False),), (("b",),))]
    page = show_tiles(shown, 56, strings)
    images = Tags(page).images
    assert [image["src"] for image in images] == ["b", *names]
    assert images[1]["alt"] == f"{strings('picture', number=1)}, {strings('tile', number=1)}"
    assert images[7]["alt"].endswith(strings("overview"))
    assert re.search(r"120×80 → 3×2 \+ 1 · \S.*28<", page)
    assert "120×80 → 1×1 ·" in page


def test_a_videos_frames_are_one_figure_with_their_times():
    frames = [
        replace(
            usage(n, 1, 1, thumbnail=False), kind="frame", video=0, frame_index=9 * n, timestamp_s=0.3 * n
        )
        for n in range(3)
    ]
    page = show_tiles([Shown(1, tuple(frames), (("a",), ("b",), ("c",)))], 56, Strings())
    assert [image["alt"] for image in Tags(page).images] == [
        "Video 1, Frame 1, 0.0 s",
        "Video 1, Frame 10, 0.3 s",
        "Video 1, Frame 19, 0.6 s",
    ]
    assert page.count("<figure") == 1
    assert "120×80 → 3 × 1 · Image tokens: 24" in page


def test_addresses_cannot_leave_their_place_in_the_markup():
    shown = Shown(1, (usage(0, 1, 1, thumbnail=False),), (('x" onerror="alert(1)<b>',),))
    page = show_tiles([shown], 56, Strings())
    assert Tags(page).images[0]["src"] == 'x" onerror="alert(1)<b>'


def test_without_pictures_the_page_says_what_will_be_here():
    assert "exactly as the model gets them" in show_tiles([], 56, Strings())
    assert show_cost(None, Strings()) == ""


def test_the_cost_is_shown_in_numbers():
    cost = Cost(
        num_tiles=13, prompt_tokens=3400, cached_tokens=3000, answer_tokens=21, first_token_s=0.5, total_s=1
    )
    page = show_cost(cost, Strings())
    Tags(page)
    for text in (">13<", ">3400<", "3000 kept from before", ">0.50 s<", ">40 tokens/s<"):
        assert text in page


def test_a_window_has_one_view_and_the_oldest_of_too_many_goes(tmp_path):
    folder = TileFolder(tmp_path, max_views=2)
    first = folder.new_view("a")
    second = folder.new_view("a")
    assert not first.exists()
    third = folder.new_view("b")
    assert second.exists()
    fourth = folder.new_view("c")
    assert [path.exists() for path in (second, third, fourth)] == [False, True, True]
