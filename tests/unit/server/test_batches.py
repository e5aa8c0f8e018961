"""/v1/batches: what was accepted is done, whatever happens to the server."""

import json
import threading

import httpx
import pytest

from internvl.engine.sampler import Sampler
from internvl.server.batch_store import BatchStore
from internvl.server.data_dir import DataDir
from server_client import chat, chat_body, served, tiny_app, wait_until
from tiny_engines import tiny_engine

CHAT = "/v1/chat/completions"


def line(custom_id, url=CHAT, **fields):
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": chat_body(**fields)}


class Client:
    """Uploads, batches and their answers."""

    def __init__(self, url):
        self.http = httpx.Client(base_url=url, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()

    def create(self, lines, endpoint=CHAT, **fields):
        data = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)
        form = {"files": {"file": ("in.jsonl", data)}, "data": {"purpose": "batch"}}
        file_id = self.http.post("/v1/files", **form).json()["id"]
        body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **fields}
        response = self.http.post("/v1/batches", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def get(self, batch):
        return self.http.get(f"/v1/batches/{batch['id']}").json()

    def ended(self, batch):
        wait_until(lambda: self.get(batch)["status"] in ("completed", "failed", "cancelled"))
        return self.get(batch)

    def answers(self, batch, kind="output_file_id"):
        if batch[kind] is None:
            return {}
        text = self.http.get(f"/v1/files/{batch[kind]}/content").text
        return {row["custom_id"]: row for row in map(json.loads, text.splitlines())}


@pytest.fixture
def app():
    return tiny_app()


@pytest.fixture
def client(app):
    with served(app) as url, Client(url) as client:
        yield client


def test_a_batch_gives_every_line_the_answer_that_it_would_have_had_alone(app, client):
    batch = client.create([line(f"q{n}", text=f"question {n}") for n in range(6)], metadata={"a": "b"})
    assert batch["status"] == "validating"
    done = client.ended(batch)
    assert (done["status"], done["metadata"]) == ("completed", {"a": "b"})
    assert done["request_counts"] == {"total": 6, "completed": 6, "failed": 0}
    assert done["error_file_id"] is None
    assert done["created_at"] <= done["in_progress_at"] <= done["completed_at"]
    answers = client.answers(done)
    for n in range(6):
        alone = chat(app, f"question {n}").json()
        body = answers[f"q{n}"]["response"]["body"]
        assert body["choices"] == alone["choices"]
        assert answers[f"q{n}"]["response"]["status_code"] == 200


@pytest.mark.parametrize(
    ("endpoint", "body", "kind"),
    [
        ("/v1/completions", {"model": "internvl", "prompt": "a", "max_tokens": 2}, "text_completion"),
        ("/v1/embeddings", {"model": "internvl", "input": "a"}, "list"),
        ("/v1/responses", {"model": "internvl", "input": "a", "max_output_tokens": 2}, "response"),
    ],
)
def test_other_endpoints_have_batches_too(client, endpoint, body, kind):
    rows = [{"custom_id": "a", "method": "POST", "url": endpoint, "body": body}]
    done = client.ended(client.create(rows, endpoint))
    assert client.answers(done)["a"]["response"]["body"]["object"] == kind


def test_lines_that_fail_are_told_apart_and_harm_nobody(client):
    done = client.ended(
        client.create(
            [
                line("good"),
                line("unknown", temprature=1),
                line("model", model="other"),
                line("long", max_tokens=99999),
                line("stream", stream=True),
                line("elsewhere", url="/v1/completions"),
                b"this is no JSON",
            ]
        )
    )
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 7, "completed": 1, "failed": 6}
    assert set(client.answers(done)) == {"good"}
    failed = client.answers(done, "error_file_id")
    codes = {name: row["error"]["code"] for name, row in failed.items()}
    assert codes["long"] == "context_length_exceeded"
    assert codes["model"] == "model_not_found"
    assert "Did you mean 'temperature'" in failed["unknown"]["error"]["message"]
    assert failed["unknown"]["response"]["status_code"] == 400


def test_a_file_that_is_no_batch_fails_without_telling_paths(app, client):
    done = client.ended(client.create([line("same"), line("same")]))
    assert done["status"] == "failed"
    message = done["errors"]["data"][0]["message"]
    assert "same" in message
    assert str(app.state.service.data.path) not in message


