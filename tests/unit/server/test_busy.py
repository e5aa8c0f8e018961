"""With much to do: who comes too late is told so, and nobody waits behind what is not his."""

import asyncio
import threading

import pytest

from internvl.preprocess.processor import Processor
from server_client import Connection, Steps, chat_body, count_submitted, data_url, tiny_app, until
from tiny_engines import tiny_engine

CHAT = "/v1/chat/completions"


@pytest.fixture
def steps(monkeypatch):
    return Steps(monkeypatch)


async def status_and_headers(connection):
    start = await connection.sent.get()
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue_refuses_with_a_time_to_come_again(steps, monkeypatch, stream):
    with tiny_engine(max_batch_size=1, max_waiting_requests=1) as engine:
        app = tiny_app(engine)
        submitted = count_submitted(engine, monkeypatch)

        async def run():
            calls = []
            for n in range(2):
                calls.append(asyncio.create_task(Connection(app, CHAT, chat_body(f"q{n}")).run()))
                await until(lambda n=n: len(submitted) == n + 1)
            late = Connection(app, CHAT, chat_body("late", stream=stream))
            await late.run()
            status, headers = await status_and_headers(late)
            assert status == 503
            assert int(headers["retry-after"]) > 0
            steps.allow(100)
            await asyncio.gather(*calls)

        asyncio.run(run())


def test_as_many_requests_as_the_server_takes_on(steps, monkeypatch):
    with tiny_engine() as engine:
        app = tiny_app(engine, max_concurrent_requests=2)
        submitted = count_submitted(engine, monkeypatch)

        async def run():
            calls = [asyncio.create_task(Connection(app, CHAT, chat_body(f"q{n}")).run()) for n in range(2)]
            await until(lambda: len(submitted) == 2)
            late = Connection(app, CHAT, chat_body("late"))
            await late.run()
            assert (await status_and_headers(late))[0] == 503
            listed = Connection(app, "/v1/models", None, method="GET")
            await listed.run()
            assert (await status_and_headers(listed))[0] == 200
            steps.allow(100)
            await asyncio.gather(*calls)

        asyncio.run(run())
        assert app.state.service.gate.num_open == 0


def test_a_text_does_not_wait_behind_pictures(monkeypatch):
    app = tiny_app(prepare_threads=1)
    entered, go = threading.Event(), threading.Event()
    prepare = Processor.__call__

    def slow(self, talk, **options):
        if any(isinstance(message["content"], list) for message in talk.messages):
            entered.set()
            assert go.wait(30)
        return prepare(self, talk, **options)

    monkeypatch.setattr(Processor, "__call__", slow)

    async def run():
        picture = asyncio.create_task(Connection(app, CHAT, chat_body(pictures=[data_url()])).run())
        await until(entered.is_set)
        text = Connection(app, CHAT, chat_body())
        await asyncio.wait_for(text.run(), 30)
        assert (await status_and_headers(text))[0] == 200
        go.set()
        await picture

    asyncio.run(run())


def test_pictures_wait_for_room_and_are_answered_all(steps):
    """Tiles of two requests do not fit together; nothing is refused."""
    with tiny_engine() as engine:
        app = tiny_app(engine, max_prepared_bytes=1)
        steps.allow(1000)

        async def run():
            connections = [Connection(app, CHAT, chat_body(pictures=[data_url()])) for _ in range(4)]
            await asyncio.wait_for(asyncio.gather(*(each.run() for each in connections)), 30)
            for each in connections:
                assert (await status_and_headers(each))[0] == 200

        asyncio.run(run())
        assert app.state.service.answering._tiles.held == 0
