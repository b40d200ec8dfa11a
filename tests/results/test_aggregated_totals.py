"""What is aggregated of A and B, against sums over the stored values."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import nnviz
from nnviz.results import aggregated_totals
from nnviz.results.subset_results import SubsetResults
from nnviz.store.store import Store
from nnviz.testing import PlantedRun, write_complete_store

pytestmark = pytest.mark.slow

RUN = PlantedRun(n_classes=5, n_instances=300, n_unreadable=6)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = tmp_path_factory.mktemp("totals") / "run.zarr"
    write_complete_store(url, RUN)
    return nnviz.open_store(url)


@pytest.mark.parametrize(("query", "column"), [("label", "label"), ("prediction",) * 2])
def test_totals__of_a_class__are_those_of_its_instances(store, query, column):
    found = SubsetResults(store, f"{query} = 'class 002'")

    usable = store.column("status") == ""
    mine = usable & (store.column(column) == 2)
    assert found.answered_by == "aggregates"
    assert (found.n_instances, len(found.against)) == (
        mine.sum(),
        (usable & ~mine).sum(),
    )
    for layer in store.shown_layers:
        values = store.activations(layer.name).astype(np.float64)
        both = [values[rows] for rows in (mine, usable & ~mine)]
        means, variances = ([f(one, axis=0) for one in both] for f in (np.mean, np.var))
        np.testing.assert_allclose(found.means(layer.name), means, rtol=1e-6)
        np.testing.assert_allclose(
            found.variances(layer.name), variances, rtol=1e-6, atol=1e-9
        )


def test_totals__of_the_next_class__are_there_without_a_read(store, tmp_path):
    url = tmp_path / "run.zarr"
    shutil.copytree(Path(store.url), url)
    copied = nnviz.open_store(url)
    SubsetResults(copied, "label = 'class 001'").channels  # noqa: B018  read
    for name in ("activation_counts", "activation_sum", "activation_sum_of_squares"):
        shutil.rmtree(url / "aggregates" / "label" / name)

    found = SubsetResults(copied, "label = 'class 002'")

    assert found.channels == SubsetResults(store, "label = 'class 002'").channels
    assert found.answered_by == "aggregates"


def test_totals__of_what_is_aggregated_again__are_not_kept(store, tmp_path):
    url = tmp_path / "run.zarr"
    shutil.copytree(Path(store.url), url)
    copied = nnviz.open_store(url)
    SubsetResults(copied, "label = 'class 001'").channels  # noqa: B018  read
    Store.open(str(url), writable=True).groups.invalidate("aggregates/label")

    found = SubsetResults(copied, "label = 'class 002'")

    assert found.answered_by != "aggregates"


def test_totals__of_a_large_collection__are_not_kept(store, tmp_path, monkeypatch):
    monkeypatch.setattr(aggregated_totals, "KEPT_BYTES", 0)
    url = tmp_path / "run.zarr"
    shutil.copytree(Path(store.url), url)
    copied = nnviz.open_store(url)
    first = SubsetResults(copied, "label = 'class 001'").channels
    shutil.rmtree(url / "aggregates" / "label" / "activation_sum")

    second = SubsetResults(copied, "label = 'class 002'")

    assert second.answered_by == "chunks"
    assert first == SubsetResults(store, "label = 'class 001'").channels


def test_totals__of_a_class__are_those_of_the_chunks(store):
    by_aggregates = SubsetResults(store, "label = 'class 001'")
    # The same instances; that nothing else is meant is not seen in these words.
    by_chunks = SubsetResults(
        store, "label = 'class 001'", "not label = 'class 001' and not id = 'none'"
    )
    by_chunks._aggregated = None

    assert by_chunks.answered_by == "chunks"
    for a, b in zip(by_aggregates.channels, by_chunks.channels, strict=True):
        assert (a.layer, a.channel, a.count, a.other_count) == (
            b.layer, b.channel, b.count, b.other_count,
        )  # fmt: skip
        assert a.other_mean == pytest.approx(b.other_mean, rel=1e-6)


def labels_of(store):
    """Return the usable instances, their labels and predictions, as stored."""
    usable = store.column("status") == ""
    return usable, store.column("label"), store.column("prediction")


def means_of(store, layer, rows):
    return store.activations(layer)[rows].astype(np.float64).mean(axis=0)


@pytest.mark.parametrize("outcome", ["correct", "not correct"])
def test_totals__of_an_outcome_of_a_class__are_those_of_its_instances(store, outcome):
    usable, label, prediction = labels_of(store)
    mine = usable & (label == 1) & ((label == prediction) == (outcome == "correct"))

    found = SubsetResults(store, f"label = 'class 001' and {outcome}")

    assert found.answered_by == "aggregates"
    assert found.n_instances == mine.sum()
    for layer in store.shown_layers:
        expected = [means_of(store, layer.name, m) for m in (mine, usable & ~mine)]
        np.testing.assert_allclose(found.means(layer.name), expected, rtol=1e-6)


def test_totals__of_two_classes__are_those_of_their_instances(store):
    usable, label, prediction = labels_of(store)
    sets = usable & (label == 1), usable & (prediction == 2)

    found = SubsetResults(store, "label = 'class 001'", "prediction = 'class 002'")

    assert found.answered_by == "aggregates"
    for layer in store.shown_layers:
        expected = [means_of(store, layer.name, rows) for rows in sets]
        np.testing.assert_allclose(found.means(layer.name), expected, rtol=1e-6)


def test_totals__of_as_many_as_all_others_that_overlap__are_not_theirs(store):
    usable, label, _ = labels_of(store)
    mine = np.flatnonzero(usable & (label == 1))
    # As many as there are besides, but one of them is of the class.
    others = np.flatnonzero(usable & (label != 1))
    others = np.sort(np.append(others[1:], mine[0]))

    found = SubsetResults(store, "label = 'class 001'", others)

    for layer in store.shown_layers:
        expected = [means_of(store, layer.name, rows) for rows in (mine, others)]
        np.testing.assert_allclose(found.means(layer.name), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("query", "against"),
    [
        ("label = 'class 001' or label = 'class 002'", None),
        ("label = 'class 001' and confidence > 0.5", "label = 'class 001'"),
        ("label = 'class 001'", "instance < 40"),
    ],
)
def test_totals__of_what_is_no_class__are_read(store, query, against):
    found = SubsetResults(store, query, against)

    assert found.answered_by == "chunks"
    for layer in store.shown_layers:
        sets = (found.subset.instances, found.against.instances)
        expected = [means_of(store, layer.name, rows) for rows in sets]
        np.testing.assert_allclose(found.means(layer.name), expected, rtol=1e-6)


def test_totals__of_a_set_that_was_counted__are_not_counted_again(store, tmp_path):
    url = tmp_path / "run.zarr"
    shutil.copytree(Path(store.url), url)
    copied = nnviz.open_store(url)
    query = "instance < 40"
    SubsetResults(copied, query, "label = 'class 001'").channels  # noqa: B018  counted
    shutil.rmtree(url / "activations")

    found = SubsetResults(copied, query, "label = 'class 002'")

    expected = SubsetResults(store, query, "label = 'class 002'")
    assert found.channels == expected.channels


def test_next_class__is_at_hand_once_the_first_was_counted(store):
    opened = nnviz.open_store(store.url)
    first = SubsetResults(opened, "label = 'class 001'")
    assert not first.is_at_hand
    first.shares("late")

    assert first.is_at_hand
    assert SubsetResults(opened, "label = 'class 002'").is_at_hand
    for query in ("instance < 40", "label = 'class 001' or correct"):
        asked = SubsetResults(opened, query)
        assert not asked.is_at_hand
        assert asked.answered_by == "chunks"
        assert asked.is_at_hand
