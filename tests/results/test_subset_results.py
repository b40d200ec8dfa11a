"""What is said of a subset, against plain counts over the stored values."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

import nnviz
from nnviz.results.subset_results import SubsetResults
from nnviz.testing import PlantedRun, write_complete_store
from tests.oracles import aggregates as oracle
from tests.oracles import discrete_tests

pytestmark = pytest.mark.slow

N = 300
SIDE = np.where(np.arange(N) % 3 == 0, "left", "right").astype(object)
RUN = PlantedRun(n_classes=5, n_instances=N, n_unreadable=6, metadata={"side": SIDE})
QUERY = "label = 'class 001' or side = left and not correct"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = tmp_path_factory.mktemp("results") / "run.zarr"
    write_complete_store(url, RUN)
    return nnviz.open_store(url)


@pytest.fixture(scope="module")
def members(store):
    """Return which instances the query means, by pandas."""
    table = store.instances()
    right = table.label == table.prediction
    known = (table.label >= 0) & (table.prediction >= 0)
    chosen = (table.label == 1) | ((table.side == "left") & ~right & known)
    return (chosen & (table.status == "")).to_numpy(), (table.status == "").to_numpy()


def test_results__size_accuracy_and_confusion__are_those_of_pandas(store, members):
    mine, usable = members
    table = store.instances()[mine]

    found = SubsetResults(store, QUERY)

    assert found.n_instances == mine.sum()
    assert len(found.against) == (usable & ~mine).sum()
    assert found.accuracy[0] == pytest.approx((table.label == table.prediction).mean())
    wrong = table[table.label != table.prediction]
    counts = wrong.groupby(["label", "prediction"]).size().to_dict()
    names = store.class_names
    assert {
        (names.index(a), names.index(b)): k for a, b, k in found.confusion
    } == counts
    assert found.confidence.sum() == mine.sum()


def test_results__channels__are_counted_and_tested_exactly(store, members):
    mine, usable = members
    found = {(c.layer, c.channel): c for c in SubsetResults(store, QUERY).channels}

    raw = {}
    for layer in store.shown_layers:
        values = store.activations(layer.name).astype(np.float64)
        top = np.zeros(values.shape, dtype=bool)
        for row in np.flatnonzero(usable):
            top[row, oracle.top_channels(values[row], share=RUN.share)] = True
        others = usable & ~mine
        for channel in np.flatnonzero(top[usable].any(axis=0)):
            a, b = int(top[mine, channel].sum()), int(top[others, channel].sum())
            one = found[layer.name, int(channel)]
            assert (one.count, one.other_count) == (a, b)
            assert one.mean == pytest.approx(values[mine, channel].mean())
            assert one.other_mean == pytest.approx(values[others, channel].mean())
            raw[layer.name, int(channel)] = (a, int(mine.sum()), b, int(others.sum()))
    adjusted = discrete_tests.adjusted(
        [discrete_tests.mid_p(*table) for table in raw.values()],
        [discrete_tests.least_p(a + b, n, m) for a, n, b, m in raw.values()],
    )
    assert set(found) == set(raw)
    for key, p in zip(raw, adjusted, strict=True):
        assert found[key].p_value == pytest.approx(p, rel=1e-6, abs=1e-12)


def test_results__by_the_index__are_those_of_the_facts(store, tmp_path):
    indexed = shutil.copytree(store.url, tmp_path / "run.zarr")
    nnviz.index(indexed, progress=False)

    with_it = SubsetResults(nnviz.open_store(indexed), QUERY).channels
    without = SubsetResults(store, QUERY).channels

    assert len(with_it) == len(without) > 0
    for found, expected in zip(with_it, without, strict=True):
        # The others' means are those of all less the subset's.
        assert found.mean == pytest.approx(expected.mean, rel=1e-5)
        assert found.other_mean == pytest.approx(expected.other_mean, rel=1e-5)
        means = {"mean": expected.mean, "other_mean": expected.other_mean}
        assert dataclasses.replace(found, **means) == expected


def test_results__metadata__are_shares_of_values(store, members):
    mine, usable = members
    found = {v.value: v for v in SubsetResults(store, QUERY).metadata}

    side = pd.Series(SIDE)
    assert found["left"].count == (side[mine] == "left").sum()
    assert found["left"].other_count == (side[usable & ~mine] == "left").sum()


def test_results__nearest_class__is_its_own(store):
    near = SubsetResults(store, "label = 'class 003' and correct").nearest_classes(
        "late"
    )

    assert near[0][0] == "class 003"
    assert near[0][1] > 0.9


def test_results__nearest_saved__is_the_one_with_the_same_instances(tmp_path):
    write_complete_store(tmp_path / "run.zarr", RUN)
    store = nnviz.open_store(tmp_path / "run.zarr")
    store.save_subset("threes", "label = 'class 003'")
    store.save_subset("ones", "label = 'class 001'")
    store.save_subset("nobody", "confidence > 2")

    found = store.look("label = 'class 003' and correct")

    assert [name for name, _ in found.nearest_saved("late")] == ["threes", "ones"]
    assert [name for name, _ in store.look("ones").nearest_saved("late")] == ["threes"]
    assert "nearest saved" not in repr(found)  # without an index that may take long
    nnviz.index(store, progress=False)
    assert "nearest saved  ones (" in repr(nnviz.open_store(store.url).look("correct"))


def test_results__differences__have_intervals_around_them(store):
    found = SubsetResults(store, QUERY)

    for one in [*found.channels, *found.metadata]:
        low, high = one.interval
        assert -1 <= low <= one.share - one.other_share <= high <= 1
        if one.p_value < 0.001:
            assert low > 0 or high < 0


def test_results__against_another__and_its_instances(store):
    found = SubsetResults(store, "correct", "not correct")
    first = found.instances(by="confidence", n=3)

    values = store.column("confidence")
    everything = values[found.subset.instances]
    assert values[first].tolist() == np.sort(everything)[::-1][:3].tolist()
    assert found.against.name == "not correct"
    worst = found.instances(by="confidence", n=3, worst=True)
    assert values[worst].tolist() == np.sort(everything)[:3].tolist()


def test_results__nothing_in_it__is_said(store):
    found = SubsetResults(store, "confidence > 2")

    assert "no usable instance is in it" in repr(found)
    assert found.to_json()["accuracy"] is None


def test_results__say_what_answered_and_what_would_be_faster(tmp_path):
    write_complete_store(tmp_path / "run.zarr", RUN)
    without = SubsetResults(nnviz.open_store(tmp_path / "run.zarr"), QUERY)

    assert without.answered_by == "chunks"
    assert without.lines()[-1].startswith("answered by    the chunks, exact; the store")
    assert "'nnviz index" in without.to_json()["advice"]

    nnviz.index(tmp_path / "run.zarr", progress=False)
    found = SubsetResults(nnviz.open_store(tmp_path / "run.zarr"), QUERY)

    assert found.lines()[-1] == "answered by    the index, exact"
    assert found.lines()[:-1] == without.lines()[:-1]
    assert (found.answered_by, found.advice) == ("index", "")
    assert not found.is_large
    for one, exact in zip(found.estimate(), found.means("late").tolist(), strict=True):
        np.testing.assert_allclose(one["late"].mean, exact, rtol=1e-5, atol=1e-6)
