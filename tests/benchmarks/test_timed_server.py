"""What is taken for the time of an answer."""

from __future__ import annotations

import json

import pytest

from benchmarks.timed_server import IN, OUT, RECEIPT, answer_ms


def lines(*noted):
    return [json.dumps(one) for one in noted]


def test_answer__ends_with_the_last_that_changes_the_page():
    frames = [(IN, 2.0), (IN, 2.001), (OUT, 2.03), (OUT, 2.25), (RECEIPT, 2.4)]
    assert answer_ms(lines(*frames)) == pytest.approx(250)


def test_answer__to_what_the_page_asks_later__is_another_one():
    later = [(IN, 3.0), (OUT, 3.1), (RECEIPT, 3.2)]
    first = [(IN, 2.0), (OUT, 2.01), (RECEIPT, 2.02), (OUT, 2.3)]
    assert answer_ms(lines(*first, *later)) == pytest.approx(300)


def test_answer__of_nothing_else__is_the_receipt():
    assert answer_ms(lines((IN, 2.0), (RECEIPT, 2.01))) == pytest.approx(10)


@pytest.mark.parametrize(
    "frames", [[], [(IN, 1.0)], [(OUT, 1.0)], [(OUT, 1.0), (IN, 2.0)]]
)
def test_answer__that_does_not_come__has_no_time(frames):
    assert answer_ms(lines(*frames)) is None
