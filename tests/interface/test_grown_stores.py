"""A store that has grown says what is not of all its instances, and is run again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nnviz

pytestmark = pytest.mark.slow

N_BEFORE, N_AFTER = 12, 30


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def data(n):
    inputs = np.random.default_rng(0).random((N_AFTER, 4), dtype=np.float32)
    return inputs[:n], np.arange(n) % 2


def run(network, n, url):
    return nnviz.run(
        network,
        data(n),
        url,
        classes=["cat", "dog"],
        workers=0,
        progress=False,
        pictures=False,
    )


@pytest.fixture
def grown(network, tmp_path):
    url = str(tmp_path / "run.zarr")
    run(network, N_BEFORE, url)
    with pytest.raises(
        nnviz.NnvizError, match=r"store's 12 instances and more.*extend"
    ):
        run(network, N_AFTER, url)
    nnviz.extend(url, dataset=data(N_AFTER))
    nnviz.extract(url, model=network, dataset=data(N_AFTER), workers=0, progress=False)
    return url


def test_grown_store__says_what_is_of_fewer_instances(grown):
    note = "made of the first 12 of the store's 30 instances"
    store, classes = nnviz.open_store(grown), nnviz.aggregates_of(grown, "label")
    shown = [classes, classes.top("0", "dog"), store.graph("dog")]
    shown += [store.graph("label = dog"), store.compare("cat", "dog")]
    assert [note in repr(each) for each in shown] == [True] * len(shown)
    assert [note in each._repr_html_().replace("&#x27;", "'") for each in shown] == [
        True
    ] * len(shown)
    assert "label (of 12 of 30)" in repr(store)


def test_grown_store__is_completed_by_the_same_call(network, grown):
    store = run(network, N_AFTER, grown)
    assert "first 12" not in repr(store.graph("dog"))
    assert store.graph("dog").n_instances == N_AFTER // 2
    with torch.no_grad():
        expected = network[:2](torch.tensor(data(N_AFTER)[0])).numpy()
    assert np.allclose(store.activations("0"), expected, atol=1e-3)


def test_empty_graph__says_why(network, tmp_path):
    """A network whose only output is negative: nothing is among the strongest."""
    negative = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1))
    with torch.no_grad():
        negative[2].weight.copy_(-negative[2].weight.abs())
        negative[2].bias.fill_(-1.0)
    inputs = data(N_AFTER)[0]
    store = nnviz.run(
        negative,
        (inputs, inputs.sum(1)),
        str(tmp_path / "value.zarr"),
        workers=0,
        progress=False,
        pictures=False,
    )
    graph = store.graph("target > 0")
    assert graph.n_nodes == 0
    assert all(
        "no output is above 0" in text for text in (repr(graph), graph._repr_html_())
    )


def test_summary__is_shown_in_words(network, tmp_path):
    """A notebook shows the repr of what a cell returns."""
    run(network, N_BEFORE, tmp_path / "run.zarr")
    plan, _ = nnviz.plan_run(network, data(N_BEFORE), timed=False)
    found = nnviz.extend(tmp_path / "run.zarr", dataset=data(N_AFTER))
    report = nnviz.verify(tmp_path / "run.zarr", progress=False)
    for value, part in [
        (plan, "2 recorded, 2 shown"),
        (found, "30 instances, 18 of them new"),
        (report, "checked"),
    ]:
        assert part in repr(value)
        assert repr(value) == str(value)
