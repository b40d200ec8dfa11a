"""Queries end in time for who asks, and few of them are made at a time."""

import logging
import threading

import pytest

from nnviz.engine.wanted import check_wanted, while_wanted
from nnviz.results import query_pool
from nnviz.results.missing import Missing
from nnviz.results.query_pool import N_THREADS, QueryPool, until_other


class Answers:
    """What a visitor was told, in order."""

    def __init__(self):
        self.given, self.changed = [], threading.Condition()

    def __call__(self, answer):
        with self.changed:
            is_missing = isinstance(answer, Missing)
            self.given.append(answer.title if is_missing else answer)
            self.changed.notify_all()

    def wait(self, n):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.given) >= n, timeout=20)
        return self.given


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def hold():
    """Return an event for which slow work waits; it is set at the end."""
    event = threading.Event()
    yield event
    event.set()


def test_query__in_time__is_answered(answers):
    QueryPool().run(lambda: 42, answers)

    assert answers.wait(1) == [42]


def test_query__that_takes_too_long__is_told_so_and_only_that(answers, hold):
    pool = QueryPool(seconds=0.5)
    pool.run(lambda: hold.wait(20), answers)
    answers.wait(1)

    hold.set()
    pool.run(lambda: "next", answers)

    assert answers.wait(2) == ["This takes too long", "next"]


def test_query__for_which_nobody_waits_any_more__is_not_made(answers, hold):
    pool = QueryPool(seconds=0.5)
    for _ in range(N_THREADS):
        pool.run(lambda: hold.wait(20), answers)
    made = []
    pool.run(lambda: made.append("made"), answers)
    answers.wait(N_THREADS + 1)

    hold.set()
    pool.run(lambda: "last", answers)

    assert answers.wait(N_THREADS + 2)[-1] == "last"
    assert made == []


def test_query__of_too_many__is_sent_away_at_once(answers, hold):
    pool = QueryPool(n_waiting=3)
    for _ in range(3):
        pool.run(lambda: hold.wait(20), answers)

    pool.run(lambda: "one more", answers)

    assert answers.given == ["Too many questions at once"]
    hold.set()
    assert answers.wait(4)[1:] == [True, True, True]
    while answers.given[-1] != "again":  # once the three have left
        pool.run(lambda: "again", answers)
        answers.wait(len(answers.given))


def test_query__that_fails__is_logged_and_told(answers, caplog):
    with caplog.at_level(logging.ERROR):
        QueryPool().run(lambda: 1 / 0, answers)
        answers.wait(1)

    assert answers.given == ["This cannot be made"]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("is_closed", [False, True])
def test_query__that_fails_after_the_end__is_not_reported(answers, caplog, is_closed):
    pool, is_running, goes_on = QueryPool(), threading.Event(), threading.Event()

    def work():
        is_running.set()
        goes_on.wait(20)
        raise RuntimeError("imports are refused")

    pool.run(work, answers)
    assert is_running.wait(20)
    if is_closed:
        pool.close()
    goes_on.set()
    answers.wait(1)

    assert ("a query failed" in caplog.text) is not is_closed


def test_query__that_is_no_longer_wanted__ends_between_two_parts(answers, caplog):
    pool, began, goes_on = QueryPool(), threading.Event(), threading.Event()
    wanted, parts = [True], []

    def work():
        with while_wanted(lambda: bool(wanted)):
            for part in range(3):
                check_wanted()
                parts.append(part)
                began.set()
                goes_on.wait(20)

    pool.run(work, answers)
    assert began.wait(20)
    wanted.clear()
    goes_on.set()

    assert answers.wait(1) == ["This was not made"]
    assert parts == [0]
    assert not caplog.text
    pool.run(lambda: check_wanted() or "others are wanted", answers)
    assert answers.wait(2)[1] == "others are wanted"


@pytest.mark.parametrize(
    ("is_asked", "seconds", "is_wanted"),
    [(True, 60, True), (False, 60, False), (False, -1, True)],
)
def test_work__is_wanted_until_something_else_is_asked_for_or_nobody_waits(
    monkeypatch, is_asked, seconds, is_wanted
):
    monkeypatch.setattr(query_pool, "SECONDS", seconds)

    assert until_other(lambda: is_asked)() is is_wanted
