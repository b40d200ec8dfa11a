"""Which instances belong together?"""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from nnviz.errors import DatasetError, ShapeError, UnknownNameError
from nnviz.subsets.subsets import (
    Subset,
    SubsetCollection,
    all_instances,
    class_subsets,
    collect_subsets,
    display_names,
    outcome_subsets,
)

HOSTILE = ["crane", "<script>alert(1)</script>", "crane", "", "a/b", "crane (0)"]


def test_subset__is_sorted_and_has_no_instance_twice():
    subset = Subset("odd", np.array([5, 1, 3, 1]))

    assert subset.instances.tolist() == [1, 3, 5]
    assert len(subset) == 3


def test_subset__is_printed_by_name_and_size__not_by_its_instances():
    mask = np.zeros(40_000, dtype=np.bool_)
    mask[:10_000] = True

    assert repr(Subset("dark", mask)) == (
        "<nnviz.Subset 'dark': 10,000 instances, 25 % of 40,000>"
    )
    assert repr(Subset("one", [7])) == "<nnviz.Subset 'one': 1 instance>"
    assert len(repr(Subset("a or " * 800, np.arange(50_000)))) < 300


def test_class_subsets__has_a_row_for_every_class_also_without_instances():
    classes = class_subsets([2, 0, 2, -1], ["a", "b", "c"])

    assert classes.membership.toarray().astype(int).tolist() == [
        [0, 1, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 1, 0],
    ]
    assert classes.sizes().tolist() == [1, 0, 2]
    assert (classes.name, classes.kind) == ("label", "label")


def test_class_subsets__of_no_instances_is_empty():
    classes = class_subsets(np.empty(0, np.int32), ["a", "b"])

    assert classes.membership.shape == (2, 0)


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        pytest.param([0, 2], DatasetError, id="too-large"),
        pytest.param([-2], DatasetError, id="below-none"),
        pytest.param([0.0, 1.0], ShapeError, id="floats"),
        pytest.param([[0, 1]], ShapeError, id="two-axes"),
    ],
)
def test_class_subsets__refuses_labels_that_are_no_index(labels, error):
    with pytest.raises(error, match="should be"):
        class_subsets(labels, ["a", "b"])


def test_outcome_subsets__are_right_and_wrong_by_true_class():
    outcomes = outcome_subsets([0, 0, 1, -1, 1], [0, 1, 1, 0, -1], ["cat", "dog"])

    assert {s.name: s.instances.tolist() for s in outcomes} == {
        "cat correct": [0],
        "cat wrong": [1],
        "dog correct": [2],
        "dog wrong": [],
    }


def test_outcome_subsets__refuses_columns_of_other_lengths():
    with pytest.raises(ShapeError, match="2 labels for 1 predictions"):
        outcome_subsets([0, 1], [0], ["cat", "dog"])


def test_display_names__are_different_and_keep_what_is_unique():
    shown = display_names(HOSTILE)

    assert len(set(shown)) == len(HOSTILE)
    assert shown[1] == HOSTILE[1]
    assert shown[2] == "crane (2)"


@pytest.mark.parametrize("make", [class_subsets, outcome_subsets])
def test_collections__take_any_names_of_classes(make):
    labels = [np.arange(6)] * (1 if make is class_subsets else 2)

    collection = make(*labels, HOSTILE)

    assert len(set(collection.names)) == len(collection)


def test_collect_subsets__may_overlap():
    collection = collect_subsets(
        [Subset("a", np.array([0, 1])), Subset("b", np.array([1])), Subset("c", [])],
        3,
        name="mine",
    )

    assert collection.membership.toarray().astype(int).tolist() == [
        [1, 1, 0],
        [0, 1, 0],
        [0, 0, 0],
    ]


@pytest.mark.parametrize("instances", [[3], [-1]], ids=["beyond", "negative"])
def test_collect_subsets__refuses_instances_that_the_run_has_not(instances):
    with pytest.raises(ShapeError, match=r"the run has 3|from 0"):
        collect_subsets([Subset("a", np.array(instances))], 3, name="mine")


