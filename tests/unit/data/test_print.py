"""Squares of print: every glyph's place is where its ink is, and what is asked for stands there."""

import numpy as np
import pytest

from internvl.data.colours import COLOURS
from internvl.data.documents import print as printing
from internvl.data.sample import Assets
from internvl.data.skills import make_sample
from nano_assets import requires_fonts

pytestmark = requires_fonts
ASSETS = Assets()
READ_WHOLE = ("words", "note", "block")
SKILLS = ("letters", "print", *READ_WHOLE)


def samples(skill, count=6, split="train"):
    return [make_sample(skill, 1, index, split=split, assets=ASSETS) for index in range(count)]


@pytest.mark.parametrize("skill", SKILLS)
def test_a_sample_is_a_function_of_skill_seed_index_and_split(skill):
    first, again = (make_sample(skill, 3, 5, assets=ASSETS) for _ in range(2))
    assert first.images[0].tobytes() == again.images[0].tobytes()
    assert (first.turns, first.truth) == (again.turns, again.truth)
    assert first.glyphs[0].names == again.glyphs[0].names
    assert np.array_equal(first.glyphs[0].boxes, again.glyphs[0].boxes)
    other = make_sample(skill, 3, 5, split="held_out", assets=ASSETS)
    assert first.images[0].tobytes() != other.images[0].tobytes()


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("skill", SKILLS)
def test_glyphs_are_the_letters_of_the_lines_in_their_order(skill, split):
    for sample in samples(skill, split=split):
        (glyphs,) = sample.glyphs
        assert glyphs.names == tuple(c for line in sample.truth["lines"] for c in line if c != " ")
        assert glyphs.boxes.shape == (len(glyphs.names), 4)
        assert (glyphs.boxes[:, 2:] >= glyphs.boxes[:, :2]).all()


def ink_in(image, box):
    """Darkest minus lightest of the grey values in a box, and how many pixels it has."""
    x0, y0, x1, y1 = np.round(box).astype(int)
    part = np.asarray(image.convert("L"), np.int16)[max(0, y0) : y1, max(0, x0) : x1]
    return (int(np.ptp(part)) if part.size else 0), part.size


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("skill", SKILLS)
def test_every_box_of_a_clean_picture_holds_ink(skill, split):
    looked_at = 0
    for sample in samples(skill, 10, split):
        if sample.truth["look"] != "clean":
            continue
        width, height = sample.images[0].size
        for name, box in zip(sample.glyphs[0].names, sample.glyphs[0].boxes, strict=True):
            assert -4 <= box[0] <= box[2] <= width + 4
            assert box[1] < height
            contrast, size = ink_in(sample.images[0], box)
            if name.isalnum() and size >= 20:
                assert contrast > 40, (name, box)
                looked_at += 1
    assert looked_at > 20


def test_letters_on_white_have_no_ink_but_in_their_boxes():
    for sample in samples("letters"):
        grey = np.array(sample.images[0].convert("L"))
        assert (grey == 255).mean() > 0.5
        for x0, y0, x1, y1 in sample.glyphs[0].boxes:
            high = y1 - y0  # accents and tails reach beyond it
            rows = slice(max(0, int(y0 - 0.35 * high)), int(y1 + 0.2 * high) + 1)
            grey[rows, max(0, int(x0 - 0.12 * high)) : int(x1 + 0.12 * high) + 1] = 255
        assert (grey < 128).sum() == 0


@pytest.mark.parametrize("skill", ["letters", "print"])
def test_the_line_that_is_asked_for_begins_as_the_question_says_and_no_other_does(skill):
    for sample in samples(skill, 12):
        (turn,) = sample.turns
        lines = sample.truth["lines"]
        assert turn.answer in lines
        start = turn.answer.split(" ")[0]
        assert f'"{start}"' in turn.question
        firsts = [line.split(" ")[0] for line in lines]
        if any(firsts.count(first) == 1 for first in firsts):
            assert firsts.count(start) == 1


@pytest.mark.parametrize("skill", READ_WHOLE)
def test_what_is_read_whole_are_the_lines(skill):
    for sample in samples(skill, 12):
        turn, *others = sample.turns
        between = " " if sample.truth["flowing"] else "\n"
        assert turn.answer == between.join(sample.truth["lines"])
        assert (turn.metric, turn.task) == ("cer", "read")
        assert skill == "words" or not others
        assert all(line == line.strip() != "" for line in sample.truth["lines"])


def test_words_are_described_and_their_colours_named():
    asked = {}
    for sample in samples("words", 60):
        for turn in sample.turns[1:]:
            asked.setdefault(turn.task, []).append((sample, turn.answer))
    assert asked.keys() == {"describe", "text_colour", "ground_colour"}
    for sample, answer in asked["describe"]:
        assert f'the text "{" ".join(sample.truth["lines"])}"' in answer
    assert {answer for task in ("text_colour", "ground_colour") for _, answer in asked[task]} <= set(COLOURS)
    for sample, answer in asked["ground_colour"]:
        if sample.truth["look"] == "clean" and answer in ("black", "white"):
            edge = np.asarray(sample.images[0].convert("L"))[0]
            assert (edge.mean() > 128) == (answer == "white")


@pytest.mark.parametrize(("skill", "side"), [("block", 448), ("note", 224), ("words", 224)])
def test_a_block_is_a_whole_tile_and_a_note_a_quarter_of_one(skill, side):
    clean = [sample for sample in samples(skill, 12) if sample.truth["look"] == "clean"]
    assert {sample.images[0].size for sample in clean} == {(side, side)}
    if skill == "words":
        assert max(len(sample.truth["lines"]) for sample in clean) <= 3


@pytest.mark.parametrize("skill", SKILLS)
def test_held_out_print_is_set_in_other_fonts(skill, monkeypatch):
    opened = {"train": set(), "held_out": set()}
    real = printing.open_face
    for split, files in opened.items():
        monkeypatch.setattr(
            printing, "open_face", lambda path, *rest, files=files: (files.add(path), real(path, *rest))[1]
        )
        samples(skill, 10, split)
    assert opened["train"]
    assert opened["held_out"]
    assert not opened["train"] & opened["held_out"]
