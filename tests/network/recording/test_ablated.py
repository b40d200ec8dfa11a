"""Channels are replaced where they are read, and all that follows sees it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnviz.errors import ModelError
from nnviz.network.analysis.analysis import analyse
from nnviz.network.analysis.operations import record_operations
from nnviz.network.recording.ablated import ChannelMeans, Replacement
from nnviz.network.recording.cheap_maxima import find_cheap_maxima
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.recorder import Recorder
from nnviz.network.tracing import trace
from nnviz.runs.architecture import Architecture, Layer
from tests.network.odd_networks import NETWORKS, make

# What each network puts out last, in plain code, if a layer's output is changed.


def pre_activation_stem(net, x, change):
    stem = change(net.stem(x))
    conv1 = net.norm2(net.conv1(net.norm1(stem).clamp(min=0))).clamp(min=0)
    return net.head((stem + net.conv2(conv1)).mean((2, 3)))


def pre_activation_sum(net, x, change):
    return net.head(change(net.outputs(x)["@add"]).mean((2, 3)))


def written_into_a_buffer(net, x, change):
    found = net.outputs(x)
    return net.c(torch.cat([change(found["a"]), found["b"]], 1)).amax((2, 3))


def second_call(net, x, change):
    x = change(net.outputs(x)["again@2"])
    return net.head(net.norm(net.again(x)).clamp(min=0).flatten(1))


def skipped(net, x, change):
    wide = change(net.down1(x))
    joined = torch.cat([wide, net.up(net.down2(wide))], 1)
    return net.head(net.join(joined))


def gated(net, x, change):
    conv = change(net.conv(x).clamp(min=0))
    excite = net.excite(net.squeeze(conv.mean((2, 3))).clamp(min=0)).sigmoid()
    return net.head(conv * excite[:, :, None, None]).mean((2, 3))


def concatenation_inside(net, x, change):
    joined = change(net.outputs(x)["block@cat"])
    b = net.block.b(net.block.norm_b(joined).clamp(min=0))
    return net.head(torch.cat([joined, b], 1).clamp(min=0).mean((2, 3)))


def padded_shortcut(net, x, change):
    stem = change(net.stem(x).clamp(min=0))
    shortcut = F.pad(stem[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
    total = (shortcut + 0.5 * net.norm(net.conv(stem))).clamp(min=0)
    return net.head(total.mean((2, 3)))


def token_sum(net, x, change):
    e = net.encoder
    middle = change(net.outputs(x)["encoder@add"]).transpose(1, 2)
    last = e.norm2(middle + e.linear2(e.linear1(middle).clamp(min=0)))
    return net.head(last.mean(1))


def written_in_place(net, x, change):
    d = (net.d(change(F.silu(net.c(x)))) + 1).clamp(min=0)
    return net.head(d.amax((2, 3)))


CASES = {
    "a sum's input": ("pre-activation", "stem", pre_activation_stem),
    "a sum": ("pre-activation", "@add", pre_activation_sum),
    "a buffer": ("slice assignment", "a", written_into_a_buffer),
    "a second call": ("reused module", "again@2", second_call),
    "a skip connection": ("U-Net", "down1.0", skipped),
    "a gate": ("gate", "conv", gated),
    "a concatenation": ("dense", "block@cat", concatenation_inside),
    "a padded shortcut": ("option A", "stem", padded_shortcut),
    "tokens": ("tokens", "encoder@add", token_sum),
    "an operation in place": ("control flow", "c", written_in_place),
}


@pytest.mark.parametrize("optimized", [False, True], ids=["plain", "as-run"])
@pytest.mark.parametrize("case", list(CASES))
def test_replacement__all_that_follows_sees_it(case, optimized):
    name, layer, expected = CASES[case]
    network, x = make(name)
    architecture = trace(network, x)
    n_channels = architecture.layer(layer).n_channels
    channels = np.array([0, n_channels - 1])
    means = np.linspace(0.25, 0.75, n_channels)

    def change(values):
        values = values.clone()
        for channel in channels.tolist():
            values[:, channel] = means[channel]
        return values

    run, cheap_maxima, given = network, None, x
    if optimized:
        run = optimize(network, architecture=architecture, batch=x)
        cheap_maxima = find_cheap_maxima(
            analyse(record_operations(run, x)), architecture
        )
        if x.ndim == 4:
            given = x.contiguous(memory_format=torch.channels_last)
    found = {}

    def on_layer(one, output, activations, counted):
        Replacement({layer: channels}, {layer: means})(one, output, activations)
        found[one.name] = output.clone()

    with Recorder(run, architecture, cheap_maxima=cheap_maxima) as recorder:
        recorder.run(given, on_layer=on_layer)
    with torch.no_grad():
        wanted = expected(network, x, change)

    last = found[architecture.layers[-1].name]
    if last.ndim > wanted.ndim:
        last = last.mean((2, 3)) if name == "gate" else last.amax((2, 3))
    torch.testing.assert_close(last, wanted, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert not torch.allclose(wanted, expected(network, x, lambda y: y), atol=1e-4)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_channel_means__are_those_of_the_plain_outputs(name):
    network, x = make(name)
    architecture = trace(network, x)
    means = ChannelMeans()
    found = {}

    def on_layer(layer, output, activations, counted):
        means(layer, output, activations)
        found.update(means.values)

    with Recorder(network, architecture) as recorder:
        recorder.run(x, on_layer=on_layer)

    with torch.no_grad():
        outputs = network.outputs(x)
    assert list(found) == list(outputs)
    for layer, values in outputs.items():
        expected = values.double().flatten(2).mean(2) if values.ndim > 2 else values
        assert found[layer].dtype == np.float64
        np.testing.assert_allclose(found[layer], expected, rtol=1e-4, atol=1e-5)


def test_replacement__nothing_to_replace__changes_no_bit():
    network, x = make("gate")
    architecture = trace(network, x)
    nothing = Replacement({"conv": np.array([], int)}, {"conv": np.zeros(8)})

    with Recorder(network, architecture) as recorder:
        plain, treated = recorder.run(x), recorder.run(x, on_layer=nothing)

    assert torch.equal(plain.logits, treated.logits)


class Repeated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.a(x).mean((2, 3), keepdim=True).expand(-1, -1, 5, 5)


def test_replacement__one_value_seen_at_many_places__is_refused():
    architecture = Architecture((Layer("@expand", "@expand", "other", 4, (5, 5)),))
    change = Replacement({"@expand": np.array([1])}, {"@expand": np.zeros(4)})

    with (
        Recorder(Repeated().eval(), architecture) as recorder,
        pytest.raises(ModelError, match="layer '@expand' cannot be replaced"),
    ):
        recorder.run(torch.rand(2, 3, 4, 4), on_layer=change)
