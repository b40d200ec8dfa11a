"""The order of values, against Python's own sort of them."""

import numpy as np
import pytest

from nnviz.results.stable_order import StableOrder, stable_order

N = 3_000


def values_of(dtype):
    """Return values with many ties, both zeros and both ends."""
    rng = np.random.default_rng(7)
    values = (rng.normal(size=N) * 50).round(1).astype(dtype)
    if np.dtype(dtype).kind == "f":
        values[::17], values[::19] = 0.0, -0.0
        values[3], values[4] = np.finfo(dtype).max, np.finfo(dtype).min
        values[5], values[6] = np.finfo(dtype).smallest_subnormal, -np.inf
    return values


@pytest.mark.parametrize("largest_first", [True, False])
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int32", "int64", "uint16", "bool"]
)
def test_order__is_that_of_a_stable_sort_with_what_has_no_value_last(
    dtype, largest_first
):
    values = values_of(dtype)
    null = np.random.default_rng(8).random(N) < 0.1

    found = stable_order(values, null, largest_first=largest_first)

    sign = -1 if largest_first else 1
    known = [i for i in range(N) if not null[i]]
    unknown = [i for i in range(N) if null[i]]
    expected = sorted(known, key=lambda i: sign * float(values[i])) + unknown
    assert found.tolist() == expected
    parts = StableOrder(values, null, largest_first=largest_first)
    for start, stop in ((0, 1), (0, 40), (40, 80), (1_400, 1_440), (2_990, 3_020)):
        assert parts.part(start, stop).tolist() == expected[start:stop]
    assert len(parts.part(N, N + 40)) == 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_part__where_many_are_alike_in_their_first_bits__is_that_of_a_sort(dtype):
    rng = np.random.default_rng(9)
    # Close together, and two large groups of equal values in between.
    values = (1 + rng.integers(0, 90, N) * np.finfo(dtype).eps).astype(dtype)
    values[rng.random(N) < 0.4] = 1.5
    null = rng.random(N) < 0.3

    order = StableOrder(values, null)

    known = [i for i in range(N) if not null[i]]
    expected = sorted(known, key=lambda i: -float(values[i]))
    expected += [i for i in range(N) if null[i]]
    for start in range(0, N, 250):
        part = order.part(start, start + 300)
        assert part.tolist() == expected[start : start + 300]


@pytest.mark.parametrize("largest_first", [True, False])
@pytest.mark.parametrize("span", [65_534, 65_535, 1 << 40])
def test_order__of_whole_numbers_that_are_far_apart__is_theirs(span, largest_first):
    values = np.array([-5, span - 5, 3, span - 6, -5], dtype=np.int64)
    null = np.array([False, False, True, False, False])

    found = stable_order(values, null, largest_first=largest_first)

    assert found.tolist() == ([1, 3, 0, 4, 2] if largest_first else [0, 4, 3, 1, 2])


@pytest.mark.parametrize("largest_first", [True, False])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32"])
def test_order__of_both_ends_of_a_type__is_theirs(dtype, largest_first):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = np.array([low, high, 0, 1, high - 1], dtype=dtype)

    found = stable_order(values, np.zeros(5, np.bool_), largest_first=largest_first)

    # Without a sign the smallest is 0, which is there twice.
    order = sorted(range(5), key=lambda i: (-1) ** largest_first * int(values[i]))
    assert found.tolist() == order


def test_order__of_nothing__is_empty():
    assert stable_order(np.zeros(0, np.int32), np.zeros(0, np.bool_)).tolist() == []


def test_order__leaves_the_values_as_they_are():
    values = np.array([1.0, -2.0, 3.0], dtype=np.float16)

    stable_order(values, np.array([False, True, False]))

    assert values.tolist() == [1.0, -2.0, 3.0]
