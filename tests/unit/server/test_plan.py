"""/v1/plan says what the answer will say it cost; /metrics counts what happened."""

import dataclasses

import pytest
from prometheus_client.parser import text_string_to_metric_families

from internvl.engine.stats import Counters
from internvl.server.metrics import ENGINE_COUNTERS, Rate
from server_client import Connection, call, chat, chat_body, data_url, post, tiny_app
from tiny_engines import picture, tiny_engine


@pytest.fixture(scope="module")
def app():
    return tiny_app()


def planned(app, **fields):
    response = post(app, "/v1/plan", chat_body(**fields))
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": "A longer question, with <|im_end|> in it"},
        {"pictures": [data_url()]},
        {"pictures": [data_url(picture(300, 100)), data_url()]},
        {"pictures": [data_url()], "mm_processor_kwargs": {"max_tiles": 2}},
        {"tools": [{"type": "function", "function": {"name": "look"}}]},
    ],
)
def test_a_plan_counts_what_the_answer_costs(app, fields):
    plan, usage = planned(app, **fields), chat(app, **fields).json()["usage"]
    assert plan["prompt_tokens"] == usage["prompt_tokens"]
    assert plan["media"] == usage["media"]
    assert plan["image_tokens"] == usage["prompt_tokens_details"]["image_tokens"]
    assert plan["fits"]


def test_a_plan_decodes_and_computes_nothing(app, monkeypatch):
    for name in ("submit", "prepare"):
        monkeypatch.setattr(app.state.service.engine, name, lambda *_, **__: pytest.fail("computed"))
    monkeypatch.setattr("internvl.media.image.decode_image", lambda *_, **__: pytest.fail("decoded"))
    assert planned(app, pictures=[data_url()])["tiles"] == 7


def test_a_plan_says_what_does_not_fit(app):
    assert not planned(app, max_tokens=2048)["fits"]
    body = chat_body()
    del body["max_tokens"], body["model"]
    plan = post(app, "/v1/plan", body).json()
    assert plan["prompt_tokens"] + plan["max_answer_tokens"] == plan["session_len"]


def test_seconds_are_known_once_something_was_measured():
    app = tiny_app()
    assert planned(app, pictures=[data_url()])["seconds"] == {
        "vision": None,
        "prompt": None,
        "answer_token": None,
        "longest_answer": None,
    }
    chat(app, pictures=[data_url()])
    seconds = planned(app, pictures=[data_url()])["seconds"]
    assert all(value is not None and value >= 0 for value in seconds.values())


def test_a_rate_follows_what_was_measured_last():
    rate = Rate()
    rate.add(10.0, 0)
    assert rate.seconds is None
    rate.add(2.0, 2)
    assert rate.seconds == 1.0
    rate.add(1.0, 10)
    assert rate.seconds == pytest.approx(0.8 * 1.0 + 0.2 * 0.1)


def metrics(app):
    text = call(app, "GET", "/metrics").text
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_counter_of_the_engine_is_a_metric():
    assert set(ENGINE_COUNTERS) == {field.name for field in dataclasses.fields(Counters)}


def test_metrics_count_requests_tokens_tiles_and_cache_hits():
    with tiny_engine() as engine:
        app = tiny_app(engine)
        usages = [chat(app, pictures=[data_url()]).json()["usage"] for _ in range(2)]
        chat(app, temperature=7)
        found = metrics(app)
        route = ("route", "/v1/chat/completions")
        assert found["internvl_http_requests_total", route, ("status", "200")] == 2
        assert found["internvl_http_requests_total", route, ("status", "400")] == 1
        assert found["internvl_http_requests_open",] == 0
        assert found["internvl_prompt_tokens_total",] == sum(usage["prompt_tokens"] for usage in usages)
        assert found["internvl_tiles_encoded_total",] == 7
        assert found["internvl_picture_hits_total",] == 1
        assert found["internvl_vision_seconds_total",] > 0
        assert found["internvl_prefix_hit_tokens_total",] > 0
        assert found["internvl_time_to_first_token_seconds_count",] == 2
        assert found["internvl_inter_token_latency_seconds_count",] > 0
        assert found["internvl_request_tiles_sum",] == 14
        assert 0 <= found["internvl_kv_usage_ratio",] <= 1


def test_unknown_paths_are_one_series():
    app = tiny_app()
    for path in ("/a", "/b/c", "/v1/x"):
        call(app, "GET", path)
    routes = {key[1][1] for key in metrics(app) if key[0] == "internvl_http_requests_total"}
    assert routes == {"other"}


def test_a_client_that_leaves_is_counted_as_such():
    import asyncio

    with tiny_engine() as engine:
        app = tiny_app(engine)

        async def run():
            body = chat_body(max_tokens=1500, ignore_eos=True)
            connection = Connection(app, "/v1/chat/completions", body)
            asyncio.get_running_loop().call_later(0.05, connection.leave)
            await connection.run()

        asyncio.run(run())
        route = ("route", "/v1/chat/completions")
        assert metrics(app)["internvl_http_requests_total", route, ("status", "499")] == 1
