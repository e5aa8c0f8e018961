"""What is taken on at once: by caller, in all, in bytes."""

import asyncio

import pytest

from internvl.server.errors import Draining, Overloaded, RateLimited
from internvl.server.limits import Budget, Gate


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_more_than_the_server_takes_on_is_refused_until_one_ends():
    gate = Gate(max_concurrent=2)
    with gate.admit("a"):
        with gate.admit("b"), pytest.raises(Overloaded), gate.admit("c"):
            pass
        with gate.admit("c"):
            assert gate.num_open == 2
    assert gate.num_open == 0


def test_one_caller_cannot_take_all_places():
    gate = Gate(max_concurrent=9, max_concurrent_per_caller=1)
    with gate.admit("a"):
        with pytest.raises(RateLimited) as caught, gate.admit("a"):
            pass
        assert caught.value.headers["Retry-After"] == "1"
        with gate.admit("b"):
            pass
    with gate.admit("a"):
        pass


def test_a_minutes_worth_may_come_at_once_and_then_comes_back_evenly():
    clock = Clock()
    gate = Gate(max_concurrent=9, requests_per_minute=3, clock=clock)

    def admitted(caller="a"):
        try:
            with gate.admit(caller):
                return True
        except RateLimited:
            return False

    assert [admitted() for _ in range(4)] == [True, True, True, False]
    assert admitted("b")
    clock.now = 19.0
    assert not admitted()
    clock.now = 20.0
    assert [admitted(), admitted()] == [True, False]
    clock.now = 1000.0
    assert gate.remaining("a") == 3


def test_who_comes_too_early_is_told_when_to_come_again():
    gate = Gate(max_concurrent=9, requests_per_minute=2, clock=Clock())
    for _ in range(2):
        with gate.admit("a"):
            pass
    with pytest.raises(RateLimited, match="in 30 s") as caught, gate.admit("a"):
        pass
    assert caught.value.headers["Retry-After"] == "30"


def test_callers_are_forgotten_so_that_addresses_cannot_fill_the_memory(monkeypatch):
    monkeypatch.setattr("internvl.server.limits._MAX_CALLERS", 3)
    gate = Gate(max_concurrent=9, requests_per_minute=2, clock=Clock())
    with gate.admit("busy"):
        for n in range(10):
            with gate.admit(f"caller {n}"):
                pass
        assert len(gate._callers) == 3
        assert "busy" in gate._callers


def test_a_draining_server_lets_nobody_in():
    gate = Gate(max_concurrent=9)
    gate.draining = True
    with pytest.raises(Draining), gate.admit("a"):
        pass


def test_who_does_not_fit_waits_in_order_of_arrival():
    async def run():
        budget, order = Budget(10), []

        async def take(name, amount):
            async with budget.hold(amount):
                order.append(name)
                await asyncio.sleep(0)

        await budget.acquire(6)
        tasks = [asyncio.create_task(take(name, amount)) for name, amount in (("big", 8), ("small", 1))]
        await asyncio.sleep(0.01)
        assert order == []  # the small one would fit, but would starve the big one
        budget.release(6)
        await asyncio.gather(*tasks)
        assert order == ["big", "small"]
        assert budget.held == 0

    asyncio.run(run())


def test_who_stops_waiting_leaves_no_trace():
    async def run():
        budget = Budget(10)
        await budget.acquire(6)
        waiting = [asyncio.create_task(budget.acquire(amount)) for amount in (8, 2)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert budget.held == 8  # the one behind it was let in
        budget.release(6)
        budget.release(2)
        assert budget.held == 0

    asyncio.run(run())


def test_more_than_there_is_is_granted_alone():
    async def run():
        budget = Budget(10)
        async with budget.hold(99):
            assert budget.held == 99
        assert budget.held == 0

    asyncio.run(run())
