"""Constrained answers of whole engines: batches, streams, sampling, stop rules and log-probabilities."""

import json
import re

import jsonschema_rs
import pytest
import torch

from internvl.errors import MissingDependencyError, RequestError
from internvl.types import GenerationConfig
from tiny_engines import FAMILIES, picture, tiny_engine, tiny_parts

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["cat", "dog", "größer"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
REGEX = r"[a-c]{2,5}-[0-9]{3}"
CHOICES = ("yes", "no", "maybe not")

GREEDY = GenerationConfig(max_new_tokens=400)
SAMPLED = GREEDY.replace(do_sample=True, temperature=2.0, top_k=0, random_seed=7)
FORMATS = ({"json_schema": SCHEMA}, {"regex": REGEX}, {"choice": CHOICES})


def ask(text, *pictures):
    parts = [{"type": "image", "image": image, "max_tiles": 1} for image in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def fits(text, wanted):
    if "json_schema" in wanted:
        return jsonschema_rs.is_valid(SCHEMA, json.loads(text))
    return bool(re.fullmatch(REGEX, text)) if "regex" in wanted else text in CHOICES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_has_its_format(family):
    prompts = [ask("Hello"), ask("Who is this?", picture(seed=1))]
    with tiny_engine(family) as engine:
        for wanted in FORMATS:
            for config in (GREEDY, SAMPLED):
                for response in engine.generate(prompts, config.replace(**wanted)):
                    assert response.finish_reason == "stop", response.error_message
                    assert fits(response.text, wanted), response.text


@pytest.mark.parametrize("family", ["qwen2", "internlm2"])
def test_constrained_and_free_answers_in_a_batch_are_as_each_alone(family):
    prompts = [ask(f"Question {n}") for n in range(5)]
    free = SAMPLED.replace(max_new_tokens=12, ignore_eos=True)
    configs = [*(SAMPLED.replace(**wanted) for wanted in FORMATS), free, GREEDY.replace(regex=REGEX)]
    with tiny_engine(family) as engine:
        together = engine.generate(prompts, configs)
        alone = [engine.generate([p], c)[0] for p, c in zip(prompts, configs, strict=True)]
    assert [r.token_ids for r in together] == [r.token_ids for r in alone]
    assert [r.text for r in together] == [r.text for r in alone]


def test_a_preempted_answer_goes_on_in_its_format():
    long = SAMPLED.replace(regex="([a-c]-[0-9]{2} ){20}", max_new_tokens=200)
    configs = [long, long.replace(random_seed=8), SAMPLED.replace(json_schema=SCHEMA)]
    prompts = [ask(f"Question {n}") for n in range(3)]

    def read(engine, requests):
        return ["".join(delta.text for delta in engine.stream(request)) for request in requests]

    with tiny_engine(max_batch_size=2) as engine:
        alone = [read(engine, [engine.submit(p, c)])[0] for p, c in zip(prompts, configs, strict=True)]
        requests = [engine.submit(p, c) for p, c in zip(prompts[:2], configs, strict=False)]
        begun = [request.deltas.get().text for request in requests]
        requests.append(engine.submit(prompts[2], configs[2], priority=1))
        rest = read(engine, requests)
        assert engine.stats().counters.preemptions > 0
    assert [a + b for a, b in zip([*begun, ""], rest, strict=True)] == alone


def test_each_of_n_answers_has_the_format_and_its_own_seed():
    with tiny_engine() as engine:
        several = engine.generate([ask("Hi")], SAMPLED.replace(json_schema=SCHEMA, n=4))
        second = engine.generate([ask("Hi")], SAMPLED.replace(json_schema=SCHEMA, random_seed=8))[0]
    assert all(fits(response.text, FORMATS[0]) for response in several)
    assert len({response.text for response in several}) > 1
    assert several[1].text == second.text


@pytest.mark.parametrize("family", FAMILIES)
def test_the_streamed_pieces_are_the_whole_answer(family):
    config = SAMPLED.replace(json_schema=SCHEMA)
    with tiny_engine(family) as engine:
        whole = engine.generate([ask("Hi")], config)[0]
        pieces = list(engine.stream(engine.submit(ask("Hi"), config)))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert sum((piece.token_ids for piece in pieces), []) == whole.token_ids
    assert len(pieces) > 3


def test_a_finished_format_ends_the_answer_without_a_stop_token():
    with tiny_engine() as engine:
        response = engine.generate([ask("Hi")], GREEDY.replace(choice=["yes"]))[0]
        stop = engine.processor.stop_token_ids
    assert (response.text, response.finish_reason) == ("yes", "stop")
    assert not set(stop) & set(response.token_ids)


def test_the_length_ends_an_unfinished_answer():
    with tiny_engine() as engine:
        response = engine.generate([ask("Hi")], GREEDY.replace(regex="(ab){50}", max_new_tokens=7))[0]
    assert (response.finish_reason, response.generate_token_len) == ("length", 7)
    assert "(ab){50}".startswith(response.text) or ("ab" * 50).startswith(response.text)


def test_log_probabilities_are_the_models_own_not_those_after_the_mask():
    model, _ = tiny_parts("qwen2")
    with tiny_engine("qwen2") as engine:
        inputs = engine.prepare(ask("Hi"))
        response = engine.generate([inputs], GREEDY.replace(regex="[0-9]{4}", logprobs=3))[0]
    ids = inputs.input_ids.tolist()
    with torch.inference_mode():
        for token, said in zip(response.token_ids, response.logprobs, strict=True):
            expected = model(torch.tensor([ids]))[0, -1].log_softmax(dim=0)
            assert said.token_id == token
            assert said.logprob == pytest.approx(float(expected[token]), abs=1e-4)
            assert said.top[0][0] == int(expected.argmax())
            ids.append(token)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_is_shown_as_it_was_checked(family):
    """Neither trimmed, nor tidied, nor cut where the family's stop token stands spelled out."""
    stop = tiny_parts(family)[1].template.stop_tokens[0]
    for text in (" a  b , c ?  ", f"x{stop}y", "don 't\n\n", "<ref>a</ref>"):
        with tiny_engine(family) as engine:
            assert engine.generate([ask("Hi")], GREEDY.replace(choice=[text]))[0].text == text


def test_the_requests_own_stop_words_still_end_the_answer():
    with tiny_engine() as engine:
        config = GREEDY.replace(choice=["one two three"], stop_words=(" t",))
        response = engine.generate([ask("Hi")], config)[0]
    assert (response.text, response.finish_reason) == ("one", "stop")


def test_without_a_stop_token_an_answer_goes_on_as_far_as_its_format():
    with tiny_engine() as engine:
        config = GREEDY.replace(regex="a{1,5}", ignore_eos=True)
        assert engine.generate([ask("Hi")], config)[0].text == "aaaaa"


def test_no_stop_token_comes_before_the_least_length():
    with tiny_engine() as engine:
        config = GREEDY.replace(regex="[0-9]*", min_new_tokens=9, max_new_tokens=9)
        response = engine.generate([ask("Hi")], config)[0]
    assert (response.generate_token_len, response.finish_reason) == (9, "length")


def test_an_answer_that_cannot_go_on_fails_alone():
    with tiny_engine() as engine:
        stuck = GREEDY.replace(choice=["yes"], bad_words=("y", "ye", "yes"))
        fine = GREEDY.replace(choice=["no"])
        failed, answered = engine.generate([ask("A"), ask("B")], [stuck, fine])
    assert failed.finish_reason == "error"
    assert "forbidden" in failed.error_message
    assert answered.text == "no"


def test_what_cannot_be_followed_is_refused_before_anything_is_computed():
    with tiny_engine() as engine:
        with pytest.raises(RequestError, match="uniqueItems"):
            engine.submit(ask("Hi"), GREEDY.replace(json_schema={"type": "array", "uniqueItems": True}))
        assert engine.stats().num_waiting == engine.stats().num_running == 0
        responses = engine.generate([ask("A"), ask("B")], [GREEDY.replace(regex="(a"), GREEDY])
    assert [response.finish_reason == "error" for response in responses] == [True, False]


def test_the_loop_guard_watches_constrained_answers_too():
    with tiny_engine() as engine:
        guarded = GREEDY.replace(regex="(ab)*c", bad_words=("c",), repetition_ngram_size=4)
        response = engine.generate([ask("Hi")], guarded.replace(repetition_ngram_threshold=5))[0]
    assert response.finish_reason == "repetition"
    assert response.text.startswith("ababab")


def test_only_constrained_answers_need_the_library(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "llguidance", None)
    with tiny_engine() as engine:
        assert engine.generate([ask("Hi")], GREEDY.replace(max_new_tokens=3))[0].error_message is None
        with pytest.raises(MissingDependencyError, match="structured"):
            engine.submit(ask("Hi"), GREEDY.replace(regex="a"))
