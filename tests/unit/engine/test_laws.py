"""The law of the engine: an answer is what the plain loop gives, whoever else asks, comes, goes or is in the way."""

import queue
import threading
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from internvl.engine.answer import Answer
from internvl.engine.candidates import find_candidates
from internvl.engine.runner import Runner
from internvl.engine.sampler import Sampler
from internvl.nn.kv_cache import KVCache
from internvl.types import GenerationConfig
from tiny_engines import picture, tiny_engine, tiny_parts

GREEDY = GenerationConfig(max_new_tokens=24, ignore_eos=True)
SAMPLED = GREEDY.replace(do_sample=True, temperature=2.0, random_seed=5)
CONFIGS = (
    GREEDY,
    GREEDY.replace(max_new_tokens=3),
    SAMPLED,
    SAMPLED.replace(random_seed=9, repetition_penalty=1.3, n=2),
)


def conversations():
    """Equal beginnings, equal pictures, pictures in several places, and prompts of one line."""
    small, wide, other = picture(60, 60, seed=1), picture(120, 60, seed=2), picture(60, 60, seed=3)

    def ask(*parts):
        return [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": part}
                    if isinstance(part, str)
                    else {"type": "image", "image": part}
                    for part in parts
                ],
            }
        ]

    asked = ask(small, "What is it?")
    return [
        ask("Hi"),
        ask("A long question about many things, " * 3),
        ask("A long question about many things, " * 3 + "and one more"),
        asked,
        ask(small, "What is it not?"),
        ask(wide, small, "Compare."),
        ask(other, "What is it?"),
        [*asked, {"role": "assistant", "content": "A thing."}, *ask("And this?", other)],
    ]


@cache
def prompts(family):
    _, processor = tiny_parts(family)
    return [processor(messages) for messages in conversations()]


@cache
@torch.inference_mode()
def plain_answer(family, prompt, config, choice):
    """Whole prompt at once, then token by token in a cache that nobody shares; the reference of all laws."""
    model, _ = tiny_parts(family)
    inputs, gen_config = prompts(family)[prompt], CONFIGS[config]
    images = None if inputs.pixel_values is None else model.image_embeds(inputs.pixel_values)
    embeds = model.merge(inputs.input_ids[None], images)
    rows = KVCache.allocate(model.config.text, batch_size=1, max_length=600, dtype=torch.float32)
    sampler = Sampler(gen_config, seed=(gen_config.random_seed or 0) + choice)
    answer = []
    for _ in range(gen_config.max_new_tokens):
        logits = model.decoder.lm_head(model.decoder(embeds, kv_cache=rows)[:, -1])
        candidates = find_candidates(logits, [sampler.num_candidates])
        answer.append(sampler.choose(logits, candidates, answer))
        embeds = model.text_embeds(torch.tensor([answer[-1:]]))
    return answer


@pytest.mark.parametrize("family", ["qwen2", "gpt_oss"])
def test_the_plain_loop_is_the_uncached_model(family):
    model, _ = tiny_parts(family)
    inputs = prompts(family)[5]
    ids = inputs.input_ids.tolist()
    with torch.inference_mode():
        for token in plain_answer(family, 5, 0, 0):
            assert int(model(torch.tensor([ids]), inputs.pixel_values)[0, -1].argmax()) == token
            ids.append(token)


class Stepped:
    """An engine whose steps the test takes itself, so that what happens between two of them is repeatable."""

    def __init__(self, family, **options):
        self.engine = tiny_engine(family, **options)
        self.worker = self.engine._worker
        self.worker._thread = threading.current_thread()

    def step(self):
        with torch.inference_mode():
            if self.worker.num_open and self.worker._receive():
                self.worker._turn()


arrivals = st.fixed_dictionaries(
    {
        "prompt": st.integers(0, len(conversations()) - 1),
        "config": st.integers(0, len(CONFIGS) - 1),
        "priority": st.integers(0, 1),
        "user": st.sampled_from("xy"),
        "salt": st.sampled_from([None, None, "pepper"]),
        "at": st.integers(0, 40),
        "abort": st.none() | st.none() | st.integers(1, 60),
    }
)


