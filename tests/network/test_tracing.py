"""Layers, edges and their validation, on networks that are written in odd ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnviz.errors import ModelError, TaskMemoryError
from nnviz.network.analysis.analysis import analyse
from nnviz.network.analysis.operations import record_operations
from nnviz.network.analysis.replay import apply_operation
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.taps import EdgeTaps
from nnviz.network.tracing import trace
from nnviz.runs.architecture import Architecture
from nnviz.runs.json_values import from_json, to_json
from tests.network.odd_networks import EDGES, NETWORKS, make

odd = pytest.mark.parametrize("name", list(NETWORKS))


@odd
def test_trace__finds_the_layers_in_order(name):
    network, x = make(name)

    architecture = trace(network, x[:2])

    with torch.no_grad():
        expected = network.outputs(x[:2])
    assert [layer.name for layer in architecture.layers] == list(expected)
    for layer in architecture.layers:
        assert layer.n_channels == expected[layer.name].shape[1]
        assert layer.positions == tuple(expected[layer.name].shape[2:])


@odd
def test_trace__finds_the_edges(name):
    network, x = make(name)

    architecture = trace(network, x[:1])

    found = {f"{edge.source}>{edge.target}" for edge in architecture.edges}
    assert found == set(EDGES[name].split())
    assert architecture.problems == ()


@odd
def test_trace__is_validated_by_replay(name):
    network, x = make(name)

    architecture = trace(network, x[:2])

    assert architecture.validation_error < 1e-5


@odd
@pytest.mark.parametrize("folded", [False, True], ids=["as it is", "folded"])
def test_recorder__maxima_are_those_of_plain_code_in_float64(name, folded):
    network, x = make(name)
    architecture = trace(network, x[:2])
    run = optimize(network, architecture=architecture, batch=x, fold_batch_norm=folded)

    with Recorder(run, architecture) as recorder:
        captured = recorder.run(x)

    wide = make(name)[0].double()
    with torch.no_grad():
        expected = wide.outputs(x.double() if x.is_floating_point() else x)
    for layer, values in expected.items():
        maxima = values.flatten(2).amax(2) if values.ndim > 2 else values
        scale = maxima.abs().max()
        found = captured.activations[layer].double()
        assert (found - maxima).abs().max() <= 2e-6 * scale, layer


@odd
def test_edge_inputs__contributions_and_bias_are_the_pre_activation(name):
    network, x = make(name)
    architecture = trace(network, x[:2])
    run = optimize(network, architecture=architecture, batch=x)
    taps = EdgeTaps(analyse(record_operations(run, x[:1])), architecture)
    sums, sources = {}, {}

    def add_up(layer, activations, inputs):
        total = None
        for edge in (edge.of(0, len(x)) for edge in inputs):
            added = apply_operation(edge.operation, edge.x)
            added = added.reshape(*added.shape[:2], -1)
            if total is None:
                total = added.new_zeros(len(x), layer.n_channels, added.shape[2])
            total[:, torch.from_numpy(edge.target_channels).long()] += added
        sums[layer.name] = total.amax(2)
        sources[layer.name] = [
            (e.source_numbers, getattr(e.operation, "groups", 1)) for e in inputs
        ]

    with Recorder(run, architecture, taps=taps) as recorder:
        captured = recorder.run(x, on_target=add_up)

    # Where the non-linearity is a ReLU or none, it can be applied to the maximum.
    for layer in {"head", "join.0", "again@2", "conv1", "layers.6"} & set(sums):
        maxima = sums[layer] if layer in ("head", "layers.6") else sums[layer].relu()
        torch.testing.assert_close(maxima, captured.activations[layer])
    channels = {layer.name: layer.n_channels for layer in architecture.layers}
    for target, numbers in sources.items():
        entering = [edge for edge in architecture.edges if edge.target == target]
        total = sum(channels[edge.source] for edge in entering)
        # The heads of an attention are groups, each of which reads all channels.
        once = np.concatenate(
            [
                found[: len(found) // (groups if target.endswith("heads") else 1)]
                for found, groups in numbers
            ]
        )
        assert once.max() < total
        assert len(set(once[once >= 0])) == (once >= 0).sum()


def test_trace__shortcut_maps_channels():
    network, x = make("option A")

    (edge,) = [e for e in trace(network, x).edges if e.operation == "identity"]

    assert edge.attributes["targets"] == [[0, 2, 4, 1]]


def test_trace__concatenation_gives_each_part_its_range():
    network, x = make("U-Net")

    entering = [edge for edge in trace(network, x).edges if edge.target == "@cat"]

    assert {(e.source, e.operation, e.target_channels) for e in entering} == {
        ("down1.0", "identity", (0, 8)),
        ("down2.1", "convolution", (8, 16)),
    }


def test_trace__gate_is_marked():
    network, x = make("gate")

    gates = [e for e in trace(network, x).edges if e.operation == "gate"]

    assert [(edge.source, edge.target) for edge in gates] == [("excite", "@mul")]


def test_trace__shows_blocks_and_hides_what_is_inside():
    network, x = make("dense")

    architecture = trace(network, x)

    assert [layer.name for layer in architecture.shown] == ["stem", "block", "head"]


def test_trace__receptive_field_of_two_convolutions_and_pooling():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3, padding=1)
    ).eval()

    layer = trace(network, torch.rand(1, 1, 8, 8)).layers[-1]

    assert layer.receptive_field.size == (8, 8)
    assert layer.receptive_field.step == (2.0, 2.0)
    assert layer.receptive_field.start == (-3.0, -3.0)
    assert layer.receptive_field.box((1, 0)) == ((-1.0, 7.0), (-3.0, 5.0))


class Unknown(nn.Module):
    """A Fourier transform mixes channels, which no edge describes."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3, padding=1)
        self.d = nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = torch.fft.fft(F.relu(self.c(x)), dim=1).real
        return self.head(F.relu(self.d(x)).mean((2, 3)))


