"""What a person may say when they mean some instances."""

import numpy as np
import pandas as pd
import pytest

from nnviz.errors import DatasetError, QueryError, ShapeError
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.saved import SavedSubset, save_subset
from nnviz.subsets.subsets import Subset
from nnviz.testing import PlantedRun, write_store

RUN = PlantedRun(n_instances=80, n_classes=4, class_names=("a", "b", "c d", "e"))
WRONG = np.flatnonzero(RUN.labels != RUN.predictions)


@pytest.fixture
def finder(tmp_path):
    return SubsetFinder(write_store(tmp_path / "run.zarr", RUN))


def test_find__everything_that_names_instances__is_taken(finder):
    ids = finder.store.column("id")
    mask = np.zeros(80, dtype=bool)
    mask[[3, 9]] = True
    table = finder.store.instances()

    for what in (
        mask,
        mask.tolist(),
        [9, 3, 9],
        np.array([3, 9]),
        ids[[3, 9]],
        list(ids[[3, 9]]),
        pd.Series(mask),
        pd.Index([3, 9]),
        table.iloc[[3, 9]],
        table.iloc[[3, 9]].drop(columns="id"),
        Subset("x", [3, 9]),
        f"id in ('{ids[3]}', '{ids[9]}')",
    ):
        assert finder.find(what).instances.tolist() == [3, 9]
    assert finder.find(7).instances.tolist() == [7]
    assert finder.find(7).name == "instance 7"
    assert (
        finder.find("c d").instances.tolist()
        == np.flatnonzero(RUN.labels == 2).tolist()
    )


def test_find__saved_subsets__are_names_in_queries_and_grow(finder):
    save_subset(finder.store, SavedSubset("wrong", "not correct"))
    save_subset(finder.store, SavedSubset("few", instances=np.array([1, 2, 3])))

    assert finder.find("wrong").instances.tolist() == WRONG.tolist()
    both = finder.find("wrong and few").instances
    assert both.tolist() == np.intersect1d(WRONG, [1, 2, 3]).tolist()
    of_class = finder.find("wrong and b").instances
    assert of_class.tolist() == WRONG[RUN.labels[WRONG] == 1].tolist()


def test_find__saved_queries_in_a_circle__are_refused(finder):
    save_subset(finder.store, SavedSubset("x", "y or correct"))
    save_subset(finder.store, SavedSubset("y", "x or correct"))

    with pytest.raises(QueryError, match="name each other: x -> y -> x"):
        finder.find("x")


@pytest.mark.parametrize(
    ("what", "error", "match"),
    [
        pytest.param(np.ones(79, dtype=bool), ShapeError, "79 truth values", id="mask"),
        pytest.param([80], ShapeError, "the run has 80", id="range"),
        pytest.param(["nobody"], DatasetError, "the run has ids like", id="id"),
        pytest.param([0.5], ShapeError, "whole numbers", id="fraction"),
        pytest.param("wrng", QueryError, "no subset", id="name"),
    ],
)
def test_find__what_is_not_there__is_refused(finder, what, error, match):
    with pytest.raises(error, match=match):
        finder.find(what)


def test_sets__combine_as_sets_do(finder):
    a, b = finder.find("correct"), finder.find("label = a")
    right, of_a = set(a.instances), set(b.instances)

    assert set((a & b).instances) == right & of_a
    assert set((a | b).instances) == right | of_a
    assert set((a - b).instances) == right - of_a
    assert set((~a).instances) == set(range(80)) - right
    assert (a & ~b).name == "correct and (not (label = a))"
    assert finder.find((a & ~b).name).instances.tolist() == (a & ~b).instances.tolist()
    with pytest.raises(ShapeError, match=r"store\.subset"):
        ~Subset("x", [1])
    with pytest.raises(ShapeError, match="those of one run"):
        a & Subset("y", np.ones(9, dtype=bool))


def test_sample__is_a_part__and_the_same_again(finder):
    whole = finder.find("correct")

    part = whole.sample(10)

    assert len(part) == 10
    assert set(part.instances) < set(whole.instances)
    assert part.instances.tolist() == whole.sample(10).instances.tolist()
    assert part.instances.tolist() != whole.sample(10, seed=1).instances.tolist()
    assert len(whole.sample(1_000)) == len(whole)


def test_text_for__lists_few_and_names_many(tmp_path):
    run = PlantedRun(n_instances=1200, n_classes=2)
    finder = SubsetFinder(write_store(tmp_path / "run.zarr", run))

    few, many = finder.text_for([7, 3, 3]), finder.text_for(np.arange(1000))

    assert few == "instance in (3, 7)"
    assert many.startswith("chosen ")
    assert finder.find(few).instances.tolist() == [3, 7]
    assert finder.find(many).instances.tolist() == list(range(1000))
