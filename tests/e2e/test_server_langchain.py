"""The server behind LangChain's ChatOpenAI (pip install langchain-openai; skipped without it)."""

import base64
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

import internvl
from internvl.server.app import create_app
from internvl.server.config import ServerConfig
from server_client import served

langchain_openai = pytest.importorskip("langchain_openai")

EXAMPLES = Path(__file__).parents[2] / "examples"
ASSETS = Path(internvl.__file__).parent / "assets" / "nano"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ASSETS / "model.safetensors").is_file(), reason="the bundled model is not there"),
    # what its own dependencies warn about is not ours to mend
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def address():
    config = ServerConfig(model_names=("nano",))
    with internvl.pipeline("nano") as pipe, served(create_app(pipe, config)) as url:
        yield f"{url}/v1"


@pytest.fixture(scope="module")
def expected():
    with internvl.pipeline("nano") as pipe:
        return pipe(("What is this?", str(EXAMPLES / "object.png"))).text


def chat_model(address, **options):
    return langchain_openai.ChatOpenAI(
        model="nano", base_url=address, api_key="none", max_retries=0, **options
    )


def question():
    picture = base64.b64encode((EXAMPLES / "object.png").read_bytes()).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "text", "text": "What is this?"},
    ]
    return [{"role": "user", "content": parts}]


@pytest.mark.parametrize("responses_api", [False, True])
def test_a_picture_is_answered_about_whole_and_streamed(address, expected, responses_api):
    model = chat_model(address, use_responses_api=responses_api)
    assert model.invoke(question()).text == expected
    assert "".join(chunk.text for chunk in model.stream(question())) == expected


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_an_answer_is_read_into_a_model(address, method):
    class Thing(BaseModel):
        """What is seen."""

        color: Literal["red", "blue"]

    found = chat_model(address).with_structured_output(Thing, method=method).invoke(question())
    assert found.color in ("red", "blue")


def test_texts_are_embedded(address):
    embeddings = langchain_openai.OpenAIEmbeddings(
        model="nano", base_url=address, api_key="none", check_embedding_ctx_length=False
    )
    first, second = embeddings.embed_documents(["a red heart", "a blue car"])
    assert len(first) == len(second)
    assert first != second