def check(family, requests, **options):
    stepped = Stepped(family, session_len=400, **options)
    engine, open_requests, answers = stepped.engine, [], {}
    for step in range(3000):
        for each in (each for each in requests if each["at"] == step):
            request = engine.submit(
                prompts(family)[each["prompt"]],
                CONFIGS[each["config"]],
                priority=each["priority"],
                user=each["user"],
                cache_salt=each.get("salt"),
            )
            open_requests.append((each, request))
        for each, request in open_requests:
            if each["abort"] == step:
                request.abort()
        stepped.step()
        if step > 40 and not stepped.worker.num_open:
            break
    else:
        pytest.fail("it does not end")
    for number, (each, request) in enumerate(open_requests):
        while not request.deltas.empty():
            delta = request.deltas.get()
            key = number, delta.choice
            answers[key] = answers[key].extend(delta) if key in answers else delta
        for choice in range(request.gen_config.n):
            found = answers[number, choice]
            expected = plain_answer(family, each["prompt"], each["config"], choice)
            if found.finish_reason == "abort":
                assert each["abort"] is not None
                expected = expected[: found.generate_token_len]
            else:
                assert found.finish_reason == "length"
            assert found.token_ids == expected, each
    stats = engine.stats()
    assert (stats.num_used_blocks, stats.num_running, stats.num_waiting) == (0, 0, 0)
    assert sorted(engine._scheduler._free_rows) == list(range(stats.num_rows))
    assert all(not request.pictures for _, request in open_requests)
    return stats


PRESSURE = {
    "max_batch_size": st.integers(1, 6),
    # 400 tokens are 25 blocks; the prompts take up to 14
    "cache_max_tokens": st.sampled_from([400, 480, 2400]),
    "prefill_chunk_tokens": st.sampled_from([7, 32, 1024]),
    "vision_batch_size": st.integers(1, 3),
    "vision_cache_bytes": st.sampled_from([0, 2000, 2**20]),
    "enable_prefix_caching": st.booleans(),
}


@settings(max_examples=6, deadline=None)
@given(requests=st.lists(arrivals, min_size=1, max_size=8), options=st.fixed_dictionaries(PRESSURE))
def test_answers_do_not_depend_on_arrivals_aborts_priorities_or_memory(requests, options):
    check("qwen2", requests, **options)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2", "qwen3_moe", "internlm2", "phi3", "gpt_oss"])
@settings(max_examples=40, deadline=None)
@given(requests=st.lists(arrivals, min_size=4, max_size=16), options=st.fixed_dictionaries(PRESSURE))
def test_the_same_in_every_family_and_with_more_of_all(family, requests, options):
    check(family, requests, **options)


@pytest.mark.parametrize("family", ["qwen2", "internlm2", "phi3", "gpt_oss"])
def test_a_preempted_answer_goes_on_as_if_nothing_had_happened(family):
    asked = {"user": None, "abort": None}
    requests = [
        {"prompt": 5, "config": 2, "priority": 0, "at": 0, **asked},
        {"prompt": 6, "config": 0, "priority": 0, "at": 0, **asked},
        {"prompt": 1, "config": 3, "priority": 1, "at": 18, **asked},
    ]
    for reuse in (True, False):
        options = {"max_batch_size": 2, "enable_prefix_caching": reuse, "vision_cache_bytes": 0}
        stats = check(family, requests, **options)
        assert stats.counters.preemptions > 0
        # what was encoded for a prompt stays as long as the request
        shown = {picture for each in (5, 6) for picture in pictures_of(family, each)}
        assert stats.counters.tiles_encoded == sum(count for _, count in shown)


def pictures_of(family, prompt):
    return [(media.content_hash, media.num_tiles) for media in prompts(family)[prompt].media]


def generate_with(family, monkeypatch, owner, name, fault):
    """Answer three prompts together while what `fault` finds in a call's arguments makes that call fail."""
    chosen = (3, 6, 0)
    original = getattr(owner, name)

    def faulty(*args, **kwargs):
        if fault(*args, **kwargs):
            raise RuntimeError("this cannot be computed")
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, faulty)
    with tiny_engine(family, vision_batch_size=8) as engine:
        responses = engine.generate([prompts(family)[prompt] for prompt in chosen], GREEDY)
        stats = engine.stats()
    assert stats.counters.failures == 1
    assert stats.num_used_blocks == 0
    return {prompt: response for prompt, response in zip(chosen, responses, strict=True)}


def test_a_picture_that_cannot_be_encoded_harms_only_those_who_show_it(monkeypatch):
    model, _ = tiny_parts("qwen2")
    hostile = prompts("qwen2")[6].pixel_values[0]
    found = generate_with(
        "qwen2",
        monkeypatch,
        model,
        "image_embeds",
        lambda tiles: any(torch.equal(tile, hostile) for tile in tiles),
    )
    assert found[6].finish_reason == "error"
    assert found[6].error_message == "this cannot be computed"
    for prompt in (3, 0):
        assert found[prompt].token_ids == plain_answer("qwen2", prompt, 0, 0)


def test_a_sequence_that_cannot_be_computed_harms_nobody_in_its_step(monkeypatch):
    """It fails in the middle of its answer, in a call that computes all three."""

    def fault(_, chunks):
        return any(
            len(each.generation.prompt_ids) + 5 == each.start and each.generation.request.index == 1
            for each in chunks
        )

    found = generate_with("qwen2", monkeypatch, Runner, "compute", fault)
    assert found[6].finish_reason == "error"
    assert found[6].token_ids == plain_answer("qwen2", 6, 0, 0)[:6]
    for prompt in (3, 0):
        assert found[prompt].token_ids == plain_answer("qwen2", prompt, 0, 0)