def test_collection__refuses_one_name_for_two_subsets():
    with pytest.raises(DatasetError, match="several subsets called 'a'"):
        collect_subsets([Subset("a", [0]), Subset("a", [1])], 3, name="mine")


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", ".hidden", "a b", "é", "zarr.json", "classes"]
)
def test_collection__refuses_a_name_that_is_no_path(name):
    with pytest.raises(DatasetError, match="cannot be called"):
        collect_subsets([], 3, name=name)


def test_collection__refuses_another_number_of_names():
    with pytest.raises(ShapeError, match="a row for each name"):
        SubsetCollection("mine", ("a",), sparse.csr_array((2, 3), dtype=bool))


def test_collection__ignores_stored_false_and_duplicates():
    membership = sparse.csr_array(
        (np.array([True, False, True]), np.array([0, 1, 0]), np.array([0, 3])),
        shape=(1, 2),
    )

    assert SubsetCollection("mine", ("a",), membership).sizes().tolist() == [1]


def test_subset__of_unknown_name_is_an_error_with_near_matches():
    with pytest.raises(UnknownNameError, match="did you mean 'tench'"):
        class_subsets([0], ["tench", "shark"]).subset("tenhc")


def test_restricted_to__removes_instances_and_keeps_empty_subsets():
    classes = class_subsets([0, 1, 0], ["a", "b"])

    kept = classes.restricted_to(np.array([True, False, False]))

    assert kept.sizes().tolist() == [1, 0]
    assert kept.names == classes.names
    assert classes.sizes().tolist() == [2, 1]


def test_restricted_to__refuses_another_number_of_instances():
    with pytest.raises(ShapeError, match="over 3 instances, not 2"):
        all_instances(3).restricted_to(np.array([True, False]))


MASK = [False, True, True, False, True]


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(MASK, id="list"),
        pytest.param(tuple(MASK), id="tuple"),
        pytest.param(np.array(MASK), id="numpy"),
        pytest.param(np.array(MASK, dtype=object), id="objects"),
        pytest.param(pd.Series(MASK, index=[9, 8, 7, 6, 5]), id="series"),
        pytest.param(pd.Series(MASK, dtype="boolean"), id="nullable"),
        pytest.param(pd.Index(MASK), id="index"),
    ],
)
def test_subset__takes_truth_values_for_a_mask(mask):
    subset = Subset("s", mask)

    assert subset.instances.tolist() == [i for i, kept in enumerate(MASK) if kept]
    assert collect_subsets([subset], 5, name="c").sizes().tolist() == [3]
    with pytest.raises(ShapeError, match="mask of 5 truth values; the run has 6"):
        collect_subsets([subset], 6, name="c")


@pytest.mark.parametrize(
    "indices",
    [
        pytest.param([3, 0, 3], id="list"),
        pytest.param(pd.Index([3, 0]), id="index"),
        pytest.param(pd.Series([0, 3], index=[5, 6], dtype="Int64"), id="series"),
        pytest.param(np.array([0, 3], dtype=np.uint8), id="bytes"),
        pytest.param(range(0, 4, 3), id="range"),
    ],
)
def test_subset__takes_whole_numbers_for_indices(indices):
    assert Subset("s", indices).instances.tolist() == [0, 3]


def test_subset__may_be_empty():
    assert len(Subset("s", [])) == 0
    assert len(Subset("s", [False, False])) == 0


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([0.0, 1.0], id="numbers-that-are-not-whole"),
        pytest.param(["a.png"], id="ids"),
        pytest.param({1, 2}, id="set"),
        pytest.param(3, id="number"),
        pytest.param([[True, False]], id="two-axes"),
        pytest.param([[1], [1, 2]], id="ragged"),
        pytest.param([True, 3], id="mixed"),
        pytest.param(pd.Series([True, None], dtype="boolean"), id="missing"),
        pytest.param([-1, 2], id="negative"),
    ],
)
def test_subset__refuses_what_is_neither(value):
    with pytest.raises(ShapeError, match="subset 's'"):
        Subset("s", value)
