"""What is said of a network whose output is a value, against pandas and torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import nnviz
from nnviz.aggregation.aggregation import default_subsets
from nnviz.results.graph_results import OF_A
from nnviz.results.run_results import RunResults
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.instances.inside import InsideModel
from nnviz_dashboards.instances.model import InstancesModel
from nnviz_dashboards.instances.view import InstancesView
from nnviz_dashboards.shared.selection import Selection
from nnviz_dashboards.subsets.model import SubsetPairModel

N = 90


class Flat(nn.Module):
    """A regression whose output has no axis of its own."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[:, 0]


def made(folder: Path, *, is_flat: bool = False) -> tuple[nnviz.Store, pd.DataFrame]:
    """Return a store of a regression, and what it should hold."""
    rng = np.random.default_rng(2)
    x = rng.random((N, 5), dtype=np.float32)
    frame = pd.DataFrame({"price": 50 * x.sum(1) + 0.5, "rooms": rng.integers(1, 6, N)})
    frame.loc[3, "price"] = np.nan
    torch.manual_seed(1)
    network: nn.Module = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 1))
    with torch.no_grad():
        network[2].bias.fill_(100.0)
        frame["output"] = network(torch.from_numpy(x))[:, 0].numpy()
    network = Flat(network) if is_flat else network
    store = nnviz.run(
        network.eval(),
        (x, frame["price"].tolist(), frame[["rooms"]]),
        folder / "run.zarr",
        workers=0,
        progress=False,
    )
    return store, frame


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    return made(tmp_path_factory.mktemp("regression"))


@pytest.fixture(scope="module")
def results(regression):
    return RunResults(nnviz.Store.open(regression[0].url))


@pytest.fixture
def page(results):
    """Return the models of a page without classes."""
    base = results.kind
    selection = Selection(
        {layer.name: layer.n_channels for layer in results.layers},
        [],
        layer="2",
        subset=-1,
        collections=results.graphs.collections(base),
        view="graph",
    )
    return selection, SubsetPairModel(results, selection)


@pytest.mark.parametrize("is_flat", [False, True], ids=["(N, 1)", "(N,)"])
@pytest.mark.slow
def test_error__is_output_less_target(is_flat, tmp_path):
    store, frame = made(tmp_path, is_flat=is_flat)
    error = frame["output"] - frame["price"]

    np.testing.assert_allclose(store.column("output"), frame["output"], rtol=1e-5)
    np.testing.assert_allclose(store.column("error"), error, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        store.column("absolute_error"), error.abs(), rtol=1e-4, atol=1e-4
    )
    assert np.isnan(store.column("error")[3])
    assert "loss" not in store.columns


def test_quarters__of_target_and_error_are_there_by_themselves(regression):
    store, frame = regression

    found = nnviz.aggregates_of(store, "error")

    assert default_subsets(store) == ("target", "error")
    error = frame["output"] - frame["price"]
    wanted = pd.qcut(error, 4).value_counts(sort=False).tolist()
    assert found.n_instances.tolist() == wanted


def test_own_columns__stay(tmp_path):
    x = np.random.default_rng(0).random((20, 3), dtype=np.float32)
    columns = {"error": np.arange(20.0)}
    network = nn.Sequential(nn.Linear(3, 1)).eval()

    store = nnviz.run(
        network,
        (x, (x[:, 0] / 3).tolist(), columns),
        tmp_path / "s",
        workers=0,
        progress=False,
    )

    assert store.column("error").tolist() == columns["error"].tolist()
    assert np.isfinite(store.column("output")).all()


def test_page__offers_quarters_and_their_graphs(page, results):
    selection, pairs = page
    graph = GraphModel(results, results.graphs, selection)

    assert graph.missing is None
    assert graph.drawing is not None
    queries = [one.query for one in pairs.of_class]
    assert sum("target" in query for query in queries) == 4
    assert sum("error" in query for query in queries) == 4

    pairs.write("a", queries[-1])

    assert selection.collection == OF_A
    assert graph.missing is None
    assert graph.drawing.subset == queries[-1]


def test_page__opens_an_instance(page, results, regression):
    selection, pairs = page
    frame = regression[1]
    model = InstancesModel(results, pairs, point_at=lambda number: None)
    view = InstancesView(
        model,
        pictures="",
        layers={"2": "2"},
        keep=lambda key: None,
        inside=InsideModel(model),
    )

    selection.choose(view="instances", a="absolute_error >= 0", order="absolute_error")
    model.open(7)

    opened = view.__panel__().opened
    assert opened["said"] == (
        f"target {frame['price'][7]:.3g}, network {frame['output'][7]:.3g}"
    )
    worst = (frame["output"] - frame["price"]).abs().idxmax()
    assert model.pages[0].shown[0].number == worst
