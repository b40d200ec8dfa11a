"""Gradients by channel: against central differences, and on networks made for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from nnviz.errors import ModelError, PlanError, UnknownNameError
from nnviz.network.analysis.analysis import analyse
from nnviz.network.analysis.operations import record_operations
from nnviz.network.analysis.outputs import logits_of
from nnviz.network.recording.cheap_maxima import find_cheap_maxima
from nnviz.network.recording.explaining import explained_outputs
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.gradients import (
    Explained,
    GradientPass,
    LayerGradients,
    output_weights,
)
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.recording.taps import EdgeTaps
from nnviz.network.tracing import trace
from nnviz.runs.architecture import Architecture, Layer
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig
from tests.network.odd_networks import NETWORKS, make

CLASSIFIERS = sorted(set(NETWORKS) - {"U-Net", "generator"})
KINKED = ("dense", "shuffle")
"""Another non-linearity follows, so that what is 0 has two slopes."""

LABEL = 1
STEP = 1e-5
PARTS = (("product", True), ("gradient", False))


def showing_all(architecture):
    layers = tuple(dataclasses.replace(x, shown=True) for x in architecture.layers)
    return dataclasses.replace(architecture, layers=layers)


def differences(recorder, outputs, x, name, channel, *, scales):
    """Return d logit / d t of a channel plus t, or times (1 + t), shape (instance,)."""

    def logit(step):
        def write(layer, output, activations, counted):
            if layer.name == name:
                values = output.movedim(layer.channel_axis, -1)[..., channel]
                values.mul_(1 + step) if scales else values.add_(step)

        recorder.run(x, on_layer=write)
        return logits_of(outputs.pop())[:, LABEL]

    return (logit(STEP) - logit(-STEP)) / (2 * STEP)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_gradients__are_the_central_differences_of_every_layer(name):
    network, x = make(name)
    network = network.double()
    x = x.double() if x.is_floating_point() else x
    architecture = showing_all(trace(network, x))
    labels, outputs = np.full(len(x), LABEL), []
    # The recorder's own are float32.
    network.register_forward_hook(lambda *call: outputs.append(call[2]))

    with Recorder(network, architecture) as recorder:
        recorder.prepare_gradients(x)
        found = recorder.run(x, explained=Explained("label"), labels=labels)

        for layer in architecture.layers:
            channels = {0, layer.n_channels // 2, layer.n_channels - 1}
            for c in channels:
                for part, scales in PARTS[: 1 if name in KINKED else 2]:
                    wanted = differences(
                        recorder, outputs, x, layer.name, c, scales=scales
                    )
                    values = getattr(found.gradients[layer.name], part)[:, c].double()
                    torch.testing.assert_close(values, wanted, rtol=1e-4, atol=1e-6)


class Encoded(nn.Module):
    """Attention is torch's own, and its output a view of what it computes."""

    def __init__(self):
        super().__init__()
        self.words = nn.Linear(6, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layer(self.words(x)).mean(1))


class Recurrent(nn.Module):
    """Two layers in one module, of which the first is seen from within."""

    def __init__(self):
        super().__init__()
        self.both = nn.LSTM(6, 5, 2, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.both(x)[0][:, -1])


