"""A store that answers questions about any subset."""

import numpy as np
import pytest
import torch

import nnviz
from nnviz.testing import PlantedRun, write_complete_store

pytestmark = pytest.mark.slow

RUN = PlantedRun(n_classes=4, n_instances=200, influence_ranks=3)


@pytest.fixture
def store(tmp_path):
    write_complete_store(tmp_path / "run.zarr", RUN)
    return nnviz.open_store(tmp_path / "run.zarr")


def test_store__subsets_combine_and_are_saved(store):
    wrong = store.subset("not correct")
    kept = store.save_subset("wrong ones", "not correct", note="look")

    assert kept.saved
    assert store.subset("wrong ones").instances.tolist() == wrong.instances.tolist()
    assert len(store.subset("wrong ones") & ~wrong) == 0
    assert store.saved_subsets()["wrong ones"].note == "look"
    table = store.table("wrong ones", ["label", "prediction"])
    assert (table.label != table.prediction).all()
    assert table.index.tolist() == wrong.instances.tolist()


def test_store__graphs_of_queries__are_those_of_their_instances(store):
    query = "label = 'class 001' and correct"
    mask = (RUN.labels == 1) & (RUN.predictions == 1)

    asked = store.graph(query)
    counted = nnviz.attribution_graph(store, nnviz.Subset(query, mask))

    assert asked.n_instances == mask.sum()
    assert asked == counted
    assert store.graph("class 001").n_instances == (RUN.labels == 1).sum()
    compared = store.compare(query, store.subset("class 002"))
    assert compared.first.subset == query


def test_store__stratified_sample__has_as_many_of_each(store):
    part = store.sample("correct", 40, by="label")

    counts = np.bincount(RUN.labels[part.instances], minlength=4)
    assert counts.tolist() == [10, 10, 10, 10]


def test_store__names_with_a_slip__get_near_matches(store):
    with pytest.raises(nnviz.NnvizError, match="did you mean 'class 001'"):
        store.graph("clas 001")
    with pytest.raises(nnviz.NnvizError, match=r"\^"):
        store.graph("label = 'class 001' andd correct")


def test_graph__says_that_no_output_is_above_0(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 2))
    torch.nn.init.constant_(network[1].bias, -100.0)
    data = (np.random.default_rng(0).random((12, 4), np.float32), np.arange(12) % 2)
    given = {"classes": ["cat", "dog"], "workers": 0, "progress": False}
    store = nnviz.run(network, data, tmp_path / "run.zarr", **given)

    graph = store.graph("dog")

    assert graph.n_nodes == 0
    assert "no output is above 0 in these instances" in str(graph)
    assert "no output was recorded" not in str(graph)
