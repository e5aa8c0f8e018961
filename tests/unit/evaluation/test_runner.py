"""Laws of a run: every question once, a killed run goes on, other models are refused, nothing is silent."""

import json
import stat
from pathlib import Path

import pytest
from PIL import Image

from internvl.chat.pipeline import Pipeline
from internvl.errors import ConfigError, MissingDependencyError
from internvl.evaluation.ahead import make_ahead
from internvl.evaluation.generated import GeneratedSet
from internvl.evaluation.journal import Journal, read_rows
from internvl.evaluation.runner import EvalConfig, evaluate
from internvl.evaluation.tesseract import Tesseract
from nano_assets import requires_fonts
from tiny_engines import tiny_engine


@pytest.fixture
def pipe():
    with Pipeline(tiny_engine()) as pipe:
        yield pipe


@pytest.fixture
def ask(pipe, tmp_path):
    def run(**options):
        seen = []
        options = {
            "sets": ["shape"],
            "count": 3,
            "seed": 1,
            "workers": 0,
            "short_answer": 6,
            "long_answer": 6,
            **options,
        }
        config = EvalConfig(out=tmp_path / "run", **options)
        results = evaluate(pipe, config, on_progress=lambda progress: seen.append(progress.questions))
        return results, seen[-1]

    return run


def answers(tmp_path):
    return {(row["set"], row["id"]): row["answer"] for row in read_rows(tmp_path / "run" / "answers.jsonl")}


def test_every_question_has_one_answer_with_its_score_and_the_figures_count_them(ask, tmp_path):
    results, asked = ask()
    rows = read_rows(tmp_path / "run" / "answers.jsonl")
    questions = [
        item for n in range(3) for item in GeneratedSet(skill="shape", count=3, seed=1).make(f"{n:06d}").items
    ]
    assert sorted(row["question"] for row in rows) == sorted(item.question for item in questions)
    assert len({row["id"] for row in rows}) == len(rows) == asked
    assert {"set", "id", "question", "expected", "answer", "metric", "score", "seconds"} <= rows[0].keys()
    assert results.sets[0].figures[0].questions == len(rows)
    stored = json.loads((tmp_path / "run" / "figures.json").read_text())
    assert stored == json.loads(json.dumps(results.as_json()))
    assert stored["sets"]["generated:shape"]["figures"][0]["samples"] == 3
    page = (tmp_path / "run" / "report.html").read_text()
    assert 0 < page.count("<article") <= min(len(rows), 12)
    assert "data:image/jpeg" in page


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(ask, tmp_path):
    _, asked = ask()
    whole = answers(tmp_path)
    path = tmp_path / "run" / "answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    kept = len(lines) // 2
    path.write_bytes(b"".join(lines[:kept]) + lines[kept][:20])  # the last line only half written
    _, asked_again = ask()
    assert asked_again == asked - kept
    assert answers(tmp_path) == whole
    assert ask()[1] == 0


@requires_fonts
def test_more_samples_and_more_sets_add_to_what_is_there(ask, tmp_path):
    _, first = ask(count=2)
    _, second = ask(count=4)
    _, more = ask(count=4, sets=["shape", "clip"])
    assert first > 0
    assert second > 0
    assert len(answers(tmp_path)) == first + second + more
    fewer, asked = ask(count=2)
    assert asked == 0
    assert fewer.sets[0].figures[0].questions == first


@pytest.mark.parametrize("change", [{"seed": 2}, {"split": "train"}, {"short_answer": 7}])
def test_a_folder_with_answers_to_something_else_is_refused(ask, change):
    ask(count=1)
    with pytest.raises(ConfigError, match=f"{next(iter(change))}.*Name another --out"):
        ask(count=1, **change)


def test_a_folder_with_answers_to_other_pictures_is_refused(ask, tmp_path):
    ask(count=1)
    note = tmp_path / "run" / "run.json"
    note.write_text(note.read_text().replace('"generated:shape": "', '"generated:shape": "0'))
    with pytest.raises(ConfigError, match="another generated:shape"):
        ask(count=1)


def test_a_folder_with_answers_of_other_weights_is_refused(ask, tmp_path):
    ask(count=1)
    options = {"count": 1, "seed": 1, "workers": 0, "short_answer": 6, "long_answer": 6}
    with Pipeline(tiny_engine("phi3")) as other, pytest.raises(ConfigError, match="weights"):
        evaluate(other, sets=["shape"], out=tmp_path / "run", **options)


