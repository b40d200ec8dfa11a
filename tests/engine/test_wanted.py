"""Work that several ask for goes on while one of them waits, and is made once."""

import threading

import pytest

from nnviz.engine.wanted import (
    NotWantedError,
    SharedWork,
    check_wanted,
    while_wanted,
)

SECONDS = 20
"""A guard against hanging, no measurement."""


class Visitor:
    """Asks for the same work as others, on a thread of its own, until it leaves."""

    def __init__(self, work, make):
        self.is_here, self.found = True, []
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(work, make))
        self._thread.start()
        assert self._asked.wait(SECONDS)

    def is_wanted(self):
        self._asked.set()
        return self.is_here

    def _ask(self, work, make):
        try:
            with while_wanted(self.is_wanted):
                self.found.append(work.run("key", make))
        except NotWantedError:
            self.found.append("left")

    def result(self):
        self._thread.join(SECONDS)
        (found,) = self.found
        return found


class Parts:
    """Work in parts, between which it asks whether to go on."""

    def __init__(self):
        self.n_made, self.n_begun = 0, 0
        self.is_running, self._goes_on = threading.Event(), threading.Event()

    def go_on(self):
        self._goes_on.set()

    def __call__(self):
        self.n_begun += 1
        for _ in range(5):
            self.is_running.set()
            self._goes_on.wait(SECONDS)
            check_wanted()
            self.n_made += 1
        return self.n_made


@pytest.fixture
def parts():
    return Parts()


def test_work__of_the_only_visitor__ends_when_he_leaves(parts):
    only = Visitor(SharedWork(), parts)
    assert parts.is_running.wait(SECONDS)

    only.is_here = False
    parts.go_on()

    assert only.result() == "left"
    assert parts.n_made == 0


def test_work__that_another_visitor_waits_for__is_not_ended_and_made_once(parts):
    work = SharedWork()
    first = Visitor(work, parts)
    assert parts.is_running.wait(SECONDS)
    second = Visitor(work, parts)
    third = Visitor(work, parts)
    wait_for(work, 3)

    first.is_here = third.is_here = False
    assert third.result() == "left"  # while the work still goes on
    parts.go_on()

    assert second.result() == 5
    assert (parts.n_begun, parts.n_made) == (1, 5)


def test_work__that_ends_unwanted__is_begun_again_by_who_wants_it(parts):
    work = SharedWork()
    first = Visitor(work, parts)
    assert parts.is_running.wait(SECONDS)
    first.is_here = False
    parts.go_on()
    assert first.result() == "left"

    assert Visitor(work, parts).result() == 5
    assert parts.n_begun == 2


def test_work__that_fails__fails_for_all(parts):
    work, goes_on = SharedWork(), threading.Event()

    def fails():
        goes_on.wait(SECONDS)
        raise ValueError("damaged")

    def ask():
        with pytest.raises(ValueError, match="damaged"):
            work.run("key", fails)
        failed.append(True)

    failed = []
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for(work, 3)
    goes_on.set()
    for thread in threads:
        thread.join(SECONDS)

    assert failed == [True] * 3


def test_work__inside_of_other_work__is_wanted_while_both_are():
    outer, inner = [True], [True]

    with while_wanted(lambda: bool(outer)), while_wanted(lambda: bool(inner)):
        check_wanted()
        outer.clear()
        with pytest.raises(NotWantedError):
            check_wanted()


def wait_for(work, n):
    """Wait until so many ask for the same."""
    pause = threading.Event()
    for _ in range(20 * SECONDS):
        if any(len(asked.askers) == n for asked in work._asked.values()):
            return
        pause.wait(0.05)
    pytest.fail(f"{n} do not ask for it")