@pytest.mark.parametrize("kind", [Encoded, Recurrent])
def test_gradients__arrive_at_layers_whose_outputs_are_views(kind):
    torch.manual_seed(1)
    network, outputs = kind().eval().double(), []
    x = torch.randn(3, 4, 6, dtype=torch.float64)
    architecture = showing_all(trace(network, x))
    network.register_forward_hook(lambda *call: outputs.append(call[2]))

    with Recorder(network, architecture) as recorder:
        recorder.prepare_gradients(x)
        labels = np.full(len(x), LABEL)
        found = recorder.run(x, explained=Explained("label"), labels=labels)

        assert set(found.reached) == {layer.name for layer in architecture.layers}
        for layer in architecture.layers:
            for part, scales in PARTS:
                wanted = differences(recorder, outputs, x, layer.name, 0, scales=scales)
                values = getattr(found.gradients[layer.name], part)[:, 0].double()
                torch.testing.assert_close(values, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_gradients__everything_else_is_as_without_them(name):
    network, x = make(name)
    architecture = showing_all(trace(network, x))
    fast = optimize(network, architecture=architecture, batch=x[:1])
    analysis = analyse(record_operations(fast, x))
    taps = EdgeTaps(analysis, architecture)
    cheap = find_cheap_maxima(analysis, architecture)
    with Recorder(fast, architecture, taps=taps, cheap_maxima=cheap) as recorder:
        entered = {True: [], False: []}

        def keep(place):
            return lambda layer, maxima, inputs: entered[place].extend(
                (layer.name, one.of(0, len(one.x)).x.numpy().copy()) for one in inputs
            )

        plain = recorder.run(x, on_target=keep(False))
        recorder.prepare_gradients(x)
        found = recorder.run(x, on_target=keep(True), explained=Explained("prediction"))
    # Without cheap maxima, every function is called as the network calls it.
    with Recorder(fast, architecture) as recorder:
        recorder.prepare_gradients(x)
        wanted = recorder.run(x, explained=Explained("prediction")).gradients

    for layer, parts in found.gradients.items():
        torch.testing.assert_close(parts, wanted[layer], equal_nan=True)
    torch.testing.assert_close(found.logits, plain.logits)
    assert not found.logits.requires_grad
    for layer, maxima in plain.activations.items():
        torch.testing.assert_close(found.activations[layer], maxima)
    assert len(entered[True]) == len(entered[False])
    for (one, x_with), (other, x_without) in zip(*entered.values(), strict=True):
        assert one == other
        np.testing.assert_allclose(x_with, x_without, rtol=1e-5, atol=1e-6)


def test_gradients__of_a_linear_network_are_its_contributions():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 3)).eval()
    x = torch.randn(4, 6)

    with Recorder(network, trace(network, x)) as recorder:
        recorder.prepare_gradients(x)
        found = recorder.run(x, explained=Explained("output", (2, 0))).gradients

    weights = network[1].weight
    hidden = x @ network[0].weight.T
    torch.testing.assert_close(found["0"].product, hidden * (weights[2] - weights[0]))


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_gradients__of_a_network_without_biases_add_up_to_the_output(memory_format):
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, bias=False, stride=2),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 4, bias=False),
    ).eval()
    x = torch.randn(5, 3, 17, 17)
    architecture = showing_all(trace(network, x))
    run = optimize(network, architecture=architecture, memory_format=memory_format)

    with Recorder(run, architecture) as recorder:
        recorder.prepare_gradients(x)
        found = recorder.run(x, explained=Explained("prediction"))

    wanted = found.logits.amax(1)
    for layer in architecture.layers:
        total = found.gradients[layer.name].product.sum(1)
        torch.testing.assert_close(total, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_gradients__norm_over_positions_is_that_of_autograd(memory_format):
    """A mean and a slice behind the layers give gradients in another memory order."""

    class Sliced(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 3)
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            first = torch.relu(self.first(x))
            second = torch.relu(self.second(first) + first[:, :, 1:-1, 1:-1])
            return self.head(second.mean((2, 3)))

    torch.manual_seed(4)
    network, x = Sliced().eval(), torch.randn(5, 2, 9, 9)
    architecture = showing_all(trace(network, x))
    run = optimize(network, architecture=architecture, memory_format=memory_format)

    with Recorder(run, architecture) as recorder:
        recorder.prepare_gradients(x)
        found = recorder.run(x, explained=Explained("output", (1,))).gradients
        alone = recorder.run(x[3:4], explained=Explained("output", (1,))).gradients

    exact = network.double()
    first = torch.relu(exact.first(x.double()))
    second = torch.relu(exact.second(first) + first[:, :, 1:-1, 1:-1])
    output = exact.head(second.mean((2, 3)))[:, 1].sum()
    for name, values in {"first": first, "@add": second}.items():
        gradient = torch.autograd.grad(output, values, retain_graph=True)[0]
        wanted = gradient.square().sum((2, 3)).sqrt().float()
        torch.testing.assert_close(found[name].norm, wanted)
        torch.testing.assert_close(found[name].gradient, gradient.sum((2, 3)).float())
        torch.testing.assert_close(alone[name].norm, wanted[3:4])


def test_gradients__of_a_linear_map_have_the_norm_of_its_weights():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(3, 4, 1), nn.Flatten(), nn.Linear(28, 2)).eval()
    x = 1e-3 * torch.randn(6, 3, 7)
    with torch.no_grad():
        # Their squares are below the smallest numbers of float32.
        network[2].weight.mul_(1e-25)

    with Recorder(network, trace(network, x)) as recorder:
        recorder.prepare_gradients(x)
        found = recorder.run(x, explained=Explained("output", (1,))).gradients["0"]

    weights = network[2].weight[1].detach().reshape(4, 7).double()
    wanted = weights.square().sum(1).sqrt().float().expand(6, 4)
    torch.testing.assert_close(found.norm, wanted, rtol=1e-6, atol=0)


