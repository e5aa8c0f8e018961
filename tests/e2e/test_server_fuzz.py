"""Whatever is sent, the server answers as its own OpenAPI document says, and never fails (schemathesis)."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from server_client import MODEL, served, tiny_app
from tiny_engines import tiny_engine

pytestmark = pytest.mark.slow

OPERATIONS = [
    "GET /health",
    "GET /metrics",
    "GET /ready",
    "GET /v1/batches",
    "GET /v1/batches/{batch_id}",
    "GET /v1/files",
    "GET /v1/files/{file_id}",
    "GET /v1/files/{file_id}/content",
    "GET /v1/models",
    "GET /v1/models/{model}",
    "POST /v1/batches",
    "POST /v1/batches/{batch_id}/cancel",
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/files",
    "POST /v1/plan",
    "POST /v1/responses",
    "DELETE /v1/files/{file_id}",
]

load_all_checks()
CHECKS_HERE = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
        "negative_data_rejection",
    ]
)


@pytest.fixture(scope="module")
def schema():
    with (
        tiny_engine(session_len=512) as engine,
        served(tiny_app(engine, max_answer_tokens=4, media_timeout_s=1, max_total_pixels=10**6)) as url,
    ):
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def test_no_operation_is_forgotten(schema):
    found = [result.ok() for result in schema.get_all_operations()]
    assert sorted(f"{each.method.upper()} {each.path}" for each in found) == sorted(OPERATIONS)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_as_documented(schema, name, mode):
    method, path = name.split(" ")
    operation = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
        pytest.skip("nothing that could be wrong")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def answered(case):
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = MODEL  # else nearly all end with "no such model"
        case.call_and_validate(checks=CHECKS_HERE)

    answered()
