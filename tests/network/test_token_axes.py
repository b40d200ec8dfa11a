"""Which axis of each layer runs over tokens, and what its positions see."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnviz.network.tracing import trace
from nnviz.runs.architecture import ReceptiveField
from tests.network.token_networks import (
    N_WORDS,
    Encoder,
    MeanOfEmbeddings,
    OneLength,
    Strided,
    WordCNN,
    bound,
    packed,
    sentence,
)


def traced(network, lengths=(9, 7)):
    torch.manual_seed(0)
    network = bound(network, max(lengths))
    sentences = [sentence(n, seed) for seed, n in enumerate(lengths)]
    return trace(network, torch.from_numpy(packed(sentences, max(lengths))))


def field(size, step, start):
    return ReceptiveField((size,), (float(step),), (float(start),))


def tokens_of(architecture):
    return {x.name: (x.token_axis, x.token_field) for x in architecture.layers}


@pytest.mark.parametrize("lengths", [(9, 7), (9, 9)], ids=["padded", "equal"])
def test_token_axes__of_an_mlp_over_a_mean(lengths):
    found = traced(MeanOfEmbeddings(), lengths)

    assert tokens_of(found) == {
        "words": (0, None), "hidden": (0, None), "@mul": (0, None),
        "@div": (None, None), "pooled": (None, None), "head": (None, None),
    }  # fmt: skip
    assert found.layer("hidden").positions == (9,)
    assert found.input_shape == (27,)


def test_token_axes__of_windows_are_those_of_kernels():
    found = tokens_of(traced(WordCNN()))

    assert found["words"] == (0, None)
    assert found["two"] == (0, field(2, 1, 0))
    assert found["three"] == (0, field(3, 1, 0))
    assert found["head"] == (None, None)


def test_token_axes__go_through_padding_strides_and_poolings():
    found = tokens_of(traced(Strided(), (21, 15)))

    assert found["same"] == (0, None)
    assert found["valid"] == (0, field(3, 1, 0))
    # A position of padding before, then three of which the first is padding again.
    assert found["halved"] == (0, field(5, 2, -2))
    assert found["after"] == (0, field(7, 4, -2))


def seen_by(network, name, n_tokens):
    """Return which tokens change a position of a layer, by position: (P, T)."""
    outputs = []
    network.get_submodule(name).register_forward_hook(
        lambda module, arguments, output: outputs.append(output[0].T)
    )
    mask = torch.ones(1, n_tokens, dtype=torch.int64)
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(5, N_WORDS, (1, n_tokens), generator=generator)
        with torch.no_grad():
            network(input_ids=ids, attention_mask=mask)
            for token in range(n_tokens):
                other = ids.clone()
                other[0, token] = 5 + (ids[0, token] - 4) % (N_WORDS - 5)
                network(input_ids=other, attention_mask=mask)
    outputs = torch.stack(outputs).unflatten(0, (12, n_tokens + 1))
    changed = (outputs[:, 1:] != outputs[:, :1]).any(3).any(0)
    return changed.T


@pytest.mark.parametrize("name", ["words", "same", "valid", "halved", "after"])
def test_tokens_of__are_those_that_change_a_position(name):
    network = Strided()
    architecture = traced(network, (21, 15))

    wanted = seen_by(network, name, 21) if name != "words" else torch.eye(21) > 0

    layer = architecture.layer(name)
    for position, tokens in enumerate(wanted):
        first, stop = layer.tokens_of(position)
        found = [first <= token < stop for token in range(21)]
        assert found == tokens.tolist(), position


def test_tokens_of__attention_are_its_own():
    layer = traced(Encoder()).layer("up")

    assert [layer.tokens_of(position) for position in (0, 4)] == [(0, 1), (4, 5)]


def test_token_axes__of_heads_that_are_rows():
    found = traced(Encoder())

    per_token = {"words", "query", "key", "value", "norms.0", "norms.1", "up"}
    tokens = tokens_of(found)
    for name in per_token & tokens.keys():
        assert tokens[name] == (0, None), name
    assert tokens["head"] == (None, None)
    rows = [x for x in found.layers if len(x.positions) == 2]
    assert all(x.token_axis == 1 for x in rows if x.positions == (2, 9))


def test_token_axes__of_a_network_of_one_length_are_those_of_its_extent():
    found = tokens_of(traced(OneLength(9)))

    assert found["hidden"] == (0, None)
    assert found["head"] == (None, None)


class Pairs(nn.Module):
    """A layer over all pairs of tokens: no one of its axes is that of the tokens."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 6)
        self.pairs, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids)
        pairs = torch.relu(self.pairs(x[:, :, None] * x[:, None]))
        return self.head(pairs.mean((1, 2)))


def test_token_axes__a_layer_over_pairs_of_tokens_is_left_out_and_named():
    found = traced(Pairs())

    assert "words" in tokens_of(found)
    assert "pairs" not in tokens_of(found)
    assert any(
        "'pairs' is left out: which tokens its positions see is not known" in problem
        for problem in found.problems
    )


def test_token_axes__an_axis_of_channels_is_none_of_tokens():
    network = OneLength(9)
    network.words, network.hidden = nn.Embedding(50, 9), nn.Linear(9, 6)

    found = tokens_of(traced(network))

    assert found["words"] == (0, None)
    assert found["hidden"] == (0, None)
