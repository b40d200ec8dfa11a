"""The confusions as a plain object, counted by plain NumPy."""

import csv
from collections import Counter

import numpy as np
import pytest

from nnviz_dashboards.confusions.model import ConfusionsModel
from nnviz_dashboards.subsets.model import SubsetPairModel
from tests.planted_stores import NAMES, RUN

USABLE = ~RUN.is_unreadable


@pytest.fixture
def confusions(results, selection):
    selection.choose(view="confusions")
    return ConfusionsModel(results, SubsetPairModel(results, selection))


def test_table__counts_instances_by_true_and_predicted_class(confusions, finished):
    prediction = finished.column("prediction")[USABLE]
    expected = np.zeros((len(NAMES), len(NAMES)), np.int64)
    np.add.at(expected, (RUN.labels[USABLE], prediction), 1)

    table = confusions.table

    assert table.classes.tolist() == list(range(len(NAMES)))
    np.testing.assert_array_equal(table.counts, expected)
    assert table.n_wrong == expected.sum() - np.trace(expected)
    first = table.frequent[0]
    np.fill_diagonal(expected, 0)
    assert first.n_instances == expected.max()
    assert expected[first.label, first.prediction] == first.n_instances


def test_pick__is_a_against_what_is_right_of_its_class(confusions, selection):
    confusions.pick(1, 2)

    assert (selection.subset, selection.a, selection.b) == (
        1,
        "label = wolf and prediction = 2",
        "label = wolf and correct",
    )


def test_pick__of_one_subset__leaves_the_other(confusions, selection):
    selection.choose(a="label = cat")

    confusions.pick(1, 2, what="b")

    assert (selection.a, selection.b) == (
        "label = cat",
        "label = wolf and prediction = 2",
    )


def test_pick_class__of_a_column__is_all_that_is_predicted_so(confusions, selection):
    confusions.pick_class(1, predicted=True)
    assert selection.a == "prediction = wolf"

    confusions.pick_class(6, predicted=False)
    assert (selection.subset, selection.a) == (6, "")


def test_pick__of_no_class__changes_nothing(confusions, selection):
    before = selection.address()

    confusions.pick(1, 99)
    confusions.pick_class(-1, predicted=False)

    assert selection.address() == before


def test_many_classes__show_those_of_the_most_frequent_confusions(
    results, selection, monkeypatch
):
    monkeypatch.setattr("nnviz_dashboards.confusions.model.N_CLASSES", 4)
    selection.choose(view="confusions")

    table = ConfusionsModel(results, SubsetPairModel(results, selection)).table

    first = table.frequent[0]
    assert len(table.classes) == 4
    assert {first.label, first.prediction} <= set(table.classes.tolist())
    assert table.n_present == len(NAMES)


def test_table__has_all_pairs_of_classes_that_occur(confusions, finished):
    prediction = finished.column("prediction")[USABLE]
    expected = Counter(
        (NAMES[a], NAMES[b])
        for a, b in zip(RUN.labels[USABLE], prediction, strict=True)
    )

    rows = list(csv.DictReader(confusions.data().csv().decode().splitlines()))

    found = Counter()
    for row in rows:
        found[row["label"], row["prediction"]] += int(row["instances"])
    assert found == expected