def test_the_answers_of_one_request_share_the_blocks_of_their_prompt():
    config = SAMPLED.replace(n=4)
    inputs = prompts("qwen2")[5]
    for reuse in (True, False):
        with tiny_engine("qwen2", enable_prefix_caching=reuse) as engine:
            responses = engine.generate([inputs], config)
            counters = engine.stats().counters
        full = (len(inputs.input_ids) - 1) // 16 * 16
        assert counters.prefix_hit_tokens == 3 * full
        assert counters.tiles_encoded == len(inputs.pixel_values)
        assert [response.usage.cached_tokens for response in responses].count(0) == 1
        assert len({tuple(response.token_ids) for response in responses}) == 4


def cached(engine, prompt, **options):
    """Tokens and pictures of an answer that were computed before."""
    request = engine.submit(prompts("qwen2")[prompt], GREEDY, **options)
    usage = [delta for delta in engine.stream(request)][-1].usage
    return usage.cached_tokens, usage.cached_media


def test_only_requests_of_one_salt_share_what_was_computed():
    with tiny_engine("qwen2") as engine:
        first = {salt: cached(engine, 5, cache_salt=salt) for salt in (None, "a", "b", "None", "")}
        assert set(first.values()) == {(0, 0)}
        full = (len(prompts("qwen2")[5].input_ids) - 1) // 16 * 16
        for salt in (None, "a", "b", "None", ""):
            assert cached(engine, 5, cache_salt=salt) == (full, 2)
        assert cached(engine, 5) == (full, 2)


def test_salts_keep_requests_apart_that_run_together():
    inputs = prompts("qwen2")[5]
    stepped = Stepped("qwen2", vision_batch_size=8)
    engine = stepped.engine
    requests = [engine.submit(inputs, GREEDY, cache_salt=salt) for salt in ("a", "b", "a", None)]
    while stepped.worker.num_open:
        stepped.step()
    assert engine.stats().counters.tiles_encoded == 3 * len(inputs.pixel_values)
    hits = []
    for request in requests:
        deltas = [request.deltas.get() for _ in range(request.deltas.qsize())]
        assert [token for delta in deltas for token in delta.token_ids] == plain_answer("qwen2", 5, 0, 0)
        hits.append((deltas[-1].usage.cached_tokens > 0, deltas[-1].usage.cached_media > 0))
    assert hits == [(False, False), (False, False), (True, True), (False, False)]


def test_the_answers_of_one_request_share_their_prompt_whatever_its_salt():
    with tiny_engine("qwen2") as engine:
        request = engine.submit(prompts("qwen2")[5], SAMPLED.replace(n=3), cache_salt="a")
        for _ in engine.stream(request):
            pass
        assert engine.stats().counters.tiles_encoded == len(prompts("qwen2")[5].pixel_values)
        assert engine.stats().counters.prefix_hit_tokens > 0


def break_for_short_answers(monkeypatch, owner, name):
    original = getattr(owner, name)

    def faulty(self, *args):
        if self._gen.max_new_tokens == 3:
            raise KeyError("a bug")
        return original(self, *args)

    monkeypatch.setattr(owner, name, faulty)


@pytest.mark.parametrize(
    "places", [[(Sampler, "choose")], [(Answer, "push")], [(Answer, "push"), (Answer, "finish")]]
)
def test_a_bug_in_one_answers_text_harms_only_that_answer(monkeypatch, places):
    for owner, name in places:
        break_for_short_answers(monkeypatch, owner, name)
    with tiny_engine("qwen2") as engine:
        good, bad = engine.generate([prompts("qwen2")[0]] * 2, [GREEDY, GREEDY.replace(max_new_tokens=3)])
        assert engine.generate([prompts("qwen2")[1]], GREEDY)[0].token_ids == plain_answer("qwen2", 1, 0, 0)
    assert bad.finish_reason == "error"
    assert "a bug" in bad.error_message
    assert good.token_ids == plain_answer("qwen2", 0, 0, 0)


def test_a_listener_that_is_gone_ends_his_request_only():
    class Gone(queue.SimpleQueue):
        def put(self, item):
            raise RuntimeError("Event loop is closed")

    with tiny_engine("qwen2") as engine:
        engine.submit(prompts("qwen2")[0], GREEDY.replace(max_new_tokens=300), deltas=Gone())
        assert engine.generate([prompts("qwen2")[1]], GREEDY)[0].token_ids == plain_answer("qwen2", 1, 0, 0)
        assert engine.stats().num_running == 0
        assert engine.stats().counters.aborts == 1
