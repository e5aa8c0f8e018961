"""Laws of the engine, on tiny models of every kind of decoder."""

import threading
import time

import pytest
import torch

from internvl.engine.config import EngineConfig
from internvl.engine.engine import Engine
from internvl.errors import CapacityError, ContextLengthError, InternVLError, MediaError, RequestError
from internvl.types import GenerationConfig, ModelInputs
from tiny_engines import FAMILIES, picture, tiny_engine, tiny_parts

GREEDY = GenerationConfig(max_new_tokens=16, ignore_eos=True)
SAMPLED = GenerationConfig(max_new_tokens=16, ignore_eos=True, do_sample=True, temperature=2.0, random_seed=7)


def ask(text, *pictures, **limits):
    parts = [{"type": "image", "image": image, **limits} for image in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def mixed_prompts():
    """Text, one picture, several, different lengths."""
    return [
        ask("Hello"),
        ask("What is in the picture?", picture(seed=1)),
        ask("Compare.", picture(seed=2), picture(60, 200, seed=3)),
        ask("How many people are there? " * 6),
        ask("And now?", picture(300, 90, seed=4), max_tiles=3),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mixed_batch_answers_as_each_alone(family):
    prompts = mixed_prompts()
    configs = [GREEDY, SAMPLED, GREEDY, SAMPLED.replace(random_seed=8), SAMPLED.replace(top_p=0.7)]
    with tiny_engine(family, enable_prefix_caching=False) as engine:
        together = engine.generate(prompts, configs)
        alone = [engine.generate([p], c)[0] for p, c in zip(prompts, configs, strict=True)]
    assert [r.token_ids for r in together] == [r.token_ids for r in alone]
    assert [r.text for r in together] == [r.text for r in alone]
    assert [r.index for r in together] == [0, 1, 2, 3, 4]
    assert len({tuple(r.token_ids) for r in together}) == len(prompts)


# Dynamic NTK and longrope are left out: past their limit the rotation depends on what is prompt and what is
# answer, which an uncached pass cannot know (see nn.rope); the recorded answers test them.
@pytest.mark.parametrize("family", ["qwen2", "qwen3_moe", "gpt_oss"])
def test_cached_decoding_equals_the_uncached_model(family):
    model, _ = tiny_parts(family)
    with tiny_engine(family) as engine:
        inputs = engine.prepare(ask("Hi", picture(seed=5), max_tiles=1))
        response = engine.generate([inputs], GREEDY)[0]
    ids = inputs.input_ids.tolist()
    with torch.inference_mode():
        for token in response.token_ids:
            logits = model(torch.tensor([ids]), inputs.pixel_values)
            assert int(logits[0, -1].argmax()) == token
            ids.append(token)


@pytest.mark.parametrize("chunk", [5, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_in_chunks_answers_as_in_one_piece(family, chunk):
    prompts = mixed_prompts()[1:3]
    with tiny_engine(family) as whole, tiny_engine(family, prefill_chunk_tokens=chunk) as chunked:
        assert [r.token_ids for r in whole.generate(prompts, GREEDY)] == [
            r.token_ids for r in chunked.generate(prompts, GREEDY)
        ]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_next_turn_answers_the_same_with_and_without_reuse(family):
    first = ask("What is in the picture?", picture(seed=1))
    with tiny_engine(family) as reusing, tiny_engine(family, enable_prefix_caching=False) as fresh:
        answer = reusing.generate([first], GREEDY)[0].text
        second = [*first, {"role": "assistant", "content": answer}, *ask("Why?")]
        kept, computed = reusing.generate([second], GREEDY)[0], fresh.generate([second], GREEDY)[0]
    assert kept.token_ids == computed.token_ids
    assert kept.usage.vision_s == 0
    assert kept.usage.cached_media == 1
    assert computed.usage.cached_tokens == 0
    position_limit = tiny_parts(family)[0].decoder.rope.length_limit
    if position_limit is None or len(reusing.prepare(second).input_ids) <= position_limit:
        # at least the whole blocks of the picture and the question before it
        size = reusing.config.block_size
        assert kept.usage.cached_tokens >= (len(reusing.prepare(first).input_ids) - 8) // size * size


def test_an_equal_prompt_with_another_picture_reuses_nothing_of_the_picture():
    with tiny_engine() as engine, tiny_engine(enable_prefix_caching=False) as fresh:
        engine.generate([ask("What?", picture(seed=1))], GREEDY)
        other = ask("What?", picture(seed=2))
        reused = engine.generate([other], GREEDY)[0]
        assert reused.token_ids == fresh.generate([other], GREEDY)[0].token_ids
        inputs = engine.prepare(other)
        first_image_token = inputs.input_ids.tolist().index(engine.model.image_token_id)
        size = engine.config.block_size
        assert reused.usage.cached_tokens == first_image_token // size * size


def test_pictures_are_encoded_once_and_the_cache_is_bounded():
    prompt = ask("What?", picture(seed=1))
    with tiny_engine(enable_prefix_caching=False) as engine:
        first, second = (engine.generate([prompt], GREEDY)[0] for _ in range(2))
        assert first.usage.vision_s > 0
        assert second.usage.vision_s == 0
        assert (first.usage.cached_media, second.usage.cached_media) == (0, 1)
        assert (engine.stats().picture_hits, engine.stats().picture_misses) == (1, 1)
        assert engine.stats().cached_picture_bytes <= engine.config.vision_cache_bytes
    with tiny_engine(enable_prefix_caching=False, vision_cache_bytes=0) as engine:
        for _ in range(2):
            engine.generate([prompt], GREEDY)
        assert engine.stats().cached_pictures == 0
        assert engine.stats().picture_misses == 2


def test_a_picture_that_several_show_at_once_is_encoded_once():
    prompts = [ask(text, picture(seed=1)) for text in ("What?", "Who?", "Where?")]
    with tiny_engine(enable_prefix_caching=False, vision_cache_bytes=0) as engine:
        prepared = [engine.prepare(prompt) for prompt in prompts]
        responses = engine.generate(prepared, GREEDY.replace(max_new_tokens=300))
        tiles = responses[0].usage.media[0].num_tiles
        assert engine.stats().counters.tiles_encoded == tiles
        assert sorted(r.usage.cached_media for r in responses) == [0, 1, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_streamed_is_whole(family):
    config = SAMPLED.replace(max_new_tokens=60, logprobs=2)
    with tiny_engine(family) as engine:
        prompt = ask("Describe.", picture(seed=1))
        whole = engine.generate([prompt], config)[0]
        deltas = list(engine.stream(engine.submit(prompt, config)))
    assert "".join(delta.text for delta in deltas) == whole.text
    assert [i for delta in deltas for i in delta.token_ids] == whole.token_ids
    logprobs = [entry for delta in deltas for entry in delta.logprobs]
    assert [entry.token_id for entry in logprobs] == whole.token_ids
    assert [e.logprob for e in logprobs] == pytest.approx([e.logprob for e in whole.logprobs], abs=1e-4)
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason == whole.finish_reason == "length"
    assert len(deltas) > 5
    text = engine.processor.tokenizer.decode(whole.token_ids, engine.processor.skip_special_tokens)
    assert whole.text == text.strip()


def test_seeds_are_reproducible_and_differ():
    prompt = ask("Say something.")
    with tiny_engine() as engine:
        seeds = [SAMPLED.replace(random_seed=seed) for seed in (1, 2, 1, 3, 2)]
        a, b, c, d, e = (r.token_ids for r in engine.generate([prompt] * 5, seeds))
        assert a == c
        assert b == e
        assert a != b != d
        unseeded = SAMPLED.replace(random_seed=None)
        first, second = (engine.generate([prompt], unseeded)[0].token_ids for _ in range(2))
        assert first != second
    answers = []
    for _ in range(2):
        with tiny_engine(seed=5) as engine:
            answers.append([r.token_ids for r in engine.generate([prompt] * 2, unseeded)])
    assert answers[0] == answers[1]
    assert answers[0][0] != answers[0][1]


def test_n_answers_come_in_order_and_differ():
    prompts = [ask("One"), ask("Two", picture(seed=1))]
    with tiny_engine() as engine:
        responses = engine.generate(prompts, SAMPLED.replace(n=3))
        assert [(r.index, r.choice) for r in responses] == [(i, c) for i in (0, 1) for c in (0, 1, 2)]
        assert len({tuple(r.token_ids) for r in responses}) == 6
        single = engine.generate([prompts[1]], SAMPLED)[0]
        assert responses[3].token_ids == single.token_ids


def test_logprobs_are_of_the_models_own_distribution():
    with tiny_engine() as engine:
        cold = engine.generate([ask("Hi")], SAMPLED.replace(temperature=0.01, logprobs=3))[0]
        greedy = engine.generate([ask("Hi")], GREEDY.replace(logprobs=3))[0]
    assert cold.token_ids == greedy.token_ids
    for token_id, entry in zip(greedy.token_ids, greedy.logprobs, strict=True):
        assert entry.token_id == token_id == entry.top[0][0]
        assert entry.logprob == pytest.approx(entry.top[0][1])
        assert len(entry.top) == 3
        assert sum(2.718281828**logprob for _, logprob in entry.top) < 1 + 1e-5
    assert [p.logprob for p in cold.logprobs] == pytest.approx([p.logprob for p in greedy.logprobs])


def test_an_abort_ends_the_stream_and_frees_the_row():
    long = GREEDY.replace(max_new_tokens=900)
    with tiny_engine(max_batch_size=1) as engine:
        request = engine.submit(ask("Go on"), long)
        stream = engine.stream(request)
        next(stream)
        waiting = engine.submit(ask("Next"), GREEDY)
        engine.abort(request)
        rest = list(stream)
        assert rest[-1].finish_reason == "abort"
        assert rest[-1].generate_token_len < 900
        assert list(engine.stream(waiting))[-1].finish_reason == "length"


def test_an_abort_is_obeyed_between_two_tiles(monkeypatch):
    model, _ = tiny_parts()
    encode, calls, aborted = model.image_embeds, [], threading.Event()

    def wait_and_encode(tiles):
        calls.append(len(tiles))
        assert aborted.wait(10)
        return encode(tiles)

    monkeypatch.setattr(model, "image_embeds", wait_and_encode)
    with tiny_engine(vision_batch_size=1) as engine:
        request = engine.submit(ask("What?", picture(seed=1)), GREEDY)
        other = engine.submit(ask("Go on"), GREEDY)
        request.abort()
        aborted.set()
        assert [delta.finish_reason for delta in engine.stream(request)] == ["abort"]
        assert len(calls) <= 1
        assert list(engine.stream(other))[-1].finish_reason == "length"


def test_a_waiting_request_can_be_aborted_before_it_runs():
    with tiny_engine(max_batch_size=1) as engine:
        running = engine.submit(ask("Go on"), GREEDY.replace(max_new_tokens=400))
        waiting = engine.submit(ask("Next"), GREEDY)
        waiting.abort()
        assert [d.finish_reason for d in engine.stream(waiting)] == ["abort"]
        assert list(engine.stream(running))[-1].finish_reason == "length"


def test_leaving_a_stream_aborts_it():
    with tiny_engine(max_batch_size=1) as engine:
        for _ in engine.stream(engine.submit(ask("Go on"), GREEDY.replace(max_new_tokens=900))):
            break
        started = time.perf_counter()
        assert engine.generate([ask("Next")], GREEDY)[0].finish_reason == "length"
        assert time.perf_counter() - started < 5
        assert engine.stats().num_running == 0


def test_more_requests_than_rows_are_all_answered():
    prompts = [ask(f"Question {n}") for n in range(23)]
    with tiny_engine(max_batch_size=3) as engine:
        responses = engine.generate(prompts, GREEDY)
        assert [r.index for r in responses] == list(range(23))
        assert {r.finish_reason for r in responses} == {"length"}
        assert engine.stats().num_running == engine.stats().num_waiting == 0


def test_many_threads_get_their_own_answers():
    prompts = [ask(f"Question {n}") for n in range(12)]
    answers = {}
    with tiny_engine(max_batch_size=4) as engine:
        expected = [r.token_ids for r in engine.generate(prompts, GREEDY)]

        def one(n):
            deltas = engine.stream(engine.submit(prompts[n], GREEDY))
            answers[n] = [i for delta in deltas for i in delta.token_ids]

        threads = [threading.Thread(target=one, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [answers[n] for n in range(12)] == expected


def test_one_bad_prompt_of_a_batch_fails_alone(tmp_path):
    prompts = [ask("Fine"), ask("What?", str(tmp_path / "missing.png")), ask("Fine too")]
    with tiny_engine() as engine:
        good, bad, fine = engine.generate(prompts, GREEDY)
        assert (good.finish_reason, bad.finish_reason, fine.finish_reason) == ("length", "error", "length")
        assert "missing.png" in bad.error_message
        assert bad.index == 1
        with pytest.raises(MediaError, match="missing.png"):
            engine.submit(prompts[1], GREEDY)


def test_a_failure_inside_the_model_hits_its_request_only():
    with tiny_engine() as engine:
        broken = engine.prepare(ask("What?", picture(seed=1)))
        broken = ModelInputs(input_ids=broken.input_ids, pixel_values=broken.pixel_values[:1])
        good, bad = engine.generate([ask("Fine"), broken], GREEDY)
        assert good.finish_reason == "length"
        assert bad.finish_reason == "error"
        assert "image tokens" in bad.error_message
        with pytest.raises(RequestError, match="image tokens"):
            list(engine.stream(engine.submit(broken, GREEDY)))
        assert engine.generate([ask("Fine")], GREEDY)[0].token_ids == good.token_ids


def test_scores_that_are_no_numbers_are_an_error_not_an_answer():
    model, processor = tiny_parts()
    weight = model.decoder.norm.weight
    saved = weight.detach().clone()
    with Engine(model, processor, EngineConfig(session_len=512)) as engine:
        try:
            with torch.no_grad():
                weight.fill_(float("nan"))
            response = engine.generate([ask("Hi")], GREEDY)[0]
        finally:
            with torch.no_grad():
                weight.copy_(saved)
        assert response.finish_reason == "error"
        assert "float16" in response.error_message
        assert engine.generate([ask("Hi")], GREEDY)[0].finish_reason == "length"


def test_a_request_that_does_not_fit_is_refused_with_its_bill():
    with tiny_engine(session_len=300) as engine:
        prompt = ask("Compare.", picture(seed=1), picture(300, 90, seed=2))
        with pytest.raises(ContextLengthError) as caught:
            engine.submit(prompt, GREEDY.replace(max_new_tokens=299))
        bill = str(caught.value)
        for words in ("session_len is 300", "image 2, 300x90", "299  answer (max_new_tokens)", "max_tiles"):
            assert words in bill
        inputs = engine.prepare(ask("Hi"))
        room = 300 - len(inputs.input_ids)
        long = GREEDY.replace(max_new_tokens=512)
        fitted = engine.stream(engine.submit(inputs, long, fit_answer=True))
        assert list(fitted)[-1].generate_token_len == room
        assert engine.generate([inputs])[0].generate_token_len <= room


@pytest.mark.parametrize("name", ["stop_token_ids", "bad_token_ids"])
@pytest.mark.parametrize("token_id", [-1, 10**9])
def test_token_ids_that_the_model_does_not_have_are_refused(name, token_id):
    with (
        tiny_engine() as engine,
        pytest.raises(RequestError, match=f"{name} holds {token_id}; .* ids are 0 to"),
    ):
        engine.submit(ask("Hello"), GREEDY.replace(**{name: (token_id,)}))


def test_too_many_waiting_requests_are_refused_as_retryable():
    with tiny_engine(max_batch_size=1, max_waiting_requests=1) as engine:
        long = GREEDY.replace(max_new_tokens=600)
        open_requests = [engine.submit(ask(f"{n}"), long) for n in range(2)]
        with pytest.raises(CapacityError, match="2 answers are open .* 2 may be .*max_waiting_requests"):
            engine.submit(ask("3"), long)
        for request in open_requests:
            engine.abort(request)


def test_tiles_of_waiting_requests_have_a_bound_and_a_batch_waits_for_room():
    prompts = [ask("What?", picture(seed=seed)) for seed in range(6)]
    with tiny_engine(max_batch_size=1) as engine:
        expected = engine.generate(prompts, GREEDY)
    with tiny_engine(max_batch_size=1) as engine:
        running = engine.submit(ask("Go on"), GREEDY.replace(max_new_tokens=1800))
        one = engine.prepare(prompts[0])
        engine._worker._max_tile_bytes = 2 * one.pixel_values.nbytes
        waiting = [engine.submit(prompt, GREEDY) for prompt in prompts[:2]]
        with pytest.raises(CapacityError, match="pictures of open requests wait with .* try again later"):
            engine.submit(one, GREEDY)
        engine.submit(ask("No picture"), GREEDY)
        for request in (running, *waiting):
            engine.abort(request)
        assert [r.token_ids for r in engine.generate(prompts, GREEDY)] == [r.token_ids for r in expected]
        assert not waiting[0].pictures


def test_stats_count_what_was_done_and_what_was_not_needed():
    question = ask("What is in the picture?", picture(seed=1))
    with tiny_engine() as engine:
        before = engine.stats()
        first = engine.generate([question], GREEDY)[0]
        again = [*question, {"role": "assistant", "content": first.text}, *ask("Why?")]
        second = engine.generate([again], GREEDY)[0]
        stats = engine.stats()
        counters = stats.counters
    assert before.counters.steps == before.num_used_blocks == 0
    assert counters.requests_finished == 2
    assert counters.prompt_tokens == first.input_token_len + second.input_token_len
    assert counters.prefix_hit_tokens == second.usage.cached_tokens > 0
    assert counters.prefill_tokens == counters.prompt_tokens - counters.prefix_hit_tokens
    assert counters.decode_tokens == 2 * 15
    assert (stats.picture_hits, stats.picture_misses, stats.picture_hit_ratio) == (1, 1, 0.5)
    assert counters.tiles_encoded == first.usage.media[0].num_tiles
    assert counters.vision_s == pytest.approx(first.usage.vision_s)
    assert 0 < stats.prefix_hit_ratio < 1
    assert stats.kv_usage == 0
    assert stats.num_cached_blocks > 0
    assert (counters.aborts, counters.failures, counters.preemptions) == (0, 0, 0)


def test_closing_aborts_what_is_open_and_refuses_what_comes():
    engine = tiny_engine()
    request = engine.submit(ask("Go on"), GREEDY.replace(max_new_tokens=900))
    engine.close()
    engine.close()
    assert list(engine.stream(request))[-1].finish_reason == "abort"
    with pytest.raises(RequestError, match="closed"):
        engine.submit(ask("Hi"), GREEDY)


def test_an_engine_that_nobody_holds_ends_its_thread():
    engine = tiny_engine()
    engine.generate([ask("Hi")], GREEDY)
    worker = engine._worker._thread
    del engine
    worker.join(timeout=10)
    assert not worker.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_loop_reaches_everybody_who_waits():
    engine = tiny_engine(max_batch_size=1)
    engine._scheduler.next_step = lambda: 1 / 0
    requests = [engine.submit(ask("Hi"), GREEDY)]
    with pytest.raises(InternVLError, match="ZeroDivisionError"):
        list(engine.stream(requests[0]))
    engine._worker._thread.join()
    with pytest.raises(RequestError, match="closed"):
        engine.submit(ask("Hi"), GREEDY)


def test_usage_counts_what_was_done():
    with tiny_engine() as engine:
        prompt = ask("What?", picture(seed=1), picture(60, 60, seed=2))
        inputs = engine.prepare(prompt)
        usage = engine.generate([prompt], GREEDY)[0].usage
    assert usage.prompt_tokens == len(inputs.input_ids)
    assert usage.completion_tokens == 16
    assert usage.total_tokens == usage.prompt_tokens + 16
    assert usage.media == tuple(inputs.media)
    assert 0 < usage.vision_s < usage.time_to_first_token_s < usage.total_s


def test_stop_token_stop_word_and_min_new_tokens():
    with tiny_engine() as engine:
        tokenizer = engine.processor.tokenizer
        free = engine.generate([ask("Hi")], GREEDY)[0]
        third = free.token_ids[2]
        stopped = engine.generate([ask("Hi")], GREEDY.replace(stop_token_ids=(third,)))[0]
        assert stopped.finish_reason == "stop"
        end = free.token_ids.index(third) + 1
        assert stopped.token_ids == free.token_ids[:end]
        assert stopped.text == tokenizer.decode(free.token_ids[: end - 1]).strip()
        later = GREEDY.replace(stop_token_ids=(third,), min_new_tokens=8)
        response = engine.generate([ask("Hi")], later)[0]
        assert response.generate_token_len >= 8
        assert third not in response.token_ids[:8]
        word = free.text[3:6]
        by_word = engine.generate([ask("Hi")], GREEDY.replace(stop_words=(word,)))[0]
        assert by_word.finish_reason == "stop"
        assert by_word.text == free.text[: free.text.index(word)].rstrip()
        shown = GREEDY.replace(stop_words=(word,), include_stop_str_in_output=True)
        assert engine.generate([ask("Hi")], shown)[0].text.lstrip().endswith(word)


def test_bad_words_do_not_come():
    with tiny_engine() as engine:
        free = engine.generate([ask("Hi")], GREEDY)[0]
        banned = GREEDY.replace(bad_token_ids=tuple(free.token_ids[:3]))
        response = engine.generate([ask("Hi")], banned)[0]
        assert not set(response.token_ids) & set(free.token_ids[:3])


def test_a_loop_ends_with_its_own_reason():
    with tiny_engine() as engine:
        tokenizer = engine.processor.tokenizer
        # Nothing but one token is left to say.
        only = tokenizer.encode("a", special=False)[0]
        others = tuple(i for i in range(engine.model.config.text.vocab_size) if i != only)
        config = GenerationConfig(
            max_new_tokens=50, bad_token_ids=others, repetition_ngram_size=4, repetition_ngram_threshold=6
        )
        response = engine.generate([ask("Hi")], config)[0]
    assert response.finish_reason == "repetition"
    assert response.token_ids == [only] * 6
