"""A batch job answers every line once, whatever happens in between, and says what failed."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter

import pytest

from internvl.chat.batch import JobFailed, Reply, Stopped, run_batch
from internvl.chat.batch_engine import EngineAsker
from internvl.chat.batch_files import Answers, BatchError, Requests
from internvl.errors import CapacityError, MediaError
from internvl.types import GenerationConfig
from tiny_engines import tiny_engine


def request(custom_id, **body):
    body = {"messages": [{"role": "user", "content": custom_id}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


@pytest.fixture
def files(tmp_path):
    """Write requests; return the paths of requests and answers."""

    def write(*rows):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / "in.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return tmp_path / "in.jsonl", tmp_path / "out.jsonl"

    return write


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_id(path):
    found = rows(path)
    assert len({row["id"] for row in found}) == len(found)
    return {row["custom_id"]: row for row in found}


def echo(asked):
    text = asked.body["messages"][0]["content"]
    return Reply(200, {"text": text, "usage": {"prompt_tokens": 2, "completion_tokens": len(text)}})


def test_every_request_is_answered_in_openais_form(files):
    source, target = files(*[request(f"r{n}") for n in range(20)])
    progress = run_batch(source, target, echo, num_open=4)
    answers = by_id(target)
    assert set(answers) == {f"r{n}" for n in range(20)}
    for custom_id, row in answers.items():
        assert list(row) == ["id", "custom_id", "response", "error"]
        assert row["error"] is None
        assert list(row["response"]) == ["status_code", "request_id", "body"]
        assert row["response"]["status_code"] == 200
        assert row["response"]["body"]["text"] == custom_id
    assert (progress.total, progress.done, progress.failed, progress.complete) == (20, 20, 0, True)
    assert (progress.prompt_tokens, progress.completion_tokens) == (40, sum(len(f"r{n}") for n in range(20)))


def test_many_are_open_at_once_but_not_more_than_asked_for(files):
    source, target = files(*[request(f"r{n}") for n in range(12)])
    together, most, lock = threading.Barrier(3, timeout=30), [], threading.Lock()
    running = Counter()

    def ask(asked):
        with lock:
            running["now"] += 1
            most.append(running["now"])
        together.wait()  # passes only if three are open
        with lock:
            running["now"] -= 1
        return echo(asked)

    run_batch(source, target, ask, num_open=3)
    assert max(most) == 3


def test_lines_that_fail_are_answered_with_their_error_and_the_others_go_on(files):
    def ask(asked):
        if asked.custom_id == "media":
            raise MediaError("a.png is no picture")
        if asked.custom_id == "bug":
            raise ZeroDivisionError("secret")
        return echo(asked)

    nameless = {key: value for key, value in request("x").items() if key != "custom_id"}
    source, target = files(
        request("good"),
        request("media"),
        request("bug"),
        "{broken",
        "",
        "[1]",
        nameless,
        {**request("method"), "method": "GET"},
        {**request("url"), "url": 5},
        {"custom_id": "body", "method": "POST", "url": "/v1/chat/completions"},
        '{"custom_id": "nan", "body": NaN}',
    )
    progress = run_batch(source, target, ask)
    assert (progress.total, progress.done, progress.failed) == (10, 10, 9)
    found = rows(target)
    named = {row["custom_id"]: row for row in found if row["custom_id"] is not None}
    assert set(named) == {"good", "media", "bug", "method", "url", "body"}
    assert named["good"]["error"] is None
    assert "a.png is no picture" in named["media"]["error"]["message"]
    assert named["media"]["response"]["status_code"] == 400
    assert named["bug"]["response"]["status_code"] == 500
    assert "secret" not in json.dumps(named["bug"])
    assert named["url"]["response"]["body"]["error"]["param"] == "url"
    assert sorted(row["error"]["line"] for row in found if row["custom_id"] is None) == [4, 6, 7, 11]


def test_what_is_answered_is_not_asked_again(files):
    source, target = files(*[request(f"r{n}") for n in range(6)], "{broken")
    asked = []

    def ask(one):
        asked.append(one.custom_id)
        if one.custom_id == "r3":
            raise MediaError("no")
        return echo(one)

    assert run_batch(source, target, ask).failed == 2
    before = target.read_bytes()
    again = run_batch(source, target, ask)
    assert target.read_bytes() == before
    assert sorted(asked) == [f"r{n}" for n in range(6)]
    assert (again.answered_before, again.done, again.failed, again.complete) == (7, 7, 2, True)
    assert run_batch(source, target, ask, retry_failed=True).failed == 2
    assert Counter(asked)["r3"] == 2
    assert len(asked) == 7
    assert len(rows(target)) == 7
    assert run_batch(source, target, echo, retry_failed=True).failed == 1  # the broken line stays broken


@pytest.mark.parametrize("cut", [1, 2, 30, 10_000])
def test_a_torn_last_line_is_asked_again_and_nothing_else(files, cut):
    source, target = files(*[request(f"r{n}") for n in range(4)])
    run_batch(source, target, echo, num_open=1)
    data = target.read_bytes()
    lines = data.splitlines(keepends=True)
    target.write_bytes(b"".join(lines[:-1]) + lines[-1][: max(1, len(lines[-1]) - cut)])
    asked = []
    progress = run_batch(source, target, lambda one: asked.append(one.custom_id) or echo(one))
    assert progress.complete
    assert asked == ([] if cut == 1 else ["r3"])  # without its end the line is still whole
    assert set(by_id(target)) == {f"r{n}" for n in range(4)}


def test_bytes_of_a_crashed_disk_at_the_end_are_a_torn_line(files):
    source, target = files(request("a"), request("b"))
    run_batch(source, target, echo, num_open=1)
    first = target.read_bytes().splitlines(keepends=True)[0]
    for tail in (b"\0" * 40, b"\0\0\n", b"\xff\xfe"):
        target.write_bytes(first + tail)
        assert run_batch(source, target, echo).complete
        assert set(by_id(target)) == {"a", "b"}


CHILD = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from internvl.chat.batch import Reply, run_batch
    def ask(asked):
        time.sleep(0.01)
        return Reply(200, {"text": asked.custom_id * 50})
    run_batch(Path(sys.argv[1]), Path(sys.argv[2]), ask, num_open=4)
    """
)


