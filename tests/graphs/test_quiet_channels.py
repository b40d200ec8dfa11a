"""Classes whose evidence runs over channels that are never on top."""

import numpy as np
import pytest
import torch
from torch import nn

import nnviz

N_CLASSES, EACH = 4, 6
LOUD = range(6)
"""Of both layers: active in all instances, and read by nobody."""
FIRST, SECOND = (6, 7, 8, 9), (12, 13, 14, 15)
"""Channel of each class: a fifth of the loud ones' activation."""


def network():
    """Return a network that sees class c through FIRST[c] and SECOND[c] alone."""
    made = nn.Sequential(
        nn.Conv2d(N_CLASSES, 12, 1),
        nn.ReLU(),
        nn.Conv2d(12, 18, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(18 * 4, N_CLASSES),
    ).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made[0].bias[list(LOUD)] = made[2].bias[list(LOUD)] = 5
        head = made[5].weight.view(N_CLASSES, 18, 4)
        for c, (one, two) in enumerate(zip(FIRST, SECOND, strict=True)):
            made[0].weight[one, c] = 1
            made[2].weight[two, one] = 1
            head[c, two] = 2
            head[c - 1, two] = -1
    return made


@pytest.fixture(scope="module")
def instances():
    labels = np.repeat(np.arange(N_CLASSES), EACH)
    values = np.random.default_rng(0).uniform(0, 0.2, (len(labels), N_CLASSES, 2, 2))
    values[np.arange(len(labels)), labels] += 0.8
    return values.astype(np.float32), labels


@pytest.fixture(scope="module")
def stores(instances, tmp_path_factory):
    """Return a run with the defaults and relevance, and one with top targets alone."""
    folder = tmp_path_factory.mktemp("quiet")
    return [
        nnviz.run(
            network(),
            instances,
            folder / f"{least}.zarr",
            extraction={"targets_minimum": least, "relevance": "label"},
            workers=0,
            pictures=False,
            progress=False,
        )
        for least in (8, 1)
    ]


@pytest.mark.slow
def test_planted_channels__are_never_on_top_and_all_that_matters(instances, stores):
    values, labels = instances
    with torch.no_grad():
        inputs = torch.from_numpy(values)
        hidden = network()[:4](inputs)
        logits = network()(inputs)
        assert (logits.argmax(1).numpy() == labels).all()
        for c, two in enumerate(SECOND):
            without = hidden.clone()
            without[:, two] = 0
            left = network()[4:](without)[labels == c]
            assert (left.argmax(1) != c).all()
    for layer, quiet in (("0", FIRST), ("2", SECOND)):
        counts = nnviz.aggregates_of(stores[0], "label").counts(layer).toarray()
        assert counts[:, list(quiet)].sum() == 0
        assert counts[:, list(LOUD)].sum() > 0


@pytest.mark.parametrize("scoring", ["evidence", "relevance"])
@pytest.mark.parametrize("c", range(N_CLASSES))
def test_graph__has_evidence_over_channels_that_are_never_on_top(stores, scoring, c):
    graph = stores[0].graph(str(c), scoring=scoring)

    for layer, channel in (("0", FIRST[c]), ("2", SECOND[c])):
        nodes = graph.nodes_of(layer)
        best = nodes[np.argmax(graph.score[nodes])]
        assert (graph.channel[best], graph.count[best]) == (channel, 0)
    assert {(("0", FIRST[c]), ("2", SECOND[c]))} <= set(graph.arc_keys())
    np.testing.assert_allclose(graph.reach, 1, atol=1e-6)


def test_graph__of_top_targets_alone__loses_it_and_says_so(stores):
    graph = stores[1].graph("2")

    assert FIRST[2] not in graph.channel[graph.nodes_of("0")]
    assert graph.reach[0] == 0
    assert graph.weak_layers() == ("0",)
    assert "less than 1 % of the evidence arrives at 0" in graph.remarks()[0]
