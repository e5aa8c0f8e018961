import threading

import pytest

from internvl.demo.answering import OpenAnswers
from internvl.errors import InternVLError, RequestError
from internvl.types import GenerationConfig
from tiny_engines import picture, tiny_engine

LONG = GenerationConfig(max_new_tokens=400, ignore_eos=True)


@pytest.fixture(scope="module")
def engine():
    with tiny_engine() as made:
        yield made


def question(text="What is it?"):
    return [
        {"role": "user", "content": [{"type": "image", "image": picture()}, {"type": "text", "text": text}]}
    ]


def test_the_answer_grows_to_what_the_engine_says(engine):
    config = GenerationConfig(max_new_tokens=12)
    (expected,) = engine.generate([question()], config)
    answers = OpenAnswers()
    texts = [whole.text for whole in answers.stream("w", lambda: engine, question, config)]
    assert texts[-1] == expected.text
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:], strict=False))
    assert answers.num_open == 0


def test_stop_ends_the_answers_of_its_window_only(engine):
    answers, ends = OpenAnswers(), {}

    def ask(window):
        for whole in answers.stream(window, lambda: engine, question, LONG):
            if whole.finish_reason is None and window == "mine":
                answers.stop("mine")
            ends[window] = whole.finish_reason, whole.generate_token_len

    threads = [threading.Thread(target=ask, args=(window,)) for window in ("mine", "theirs")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends["mine"][0] == "abort"
    assert ends["mine"][1] < 400
    assert ends["theirs"] == ("length", 400)
    assert answers.num_open == 0


def test_stop_before_the_pictures_are_open_submits_nothing(engine):
    answers = OpenAnswers()

    def loading():
        answers.stop("w")
        return engine

    before = engine.stats().counters
    (whole,) = answers.stream("w", loading, lambda: pytest.fail("opened"), LONG)
    assert (whole.text, whole.finish_reason) == ("", "abort")
    assert engine.stats().counters == before


def test_stop_while_the_pictures_are_opened_ends_the_answer(engine):
    answers = OpenAnswers()

    def opening():
        answers.stop("w")
        return question()

    *_, whole = answers.stream("w", lambda: engine, opening, LONG)
    assert whole.finish_reason == "abort"
    assert whole.generate_token_len < 400


def test_a_window_that_goes_away_frees_the_engine(engine):
    answers = OpenAnswers()
    stream = answers.stream("w", lambda: engine, question, LONG)
    next(stream)
    stream.close()
    assert answers.num_open == 0
    for _ in range(200):
        if not engine.stats().num_running:
            break
        threading.Event().wait(0.05)
    assert engine.stats().num_running == 0


def test_errors_come_out_and_leave_nothing_open(engine):
    answers = OpenAnswers()
    with pytest.raises(RequestError):
        list(answers.stream("w", lambda: engine, lambda: [{"role": "user", "content": 3}], LONG))

    def failing():
        raise InternVLError("no such model")

    with pytest.raises(InternVLError, match="no such model"):
        list(answers.stream("w", failing, question, LONG))
    assert answers.num_open == 0
