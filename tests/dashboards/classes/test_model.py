"""The list of classes as a plain object, on a real store."""

import csv

import numpy as np
import pytest

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.derivation.similarity import cosine_similarity
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz.testing import planted_channels
from nnviz_dashboards.classes.model import SubsetsModel
from tests.dashboards.selections import choose
from tests.planted_stores import NAMES, RUN


@pytest.fixture
def subsets(results, selection):
    return SubsetsModel(results, selection)


def names_of(subsets):
    return [NAMES[i] for i in subsets.order]


def test_subsets__begin_with_the_chosen_class_and_then_the_most_similar(
    finished, subsets, selection
):
    selection.choose(alike="top")
    counts = aggregates_of(finished).counts("late")
    cosine = cosine_similarity(counts)[1]

    assert subsets.order[0] == 1
    assert np.all(np.diff(cosine[subsets.order[1:]]) <= 1e-6)
    np.testing.assert_allclose(subsets.similarity, cosine, rtol=1e-6)
    assert list(subsets.neighbours) == list(subsets.order[1:9])


def test_subsets__without_common_channels_are_compared_by_their_means(
    finished, subsets, selection
):
    aggregates = aggregates_of(finished)
    overall = np.average(
        aggregates.mean("late"), axis=0, weights=aggregates.n_instances
    )
    a, b = aggregates.mean("late")[[1, 5]] - overall

    assert subsets.alike == "mean"
    wanted = a @ b / np.sqrt((a @ a) * (b @ b))
    assert subsets.similarity[5] == pytest.approx(wanted, abs=1e-5)

    selection.choose(alike="top")
    assert subsets.alike == "top"
    assert subsets.similarity[5] == 0


def test_subsets__map_says_how_many_neighbours_it_keeps(subsets):
    assert subsets.n_near == 3
    assert 0 < subsets.kept <= 1


def test_subsets__another_layer_changes_places_similarity_and_order(subsets, selection):
    before = subsets.places.copy(), subsets.similarity.copy()

    selection.choose(layer="early")

    assert not np.array_equal(before[0], subsets.places)
    assert not np.array_equal(before[1], subsets.similarity)
    # In the first layer, runs of four neighbouring classes share their channels.
    assert set(subsets.order[:4].tolist()) == {0, 1, 2, 3}


def test_subsets__places_fill_the_square(subsets):
    span = np.nanmax(subsets.places, axis=0) - np.nanmin(subsets.places, axis=0)

    assert span.max() == pytest.approx(2, abs=1e-5)
    assert np.nanmax(np.abs(subsets.places)) <= 1 + 1e-5


def test_subsets__search_lists_names_that_contain_the_text(subsets):
    subsets.search(" CR")

    assert names_of(subsets) == ["crane", "crane"]

    subsets.search("nothing like it")
    assert names_of(subsets) == []


def test_subsets__search_finds_a_class_by_its_mark(subsets):
    subsets.search("(2)")

    assert subsets.order.tolist() == [2]


def test_subsets__sort_by_accuracy_errors_and_name(subsets):
    accuracy = subsets.classes.accuracy

    subsets.sort("accuracy")
    assert np.all(np.diff(accuracy[subsets.order]) <= 0)
    subsets.sort("errors")
    assert np.all(np.diff(accuracy[subsets.order]) >= 0)
    subsets.sort("name")
    assert names_of(subsets) == sorted(NAMES)


def test_subsets__classes_of_one_name_have_marks(subsets):
    marks = subsets.classes.marks

    assert (marks[0], marks[2]) == ("(0)", "(2)")
    assert {marks[i] for i in range(10) if i not in (0, 2)} == {""}