def test_a_killed_job_goes_on_where_it_was_and_loses_nothing(files):
    source, target = files(*[request(f"r{n}") for n in range(400)])
    sizes = [0]
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(source), str(target)])
        while child.poll() is None and (not target.exists() or target.stat().st_size < sizes[-1] + 20_000):
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        sizes.append(target.stat().st_size)
    done = {row["custom_id"] for row in rows(target)[:-1]}
    asked = []
    progress = run_batch(source, target, lambda one: asked.append(one.custom_id) or echo(one))
    assert progress.complete
    assert not done & set(asked)
    assert len(asked) < 400
    assert Counter(row["custom_id"] for row in rows(target)) == {f"r{n}": 1 for n in range(400)}


def test_a_stopped_job_keeps_what_it_has_and_aborts_the_rest(files):
    source, target = files(*[request(f"r{n}") for n in range(10)])
    stop, aborted = threading.Event(), threading.Event()

    def ask(asked):
        if asked.custom_id in ("r0", "r1"):
            return echo(asked)
        stop.set()
        assert aborted.wait(30)
        raise Stopped

    progress = run_batch(source, target, ask, num_open=1, stop=stop, abort=aborted.set)
    assert not progress.complete
    assert set(by_id(target)) == {"r0", "r1"}
    assert progress.failed == 0
    assert run_batch(source, target, echo).complete


def test_ctrl_c_keeps_what_there_is_and_goes_to_the_caller(files):
    source, target = files(*[request(f"r{n}") for n in range(10)])
    aborted = threading.Event()

    def ask(asked):
        if asked.custom_id != "r0":
            assert aborted.wait(30)
            raise Stopped
        return echo(asked)

    def interrupt(progress):
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(source, target, ask, num_open=3, on_progress=interrupt, abort=aborted.set)
    assert set(by_id(target)) == {"r0"}


def test_when_nothing_can_be_answered_any_more_the_job_ends_without_blaming_its_lines(files):
    def ask(asked):
        raise JobFailed("the engine has ended")

    source, target = files(request("a"), request("b"))
    with pytest.raises(JobFailed):
        run_batch(source, target, ask)
    assert target.read_bytes() == b""


def test_ids_that_come_twice_are_refused_before_anything_is_asked(files):
    source, target = files(request("a"), request("b"), request("a"))
    with pytest.raises(BatchError, match="lines 1 and 3 have the same custom_id 'a'"):
        run_batch(source, target, echo)
    assert not target.exists()


def test_files_that_cannot_be_those_of_this_batch_are_refused(files, tmp_path):
    source, target = files(request("a"))
    with pytest.raises(BatchError, match="cannot be read"):
        run_batch(tmp_path / "none.jsonl", target, echo)
    with pytest.raises(BatchError, match="overwrite"):
        run_batch(source, source, echo)
    with pytest.raises(BatchError, match="cannot be written"):
        run_batch(source, tmp_path / "no" / "out.jsonl", echo)
    answer = json.dumps({"id": "x", "custom_id": "z", "response": {"status_code": 200}, "error": None})
    target.write_text(answer + "\n")
    with pytest.raises(BatchError, match="line 1 answers 'z', which is not asked for"):
        run_batch(source, target, echo)
    target.write_text("notes of mine\nmore\n")
    with pytest.raises(BatchError, match="line 1 is no answer"):
        run_batch(source, target, echo)
    assert target.read_text() == "notes of mine\nmore\n"
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(BatchError, match="no requests"):
        run_batch(tmp_path / "empty.jsonl", target, echo)


