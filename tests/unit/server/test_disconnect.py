"""A client that goes stops its work, streamed or not, and takes nobody with it."""

import asyncio
import threading

import pytest

from internvl.preprocess.processor import Processor
from server_client import (
    Connection,
    Steps,
    chat,
    chat_body,
    count_submitted,
    data_url,
    tiny_app,
    until,
)
from tiny_engines import tiny_engine


@pytest.fixture
def steps(monkeypatch):
    return Steps(monkeypatch)


def long_body(**fields):
    return chat_body(max_tokens=500, ignore_eos=True, **fields)


@pytest.mark.parametrize("stream", [False, True])
def test_generation_stops_within_one_step(steps, stream):
    with tiny_engine() as engine:
        app = tiny_app(engine)

        async def run():
            connection = Connection(app, "/v1/chat/completions", long_body(stream=stream))
            call = asyncio.create_task(connection.run())
            steps.allow(3)
            await until(lambda: steps.count == 3)
            connection.leave()
            await asyncio.wait_for(call, 30)
            steps.allow(100)
            await until(lambda: engine.stats().num_running == 0)

        asyncio.run(run())
        assert steps.count <= 4
        assert app.state.service.gate.num_open == 0
        assert chat(app).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_while_waiting_is_not_waited_for(steps, stream, monkeypatch):
    with tiny_engine(max_batch_size=1) as engine:
        app = tiny_app(engine)
        submitted = count_submitted(engine, monkeypatch)

        async def run():
            first, second = (
                Connection(app, "/v1/chat/completions", chat_body(text, stream=stream, ignore_eos=True))
                for text in ("one", "two")
            )
            calls = [asyncio.create_task(first.run())]
            await until(lambda: len(submitted) == 1)
            calls.append(asyncio.create_task(second.run()))
            await until(lambda: len(submitted) == 2)
            second.leave()
            await asyncio.wait_for(calls[1], 30)
            steps.allow(100)
            await asyncio.wait_for(calls[0], 30)
            first.leave()

        asyncio.run(run())
        assert steps.count == 6  # the first one's


def test_who_leaves_while_a_picture_is_prepared_is_never_submitted(monkeypatch):
    app = tiny_app()
    service = app.state.service
    entered, go = threading.Event(), threading.Event()
    prepare = Processor.__call__

    def slow(*arguments, **options):
        entered.set()
        assert go.wait(30)
        return prepare(*arguments, **options)

    monkeypatch.setattr(Processor, "__call__", slow)
    submitted = []
    monkeypatch.setattr(service.engine, "submit", lambda *_, **__: submitted.append(1))

    async def run():
        connection = Connection(app, "/v1/chat/completions", chat_body(pictures=[data_url()]))
        call = asyncio.create_task(connection.run())
        await until(entered.is_set)
        connection.leave()
        await asyncio.wait_for(call, 30)
        go.set()

    asyncio.run(run())
    assert submitted == []
    assert service.media._held_bytes == 0
    assert service.answering._tiles.held == 0


def test_who_leaves_while_sending_is_no_failure(caplog):
    caplog.set_level("INFO")
    app = tiny_app()

    async def receive():
        return {"type": "http.disconnect"}

    async def run():
        connection = Connection(app, "/v1/chat/completions", chat_body())
        connection._receive = receive
        await connection.run()

    asyncio.run(run())
    assert "/v1/chat/completions 499" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_stream_that_nobody_takes_ends(steps):
    """A client that keeps its connection and reads nothing is as good as gone."""
    with tiny_engine() as engine:
        app = tiny_app(engine, write_timeout_s=0.05)

        async def run():
            connection = Connection(app, "/v1/chat/completions", long_body(stream=True))
            connection.sent = asyncio.Queue(maxsize=4)
            steps.allow(1000)
            await asyncio.wait_for(connection.run(), 30)
            await until(lambda: engine.stats().num_running == 0)

        asyncio.run(run())
        assert steps.count < 500


def test_a_quiet_stream_says_that_it_lives(steps):
    with tiny_engine() as engine:
        app = tiny_app(engine, ping_interval_s=0.02)

        async def run():
            connection = Connection(app, "/v1/chat/completions", chat_body(stream=True))
            call = asyncio.create_task(connection.run())
            pings = 0
            while pings < 3:
                pings += (await connection.sent.get()).get("body") == b": ping\n\n"
            steps.allow(100)
            await asyncio.wait_for(call, 30)

        asyncio.run(run())


def test_a_draining_server_ends_what_is_open_and_lets_nothing_in(steps):
    with tiny_engine() as engine:
        app = tiny_app(engine)

        async def run():
            connection = Connection(app, "/v1/chat/completions", chat_body())
            call = asyncio.create_task(connection.run())
            await until(lambda: engine.stats().num_running == 1)
            app.state.service.gate.draining = True
            late = Connection(app, "/v1/chat/completions", chat_body())
            await late.run()
            assert (await late.sent.get())["status"] == 503
            ready = Connection(app, "/ready", None, method="GET")
            await ready.run()
            assert (await ready.sent.get())["status"] == 503
            steps.allow(100)
            await asyncio.wait_for(call, 30)
            assert (await connection.sent.get())["status"] == 200

        asyncio.run(run())


def test_an_engine_that_closes_says_that_the_answer_was_not_finished(steps, monkeypatch):
    with tiny_engine() as engine:
        app = tiny_app(engine)
        submitted = count_submitted(engine, monkeypatch)

        async def run():
            calls = {
                stream: Connection(app, "/v1/chat/completions", long_body(stream=stream))
                for stream in (False, True)
            }
            tasks = [asyncio.create_task(connection.run()) for connection in calls.values()]
            await until(lambda: len(submitted) == 2)
            steps.allow(20)
            engine.close()
            await asyncio.wait_for(asyncio.gather(*tasks), 30)
            assert (await calls[False].sent.get())["status"] == 503
            sent = calls[True].sent
            bodies = b"".join(sent.get_nowait().get("body", b"") for _ in range(sent.qsize()))
            assert b"shutting_down" in bodies

        asyncio.run(run())
