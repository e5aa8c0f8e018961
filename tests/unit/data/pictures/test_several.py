"""Pairs, clips, screens and names in languages: what is said is true, and the held-out split differs."""

import re
from collections import Counter

import numpy as np
import pytest

from golden import SHARED, requires_shared
from internvl.data.pictures.clips import NUM_FRAMES
from internvl.data.pictures.language_phrases import IN_THE_LANGUAGE
from internvl.data.sample import Assets, norm1000
from internvl.data.skills import make_sample
from internvl.errors import ConfigError
from nano_assets import requires_fonts

BARE = Assets(shared=None)
FULL = Assets(shared=SHARED)
pytestmark = requires_fonts


def samples(skill, count, assets=BARE, split="train"):
    return [make_sample(skill, 11, index, split=split, assets=assets) for index in range(count)]


@pytest.mark.parametrize("skill", ["pair", "clip", "screen"])
def test_a_sample_depends_on_nothing_but_its_arguments(skill):
    for a, b in zip(samples(skill, 4), samples(skill, 4), strict=True):
        assert [image.tobytes() for image in a.images] == [image.tobytes() for image in b.images]
        assert (a.turns, a.truth) == (b.turns, b.truth)


@pytest.mark.parametrize("skill", ["pair", "clip", "screen"])
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_sample_asks_something_and_answers_it(skill, split):
    for sample in samples(skill, 15, split=split):
        assert sample.turns
        for turn in sample.turns:
            assert turn.question.strip()
            assert turn.answer.strip()
            assert not re.search(r"[{}]", turn.question + turn.answer)


def test_two_pictures_differ_exactly_where_the_truth_says():
    changes = set()
    for sample in samples("pair", 30):
        change = sample.truth["change"]
        changes.add(change)
        if change is None:
            continue
        first, second = (np.asarray(image).astype(int) for image in sample.images)
        different = np.abs(first - second).sum(axis=2) > 0
        elsewhere = different.copy()
        for box in (sample.truth["before"], sample.truth["after"]):
            if box:
                x0, y0, x1, y1 = box
                assert different[y0:y1, x0:x1].any()
                elsewhere[y0:y1, x0:x1] = False
        assert not elsewhere.any()
    assert {None, "added", "moved", "none"} <= changes


def test_same_or_different_is_answered_by_the_change():
    answers = set()
    for sample in samples("pair", 60):
        for turn in sample.turns:
            if turn.answer in ("same", "different"):
                assert turn.answer == ("same" if sample.truth["change"] == "none" else "different")
                answers.add(turn.answer)
    assert answers == {"same", "different"}


def test_a_clip_has_eight_frames_of_one_size():
    for sample in samples("clip", 12):
        assert sample.video
        assert len(sample.images) == NUM_FRAMES
        assert len({image.size for image in sample.images}) == 1


def test_a_thing_moves_the_way_that_is_told():
    seen = set()
    for sample in samples("clip", 60):
        if sample.truth["event"] != "move":
            continue
        first, last = sample.truth["boxes"][0], sample.truth["boxes"][-1]
        dx, dy = last[0] - first[0], last[1] - first[1]
        way = {
            (True, True): "left to right", (True, False): "right to left",
            (False, True): "top to bottom", (False, False): "bottom to top",
        }[abs(dx) > abs(dy), (dx if abs(dx) > abs(dy) else dy) > 0]  # fmt: skip
        assert way == sample.truth["way"]
        seen.add(way)
    assert len(seen) == 4


def test_numbers_at_the_end_of_a_clip_are_those_of_its_last_frame():
    asked = 0
    for sample in samples("clip", 60):
        if sample.truth["event"] not in ("appear", "disappear"):
            continue
        last = sample.truth["visible"][-1]
        for turn in sample.turns:
            if turn.metric == "exact_number" and re.search(
                r"\b(at the end|last frame|final)\b", turn.question
            ):
                named = [thing for thing in last if thing["name"] in turn.question]
                assert turn.answer == str(len(named))
                asked += 1
    assert asked > 3


def test_boxes_on_screens_are_those_of_elements():
    asked = 0
    for sample in samples("screen", 30):
        places = {norm1000(element["box"], sample.images[0].size) for element in sample.truth["elements"]}
        w, h = sample.images[0].size
        for element in sample.truth["elements"]:
            x0, y0, x1, y1 = element["box"]
            assert 0 <= x0 < x1 <= w
            assert 0 <= y0 < y1 <= h
        for turn in sample.turns:
            if turn.metric == "iou@0.5":
                (told,) = re.findall(r"\[(\d+), (\d+), (\d+), (\d+)\]", turn.answer)
                assert tuple(map(int, told)) in places
                asked += 1
    assert asked > 10


def test_names_in_languages_say_what_they_lack():
    with pytest.raises(ConfigError, match=r"emoji\.jsonl\.xz"):
        make_sample("languages", 0, 0, assets=BARE)


@requires_shared
def test_things_are_named_as_cldr_names_them_in_over_a_hundred_languages():
    from internvl.data.pictures.languages import read_names

    book = read_names(FULL)
    assert len(book.languages) >= 100
    for sample in samples("languages", 15, FULL):
        emoji = sample.truth["objects"][0]["emoji"]
        for code, turn in zip(sample.truth["languages"], sample.turns, strict=True):
            assert turn.answer == book.names[emoji][code]


def test_a_phrase_says_which_language_it_is_in():
    spoken = Counter(phrase for phrases in IN_THE_LANGUAGE.values() for phrase in phrases)
    assert [phrase for phrase, number in spoken.items() if number > 1] == []
