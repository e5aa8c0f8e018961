"""Laws of sets: names, the real ones of a data pack, generated ones as pure functions of their ids."""

import json
import pickle

import pytest
from PIL import Image

from golden import SHARED
from internvl.data.skills import SKILLS
from internvl.errors import ConfigError, DataError
from internvl.evaluation.generated import GeneratedSet
from internvl.evaluation.journal import digest
from internvl.evaluation.metrics import judge
from internvl.evaluation.sets import list_sets, open_sets


@pytest.fixture
def pack(tmp_path):
    """A small data pack: one folder with pictures that are there and files that cannot be asked about."""
    folder = tmp_path / "data" / "documents" / "slips"
    folder.mkdir(parents=True)
    files = [f"documents/slips/{name}" for name in ("a.png", "b.png", "gone.png", "c.pdf", "clip.mp4")]
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 10)).save(folder / name)
    (folder / "clip.mp4").write_bytes(b"")
    (folder / "c.pdf").write_bytes(b"%PDF")
    questions = [
        {"file": files[0], "task": "kie", "question": "Total?", "answer": "3.50", "metric": "anls", "lang": "de"},
        {"file": files[0], "task": "box", "question": "Where?", "answer": [1, 2, 30, 40], "metric": "iou@0.5 (0-1000)"},
        {"file": files[1], "question": "Order?", "answer": ["x y", "z"], "metric": "output_order"},
        {"file": files[1], "question": "Which?", "answer": "tea", "metric": "choice", "options": ["tea", "milk"]},
        {"file": files[2], "question": "?", "answer": "1", "metric": "exact"},
        {"file": files[3], "question": "?", "answer": "1", "metric": "exact"},
        {"file": files[3], "question": "??", "answer": "1", "metric": "exact"},
        {"file": files[4], "question": "What moves?", "answer": "a dog|dog", "metric": "contains_any"},
    ]  # fmt: skip
    write(folder / "qa.jsonl", questions)
    write(folder / "annotations.jsonl", [{"file": files[0], "objects": [{}, {}]}])
    return tmp_path


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")


def test_a_set_has_several_names_and_comes_once(pack, monkeypatch):
    names = ["lines", "generated:lines", "shared:slips", "slips"]
    sets = open_sets(names, count=3, seed=1, shared=pack)
    assert [each.name for each in sets] == ["generated:lines", "shared:slips"]
    monkeypatch.setattr(GeneratedSet, "or_skipped", lambda self: self)
    everything = open_sets(["all"], count=1, seed=1, shared=pack)
    assert (
        [each.name for each in everything]
        == list_sets(pack)
        == [*(f"generated:{s}" for s in SKILLS), "shared:slips"]
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("generated:linse", "did you mean 'generated:lines'"),
        ("recipt", "did you mean 'receipt'"),
        ("shared", "need the data pack: --shared"),
        ("shared:slips", "needs the data pack: --shared"),
    ],
)
def test_an_unknown_set_is_refused_with_what_was_meant(name, message):
    with pytest.raises(ConfigError, match=message):
        open_sets([name], count=1, seed=1)


def test_questions_about_a_file_are_one_sample_and_what_cannot_be_asked_is_counted(pack):
    (slips,) = open_sets(["slips"], count=100, seed=1, shared=pack)
    assert slips.sample_ids == ["a.png", "b.png", "clip.mp4"]
    assert slips.skipped == {"the file is not there": 1, "a PDF, of which the pack has no picture": 2}
    first = slips.make("a.png")
    assert [item.metric for item in first.items] == ["anls", "iou@0.5"]
    assert [item.language for item in first.items] == ["de", "en"]
    assert first.items[0].facts == {"objects": 2}
    assert judge("iou@0.5", "[[1, 2, 30, 40]]", first.items[1].truth).score == 1
    assert judge("output_order", "x y then z", slips.make("b.png").items[0].truth).score == 1
    assert slips.make("clip.mp4").clip


def test_fewer_files_are_the_same_ones_every_time(pack):
    chosen = [open_sets(["slips"], count=2, seed=seed, shared=pack)[0].sample_ids for seed in (1, 2)]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file": "x", "question": "?", "answer": "1"}', r"qa.jsonl:9 has no metric"),
        ("{", r"qa.jsonl:9 is no JSON"),
        (
            '{"file": "documents/slips/a.png", "question": "?", "answer": "1", "metric": "vibes"}',
            "no metric 'vibes'",
        ),
    ],
)
def test_a_row_that_cannot_be_read_is_named(pack, line, message):
    with (pack / "data" / "documents" / "slips" / "qa.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises((DataError, ConfigError), match=message):
        open_sets(["slips"], count=1, seed=1, shared=pack)


def test_a_message_has_the_media_before_the_question(pack):
    (slips,) = open_sets(["slips"], count=100, seed=1, shared=pack)
    clip = slips.make("clip.mp4")
    parts = clip.message(clip.items[0])["content"]
    assert [part["type"] for part in parts] == ["video", "text"]
    assert parts[0]["num_frames"] == 8
    shape = GeneratedSet(skill="shape", count=1, seed=1).make("000000")
    assert [part["type"] for part in shape.message(shape.items[0])["content"]] == ["image", "text"]


def test_a_generated_sample_is_a_function_of_seed_and_number_also_when_it_travels():
    source = GeneratedSet(skill="shape", count=3, seed=7)
    again = pickle.loads(pickle.dumps(source))
    assert digest(source.make("000002")) == digest(again.make("000002")) != digest(source.make("000001"))
    assert digest(source.make("000002")) != digest(
        GeneratedSet(skill="shape", count=3, seed=8).make("000002")
    )
    assert source.make("000002").facts["objects"] >= 1


def test_of_a_group_what_cannot_be_drawn_here_says_why_and_by_its_name_it_is_an_error(monkeypatch):
    def make(self, sample_id):
        raise ConfigError(f"no fonts for {self.skill}")

    monkeypatch.setattr(GeneratedSet, "make", make)
    (lines, *_) = open_sets(["generated"], count=5, seed=1)
    assert lines.sample_ids == []
    assert lines.skipped == {"no fonts for lines": 5}
    with pytest.raises(ConfigError, match="generated:lines: no fonts"):
        open_sets(["generated:lines"], count=5, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("skill", SKILLS)
def test_of_every_skill_the_expected_answer_is_worth_one_and_none_nothing(skill):
    source = GeneratedSet(
        skill=skill, count=8, seed=3, shared=SHARED if SHARED.is_dir() else None
    ).or_skipped()
    if source.missing:
        pytest.skip(source.missing)
    for sample_id in source.sample_ids:
        for item in source.make(sample_id).items:
            assert judge(item.metric, item.truth.text, item.truth).score == pytest.approx(1), item
            assert judge(item.metric, "", item.truth).score == 0, item
            assert item.task