def test_a_picture_that_cannot_be_opened_is_counted_as_skipped_and_not_as_wrong(ask, tmp_path):
    folder = tmp_path / "data" / "slips"
    folder.mkdir(parents=True)
    Image.new("RGB", (30, 30)).save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"no picture")
    rows = [
        {"file": f"slips/{name}", "question": "?", "answer": "x", "metric": "exact"}
        for name in ("good.png", "bad.png")
    ]
    (folder / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "annotations.jsonl").write_text("")
    results, _ = ask(sets=["slips"], shared=tmp_path)
    (slips,) = results.sets
    assert [row["sample"] for row in slips.rows] == ["good.png"]
    ((reason, number),) = slips.skipped.items()
    assert number == 1
    assert "bad.png" in reason


def test_a_question_without_room_is_answered_with_its_error_and_scores_nothing(tmp_path):
    with Pipeline(tiny_engine(session_len=24)) as pipe:
        results = evaluate(pipe, sets=["shape"], count=1, workers=0, out=tmp_path)
    (shape,) = results.sets
    assert shape.finish_reasons == {"error": len(shape.rows)}
    assert all(row["score"] == 0 and row["message"] for row in shape.rows)


def test_samples_made_ahead_come_in_order_whoever_makes_them():
    source = GeneratedSet(skill="shape", count=5, seed=1)
    wanted = [(source, sample_id) for sample_id in source.sample_ids]
    alone = [sample.items for _, sample in make_ahead(wanted, 0)]
    assert alone == [source.make(sample_id).items for sample_id in source.sample_ids]


@pytest.mark.slow
def test_other_processes_make_the_same_samples():
    source = GeneratedSet(skill="shape", count=20, seed=1)
    wanted = [(source, sample_id) for sample_id in source.sample_ids]
    ahead = [sample for _, sample in make_ahead(wanted, 1)]
    assert [sample.id for sample in ahead] == source.sample_ids
    assert [sample.items for sample in ahead] == [sample.items for _, sample in make_ahead(wanted, 0)]


def test_texts_stand_for_paths_and_for_lists_of_names(tmp_path):
    config = EvalConfig(sets="lines,generated:page", out=str(tmp_path), shared="x")
    assert config == EvalConfig(sets=("lines", "generated:page"), out=tmp_path, shared=Path("x"))


def test_a_configuration_and_fields_of_one_are_not_mixed(pipe, tmp_path):
    with pytest.raises(ConfigError, match="seed"):
        evaluate(pipe, EvalConfig(out=tmp_path), seed=3)


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "answers.jsonl").write_bytes(b'{"a": 1}\n{"a"\n{"a": 3}\n')
    with pytest.raises(ConfigError, match=r"answers.jsonl:2 is no JSON"):
        Journal(tmp_path / "answers.jsonl")


# -- Tesseract


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A program of the name that says how it was called, instead of reading."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "tesseract"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        '--version) echo "tesseract 5.9.9";;\n'
        '--list-langs) printf "List of available languages (2):\\neng\\ndeu\\n";;\n'
        '*) head -c 8 | od -c | head -1 >/dev/null; echo "$@"; [ "$6" != deu ] || { echo broken >&2; exit 3; };;\n'
        "esac\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return Tesseract()


def test_it_is_run_without_a_shell_and_its_failures_are_answers(reader):
    assert reader.version == "5.9.9"
    picture = Image.new("RGB", (40, 10))
    assert reader.read(picture, psm=7, model="eng").text == "stdin stdout --psm 7 -l eng"
    failed = reader.read(picture, psm=7, model="deu")
    assert (failed.finish_reason, failed.message) == ("error", "tesseract: broken")


def test_a_language_without_a_model_is_read_with_the_english_one(reader):
    assert [reader.model_for(tag) for tag in ("de", "de-AT", "it", "xx")] == ["deu", "deu", "eng", "eng"]


def test_without_the_program_the_error_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="apt-get install tesseract-ocr"):
        Tesseract()


def test_it_reads_beside_the_model_only_what_is_to_be_read(reader, ask, tmp_path):
    results, _ = ask(sets=["shape"], beside="tesseract")
    assert not results.sets[0].beside
    assert read_rows(tmp_path / "run" / "tesseract.jsonl") == []


def test_answers_that_go_in_circles_end_as_in_a_conversation(ask, pipe, monkeypatch):
    asked = []
    submit = pipe.engine.submit
    monkeypatch.setattr(
        pipe.engine,
        "submit",
        lambda inputs, config, **more: asked.append(config) or submit(inputs, config, **more),
    )
    ask(count=1)
    assert {config.repetition_ngram_threshold for config in asked} == {20}
    asked.clear()
    with pytest.raises(ConfigError, match="loop_guard"):
        ask(count=2, loop_guard=False)
    assert not asked
