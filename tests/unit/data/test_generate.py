"""Laws of generated pictures: a pure function, boxes where the ink is, nothing held out in training."""

import numpy as np
import pytest

from internvl.data.colours import COLOURS, draw_colour
from internvl.data.fonts import HELD_OUT_FAMILIES
from internvl.data.generate import SKILLS, Difficulty, make_scene
from internvl.errors import ConfigError
from nano_assets import plain_assets, requires_fonts

DRAWN = ("shape", "count")
WRITTEN = ("word", "line", "mixed", "page")


@pytest.fixture(scope="module")
def assets():
    return plain_assets()


def same(a, b):
    return np.array_equal(np.asarray(a.image), np.asarray(b.image)) and (a.lines, a.glyphs, a.objects) == (
        b.lines,
        b.glyphs,
        b.objects,
    )


@pytest.mark.parametrize("skill", DRAWN)
def test_the_same_index_gives_the_same_picture_and_another_index_another(assets, skill):
    assert same(make_scene(skill, 3, 5, assets), make_scene(skill, 3, 5, assets))
    assert not same(make_scene(skill, 3, 5, assets), make_scene(skill, 3, 6, assets))
    assert not same(make_scene(skill, 3, 5, assets), make_scene(skill, 4, 5, assets))
    assert not same(make_scene(skill, 3, 5, assets), make_scene(skill, 3, 5, assets, split="held_out"))


@requires_fonts
@pytest.mark.parametrize("skill", WRITTEN)
def test_written_pictures_are_repeatable_too(assets, skill):
    assert same(make_scene(skill, 3, 5, assets), make_scene(skill, 3, 5, assets))


def test_objects_lie_inside_the_picture_and_touch_no_other(assets):
    for index in range(20):
        objects = make_scene("count", 1, index, assets).objects
        assert objects
        for i, item in enumerate(objects):
            x0, y0, x1, y1 = item.box
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
            for other in objects[:i]:
                assert x0 >= other.box[2] or other.box[0] >= x1 or y0 >= other.box[3] or other.box[1] >= y1


def test_the_box_of_a_shape_is_where_its_colour_is(assets):
    for index in range(20):
        scene = make_scene("shape", 2, index, assets)
        if scene.background is None:
            continue
        pixels = np.asarray(scene.image, dtype=float)
        differs = np.abs(pixels - np.median(pixels.reshape(-1, 3), axis=0)).sum(-1) > 120
        box = scene.objects[0].box
        h, w = differs.shape
        if (box[2] - box[0]) * (box[3] - box[1]) > 0.4:
            continue  # the median may be the shape itself
        rows, columns = np.nonzero(differs)
        found = (columns.min() / w, rows.min() / h, (columns.max() + 1) / w, (rows.max() + 1) / h)
        assert found == pytest.approx(box, abs=0.03)


@requires_fonts
def test_glyph_boxes_hold_the_ink_of_plain_text_in_reading_order(assets):
    difficulty = Difficulty(plain_share=1.0, max_tilt=0.0)
    for index in range(10):
        scene = make_scene("word", 1, index, assets, difficulty=difficulty)
        assert "".join(glyph.character for glyph in scene.glyphs) == scene.lines[0].replace(" ", "")
        lefts = [glyph.box[0] for glyph in scene.glyphs]
        assert lefts == sorted(lefts)
        dark = np.asarray(scene.image.convert("L")) < 100
        h, w = dark.shape
        rows, columns = np.nonzero(dark)
        assert columns.min() / w >= lefts[0] - 0.05
        assert (columns.max() + 1) / w <= scene.glyphs[-1].box[2] + 0.05
        middle = (scene.glyphs[0].box[1] + scene.glyphs[0].box[3]) / 2
        assert rows.min() / h <= middle <= (rows.max() + 1) / h


@requires_fonts
def test_held_out_fonts_are_not_trained_on(assets):
    names = [path.rsplit("/", 1)[-1] for path in assets.fonts.trained]
    assert not [name for name in names if name.startswith(HELD_OUT_FAMILIES)]


def test_lines_are_no_longer_than_asked_for(assets):
    if not assets.fonts.trained:
        pytest.skip("no fonts")
    for index in range(30):
        scene = make_scene("line", 1, index, assets, difficulty=Difficulty(max_characters=9, max_lines=2))
        assert len(scene.lines) <= 2
        assert max(map(len, scene.lines)) <= 9


def test_an_unknown_skill_is_named(assets):
    with pytest.raises(ConfigError, match="'paint'.*word"):
        make_scene("paint", 0, 0, assets)
    assert "page" not in SKILLS


def test_colours_of_different_names_do_not_meet():
    import random

    rng = random.Random(0)
    drawn = {name: [draw_colour(rng, name) for _ in range(50)] for name in COLOURS}
    for a in COLOURS:
        for b in COLOURS:
            if a < b:
                assert not set(drawn[a]) & set(drawn[b])
