"""Commands that visitors ask for: the real ones, in processes of their own."""

import queue
import socket
import time

import pytest

from nnviz_dashboards.serving.network_runs import BUSY, N_WAITING, NetworkRuns

SECONDS = 120
"""A guard against hanging, no measurement."""

pytestmark = pytest.mark.slow


@pytest.fixture
def silent():
    """Return the address of a scheduler that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"


def ended(process_of, until):
    while process_of() is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    return process_of()


def test_run__that_fails__tells_everybody_who_asked_what_the_command_says(tmp_path):
    runs, said = NetworkRuns("local"), queue.Queue()
    words = ("nnviz", "ablate", str(tmp_path / "none.zarr"), "cat")
    try:
        for _ in range(2):
            runs.run(words, said.put)
        first, second = said.get(timeout=SECONDS), said.get(timeout=SECONDS)
    finally:
        runs.close()

    assert first == second
    assert first.startswith(f"there is no store at {words[2]!r}")
    assert said.empty()


def test_run__words_that_no_command_line_holds__are_refused(tmp_path):
    runs, said = NetworkRuns("local"), queue.Queue()
    try:
        runs.run(("nnviz", "ablate", "x.zarr", "a" * 3_000_000), said.put)
        runs.run(("nnviz", "ablate", "x.zarr", "\0"), said.put)
        found = [said.get(timeout=SECONDS) for _ in range(2)]
    finally:
        runs.close()

    assert all(text.startswith("It cannot be started") for text in found)


def test_run__that_takes_too_long__is_ended(graph_url, silent):
    runs, said = NetworkRuns(silent, seconds=0.5), queue.Queue()
    try:
        runs.run(("nnviz", "ablate", graph_url, "cat"), said.put)
        text = said.get(timeout=SECONDS)
    finally:
        runs.close()

    assert text == "It took more than 0.5 seconds, and was ended."


def test_runs__more_than_may_wait__are_sent_away_and_end_with_the_server(
    graph_url, silent
):
    runs, said = NetworkRuns(silent), queue.Queue()
    for number in range(N_WAITING + 1):
        runs.run(("nnviz", "ablate", graph_url, str(number)), said.put)
    process = ended(lambda: runs._process, time.monotonic() + SECONDS)

    assert said.get(timeout=SECONDS) == BUSY
    runs.close()
    assert process.poll() is not None
    runs.run(("nnviz", "ablate", graph_url, "cat"), said.put)
    assert BUSY in [said.get(timeout=SECONDS) for _ in range(said.qsize())]
