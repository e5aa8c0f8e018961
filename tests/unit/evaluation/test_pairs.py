"""Pairs of answers: what is asked is what is learnt, right against wrong, the same after a kill."""

import itertools
import json
import random
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from internvl.errors import ConfigError, DataError
from internvl.evaluation.pair_questions import PairQuestion, read_questions
from internvl.evaluation.pairs import (
    Answer,
    PairRule,
    Sampling,
    pair_up,
    sample_and_judge,
    write_pairs,
)
from internvl.evaluation.verdict import Truth
from internvl.evaluation.verifiers import metric_for, read_verifier
from internvl.train.batch import IGNORE_INDEX
from internvl.train.dataset import DataConfig
from internvl.train.meta import SourceSpec, read_sources
from internvl.train.pairs import make_pair_batches
from internvl.train.rows import parse_row
from internvl.train.samples import make_sample
from internvl.train.sources import resolver
from tiny_engines import FAMILIES, picture, tiny_engine, tiny_parts

HUMAN, GPT = "human", "gpt"


def turns(*texts):
    return [{"from": (HUMAN, GPT)[n % 2], "value": text} for n, text in enumerate(texts)]


@pytest.fixture
def folder(tmp_path):
    """Rows of every kind of media."""
    for number in range(3):
        picture(120 + 30 * number, 80, seed=number).save(tmp_path / f"{number}.png")
    (tmp_path / "clip").mkdir()
    for number in range(12):
        Image.new("RGB", (60, 60), (20 * number, 0, 90)).save(tmp_path / "clip" / f"{number:02d}.png")
    rows = [
        {"id": "a", "image": "0.png", "conversations": turns("<image>\nWhat?", "red", "And how many?", "3")},
        {"id": "b", "image": ["0.png", "1.png"], "conversations": turns("Which one?", "the second")},
        {"id": "c", "conversations": [{"from": "system", "value": "Be short."}, *turns("Hello?", "Hi.")]},
        {"id": "d", "video": "clip", "conversations": turns("<video>\nWhat moves?", "nothing")},
        {"id": "e", "image": "2.png", "conversations": turns("Read it. <image>", "12.50", "Why?", "because")},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def question(text="red", **changes):
    return PairQuestion(
        **{"key": "q:0#0", "where": "rows.jsonl:1", "question": "What?", "truth": Truth(text=text)} | changes
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_prompt_that_is_asked_is_the_prompt_that_is_learnt(folder, family):
    processor = tiny_parts(family)[1]
    config = DataConfig(
        meta=(str(folder / "rows.jsonl"),), min_frames=5, max_frames=5, frame_sampling="middle"
    )
    found = read_questions([folder / "rows.jsonl"], turns="each")
    assert len(found.asked) == 7
    for each in found.asked:
        asked = processor(each.messages(processor, max_tiles=None, num_frames=5))
        row = {**each.row(folder), "conversations": turns(each.question, each.truth.text)}
        if each.system:
            row["conversations"].insert(0, {"from": "system", "value": each.system})
        parsed = parse_row(row, each.where, resolver("", folder / "rows.jsonl"))
        learnt = make_sample(parsed, SourceSpec(name="x"), config, processor, random.Random(0))
        length = int((learnt.labels != IGNORE_INDEX).nonzero()[0])
        assert asked.input_ids.tolist() == learnt.input_ids[:length].tolist(), each.key
        tiles = asked.pixel_values
        assert (0 if tiles is None else len(tiles)) == learnt.num_tiles


def test_the_tiles_of_a_row_are_shared_by_its_pictures():
    processor = tiny_parts()[1]
    both = question(media=("a.png", "b.png"), question="<image><image>Which?", max_tiles=4, min_tiles=3)
    parts = both.messages(processor, max_tiles=9, num_frames=8)[0]["content"]
    assert [(part["min_tiles"], part["max_tiles"]) for part in parts[:2]] == [(2, 2), (2, 2)]


def test_questions_that_need_the_turns_before_them_are_counted_and_not_asked(folder):
    rows = [
        {"image": ["0.png", "1.png"], "conversations": turns("<image>?", "a", "<image>?", "b", "And?", "c")}
    ]
    (folder / "two.jsonl").write_text(json.dumps(rows[0]))
    found = read_questions([folder / "two.jsonl"], turns="each")
    assert [each.question for each in found.asked] == ["<image>?", "<image>\nAnd?"]
    assert found.not_asked == 1
    assert read_questions([folder / "two.jsonl"], turns="first").not_asked == 2


def test_a_row_without_an_answer_stops_or_is_listed(folder):
    bad = folder / "bad.jsonl"
    bad.write_text(
        '{"conversations": [{"from": "human", "value": "x"}]}\nno json\n'
        + json.dumps({"conversations": turns("a", "b")})
    )
    with pytest.raises(DataError, match=r"bad.jsonl:1.*--on-bad-row skip"):
        read_questions([bad])
    found = read_questions([bad], on_bad_row="skip")
    assert len(found.asked) == 1
    assert [each.split(": ")[0][-11:] for each in found.bad_rows] == ["bad.jsonl:1", "bad.jsonl:2"]


def test_metrics_come_from_the_option_the_row_the_truth_file_and_the_look_in_this_order(folder):
    rows = folder / "rows.jsonl"
    assert {each.metric for each in read_questions([rows]).asked} == {""}
    truth = {"id": "a", "metrics": ["any_of_names", "exact_number"], "truth": {"names": {"red": ["crimson"]}}}
    (folder / "rows.truth.jsonl").write_text(json.dumps(truth) + "\n")
    first, second, *others = read_questions([rows], turns="each").asked
    assert (first.metric, second.metric, others[0].metric) == ("any_of_names", "exact_number", "")
    assert read_verifier("metric")(first, "Crimson") == 1
    assert {each.metric for each in read_questions([rows], metric="cer").asked} == {"cer"}
    own = folder / "own.jsonl"
    own.write_text(json.dumps({"metric": "anls", "alternatives": ["y"], "conversations": turns("a", "b")}))
    assert read_questions([own]).asked[0].metric == "anls"
    assert read_questions([own]).asked[0].truth.alternatives == ("y",)


@pytest.mark.parametrize(
    ("reference", "metric"),
    [
        ("<ref>cup</ref><box>[[1, 2, 3, 4]]</box>", "iou@0.5"),
        ('{"total": "3.00"}', "json_kv_f1"),
        ("[1, 2]", "exact_ci"),
        ("No.", "yesno"),
        ("-1,234.50", "exact_number"),
        ("€ 12", "exact_number"),
        ("2 cups", "exact_ci"),
        ("a line\nanother line", "cer"),
    ],
)
def test_a_metric_fits_the_look_of_the_reference(reference, metric):
    assert metric_for(reference) == metric


def test_verifiers_are_a_metric_an_expression_or_a_function(folder, monkeypatch):
    assert read_verifier("metric")(question("12.50"), "12.5") == 1
    assert read_verifier(r"regex:[A-Z]+\d?")(question(), " ABC1\n") == 1
    assert read_verifier(r"regex:[A-Z]+")(question(), "ABC1") == 0
    monkeypatch.chdir(folder)
    (folder / "judge_of_mine.py").write_text(
        "def ok(question, answer, reference):\n    return answer == question + reference\n"
        "def odd(question, answer, reference):\n    return 2\n"
    )
    assert read_verifier("judge_of_mine:ok")(question("!"), "What?!") == 1
    with pytest.raises(ConfigError, match=r"gave 2 to an answer to q:0#0"):
        read_verifier("judge_of_mine:odd")(question(), "x")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("regx", "expected metric, regex:EXPRESSION, or module:function"),
        ("regex:(", "no regular expression"),
        ("no_such_module:f", "cannot be imported"),
        ("json:nothing", "has no function 'nothing'"),
    ],
)
def test_a_verifier_that_cannot_be_is_refused_with_the_cure(name, words):
    with pytest.raises(ConfigError, match=words):
        read_verifier(name)


