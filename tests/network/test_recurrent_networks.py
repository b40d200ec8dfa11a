"""Recurrent networks: hidden channels over time, against torch's own modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnviz.network.analysis.analysis import analyse
from nnviz.network.analysis.operations import record_operations
from nnviz.network.influence.strongest_sources import strongest_sources
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.taps import EdgeTaps
from nnviz.network.tracing import trace
from tests.network.language_networks import Recurrent

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN}
kinds = pytest.mark.parametrize("kind", list(KINDS))


def tokens():
    """Return sentences of several lengths, the longest not first."""
    x = torch.randint(1, 60, (3, 7))
    x[0, 4:], x[2, 5:] = 0, 0
    return x


def made(kind, **options):
    torch.manual_seed(4)
    return Recurrent(KINDS[kind], **options).eval()


def outputs(network, x):
    """Return the full output of every layer, as it is recorded, by name."""
    architecture = trace(network, x[:2])
    found = {}

    def take(layer, values, *rest):
        found[layer.name] = values.movedim(layer.channel_axis, -1).clone()

    with Recorder(network, architecture) as recorder:
        recorder.run(x, on_layer=take)
    return found


def one_way(network, x, layer, *, backward=False):
    """Run one layer and direction by a module of its own; x is (N, T, channel)."""
    rnn = network.rnn
    way = "_reverse" if backward else ""
    alone = type(rnn)(x.shape[-1], rnn.hidden_size, batch_first=True)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    alone.load_state_dict(
        {f"{name}_l0": getattr(rnn, f"{name}_l{layer}{way}") for name in names}
    )
    with torch.no_grad():
        out, _ = alone(x.flip(1) if backward else x)
    return out.flip(1) if backward else out


@kinds
def test_layers__are_read_one_by_one(kind):
    network = made(kind, num_layers=2, reads="state")
    x = tokens()
    found = outputs(network, x)

    first = one_way(network, network.embedding(x).detach(), 0)
    torch.testing.assert_close(found[f"rnn@{kind}"], first)
    torch.testing.assert_close(found["rnn"], one_way(network, first, 1))


@kinds
@pytest.mark.parametrize("batch_first", [True, False])
def test_directions__are_read_one_by_one_in_the_order_of_time(kind, batch_first):
    network = made(kind, bidirectional=True, reads="state", batch_first=batch_first)
    x = tokens()
    found = outputs(network, x)

    words = network.embedding(x).detach()
    torch.testing.assert_close(found[f"rnn@{kind}"], one_way(network, words, 0))
    torch.testing.assert_close(
        found[f"rnn@{kind}.2"], one_way(network, words, 0, backward=True)
    )


@kinds
def test_packed_sequences__are_read_in_the_order_of_the_instances(kind):
    network = made(kind, packed=True, reads="all", bidirectional=True)
    x = tokens()
    found = outputs(network, x)["rnn"]

    # Each sentence by itself, at its own length; torch fills up with zeros.
    for n, length in enumerate((x != 0).sum(1).tolist()):
        with torch.no_grad():
            alone, _ = network.rnn(network.embedding(x[n : n + 1, :length]))
        torch.testing.assert_close(found[n, :length], alone[0].relu())
        assert not found[n, length:].any()


@kinds
def test_packed_sequences__final_states_are_a_layer(kind):
    network = made(kind, packed=True, reads="state")
    x = tokens()
    found = outputs(network, x)["rnn"]

    for n, length in enumerate((x != 0).sum(1).tolist()):
        with torch.no_grad():
            alone, _ = network.rnn(network.embedding(x[n : n + 1, :length]))
        torch.testing.assert_close(found[n], alone[0, -1])


@kinds
@pytest.mark.parametrize("reads", ["last", "state", "all"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_edges__out_of_a_recurrent_network_are_the_weights_of_its_reader(
    kind, reads, bidirectional
):
    network = made(kind, reads=reads, bidirectional=bidirectional)
    x = tokens()
    architecture = trace(network, x[:2])
    taps = EdgeTaps(analyse(record_operations(network, x[:2])), architecture)
    found = {}

    def take(layer, activations, inputs):
        found[layer.name] = strongest_sources(inputs, ranks=99, signal="peak")

    with Recorder(network, architecture, taps=taps) as recorder:
        recorder.run(x, on_target=take)

    with torch.no_grad():
        out, state = network.rnn(network.embedding(x))
        state = state[0] if isinstance(state, tuple) else state
        read = {
            "last": out[:, -1],
            "all": out.relu().amax(1),
            "state": torch.cat(list(state), 1),
        }[reads]
        expected = read[:, None] * network.head.weight
    result = found["head"]
    for row in range(len(result.instance)):
        own = expected[result.instance[row], result.target[row]]
        ranked = result.source[row] >= 0
        torch.testing.assert_close(
            torch.from_numpy(result.influence[row][ranked]),
            own[torch.from_numpy(result.source[row][ranked]).long()],
        )


@kinds
def test_edges__into_a_recurrent_network_are_not_available_and_named(kind):
    architecture = trace(made(kind), tokens()[:2])

    assert not [edge for edge in architecture.edges if edge.target == "rnn"]
    (problem,) = architecture.problems
    assert problem == (
        f"influence into 'rnn' is not available: rnn@{kind} calls {kind}, in which "
        "what is read acts on all times after it"
    )
