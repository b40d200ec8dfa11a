"""Toy networks of text, sound and images in patches: taken apart, or named."""

from __future__ import annotations

import re

import pytest

from nnviz.network.recording.recorder import Recorder
from nnviz.network.tracing import trace
from tests.network.language_networks import LIBRARY, OWN, make

pytestmark = pytest.mark.filterwarnings("ignore")

NAMED = {
    **{name: "'rnn.*' is not available: .* acts on all times after it"
       for name in OWN if name.startswith(("LSTM", "GRU", "RNN"))},
    "XLNet": "transformer.layer.0.rel_attn@einsum is no layer",
    "DeepSeek V3": "the result of topk at model.layers.1.mlp.gate@topk.3",
    "Mixtral": "the result of topk at model.layers.0.mlp.gate@topk",
    "Mamba": "mixer@matmul.2 is no layer",
    "RWKV": "rwkv.blocks.0.attention@add adds the result of mul",
}  # fmt: skip
"""What is not taken apart of a network, and where."""
WITHOUT_HEADS = ("DeBERTa", "XLNet", "Mamba", "RWKV")
"""Networks without attention, and those whose values are more than a linear map."""


@pytest.fixture(params=[*OWN, *LIBRARY], scope="module")
def toy(request):
    """Return a network's name, the network, a batch and the architecture."""
    try:
        network, x = make(request.param)
    except ImportError as missing:
        pytest.skip(f"needs {missing.name}")
    return request.param, network, x, trace(network, x)


def test_toy_network__is_validated_and_what_is_missing_is_named(toy):
    name, _, _, architecture = toy

    assert architecture.is_validated
    if name in NAMED:
        assert any(re.search(NAMED[name], text) for text in architecture.problems)
    else:
        assert architecture.problems == ()


def test_toy_network__has_a_layer_of_heads_for_each_attention(toy):
    name, _, _, architecture = toy

    heads = [layer for layer in architecture.layers if layer.kind == "attention"]

    if name in LIBRARY and name not in WITHOUT_HEADS:
        assert len(heads) == {"T5": 6, "BART": 6, "MarianMT": 6}.get(name, 2)
    for layer in heads:
        entering = {e.operation for e in architecture.edges if e.target == layer.name}
        assert entering == {"linear", "gate"}
        assert {e.operation for e in architecture.edges if e.source == layer.name} == {
            "linear"
        }


def test_toy_network__is_recorded_like_one_instance_alone(toy):
    _, network, x, architecture = toy

    with Recorder(network, architecture) as recorder:
        both, alone = recorder.run(x), recorder.run(x[:1])

    for layer, activations in both.activations.items():
        scale = activations.abs().max().clamp_min(1e-6)
        difference = (activations[:1] - alone.activations[layer]).abs().max()
        assert difference <= 1e-4 * scale, layer
