"""Peaks read from a layer's output are those of its pre-activation, computed again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnviz.network.analysis.analysis import analyse
from nnviz.network.analysis.operations import record_operations
from nnviz.network.influence.on_device import peak_positions, preactivations
from nnviz.network.recording.peak_places import layers_of_one_grid, places_of_peaks
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.taps import EdgeTaps
from nnviz.network.tracing import trace
from tests.network.odd_networks import NETWORKS, make

FLOATS = [name for name in NETWORKS if name not in ("text", "tokens")]


@pytest.mark.parametrize("name", FLOATS)
def test_places__of_layers_of_one_grid_are_those_of_the_preactivation(name):
    network, x = make(name)
    architecture = trace(network, x)
    taps = EdgeTaps(analyse(record_operations(network, x)), architecture)
    outputs, n_compared = {}, 0

    with Recorder(network, architecture, taps=taps) as recorder:
        shared = layers_of_one_grid(recorder, torch.randn_like(x))

        def keep(layer, output, activations, counted):
            outputs[layer.name] = output

        def compare(layer, activations, inputs):
            nonlocal n_compared
            if layer.name not in shared:
                return
            pairs = np.nonzero(activations.numpy() > 0)
            found = places_of_peaks(
                layer, outputs[layer.name], pairs, activations=activations.numpy()
            )
            wanted = peak_positions(inputs, *pairs)
            for n, target, a, b in zip(*pairs, found, wanted, strict=True):
                values = preactivations(inputs, int(n))[target]
                assert values[a] >= values[b] - 1e-4 * values.abs().max()
            n_compared += len(pairs[0])

        recorder.run(x, on_layer=keep, on_target=compare)

    assert not shared or n_compared
    # What is clipped, or is no sum of its own, may have its peak elsewhere.
    assert len(shared) >= len(taps.targets) - 1


def test_places__do_not_lie_where_nothing_counts():
    network, x = make("perceptron")
    layer = trace(network, x).layers[0]
    output = torch.tensor([[[1.0, 5.0, 3.0], [2.0, 0.0, 9.0]]])
    counted = torch.tensor([[True, False, True]])
    one, two = np.array([0, 0]), np.array([0, 1])

    everywhere = places_of_peaks(
        layer, output, (one, two), activations=np.array([[5.0, 9.0]], np.float32)
    )
    where_it_counts = places_of_peaks(
        layer,
        output,
        (one, two),
        counted,
        activations=np.array([[3.0, 9.0]], np.float32),
    )

    assert everywhere.tolist() == [1, 2]
    assert where_it_counts.tolist() == [2, 2]
