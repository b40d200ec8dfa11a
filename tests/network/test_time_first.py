"""Networks that put time before the instance, as torch does without ``batch_first``.

What they compute is what the same network computes with the instance first, and what
single channels do in float64, by hand.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from nnviz.network.recording.gradients import Explained
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig
from tests.network.language_networks import OWN
from tests.network.token_networks import Blocks, bound, packed, sentence

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor")

LENGTHS = (9, 5, 3, 7)
SENTENCES = [sentence(n, seed) for seed, n in enumerate(LENGTHS)]


def twins():
    """Return the same network with time first, and with the instance first."""
    torch.manual_seed(3)
    network = Blocks()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.6)
    other = Blocks(batch_first=True)
    other.load_state_dict(network.state_dict())
    return bound(network, 9), bound(other, 9)


def runtime_of(network, signal="max"):
    planned_with = packed([sentence(n, 100 + n) for n in (9, 6)], 9)
    return NetworkRuntime(
        network,
        trace(network, torch.from_numpy(planned_with)),
        preprocessing=PreprocessingConfig(),
        extraction=ExtractionConfig(device="cpu", targets="all", signal=signal),
        explained=Explained("prediction"),
    )


def recorded(runtime, batch):
    with runtime.recording(0) as recording:
        return recording.run(batch, valid=np.ones(len(batch), np.bool_))


@pytest.fixture(scope="module")
def runtimes():
    return [runtime_of(network) for network in twins()]


def test_architecture__is_that_with_the_instance_first(runtimes):
    time_first, instance_first = (runtime.architecture for runtime in runtimes)

    assert time_first.problems == instance_first.problems == ()
    assert time_first.validation_error < 1e-5
    assert time_first.padding.mode == "buckets"
    turned = [x.name for x in time_first.layers if x.instance_axis == 1]
    assert turned == [
        f"blocks.{i}{part}" for i in range(2) for part in ("@add", ".up", "")
    ]
    alike = [dataclasses.replace(x, instance_axis=0) for x in time_first.layers]
    assert alike == list(instance_first.layers)
    assert time_first.edges == instance_first.edges


@pytest.mark.parametrize("signal", ["max", "peak"])
def test_values__are_those_with_the_instance_first_however_padded(signal):
    one, other = (runtime_of(network, signal) for network in twins())
    wanted = recorded(other, packed(SENTENCES, 9))

    together = recorded(one, packed(SENTENCES, 12))

    for name, activations in wanted.activations.items():
        np.testing.assert_allclose(
            together.activations[name], activations, rtol=1e-5, atol=1e-5
        )
    assert len(wanted.influences) == 11
    for name, found in wanted.influences.items():
        mine = together.influences[name]
        np.testing.assert_allclose(mine.influence, found.influence, atol=1e-5)
        np.testing.assert_array_equal(mine.target, found.target)
    for name, parts in wanted.relevance.items():
        for part, values in parts.items():
            np.testing.assert_allclose(
                together.relevance[name][part], values, rtol=1e-4, atol=1e-5
            )


def test_values__are_those_of_each_sentence_alone(runtimes):
    time_first, _ = runtimes
    together = recorded(time_first, packed(SENTENCES, 9))

    for number, one in enumerate(SENTENCES):
        alone = recorded(time_first, packed([one], LENGTHS[number]))
        for name, activations in alone.activations.items():
            np.testing.assert_allclose(
                together.activations[name][number], activations[0], rtol=1e-4, atol=1e-5
            )


def test_influences__into_hidden_channels_are_those_of_isolated_channels(runtimes):
    time_first, _ = runtimes
    network = twins()[0].double()
    read = {}

    def keep(module, arguments, output):
        read["x"] = arguments[0].detach()

    network.blocks[1].up.register_forward_hook(keep)
    found = recorded(time_first, packed(SENTENCES, 9)).influences["blocks.1.up"]
    weight = network.blocks[1].up.weight.detach()
    for number, one in enumerate(SENTENCES):
        with torch.no_grad():
            ids, mask = (
                torch.from_numpy(one[n])[None] for n in ("input_ids", "attention_mask")
            )
            network.forward(ids, mask)
        counted = torch.from_numpy(one["counted"]).bool()
        each = (read["x"][counted, 0, None] * weight).amax(0).clamp(min=0)
        for row in np.flatnonzero(found.instance == number):
            largest = each[found.target[row]].sort(descending=True).values
            ranks = found.influence.shape[1]
            np.testing.assert_allclose(
                found.influence[row], largest[:ranks], rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("name", [x for x in OWN if x.endswith("time first")])
def test_toy_network__has_the_layers_of_its_twin(name):
    torch.manual_seed(0)
    network, x = OWN[name]()
    twin, _ = OWN[name.removesuffix(", time first")]()

    found, wanted = trace(network.eval(), x), trace(twin.eval(), x)

    assert found.problems == wanted.problems
    assert found.edges == wanted.edges
    assert [(x.name, x.positions, x.shown) for x in found.layers] == [
        (x.name, x.positions, x.shown) for x in wanted.layers
    ]
