"""A function is another one when what it says could be another thing."""

import functools

import numpy as np
import pytest

from nnviz.upkeep.user_functions import code_fingerprint

LIMIT = 3


def over_the_limit(row):
    return row["x"] > LIMIT


class Detector:
    def __init__(self, limits):
        self.limits = limits

    def __call__(self, row):
        return self.limits

    def found(self, row):
        return self.limits


class Keeping:
    model = None

    def __init__(self):
        self.model, self._n_asked = None, 0

    def __call__(self, row):
        self.model, self._n_asked = object(), self._n_asked + 1


SEEN = []


def remembered(row):
    SEEN.append(row)
    return len(SEEN)


def closing_over(value):
    def answer(row):
        return value

    return answer


def with_default(value):
    def answer(row, value=value):
        return value

    return answer


WAYS = {
    "closure": closing_over,
    "default": with_default,
    "partial": lambda value: functools.partial(over_the_limit, limits=value),
    "object": Detector,
    "method": lambda value: Detector(value).found,
    "lambda": lambda value: lambda row: value,
}
VALUES = {
    "number": (1, 2),
    "list": ([1, 2], [2, 1]),
    "dictionary": ({"a": 1}, {"a": 2}),
    "nested": ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}),
    "set": ({1, 2}, {1, 3}),
    "array": (np.arange(3), np.arange(3)[::-1]),
    "dtype": (np.arange(3, dtype="i4"), np.arange(3, dtype="i8")),
}


@pytest.mark.parametrize("what", VALUES)
@pytest.mark.parametrize("way", WAYS)
def test_fingerprint__follows_the_values_that_a_function_has(way, what):
    one, other = VALUES[what]

    found = code_fingerprint(WAYS[way](one), "rows")

    assert found != code_fingerprint(WAYS[way](other), "rows")
    assert found == code_fingerprint(WAYS[way](one), "rows")
    assert found != code_fingerprint(WAYS[way](one), "instances")


def test_fingerprint__follows_global_values(monkeypatch):
    before = code_fingerprint(over_the_limit, "rows")

    monkeypatch.setitem(globals(), "LIMIT", 4)

    assert code_fingerprint(over_the_limit, "rows") != before


def test_fingerprint__does_not_depend_on_the_order_of_a_dictionary():
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}

    assert code_fingerprint(closing_over(one), "rows") == code_fingerprint(
        closing_over(other), "rows"
    )


def test_fingerprint__does_not_change_by_what_is_kept_between_calls():
    one = Keeping()
    before = [code_fingerprint(one, "rows"), code_fingerprint(remembered, "rows")]

    one({"x": 1})
    remembered({"x": 1})

    assert code_fingerprint(one, "rows") == before[0]
    assert code_fingerprint(remembered, "rows") == before[1]