def test_deleting_the_file_of_requests_changes_nothing(client, monkeypatch):
    go = threading.Event()
    hold(monkeypatch, go)
    batch = client.create([line(f"q{n}") for n in range(3)])
    client.http.delete(f"/v1/files/{batch['input_file_id']}")
    go.set()
    assert client.ended(batch)["request_counts"]["completed"] == 3


def hold(monkeypatch, go):
    """No token is chosen before `go` is set."""
    choose = Sampler.choose

    def wait(*arguments):
        assert go.wait(30)
        return choose(*arguments)

    monkeypatch.setattr(Sampler, "choose", wait)


def test_a_cancelled_batch_keeps_the_answers_that_it_has(client, monkeypatch):
    go = threading.Event()
    go.set()
    hold(monkeypatch, go)
    batch = client.create([line(f"q{n}", max_tokens=200, ignore_eos=True) for n in range(60)])
    wait_until(lambda: client.get(batch)["request_counts"]["completed"] > 0)
    cancelled = client.http.post(f"/v1/batches/{batch['id']}/cancel").json()
    assert cancelled["status"] == "cancelling"
    done = client.ended(batch)
    assert done["status"] == "cancelled"
    assert 0 < len(client.answers(done)) < 60
    assert len(client.answers(done)) == done["request_counts"]["completed"]
    again = client.http.post(f"/v1/batches/{batch['id']}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")


def test_batches_are_listed_for_their_owner_only():
    keys = {name: {"Authorization": f"Bearer sk-of-{name}-0123"} for name in ("alice", "bob")}
    app = tiny_app(api_keys=("alice sk-of-alice-0123", "bob sk-of-bob-0123"))
    with served(app) as url, Client(url) as alice, httpx.Client(base_url=url, headers=keys["bob"]) as bob:
        alice.http.headers.update(keys["alice"])
        batch = alice.create([line("q")])
        assert alice.ended(batch)["status"] == "completed"
        listed = alice.http.get("/v1/batches").json()
        assert [each["id"] for each in listed["data"]] == [batch["id"]]
        assert bob.get("/v1/batches").json()["data"] == []
        assert bob.get(f"/v1/batches/{batch['id']}").status_code == 404
        assert bob.post(f"/v1/batches/{batch['id']}/cancel").status_code == 404
        body = {"input_file_id": batch["input_file_id"], "endpoint": CHAT, "completion_window": "24h"}
        assert bob.post("/v1/batches", json=body).status_code == 404


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"input_file_id": "file-0"}, 404, "file_id"),
        ({"endpoint": "/v1/models"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"priority": 1}, 400, "priority"),
    ],
)
def test_what_is_no_batch_is_refused(client, fields, status, param):
    body = {"input_file_id": "file-0", "endpoint": CHAT, "completion_window": "24h", **fields}
    response = client.http.post("/v1/batches", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)


def test_a_server_that_ends_leaves_the_rest_to_the_next_one(tmp_path, monkeypatch):
    go = threading.Event()
    go.set()
    hold(monkeypatch, go)
    with tiny_engine() as engine:
        with served(tiny_app(engine, data_dir=tmp_path)) as url, Client(url) as client:
            batch = client.create([line(f"q{n}", max_tokens=100, ignore_eos=True) for n in range(40)])
            wait_until(lambda: client.get(batch)["request_counts"]["completed"] > 0)
        store = BatchStore(data := DataDir(tmp_path))
        assert [each.id for each in store.open()] == [batch["id"]]
        written = store.answers(batch["id"]).read_text().count("\n")
        assert 0 < written < 40
        data.close()
        with served(tiny_app(engine, data_dir=tmp_path)) as url, Client(url) as client:
            done = client.ended(batch)
            assert done["request_counts"] == {"total": 40, "completed": 40, "failed": 0}
            assert set(client.answers(done)) == {f"q{n}" for n in range(40)}
    assert sorted(path.suffix for path in (tmp_path / "batches").iterdir()) == [".json"]


def test_people_come_before_batches(app, client, monkeypatch):
    """With all places taken by a batch, a chat is still answered first."""
    priorities = []
    submit = app.state.service.engine.submit

    def note(*arguments, **options):
        priorities.append(options["priority"])
        return submit(*arguments, **options)

    monkeypatch.setattr(app.state.service.engine, "submit", note)
    client.ended(client.create([line("q")]))
    client.http.post(CHAT, json=chat_body())
    assert priorities == [-1, 0]