def answers(*scored, finish="stop"):
    return [Answer(text, score, finish) for text, score in scored]


def test_right_answers_stand_against_wrong_ones_and_none_is_overused():
    found = answers(("a", 1.0), ("b", 1.0), ("x", 0.0), ("y", 0.2), ("z", 0.0), ("a ", 1.0))
    judged = pair_up(question(), found, PairRule(per_question=100))
    assert judged.outcome == "mixed"
    texts = [(chosen.text, rejected.text) for chosen, rejected in judged.pairs]
    assert sorted(texts) == sorted(itertools.product("ab", "xyz"))
    three = pair_up(question(), found, PairRule(per_question=3)).pairs
    assert {rejected.text for _, rejected in three} == set("xyz")


def test_the_pairs_that_are_kept_depend_on_the_seed_and_the_question_alone():
    found = answers(*((f"r{n}", 1.0) for n in range(6)), *((f"w{n}", 0.0) for n in range(6)))
    kept = [pair_up(question(), found, PairRule(seed=seed)).pairs for seed in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (answers(("a", 1.0), ("b", 1.0)), "all_right"),
        (answers(("a", 0.1), ("b", 0.0)), "all_wrong"),
        (answers(("a", 0.7), ("b", 0.0)), "tie"),
        (answers(("a", 0.7), ("b", 1.0)), "tie"),
        (answers(("a", 1.0), ("b", 0.0), finish="length"), "tie"),
        (answers(("", 1.0), (" ", 0.0)), "tie"),
    ],
)
def test_without_two_sides_there_is_no_pair_and_it_is_said_why(found, outcome):
    judged = pair_up(question(), found, PairRule(right=0.9, wrong=0.5))
    assert judged == (outcome, [])