def test_two_jobs_cannot_write_one_file(files):
    source, target = files(request("a"))
    with Answers.open(target, Requests(source)), pytest.raises(BatchError, match="another process"):
        run_batch(source, target, echo)


def test_an_answer_is_one_line_whatever_the_model_wrote(files):
    odd = "a\u2028b\u2029c\x85d\ud800e\nf\0 日本"
    source, target = files(request("a"))
    run_batch(source, target, lambda asked: Reply(200, {"text": odd}))
    (row,) = rows(target)
    assert row["response"]["body"]["text"] == odd
    assert "日本" in target.read_text(encoding="utf-8")


# -- with an engine


@pytest.fixture
def engine():
    with tiny_engine() as engine:
        yield engine


def test_an_engine_answers_a_batch_as_it_answers_alone(files, engine):
    plain = [request(f"Say {n}", max_tokens=8, temperature=0) for n in range(10)]
    source, target = files(*plain, request("two", n=2, seed=1, max_tokens=4, logprobs=True, top_logprobs=2))
    tokens = []
    asker = EngineAsker(engine, "tiny", on_tokens=tokens.append)
    progress = run_batch(source, target, asker, num_open=6)
    assert progress.failed == 0
    answers = by_id(target)
    for row in plain:
        alone = engine.generate([row["body"]["messages"]], GenerationConfig(max_new_tokens=8))[0].text
        body = answers[row["custom_id"]]["response"]["body"]
        assert body["choices"][0]["message"]["content"] == alone
        assert body["model"] == "tiny"
        assert body["usage"]["completion_tokens"] <= 8
    assert len(answers["two"]["response"]["body"]["choices"]) == 2
    assert sum(tokens) == progress.completion_tokens


def test_the_bodies_are_those_of_the_server(files, engine):
    schemas = pytest.importorskip("internvl.server.schemas.chat")
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    source, target = files(
        request("plain", max_tokens=4, logprobs=True, top_logprobs=1),
        request("tool", max_tokens=40, tools=[tool], tool_choice="required"),
    )
    assert run_batch(source, target, EngineAsker(engine, "tiny")).failed == 0
    for row in rows(target):
        body = row["response"]["body"]
        shown = schemas.ChatCompletion.model_validate(body).model_dump(exclude_unset=True)
        assert shown == body


def test_requests_that_cannot_be_answered_say_why(files, engine):
    long = "word " * 5000
    source, target = files(
        request("field", temprature=1),
        request("long", messages=[{"role": "user", "content": long}]),
        request("stream", stream=True),
        request("ids", stop_token_ids=[10**6]),
        {**request("url"), "url": "/v1/embeddings"},
        request("picture", messages=[{"role": "user", "content": [{"type": "image", "image": "none.png"}]}]),
    )
    assert run_batch(source, target, EngineAsker(engine, "tiny")).failed == 6
    answers = by_id(target)
    errors = {name: row["response"]["body"]["error"] for name, row in answers.items()}
    assert errors["field"]["param"] == "temprature"
    assert "Did you mean 'temperature'" in errors["field"]["message"]
    assert errors["long"]["code"] == "context_length_exceeded"
    assert answers["long"]["error"]["code"] == "context_length_exceeded"
    assert errors["stream"]["param"] == "stream"
    assert "ids are" in errors["ids"]["message"]
    assert "/v1/embeddings" in errors["url"]["message"]
    assert "none.png" in errors["picture"]["message"]


def test_a_full_engine_is_waited_for(files, engine, monkeypatch):
    submit, refused = engine.submit, []

    def full_at_first(*args, **options):
        if len(refused) < 3:
            refused.append(True)
            raise CapacityError("no room")
        return submit(*args, **options)

    monkeypatch.setattr(engine, "submit", full_at_first)
    source, target = files(request("a", max_tokens=2), request("b", max_tokens=2))
    assert run_batch(source, target, EngineAsker(engine, "tiny")).failed == 0
    assert len(refused) == 3


def test_an_engine_that_ends_ends_the_job(files):
    engine = tiny_engine()
    engine.close()
    source, target = files(request("a"), request("b"))
    with pytest.raises(JobFailed, match="engine has ended"):
        run_batch(source, target, EngineAsker(engine, "tiny"))
    assert target.read_bytes() == b""


def test_aborting_ends_open_answers_soon(files, engine):
    source, target = files(*[request(f"r{n}", ignore_eos=True, max_tokens=1500) for n in range(4)])
    stop = threading.Event()
    asker = EngineAsker(engine, "tiny", on_tokens=lambda count: stop.set())
    progress = run_batch(source, target, asker, stop=stop, abort=asker.abort)
    assert not progress.complete
    assert progress.failed == 0
