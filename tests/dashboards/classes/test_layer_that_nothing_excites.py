"""A layer in which every channel is dead: what its views say instead of nothing."""

import numpy as np
import pytest
import torch
from torch import nn

import nnviz
from nnviz.results.run_results import RunResults
from nnviz_dashboards.classes.model import SubsetsModel
from nnviz_dashboards.classes.view import NOTHING_TO_PLACE, EmbeddingView
from nnviz_dashboards.matrix.stack import MatrixStack
from nnviz_dashboards.matrix.view import MatrixView
from nnviz_dashboards.subsets.model import SubsetPairModel
from tests.dashboards.selections import choose

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("error::RuntimeWarning")]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return a run whose middle layer is below zero whatever comes, with its maps.

    The first one is above zero, but by less than a millionth.
    """
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
    )
    nn.init.constant_(network[2].bias, -1e3)
    with torch.no_grad():
        for parameter in network[0].parameters():
            parameter.mul_(1e-7)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 6)).astype(np.float32), np.arange(60) % 3
    url = tmp_path_factory.mktemp("dead") / "run.zarr"
    return RunResults(nnviz.run(network, data, url, workers=0, progress=False))


def test_map_of_classes__says_that_there_is_nothing_to_place(results):
    selection = choose(results)
    first, dead = (layer.name for layer in results.layers[:2])
    selection.choose(layer=first)
    view = EmbeddingView(
        SubsetsModel(results, selection), {}, compare=lambda *_: None
    ).__panel__()
    assert "lie nearest" in view.note

    selection.choose(layer=dead)

    assert results.neurons.dead(dead).all()
    assert view.note == NOTHING_TO_PLACE


def test_matrix__says_so_and_draws_what_is_small_as_it_is(results):
    tiny, dead = (layer.name for layer in results.layers[:2])
    neurons = results.neurons

    assert neurons.bounds(dead, "mean") == (0.0, 1.0)
    means = neurons.classes(tiny, "mean")
    assert 0 < means.max() < 1e-6
    _, high = neurons.bounds(tiny, "mean")
    assert means.mean() < high <= means.max()
    np.testing.assert_array_equal(
        neurons.channel_bounds(tiny, "mean")[1][means.max(axis=0) > 0],
        means.max(axis=0)[means.max(axis=0) > 0],
    )
    selection = choose(results)
    selection.choose(matrix="open", layer=dead)
    subsets = SubsetsModel(results, selection)
    stack = MatrixStack(results, subsets, SubsetPairModel(results, selection))
    view = MatrixView(stack, {}, run_later=lambda work, done: done(work()))
    assert view.__panel__().layer_0["state"]["high"] == "no channel is above 0"
    selection.choose(layer=tiny)
    assert view.__panel__().layer_0["state"]["high"].endswith("e-08 or more")
