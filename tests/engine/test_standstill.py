"""A process that is stopped learns it; one that only waits has not stood still."""

import contextlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from nnviz.engine.standstill import Standstill

PROGRAM = """
import sys, time
from nnviz.engine.standstill import Standstill
stands = Standstill()
print("ready", flush=True)
time.sleep(1)  # a wait that has nothing to do with beats
sys.stdin.readline()
print(stands.taken(), stands.taken(), flush=True)
"""


BEATS = threading.Semaphore(0)


@contextlib.contextmanager
def told_by():
    """Give what a clock says, to be changed, and what looks at it."""
    now = [100.0]

    def clock():
        if threading.current_thread().name == "standstill":
            BEATS.release()
        return now[0]

    stands = Standstill(clock)
    try:
        yield now, stands
    finally:
        stands.close()


def test_standstill__is_taken_once():
    with told_by() as (now, stands):
        now[0] += 7

        assert stands.taken() == 7
        assert stands.taken() == 0


def test_standstill__seen_by_the_thread__is_kept():
    with told_by() as (now, stands):
        now[0] += 7
        while BEATS.acquire(blocking=False):
            pass
        assert BEATS.acquire(timeout=60)  # the first of these may have been on its way
        assert BEATS.acquire(timeout=60)
        now[0] += 1

        assert stands.taken() == 7


def test_busy_moment__is_none():
    with told_by() as (now, stands):
        for _ in range(4):
            now[0] += 1.5
            assert stands.taken() == 0


@pytest.mark.parametrize("seconds", [0, 3])
def test_process__that_is_stopped_while_it_waits__knows_for_how_long(seconds):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        if seconds:
            process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            process.send_signal(signal.SIGCONT)
        first, second = process.communicate("go\n", timeout=60)[0].split()

    assert float(first) == 0 if not seconds else seconds <= float(first) < seconds + 20
    assert float(second) == 0
