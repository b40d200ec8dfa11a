"""What a recorder leaves behind, and what it says when a layer is not reached."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnviz.errors import ModelError
from nnviz.network.analysis.analysis import analyse
from nnviz.network.analysis.operations import record_operations
from nnviz.network.recording.cheap_maxima import find_cheap_maxima
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.taps import EdgeTaps
from nnviz.network.tracing import trace
from nnviz.runs.architecture import Architecture, Layer
from tests.network.odd_networks import NETWORKS, make


def n_hooks(network):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in network.modules()
    )


@pytest.mark.parametrize("name", ["perceptron", "gate", "tokens"])
def test_recorder__close_takes_all_hooks_away(name):
    network, x = make(name)
    architecture = trace(network, x)
    before = n_hooks(network)

    recorder = Recorder(network, architecture)
    recorder.run(x)
    recorder.close()

    assert before == 0
    assert n_hooks(network) == 0


@pytest.mark.parametrize("name", ["perceptron", "gate", "reused module"])
def test_recorder__gives_the_same_every_time(name):
    network, x = make(name)
    architecture = trace(network, x)

    with Recorder(network, architecture) as recorder:
        first, second = recorder.run(x), recorder.run(x)

    for layer in architecture.layers:
        assert torch.equal(
            first.activations[layer.name], second.activations[layer.name]
        )


def test_recorder__batch_does_not_change_an_instance():
    network, x = make("gate")

    with Recorder(network, trace(network, x)) as recorder:
        together = recorder.run(x).activations["@mul"]
        alone = torch.cat([recorder.run(row[None]).activations["@mul"] for row in x])

    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(
    "name", ["reused module", "text", "perceptron", "control flow"]
)
def test_recorder__logits_of_dictionary_dataclass_tuple_and_named_tuple(name):
    network, x = make(name)

    with Recorder(network, trace(network, x)) as recorder:
        captured = recorder.run(x)

    head = captured.activations.get("head", captured.activations.get("layers.6"))
    assert torch.equal(captured.logits, head)


def test_recorder__network_without_classes_has_no_logits():
    network, x = make("U-Net")

    with Recorder(network, trace(network, x)) as recorder:
        assert recorder.run(x).logits is None


def test_recorder__output_that_is_written_later_is_read_before():
    class Overwritten(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            logits = self.head(x)
            kept = logits.clone()
            logits.zero_()
            return kept + logits

    network, x = Overwritten().eval(), torch.rand(4, 3)
    architecture = Architecture((Layer("head", "head", "linear", 2),))

    with Recorder(network, architecture) as recorder, torch.no_grad():
        captured = recorder.run(x)

        assert torch.equal(captured.activations["head"], network.head(x))


def test_recorder__layers_are_handed_out_while_they_exist():
    network, x = make("U-Net")
    architecture = trace(network, x)
    seen = {}

    def on_layer(layer, values, activations, counted):
        maxima = values.movedim(layer.channel_axis, 1).flatten(2).amax(2)
        seen[layer.name] = torch.equal(maxima, activations)

    with Recorder(network, architecture) as recorder:
        recorder.run(x, on_layer=on_layer)

    assert seen == dict.fromkeys([layer.name for layer in architecture.layers], True)


class TwoWays(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 4)
        self.b = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.a(x) if x.sum() > 0 else self.b(x))


def test_recorder__layer_that_is_not_reached_is_an_error():
    network = TwoWays().eval()
    architecture = trace(network, torch.ones(1, 3))

    with (
        Recorder(network, architecture) as recorder,
        pytest.raises(ModelError, match="1 of 2 layers are not reached, first 'a'"),
    ):
        recorder.run(-torch.ones(1, 3))


def test_recorder__another_network_is_refused():
    network, x = make("perceptron")

    with pytest.raises(ModelError, match=r"has no module 'layers\.2'"):
        Recorder(TwoWays().eval(), trace(network, x))


def test_edge_taps__another_network_is_refused():
    network, x = make("perceptron")

    with pytest.raises(ModelError, match=r"no layer 'layers\.1'"):
        EdgeTaps(
            analyse(record_operations(TwoWays().eval(), torch.rand(1, 3))),
            trace(network, x),
        )


def test_edge_taps__inputs_of_layers_left_out_have_no_number():
    network, x = make("U-Net")
    architecture = trace(network, x).selected(recorded=["*", "!down1.0"])
    taps = EdgeTaps(analyse(record_operations(network, x[:1])), architecture)
    numbers = {}

    def on_target(layer, activations, inputs):
        numbers[layer.name] = [edge.source_numbers for edge in inputs]

    with Recorder(network, architecture, taps=taps) as recorder:
        recorder.run(x, on_target=on_target)

    skip, up = numbers["@cat"]
    assert set(skip) == {-1}
    assert up.tolist() == list(range(16))


def test_edge_taps__known_extremes_are_those_of_the_input():
    network, x = make("U-Net")
    architecture = trace(network, x)
    taps = EdgeTaps(analyse(record_operations(network, x[:1])), architecture)
    checked = []

    def on_target(layer, activations, inputs):
        for edge in inputs:
            if edge.extremes is not None:
                rows = edge.x.flatten(2)
                assert torch.equal(edge.extremes[0], rows.amax(2))
                assert (edge.extremes[1] <= rows.amin(2)).all()
                checked.append(layer.name)

    with Recorder(network, architecture, taps=taps) as recorder:
        recorder.run(x, on_target=on_target)

    assert checked == ["@cat", "@cat", "head"]


@pytest.mark.parametrize("name", ["gate", "pre-activation", "option A"])
def test_edge_taps__writes_in_place_do_not_reach_what_was_taken(name):
    network, x = make(name)
    architecture = trace(network, x)
    taps = EdgeTaps(analyse(record_operations(network, x[:1])), architecture)
    taken = {}

    def on_target(layer, activations, inputs):
        taken[layer.name] = [edge.x.clone() for edge in inputs]

    with Recorder(network, architecture, taps=taps) as recorder:
        recorder.run(x, on_target=on_target)

    with torch.no_grad():
        outputs = network.outputs(x)
    last = architecture.edges[-1]
    source = outputs[last.source]
    inner = taken[last.target][0]
    expected = source if inner.ndim > 2 else source.mean((2, 3))
    torch.testing.assert_close(inner, expected)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_cheap_maxima__maxima_are_the_same_bit_by_bit(name):
    network, x = make(name)
    architecture = trace(network, x)
    run = optimize(network, architecture=architecture, batch=x)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)

    with Recorder(run, architecture) as recorder:
        plain = recorder.run(x)
    with Recorder(
        run,
        architecture,
        cheap_maxima=find_cheap_maxima(
            analyse(record_operations(run, x)), architecture
        ),
    ) as recorder:
        planned = recorder.run(x)

    for layer, activations in plain.activations.items():
        assert torch.equal(activations, planned.activations[layer]), layer
    assert plain.logits is planned.logits or torch.equal(plain.logits, planned.logits)


def test_cheap_maxima__concatenation_is_read_in_parts_and_relu_is_fused():
    network, x = SqueezeLike().eval(), torch.randn(2, 3, 6, 6)
    architecture = trace(network, x)

    plan = find_cheap_maxima(analyse(record_operations(network, x)), architecture)

    assert [(part.place, part.fuses) for part in plan["@cat"]] == [
        ("@relu", True),
        ("@relu.2", True),
    ]


class SqueezeLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 3, padding=1)
        self.head = nn.Conv2d(9, 2, 1)

    def forward(self, x):
        parts = [torch.relu(self.a(x)), torch.relu_(self.b(x))]
        return self.head(torch.cat(parts, 1)).mean((2, 3))


class Shared(nn.Module):
    """The input of the ReLU is read once more, after it."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.a(x)
        return self.head(torch.relu(x).mean((2, 3)) + x.mean((2, 3)))


def test_cheap_maxima__relu_of_what_others_read_is_not_fused():
    network, x = Shared().eval(), torch.randn(2, 3, 4, 4)
    architecture = trace(network, x)

    plan = find_cheap_maxima(analyse(record_operations(network, x)), architecture)

    assert not any(part.fuses for parts in plan.values() for part in parts)
