"""Contributions have the units, and the sign, of the layer as it is read."""

import re
from collections import defaultdict

import numpy as np
import pytest
import torch

from nnviz.network.analysis.analysis import analyse
from nnviz.network.analysis.operations import record_operations
from nnviz.network.influence.strongest_sources import strongest_sources
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.taps import EdgeTaps
from nnviz.network.tracing import trace
from tests.network.affine_networks import NAMED, NETWORKS, OTHERS, make
from tests.network.varying_networks import GATED, REFUSED, VALIDATED
from tests.oracles.single_channels import largest, smallest

networks = pytest.mark.parametrize(
    "network", [*NETWORKS, *VALIDATED, *GATED], ids=lambda n: n.__name__
)


def recorded(network, x, architecture, **options):
    """Return all influences by target and (source layer, operation), summed."""
    taps = EdgeTaps(analyse(record_operations(network, x[:1])), architecture)
    found = {}

    def on_target(layer, activations, inputs):
        edges = [edge for edge in architecture.edges if edge.target == layer.name]
        sizes = [architecture.layer(edge.source).n_channels for edge in edges]
        strongest = strongest_sources(inputs, ranks=sum(sizes), **options)
        full = np.zeros((len(x), layer.n_channels, sum(sizes)))
        rows = np.repeat(np.arange(len(strongest.source)), sum(sizes))
        kept = strongest.source.ravel() >= 0
        where = (
            strongest.instance[rows][kept],
            strongest.target[rows][kept],
            strongest.source.ravel()[kept],
        )
        full[where] = strongest.influence.ravel()[kept]
        parts = defaultdict(list)
        for edge, part in zip(
            edges, np.split(full, np.cumsum(sizes)[:-1], axis=2), strict=True
        ):
            parts[edge.source, edge.operation].append(part)
        found[layer.name] = parts

    with Recorder(network, architecture, taps=taps) as recorder:
        recorder.run(x, on_target=on_target)
    return found


def expected(entering, measure):
    """Return the oracle's influences in the same form."""
    found = defaultdict(list)
    for source, operation, tensor, step in entering:
        found[source, operation].append(measure(step, tensor).numpy())
    return found


def assert_same(found, wanted):
    """Compare the parts of one source and operation, in whichever order they are."""
    for key, parts in wanted.items():
        assert len(found[key]) == len(parts), key
        for part in parts:
            scale = np.abs(part).max()
            errors = [np.abs(other - part).max() for other in found[key]]
            assert min(errors) <= 1e-5 * scale, (key, errors, scale)


@networks
@pytest.mark.parametrize("folds", [False, True], ids=["plain", "folded"])
@pytest.mark.parametrize("extremum", ["max", "min"])
def test_influence__of_single_channels_is_that_of_the_layer_as_it_is_read(
    network, folds, extremum
):
    network, x = make(network)
    architecture = trace(network, x)
    run = optimize(
        network,
        architecture=architecture,
        fold_batch_norm=folds,
        memory_format="contiguous",
    )

    found = recorded(run, x, architecture, extremum=extremum)

    with torch.no_grad():
        entering = network.double().entering(x.double())
        measure = largest if extremum == "max" else smallest
        for layer, parts in entering.items():
            assert_same(found[layer], expected(parts, measure))


@pytest.mark.parametrize(
    "network", [*NETWORKS, *OTHERS, *VALIDATED], ids=lambda n: n.__name__
)
def test_trace__validates_the_network_without_a_problem(network):
    network, x = make(network)

    architecture = trace(network, x)

    assert architecture.problems == ()
    assert architecture.validation_error < 1e-5
    assert {edge.target for edge in architecture.edges} == {
        layer.name for layer in architecture.layers[1:]
    }


@pytest.mark.parametrize(
    "network",
    list(ALL_NAMED := {**NAMED, **GATED, **REFUSED}),
    ids=lambda n: n.__name__,
)
def test_trace__names_what_it_does_not_take_apart_at_its_place(network):
    sentence = ALL_NAMED[network]
    network, x = make(network)

    problems = trace(network, x).problems

    assert any(re.search(sentence, problem) for problem in problems)
