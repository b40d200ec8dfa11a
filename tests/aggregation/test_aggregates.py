"""The read face: values, near matches, display."""

import numpy as np
import pytest

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.derivation.class_table import read_class_table
from nnviz.derivation.embedding import read_embedding, read_similarity
from nnviz.derivation.examples import read_examples
from nnviz.errors import MissingDataError, UnknownNameError
from nnviz.store.store import Store
from nnviz.testing import (
    PlantedRun,
    planted_channels,
    write_complete_store,
    write_store,
)

HOSTILE = ("crane", "<img src=x onerror=alert(1)>", "crane", "=1+1")
RUN = PlantedRun(n_classes=4, n_instances=80, class_names=HOSTILE)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_complete_store(tmp_path_factory.mktemp("run") / "run.zarr", RUN)


def test_top__is_sorted_by_count_then_channel_and_has_consistent_columns(store):
    labels = aggregates_of(store, "label")

    top = labels.top("late", "crane (2)", 100)

    assert top.n_instances == 20
    keys = list(zip(-top.count, top.channel, strict=True))
    assert keys == sorted(keys)
    assert (top.count > 0).all()
    np.testing.assert_allclose(top.share, top.count / 20)
    np.testing.assert_allclose(top.lift * top.base_rate, top.share)
    np.testing.assert_allclose(top.mean, labels.mean("late")[2][top.channel])
    np.testing.assert_allclose(top.lift, labels.lift("late")[2][top.channel])
    assert set(top.channel[:2]) <= set(planted_channels(RUN, "late", 2))


def test_top__takes_the_number_of_a_subset(store):
    aggregates = aggregates_of(store, "label")

    for number, name in enumerate(aggregates.all_names):
        assert aggregates.top("late", number).subset == name


def test_top__returns_at_most_so_many(store):
    labels = aggregates_of(store, "label")

    assert len(labels.top("late", "=1+1", 2)) == 2
    assert len(labels.top("late", "=1+1", 0)) == 0


def test_base_rate__is_the_share_of_all_instances(store):
    everything = aggregates_of(store, "all")

    base_rate = aggregates_of(store, "label").base_rate("late")

    np.testing.assert_array_equal(base_rate, everything.share("late")[0])
    np.testing.assert_array_equal(everything.base_rate("late"), base_rate)


def test_lift__of_a_channel_that_is_nowhere_on_top_is_not_a_number(store):
    labels = aggregates_of(store, "label")

    is_never = labels.base_rate("late") == 0

    assert is_never.any()
    assert np.isnan(labels.lift("late")[:, is_never]).all()


def test_variance__is_never_negative(store):
    assert (aggregates_of(store, "outcome").variance("late") >= 0).sum() > 0
    assert not (aggregates_of(store, "outcome").variance("late") < 0).any()


def test_names__are_different_though_classes_share_one(store):
    assert aggregates_of(store, "label").names == (
        "crane (0)",
        HOSTILE[1],
        "crane (2)",
        "=1+1",
    )


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        pytest.param(lambda a: a.counts("lat"), "did you mean 'late'", id="layer"),
        pytest.param(lambda a: a.mean("x"), "unknown layer 'x'", id="mean"),
        pytest.param(lambda a: a.top("late", "crane"), "'crane \\(0\\)'", id="subset"),
        pytest.param(lambda a: a.row("zebra"), "has 4 subsets", id="row"),
        pytest.param(lambda a: a.top("late", 4), "no subset 4.* 0 to 3", id="number"),
    ],
)
def test_aggregates__name_near_matches(store, ask, message):
    with pytest.raises(UnknownNameError, match=message):
        ask(aggregates_of(store, "label"))


def test_aggregates__of_an_unknown_collection_name_the_known_ones(store):
    with pytest.raises(UnknownNameError, match="'lable'; did you mean 'label'"):
        aggregates_of(store, "lable")


def test_displays__escape_what_the_data_are_called(store):
    labels = aggregates_of(store, "label")
    shown = [
        labels,
        labels.top("late", HOSTILE[1]),
        read_class_table(store),
    ]

    for value in shown:
        assert "<img" not in value._repr_html_()
        assert "&lt;img" in value._repr_html_()
        assert "\n" in repr(value)


def test_tables__become_frames(store):
    top = aggregates_of(store, "label").top("late", "=1+1", 3)

    frame = top.to_frame()

    assert list(frame) == ["channel", "count", "share", "base_rate", "lift", "mean"]
    assert len(frame) == 3


def test_artifacts__are_read_by_layer(store):
    assert read_similarity(store, "label", "late").shape == (4, 4)
    assert read_embedding(store, "prediction", "early").shape == (4, 2)
    assert len(read_class_table(store)) == 4
    assert read_examples(store, "middle").instance.shape == (48, 5)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda s: read_similarity(s, "label", "x"), id="similarity"),
        pytest.param(lambda s: read_embedding(s, "label", "x"), id="embedding"),
        pytest.param(lambda s: read_examples(s, "x"), id="examples"),
        pytest.param(lambda s: read_examples(s, "output"), id="not-shown"),
        pytest.param(
            lambda s: read_similarity(s, "label", "output"), id="no-similarity"
        ),
    ],
)
def test_artifacts__of_an_unknown_layer_are_an_error(store, read):
    with pytest.raises(UnknownNameError, match="layer"):
        read(store)


@pytest.mark.parametrize(
    ("read", "stage"),
    [
        pytest.param(lambda s: aggregates_of(s, "label"), "aggregate", id="aggregates"),
        pytest.param(read_class_table, "derive", id="classes"),
        pytest.param(lambda s: read_similarity(s, "label", "late"), "derive", id="sim"),
        pytest.param(lambda s: read_examples(s, "late"), "derive", id="examples"),
    ],
)
def test_reads__name_the_stage_that_has_not_run(tmp_path, read, stage):
    store = write_store(tmp_path / "s.zarr", PlantedRun(n_instances=20))

    with pytest.raises(MissingDataError, match=f"run 'nnviz {stage}"):
        read(Store.open(store.url))
