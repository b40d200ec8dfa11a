"""Which classes are alike by their means, and what a map keeps of it."""

import numpy as np
import pytest

from nnviz.results.class_similarity import (
    alike_order,
    kept_neighbours,
    mean_similarity,
    telling_measure,
)


def test_means__are_compared_after_the_mean_of_all_is_taken_off():
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 1, (60, 7))
    labels = rng.integers(0, 4, 60)
    means = np.array([values[labels == k].mean(axis=0) for k in range(4)])

    found = mean_similarity(means, np.bincount(labels, minlength=4))

    for i in range(4):
        for j in range(4):
            a, b = (means[k] - values.mean(axis=0) for k in (i, j))
            wanted = sum(a * b) / (sum(a * a) * sum(b * b)) ** 0.5
            assert found[i, j] == pytest.approx(wanted, abs=1e-6)


def test_means__of_a_class_without_instances_are_like_none():
    means = np.array([[1.0, 2], [np.nan, np.nan], [3, 1]])

    found = mean_similarity(means, np.array([2, 0, 2]))

    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert found[0, 2] == pytest.approx(-1)


def test_means__of_one_class_alone_have_no_direction():
    assert np.isnan(mean_similarity(np.array([[1.0, 2]]), np.array([3]))).all()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        pytest.param(0.01, "mean", id="nothing-in-common"),
        pytest.param(0.5, "top", id="between"),
        pytest.param(0.99, "mean", id="all-in-common"),
    ],
)
def test_measure__is_the_one_that_tells_classes_apart(value, wanted):
    similarity = np.full((5, 5), value, np.float32)

    assert telling_measure(similarity) == wanted


def test_measure__of_classes_without_counts_is_that_of_the_map():
    assert telling_measure(np.full((3, 3), np.nan, np.float32)) == "top"


def test_neighbours__of_a_map_that_is_the_similarity_are_all_kept():
    angles = np.array([0, 0.1, 0.3, 2.0, 2.2, 4.0])
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    assert kept_neighbours(places, places @ places.T, 2) == 1


def test_neighbours__are_counted_among_the_nearest():
    # On a line at 0, 1, 2, 10; alike are 0 and 3, and 1 and 2.
    places = np.array([[0, 0], [1, 0], [2, 0], [10, 0], [np.nan, np.nan]], np.float32)
    similarity = np.eye(5, dtype=np.float32)
    similarity[[0, 3, 1, 2], [3, 0, 2, 1]] = 0.9
    similarity[0, 1] = similarity[1, 0] = 0.1

    # Nearest of 0 is 1, of 1 is 0 or 2, of 2 is 1, of 3 is 2.
    assert kept_neighbours(places, similarity, 1) in (0.25, 0.5)


def test_neighbours__of_too_few_classes_say_nothing():
    places = np.zeros((3, 2), np.float32)

    assert np.isnan(kept_neighbours(places, np.eye(3, dtype=np.float32), 2))


def test_order__of_planted_groups__keeps_them_together():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(4), 6))
    noise = rng.uniform(0, 0.1, (24, 24))
    similarity = np.where(groups[:, None] == groups, 0.8, 0.1) + (noise + noise.T) / 2
    np.fill_diagonal(similarity, 1)

    order = alike_order(similarity.astype(np.float32))

    assert sorted(order.tolist()) == list(range(24))
    assert (np.diff(groups[order]) != 0).sum() == 3


def test_order__of_a_chain__is_the_chain():
    x = np.random.default_rng(1).permutation(np.arange(9.0) ** 1.1)
    similarity = 1 - np.abs(x[:, None] - x) / 20

    order = alike_order(similarity.astype(np.float32))

    steps = np.diff(x[order])
    assert np.all(steps > 0) or np.all(steps < 0)


def test_order__puts_classes_that_are_like_none_last():
    similarity = np.eye(5, dtype=np.float32)
    similarity[1] = similarity[:, 1] = np.nan

    assert alike_order(similarity)[-1] == 1
    assert alike_order(np.full((2, 2), np.nan, np.float32)).tolist() == [0, 1]
