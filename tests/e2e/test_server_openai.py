"""The server as people use it: OpenAI's own Python client, against the shipped model, over a loopback socket."""

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Literal

import httpx
import openai
import pytest
from pydantic import BaseModel

import internvl
from internvl.server.app import create_app
from internvl.server.config import ServerConfig
from server_client import served, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
ASSETS = Path(internvl.__file__).parent / "assets" / "nano"
KEY = "sk-of-the-tests-0123"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ASSETS / "model.safetensors").is_file(), reason="the bundled model is not there"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    config = ServerConfig(model_names=("nano",), api_keys=(KEY,), data_dir=tmp_path_factory.mktemp("server"))
    with internvl.pipeline("nano") as pipe, served(create_app(pipe, config)) as url:
        yield f"{url}/v1"


@pytest.fixture
def client(address):
    with openai.OpenAI(base_url=address, api_key=KEY, max_retries=0) as client:
        yield client


def data_url(name):
    return "data:image/png;base64," + base64.b64encode((EXAMPLES / name).read_bytes()).decode()


def about(*names, text="What is this?"):
    pictures = [{"type": "image_url", "image_url": {"url": data_url(name)}} for name in names]
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": text}]}]


@pytest.fixture(scope="module")
def expected():
    """What the pipeline says about a picture."""
    with internvl.pipeline("nano") as pipe:
        return pipe(("What is this?", str(EXAMPLES / "object.png"))).text


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["nano"]
    assert client.models.retrieve("nano").object == "model"


def test_a_picture_is_answered_about_as_by_the_pipeline(client, expected):
    answer = client.chat.completions.create(model="nano", messages=about("object.png"))
    assert answer.choices[0].message.content == expected
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens_details.image_tokens > 0
    assert answer._request_id.startswith("req_")


def test_a_stream_says_the_same(client, expected):
    stream = client.chat.completions.create(
        model="nano", messages=about("object.png"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected
    assert (
        chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens
    )


def test_the_stream_helper_puts_the_answer_together(client, expected):
    with client.chat.completions.stream(model="nano", messages=about("object.png")) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == expected


def test_many_asynchronous_questions_at_once(address, expected):
    async def run():
        async with openai.AsyncOpenAI(base_url=address, api_key=KEY, max_retries=0) as client:
            whole = client.chat.completions.create(model="nano", messages=about("object.png"))
            several = client.chat.completions.create(
                model="nano", messages=about("object.png", "shapes.png", text="What differs?"), max_tokens=8
            )
            stream = await client.chat.completions.create(
                model="nano", messages=about("object.png"), stream=True
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            return (await whole).choices[0].message.content, text, (await several).usage.media

    answer, text, media = asyncio.run(run())
    assert answer == text == expected
    assert len(media) == 2


class Thing(BaseModel):
    color: Literal["red", "blue"]
    count: Literal[1, 2, 3]


def test_an_answer_is_parsed_into_a_model(client):
    answer = client.chat.completions.parse(
        model="nano", messages=about("shapes.png"), response_format=Thing, max_tokens=100
    )
    assert isinstance(answer.choices[0].message.parsed, Thing)


def test_tools_are_called_with_arguments_that_fit(client):
    class Look(BaseModel):
        """Look at a part of the picture."""

        part: Literal["left", "right"]

    answer = client.chat.completions.parse(
        model="nano",
        messages=about("shapes.png"),
        tools=[openai.pydantic_function_tool(Look)],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=100,
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.parsed_arguments.part in ("left", "right")


def test_finished_prompts_go_on(client):
    answer = client.completions.create(model="nano", prompt=["a", "b"], max_tokens=3, logprobs=1)
    assert len(answer.choices) == 2
    assert len(answer.choices[0].logprobs.tokens) <= 3
    pieces = client.completions.create(model="nano", prompt="a", max_tokens=3, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == answer.choices[0].text


def test_responses_answer_about_pictures(client, expected):
    content = [
        {"type": "input_image", "image_url": data_url("object.png"), "detail": "auto"},
        {"type": "input_text", "text": "What is this?"},
    ]
    conversation = [{"role": "user", "content": content}]
    response = client.responses.create(model="nano", input=conversation)
    assert response.output_text == expected
    assert response.status == "completed"
    with client.responses.stream(model="nano", input=conversation) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == expected
    further = [*conversation, *response.output, {"role": "user", "content": "Which color?"}]
    assert client.responses.create(model="nano", input=further, max_output_tokens=8).output_text


def test_a_response_is_parsed_into_a_model(client):
    response = client.responses.parse(model="nano", input="Which color?", text_format=Thing)
    assert isinstance(response.output_parsed, Thing)


def test_embeddings_come_as_numbers_whichever_way_they_are_sent(client):
    packed = client.embeddings.create(model="nano", input=["a red heart", "a blue car"])
    plain = client.embeddings.create(
        model="nano", input=["a red heart", "a blue car"], encoding_format="float"
    )
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding)
    assert packed.data[0].embedding != packed.data[1].embedding


def test_a_file_is_asked_about_by_its_id(client, expected):
    file = client.files.create(file=EXAMPLES / "object.png", purpose="vision")
    content = [
        {"type": "image_url", "image_url": {"url": file.id}},
        {"type": "text", "text": "What is this?"},
    ]
    answer = client.chat.completions.create(model="nano", messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == expected
    assert client.files.content(file.id).read() == (EXAMPLES / "object.png").read_bytes()
    assert file.id in [each.id for each in client.files.list()]
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert client.files.delete(file.id).deleted


def test_a_batch_is_done(client, expected):
    url = "/v1/chat/completions"
    body = {"model": "nano", "messages": about("object.png")}
    lines = [{"custom_id": f"q{n}", "method": "POST", "url": url, "body": body} for n in range(3)]
    lines.append({"custom_id": "bad", "method": "POST", "url": url, "body": {"model": "gpt-4o"}})
    file = client.files.create(
        file=("in.jsonl", io.BytesIO("\n".join(map(json.dumps, lines)).encode())), purpose="batch"
    )
    batch = client.batches.create(input_file_id=file.id, endpoint=url, completion_window="24h")
    wait_until(lambda: client.batches.retrieve(batch.id).status == "completed")
    batch = client.batches.retrieve(batch.id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (3, 1)
    rows = [json.loads(row) for row in client.files.content(batch.output_file_id).text.splitlines()]
    contents = {row["response"]["body"]["choices"][0]["message"]["content"] for row in rows}
    assert contents == {expected}
    assert [each.id for each in client.batches.list()] == [batch.id]


def test_errors_are_the_clients_own_kinds(client, address):
    messages = [{"role": "user", "content": "a"}]
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o", messages=messages)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="nano", messages=messages, extra_body={"temprature": 1})
    assert wrong.value.param == "temprature"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="nano", messages=messages, max_tokens=10**6)
    assert long.value.code == "context_length_exceeded"
    with (
        openai.OpenAI(base_url=address, api_key="sk-wrong-0000", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_a_client_that_leaves_a_stream_stops_the_answer(client, address):
    stream = client.chat.completions.create(
        model="nano",
        messages=[{"role": "user", "content": "a"}],
        stream=True,
        max_tokens=5000,
        extra_body={"ignore_eos": True},
    )
    next(iter(stream))
    stream.close()
    with httpx.Client(headers={"Authorization": f"Bearer {KEY}"}) as http:
        metrics = address.replace("/v1", "/metrics")
        wait_until(lambda: "\ninternvl_answers_running 0.0\n" in http.get(metrics).text)
        assert "\ninternvl_answers_aborted_total 1.0\n" in http.get(metrics).text
