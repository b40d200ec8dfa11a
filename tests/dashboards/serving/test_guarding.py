"""Passwords that are tried: who waits, who is refused, and what is kept of them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from tornado.web import HTTPError

from nnviz_dashboards.serving import guarding
from nnviz_dashboards.serving.guarding import WAITING_TRIES, Tries


def run(coroutine):
    """Run it in a thread of its own: in this one a browser may have a loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@pytest.fixture
def tries(monkeypatch):
    """Return tries that are answered at once, with few addresses that are known."""
    monkeypatch.setattr(guarding, "SECONDS_AFTER_WRONG", (0.0,))
    monkeypatch.setattr(guarding, "KNOWN_ADDRESSES", 3)
    return Tries()


def test_tries__of_many_addresses__leave_a_bounded_number(tries):
    async def try_all():
        for number in range(50):
            assert not await tries.is_right(f"10.0.0.{number}", lambda: False)
        assert await tries.is_right("10.0.0.49", lambda: True)

    run(try_all())

    assert list(tries._wrong) == ["10.0.0.47", "10.0.0.48"]
    assert not tries._waiting
    assert not tries._turns


def test_tries__too_many_at_once__are_refused_and_then_admitted(tries):
    async def try_together():
        def wrong():
            return tries.is_right("10.0.0.1", lambda: False)

        several = (wrong() for _ in range(WAITING_TRIES + 1))
        found = await asyncio.gather(*several, return_exceptions=True)
        again = await tries.is_right("10.0.0.1", lambda: True)
        return found, again

    found, again = run(try_together())

    assert found[:-1] == [False] * WAITING_TRIES
    assert isinstance(found[-1], HTTPError)
    assert found[-1].status_code == 429
    assert again
    assert not tries._turns
