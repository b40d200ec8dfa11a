"""The vector instructions."""

import numba
import numpy as np
import pytest

from nnviz.compiling import compiled
from nnviz.network.influence import vectors
from nnviz.network.influence.vectors import LANES


@compiled
def largest(values, n_vectors):
    return vectors.first_maximum(vectors.address(values), n_vectors)


@compiled
def sums(maps, offsets, weights, mask, width):
    pointers = vectors.address(maps), vectors.address(offsets)
    rest = vectors.address(weights), len(offsets), vectors.address(mask)
    if width == 2:
        return vectors.tile_maximum_narrow(*pointers, *rest)
    if width == 5:
        return vectors.tile_maximum_single(*pointers, *rest)
    return vectors.tile_maximum_wide(*pointers, *rest)


def test_first_maximum__is_the_first_of_equal_values():
    values = np.zeros(4 * LANES, np.float32)
    values[[LANES + 1, 2 * LANES]] = 7

    assert largest(values, 4) == LANES + 1


@pytest.mark.parametrize("width", [2, 4, 5])
def test_tile_maximum__is_the_largest_sum_over_taps_of_open_positions(width):
    generator = np.random.default_rng(0)
    n_positions = width * LANES
    maps = generator.integers(-9, 9, n_positions + 20).astype(np.float32)
    offsets = np.array([0, 3, 20])
    weights = np.array([2, -1, 3], np.float32)
    mask = np.where(generator.random(n_positions) < 0.5, -np.inf, 0).astype(np.float32)
    total = mask + sum(
        weight * maps[offset : offset + n_positions]
        for weight, offset in zip(weights, offsets, strict=True)
    )

    assert sums(maps, offsets, weights, mask, width) == total.max()


def test_address__refuses_an_array_that_is_not_contiguous():
    with pytest.raises(numba.TypingError, match="only a contiguous array"):
        largest(np.zeros(8 * LANES, np.float32)[::2], 4)