def test_gradients__reference_is_what_the_output_loses():
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Flatten(), nn.Linear(36, 2)).eval()
    x, reference, channel = torch.randn(3, 2, 3, 3), 0.7, 2

    def replace(layer, output, activations, counted):
        if layer.name == "0":
            output[:, channel] = reference

    with Recorder(network, trace(network, x)) as recorder:
        recorder.prepare_gradients(x)
        found = recorder.run(x, explained=Explained("output", (1,)))
        without = recorder.run(x, on_layer=replace).logits[:, 1]

    one = found.gradients["0"]
    relevance = one.product[:, channel] - reference * one.gradient[:, channel]
    torch.testing.assert_close(relevance, found.logits[:, 1] - without)
    mean = network[0](x).mean((2, 3))
    torch.testing.assert_close(one.mean, mean.detach())


def test_gradients__overwritten_output_is_copied_or_refused():
    class Overwritten(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            hidden = self.first(x)
            return self.head(hidden.mul_(2).add_(1))

    network, x = Overwritten().eval(), torch.rand(4, 3)
    network.requires_grad_(requires_grad=False)
    layers = Layer("first", "first", "linear", 4), Layer("head", "head", "linear", 2)

    with Recorder(network, Architecture(layers)) as recorder:
        with pytest.raises(ModelError, match="writes over the output of layer 'first'"):
            recorder.run(x, explained=Explained("output", (0,)))
        recorder.prepare_gradients(x)
        found = recorder.run(x, explained=Explained("output", (0,)))

    wanted = network.first(x) * 2 * network.head.weight[0]
    torch.testing.assert_close(found.gradients["first"].product, wanted)


def test_gradients__begin_at_the_first_shown_layer():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)).eval()
    network.requires_grad_(requires_grad=False)
    x = torch.rand(2, 4)
    architecture = trace(network, x).selected(shown=("1", "2"))
    below = []
    network[0].register_forward_hook(lambda *call: below.append(call[2].requires_grad))

    with Recorder(network, architecture) as recorder:
        recorder.prepare_gradients(x)
        found = recorder.run(x, explained=Explained("prediction"))

    assert not any(below)
    assert set(found.gradients) == {"1", "2"}