def test_the_reference_may_stand_against_what_is_all_wrong():
    rule = PairRule(reference_as_chosen=True)
    judged = pair_up(question("red"), answers(("blue", 0.0)), rule)
    assert [(chosen.text, rejected.text) for chosen, rejected in judged.pairs] == [("red", "blue")]
    assert judged.outcome == "all_wrong"


@pytest.mark.parametrize("wrong", [{"right": 0.4, "wrong": 0.6}, {"per_question": 0}, {"right": 1.5}])
def test_impossible_rules_are_refused(wrong):
    with pytest.raises(ConfigError):
        PairRule(**wrong)


def run_all(folder, out, engine, *, questions=None, on_bad_row="stop", **changes):
    questions = questions or read_questions([folder / "rows.jsonl"], turns="each").asked
    path = out.with_suffix(".answers.jsonl")
    sampling = Sampling(**{"samples": 4, "max_new_tokens": 6, "seed": 3, "num_frames": 4} | changes)
    sample_and_judge(
        engine,
        questions,
        path,
        sampling=sampling,
        verifier=lambda question, answer: float(len(answer) % 2),
        run={"model": "tiny"},
        on_bad_row=on_bad_row,
    )
    return path, write_pairs(questions, path, out, PairRule())


def test_a_run_that_was_killed_ends_as_one_that_was_not(folder, tmp_path):
    with tiny_engine() as engine:
        _, report = run_all(folder, tmp_path / "whole.jsonl", engine)
    whole = (tmp_path / "whole.jsonl").read_bytes()
    lines = (tmp_path / "whole.answers.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    assert report.questions == 7
    assert report.answers == 28
    # a kill in the middle of a line; then the rest alone, in a batch of another size
    (tmp_path / "killed.answers.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:20])
    with tiny_engine(max_batch_size=2) as engine:
        run_all(folder, tmp_path / "killed.jsonl", engine)
    assert (tmp_path / "killed.jsonl").read_bytes() == whole
    assert sorted((tmp_path / "killed.answers.jsonl").read_bytes().splitlines()) == sorted(
        line.strip() for line in lines
    )


def test_answers_of_other_settings_or_other_rows_are_refused(folder, tmp_path):
    out = tmp_path / "pairs.jsonl"
    with tiny_engine() as engine:
        run_all(folder, out, engine)
        with pytest.raises(ConfigError, match="another temperature"):
            run_all(folder, out, engine, temperature=0.5)
        changed = (folder / "rows.jsonl").read_text().replace("12.50", "13.50")
        (folder / "rows.jsonl").write_text(changed)
        with pytest.raises(ConfigError, match=r"was '12.50' then"):
            run_all(folder, out, engine)


def test_a_picture_that_is_missing_stops_or_is_listed(folder, tmp_path):
    asked = [question(media=(str(folder / "none.png"),), question="<image>?"), question(key="q:1#0")]
    with tiny_engine() as engine:
        with pytest.raises(DataError, match=r"rows.jsonl:1: .*none.png"):
            run_all(folder, tmp_path / "a.jsonl", engine, questions=asked)
        _, report = run_all(folder, tmp_path / "b.jsonl", engine, questions=asked, on_bad_row="skip")
    assert report.questions == 1
    assert "none.png" in report.bad_rows[0]


def test_what_is_written_is_what_preference_learning_reads(folder, tmp_path):
    out = tmp_path / "deep" / "pairs.jsonl"
    out.parent.mkdir()
    found = read_questions([folder / "rows.jsonl"], turns="each").asked
    rows = [{"asked": {}}] + [
        {"key": each.key, "metric": "exact", "answers": answers((each.truth.text, 1.0), ("zzz", 0.0))}
        for each in found
    ]
    path = tmp_path / "made.answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = write_pairs(found, path, out, PairRule())
    assert report.pairs == len(found)
    config = DataConfig(meta=(str(out),), num_epochs=1, min_frames=3, max_frames=3, max_tokens=512)
    batches = list(make_pair_batches(config, tiny_parts()[1]))
    assert len(batches) == len(found)
    assert all(torch.is_tensor(batch.sequences.input_ids) for batch in batches)
    assert sum(batch.num_tiles > 0 for batch in batches) == 6


def test_a_generated_skill_names_its_own_metrics(tmp_path):
    spec = SimpleNamespace(question="How many?", answer="3", metric="exact_number")
    row = {"id": "s", "conversations": turns(spec.question, spec.answer)}
    (tmp_path / "s.jsonl").write_text(json.dumps(row))
    (tmp_path / "s.truth.jsonl").write_text(json.dumps({"id": "s", "metrics": [spec.metric], "truth": {}}))
    (tmp_path / "meta.json").write_text(json.dumps({"s": {"root": ".", "annotation": "s.jsonl"}}))
    assert read_sources([tmp_path / "meta.json"])[0].name == "s"
    (asked,) = read_questions([tmp_path / "meta.json"]).asked
    assert asked.metric == "exact_number"
    assert asked.key == "s:0#0"