def test_subsets__facts_name_what_the_class_is_taken_for(subsets):
    label, prediction = RUN.labels, RUN.predictions
    of_class = (label == 1) & ~RUN.is_unreadable
    # A wrong prediction is always the next class.
    n_wrong = int((prediction[of_class] == 2).sum())

    facts = subsets.facts

    assert (facts.name, facts.n_instances) == ("wolf", int(of_class.sum()))
    assert facts.accuracy == pytest.approx((prediction == 1)[of_class].mean())
    assert [(c.subset, c.n_instances) for c in facts.confusions] == [(2, n_wrong)]


def test_subsets__share_is_that_of_the_chosen_channel(finished, subsets, selection):
    channel = planted_channels(RUN, "late", 1)[0]

    selection.choose(channel=channel)

    share = aggregates_of(finished).share("late")[:, channel]
    np.testing.assert_allclose(subsets.share, share)
    selection.choose(channel=-1)
    assert subsets.share is None


def test_subsets__histograms_count_every_usable_instance(subsets):
    classes = subsets.classes

    assert classes.confidence.shape == (10, 20)
    np.testing.assert_array_equal(classes.confidence.sum(axis=1), classes.n_instances)


def test_subsets__published_values_cannot_be_set_by_a_view(subsets):
    with pytest.raises(TypeError, match="Constant parameter"):
        subsets.order = np.zeros(0, np.int64)


def test_subsets__without_derivation_say_which_command_to_run(aggregated_url):
    results = RunResults(Store.open(aggregated_url))

    subsets = SubsetsModel(results, choose(results))

    assert subsets.missing.command == f"nnviz derive {aggregated_url}"
    assert subsets.similarity is None
    assert subsets.places is None
    assert names_of(subsets) == sorted(NAMES)


def test_subsets__before_aggregation_leave_the_command_to_the_graph(extracted_url):
    results = RunResults(Store.open(extracted_url))

    missing = SubsetsModel(results, choose(results)).missing

    assert missing.command == ""
    assert missing.title != results.missing_stage().title


def test_pairs__are_there_when_they_are_looked_at(finished, subsets, selection):
    assert subsets.pairs is None

    selection.choose(layout="pairs", alike="top")

    pairs = subsets.pairs
    cosine = cosine_similarity(aggregates_of(finished).counts("late"))
    assert sorted(pairs.classes.tolist()) == list(range(len(NAMES)))
    wanted = cosine[np.ix_(pairs.classes, pairs.classes)]
    np.testing.assert_allclose(pairs.similarity, wanted, rtol=1e-5, atol=1e-6)
    assert pairs.alike == "top"
    selection.choose(alike="mean", layer="middle")
    assert subsets.pairs.alike == "mean"
    selection.choose(layout="map")
    assert subsets.pairs is None


def test_pairs__as_a_table__have_all_names(subsets, selection):
    selection.choose(layout="pairs")

    head, *rows = csv.reader(subsets.layout_table().csv().decode().splitlines())

    assert head[0] == "class"
    assert [row[0] for row in rows] == head[1:]
    assert {float(row[i]) for i, row in enumerate(rows, 1)} == {1.0}


def test_pairs__of_very_many_classes__are_no_picture(subsets, selection, monkeypatch):
    monkeypatch.setattr("nnviz_dashboards.classes.model.MOST_PAIRED", 9)

    selection.choose(layout="pairs")

    assert subsets.pairs is None


def test_versus__is_the_class_of_b(subsets, selection):
    assert subsets.versus == -1
    selection.choose(b="label = cat")
    assert subsets.versus == 6
    selection.choose(b="label = cat and correct")
    assert subsets.versus == -1


def test_list__as_a_table__has_the_classes_in_order(subsets, selection):
    selection.choose(sort="name")

    rows = list(csv.DictReader(subsets.list_table().csv().decode().splitlines()))

    assert [int(row["index"]) for row in rows] == subsets.order.tolist()
    for row in rows:
        at = int(row["index"])
        assert row["class"] == subsets.classes.names[at]
        assert int(row["instances"]) == subsets.classes.n_instances[at]
        bins = [int(n) for key, n in row.items() if key.startswith("confidence_")]
        assert bins == subsets.classes.confidence[at].tolist()