def test_gradients__positions_that_do_not_count_change_nothing():
    torch.manual_seed(0)
    layer = Layer("tokens", "tokens", "linear", 3, positions=(5,), channel_axis=2)
    counted = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    found = []

    for padding in (0.0, torch.nan, 7.0):
        values = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(1))
        values[0, 2:] = padding
        one = GradientPass(2)
        one.watch(layer, values, counted=counted)
        logits = torch.stack([(values[0] * 2).sum(), (values[1] * 3).sum()])[:, None]
        one.run(logits, torch.ones(2, 1))
        found.append(one.found["tokens"])

    for part in LayerGradients._fields:
        first, *others = (getattr(one, part) for one in found)
        assert all(torch.equal(first, other) for other in others)
    torch.testing.assert_close(found[0].gradient[0], torch.full((3,), 4.0))
    norms = torch.tensor([2 * 2**0.5, 3 * 5**0.5])
    torch.testing.assert_close(found[0].norm, norms[:, None].expand(2, 3))
    torch.testing.assert_close(found[0].mean[0], values[0, :2].mean(0).detach())


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_runtime__relevance_of_labels_is_that_of_the_label(precision):
    network, x = make("dense")
    architecture = showing_all(trace(network, x))
    runtime = NetworkRuntime(
        network,
        architecture,
        preprocessing=PreprocessingConfig(kind="array"),
        extraction=ExtractionConfig(targets="none", device="cpu", precision=precision),
        explained=Explained("label"),
    )
    values = x.numpy()

    with runtime.recording(0, labels=np.array([2, -1])) as recording:
        result = recording.run(values, valid=np.ones(len(x), np.bool_))

    chosen = result.logits.argmax(1)
    chosen[0] = 2
    head = architecture.layers[-1].name
    wanted = np.where(np.arange(3) == chosen[:, None], result.logits, 0)
    np.testing.assert_allclose(result.relevance[head]["product"], wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("explained", "labels", "wanted"),
    [
        (Explained("label"), [2, -1], [[0, 0, 1], [1, 0, 0]]),
        (Explained("label"), None, [[0, 1, 0], [1, 0, 0]]),
        (Explained("prediction"), [2, 2], [[0, 1, 0], [1, 0, 0]]),
        (Explained("output", (2,)), [0, 0], [[0, 0, 1], [0, 0, 1]]),
        (Explained("output", (0, 2)), None, [[1, 0, -1], [1, 0, -1]]),
    ],
)
def test_output_weights__are_those_of_what_is_explained(explained, labels, wanted):
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]])
    labels = None if labels is None else np.array(labels)

    assert output_weights(logits, explained, labels).tolist() == wanted


@pytest.mark.parametrize("explained", [Explained("label"), Explained("output", (0,))])
def test_output_weights__a_single_output_is_explained_itself(explained):
    weights = output_weights(torch.zeros(2, 1), explained, np.array([-1, 3]))

    assert weights.tolist() == [[1], [1]]


def total_magnitude(activation, gradient, counted):
    return (activation * gradient).abs().sum(1)


def test_explained_outputs__signal_of_the_users_own_takes_the_products_place():
    options = ExtractionConfig(
        relevance="output",
        relevance_outputs=("b",),
        relevance_signal=f"{__file__}:total_magnitude",
    )
    network = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2)).eval()
    x = torch.randn(5, 3)

    explained = explained_outputs(options, ("a", "b"))
    with Recorder(network, trace(network, x)) as recorder:
        recorder.prepare_gradients(x)
        found = recorder.run(x, explained=explained).gradients["0"]

    wanted = (x @ network[0].weight.T * network[1].weight[1]).abs()
    torch.testing.assert_close(found.product, wanted)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"relevance": "output"}, PlanError, "relevance_outputs has 0 classes"),
        (
            {"relevance": "label", "relevance_outputs": ("a",)},
            PlanError,
            "relevance is 'label' and relevance_outputs has 1",
        ),
        (
            {"relevance": "output", "relevance_outputs": ("a", "b", "c")},
            PlanError,
            "one class, or two for their difference",
        ),
        (
            {"relevance": "output", "relevance_outputs": ("hors",)},
            UnknownNameError,
            "did you mean 'horse'",
        ),
        (
            {"relevance": "label", "relevance_signal": "no.such.module:rule"},
            PlanError,
            "cannot import",
        ),
    ],
)
def test_explained_outputs__what_cannot_be_is_refused(options, error, text):
    with pytest.raises(error, match=text):
        explained_outputs(ExtractionConfig(**options), ("horse", "a", "b", "c"))
