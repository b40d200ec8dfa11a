"""A layer in which every channel is dead: what its views say instead of nothing."""

import numpy as np
import pytest
import torch
from torch import nn

import nnviz
from nnviz.results.run_results import RunResults
from nnviz_dashboards.classes.model import SubsetsModel
from nnviz_dashboards.classes.view import NOTHING_TO_PLACE, EmbeddingView
from tests.dashboards.selections import choose

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("error::RuntimeWarning")]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return a run whose middle layer is below zero whatever comes, with its maps."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
    )
    nn.init.constant_(network[2].bias, -1e3)
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