def test_trace__unknown_operation_is_named_and_layers_still_work():
    network, x = Unknown().eval(), torch.randn(2, 3, 8, 8)

    architecture = trace(network, x)

    assert [layer.name for layer in architecture.layers] == ["c", "d", "head"]
    assert [(edge.source, edge.target) for edge in architecture.edges] == [
        ("d", "head")
    ]
    first, second = architecture.problems
    assert first.startswith("@fft_fft is no layer")
    assert "influence into 'd' is not available" in second
    assert "fft_fft at @fft_fft" in second


class TokensFirst(nn.Module):
    """The instance is the third axis within the network."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(F.relu(self.inner(x.transpose(0, 1)[:, None])).mean((0, 1)))


@pytest.mark.parametrize("n_tokens", [6, 7])
def test_trace__layer_without_instances_on_its_first_axes_is_left_out(n_tokens):
    network, x = TokensFirst().eval(), torch.randn(2, n_tokens, 4)

    architecture = trace(network, x)

    assert [layer.name for layer in architecture.layers] == ["head"]
    assert any("'inner' is left out" in problem for problem in architecture.problems)


class Scripted(nn.Module):
    """A part of the network is compiled code, whose functions are not seen."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3)
        self.inner = torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()))
        self.d = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.d(self.inner(self.c(x))).mean((2, 3))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_trace__compiled_part_is_one_unknown_operation():
    network, x = Scripted().eval(), torch.randn(2, 3, 6, 6)

    architecture = trace(network, x)

    assert [layer.name for layer in architecture.layers] == ["c", "d"]
    assert "d@conv2d reads the result of Compiled at inner" in architecture.problems[0]
    assert isinstance(network.inner, torch.jit.ScriptModule)


def test_trace__training_mode_is_refused():
    with pytest.raises(ModelError, match=r"call model\.eval\(\) first"):
        trace(nn.Linear(2, 2), torch.rand(1, 2))


def test_trace__input_that_does_not_fit_is_refused():
    with pytest.raises(ModelError, match=r"batch of shape \(1, 3\)"):
        trace(nn.Linear(2, 2).eval(), torch.rand(1, 3))


def test_trace__network_without_layers_is_refused():
    with pytest.raises(ModelError, match="no layer was found"):
        trace(nn.ReLU().eval(), torch.rand(1, 3))


def test_trace__network_without_tensor_is_refused():
    class Nothing(nn.Module):
        def forward(self, x):
            return None

    with pytest.raises(ModelError, match="returned NoneType without a tensor"):
        trace(Nothing().eval(), torch.rand(1, 3))


@odd
def test_trace__survives_json(name):
    network, x = make(name)
    architecture = trace(network, x[:1])

    again = from_json(Architecture, to_json(architecture))

    assert to_json(again) == to_json(architecture)


class Greedy(nn.Module):
    """It asks for more memory than there is, from the second forward pass on."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 2, 1)
        self.n_passes = 0

    def forward(self, x):
        self.n_passes += 1
        if self.n_passes > 1:
            torch.empty(2**50)
        return self.a(x).amax((2, 3))


def test_trace__want_of_memory_is_no_sign_that_layers_are_by_instance():
    with pytest.raises(TaskMemoryError, match="not enough memory"):
        trace(Greedy().eval(), torch.rand(2, 3, 4, 4))
