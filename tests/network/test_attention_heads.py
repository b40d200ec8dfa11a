"""The heads of attentions as layers, against isolated channels in plain torch.

Every network here is written so that its parts can be called one by one: the oracle
takes the pattern of the whole input, lets a single channel of what the attention reads
through to the values, and runs the rest in float64.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnviz.network.analysis.analysis import analyse
from nnviz.network.analysis.operations import record_operations
from nnviz.network.analysis.token_axes import record_other_length
from nnviz.network.influence.strongest_sources import strongest_sources
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.taps import EdgeTaps
from nnviz.network.tracing import trace
from tests.network.token_networks import Encoder, bound, packed, sentence

N_WORDS, WIDTH, N_HEADS, N_SHARED, SIZE = 30, 12, 4, 2, 5


def turned(x):
    """Rotate pairs of channels by an angle that grows with the token's number."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * 0.3 ** torch.arange(
        half, dtype=x.dtype
    )
    cos, sin = (f(angles).repeat(1, 2) for f in (torch.cos, torch.sin))
    other = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * cos + other * sin


class Attention(nn.Module):
    """Attention in the way that is asked for, with a pattern that can be seen."""

    def __init__(self, way, *, n_heads=N_HEADS, n_shared=N_HEADS, rotary=False, size=4):
        super().__init__()
        self.way, self.rotary = way, rotary
        self.n_heads, self.n_shared, self.size = n_heads, n_shared, size
        self.q = nn.Linear(WIDTH, n_heads * size)
        self.k, self.v = (nn.Linear(WIDTH, n_shared * size) for _ in range(2))
        self.o = nn.Linear(n_heads * size, WIDTH, bias=False)

    def queries_and_keys(self, x, read):
        q = self.q(x).unflatten(-1, (self.n_heads, self.size)).transpose(1, 2)
        k = self.k(read).unflatten(-1, (self.n_shared, self.size)).transpose(1, 2)
        return (turned(q), turned(k)) if self.rotary else (q, k)

    def forward(self, x, read, visible):
        q, k = self.queries_and_keys(x, read)
        v = self.v(read).unflatten(-1, (self.n_shared, self.size)).transpose(1, 2)
        if self.way == "fused":
            seen = F.scaled_dot_product_attention(q, k, v, visible, enable_gqa=True)
            return self.o(seen.transpose(1, 2).flatten(2))
        each = self.n_heads // self.n_shared
        n, _, t, d = q.shape
        k, v = (
            y[:, :, None].expand(-1, -1, each, -1, -1).reshape(n, -1, *y.shape[2:])
            for y in (k, v)
        )
        if self.way == "einsum":
            scores = torch.einsum("b h q d, b h k d -> b h q k", q, k) / d**0.5
            pattern = scores.masked_fill(~visible, -torch.inf).softmax(-1)
            seen = torch.einsum("b h q k, b h k d -> b q h d", pattern, v)
            return self.o(seen.flatten(2))
        if self.way == "batches of heads":
            q, k, v = (y.flatten(0, 1) for y in (q, k, v))
            scores = torch.bmm(q, k.mT) / d**0.5
            scores = scores.view(n, -1, *scores.shape[1:]).masked_fill(
                ~visible, -torch.inf
            )
            seen = torch.bmm(scores.softmax(-1).flatten(0, 1), v)
            return self.o(seen.view(n, -1, t, d).transpose(1, 2).reshape(n, t, -1))
        scores = (q @ k.mT / d**0.5).masked_fill(~visible, -torch.inf)
        seen = scores.softmax(-1) @ v
        return self.o(seen.transpose(1, 2).reshape(n, t, -1))

    def heads(self, x, read, visible, values):
        """Return the heads (N, T, channel) for given values (N, S, channel)."""
        q, k = self.queries_and_keys(x, read)
        found = []
        for head in range(self.n_heads):
            own = head * self.n_shared // self.n_heads
            scores = q[:, head] @ k[:, own].mT / self.size**0.5
            pattern = scores.masked_fill(~visible[:, 0], -torch.inf).softmax(-1)
            found.append(pattern @ values[..., own * self.size : (own + 1) * self.size])
        return torch.cat(found, -1)


class Block(nn.Module):
    """Words, an attention that reads them normalised, and a head."""

    def __init__(self, way="plain", *, across=False, **options):
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, WIDTH)
        self.norm, self.across = nn.LayerNorm(WIDTH), across
        self.attn = Attention(way, **options)
        self.head = nn.Linear(WIDTH, 3)

    def parts(self, tokens):
        """Return what asks, what is read, and which token sees which."""
        return self.parts_of(self.embedding(tokens), tokens)

    def parts_of(self, words, tokens):
        x = self.norm(words)
        n_seen = tokens.shape[1]
        visible = (tokens != 0)[:, None, None, :]
        if self.across:
            return x[:, :SIZE], x, visible.expand(-1, 1, SIZE, -1)
        causal = torch.ones(n_seen, n_seen, dtype=torch.bool).tril()
        return x, x, visible & causal

    def forward(self, tokens):
        words = self.embedding(tokens)
        x, read, visible = self.parts_of(words, tokens)
        y = words[:, : x.shape[1]] + self.attn(x, read, visible)
        return self.head(y.mean(1))


WAYS = {
    "plain": lambda: Block(),
    "fused": lambda: Block("fused"),
    "batches of heads": lambda: Block("batches of heads"),
    "einsum": lambda: Block("einsum"),
    "one head": lambda: Block(n_heads=1, n_shared=1),
    "grouped": lambda: Block(n_shared=N_SHARED),
    "grouped, fused": lambda: Block("fused", n_shared=N_SHARED),
    "one for all heads": lambda: Block("fused", n_shared=1),
    "rotary": lambda: Block(rotary=True),
    "rotary, grouped, fused": lambda: Block("fused", rotary=True, n_shared=N_SHARED),
    "across": lambda: Block(across=True),
    "across, fused": lambda: Block("fused", across=True),
}


def made(way):
    torch.manual_seed(2)
    network = WAYS[way]().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    tokens = torch.randint(1, N_WORDS, (3, 9))
    tokens[1, 6:] = 0
    return network, tokens


def contributions(network, tokens):
    """Return what each channel adds to the heads (N, T, target, source), and the heads.

    In float64, by isolating the channel in what the values are made of.
    """
    network = network.double()
    with torch.no_grad():
        x, read, visible = network.parts(tokens)
        attn = network.attn
        whole = attn.heads(x, read, visible, attn.v(read))
        nothing = attn.heads(x, read, visible, attn.v(torch.zeros_like(read)))
        found = []
        for channel in range(WIDTH):
            alone = torch.zeros_like(read)
            alone[..., channel] = read[..., channel]
            found.append(attn.heads(x, read, visible, attn.v(alone)) - nothing)
    return torch.stack(found, -1), whole


def strongest(network, tokens, **options):
    """Return what nnviz finds for every pair, with all sources ranked."""
    architecture = trace(network, tokens[:2])
    taps = EdgeTaps(analyse(record_operations(network, tokens[:2])), architecture)
    found = {}

    def take(layer, activations, inputs):
        if layer.kind == "attention":
            found["heads"] = strongest_sources(inputs, ranks=WIDTH, **options)

    with Recorder(network, architecture, taps=taps) as recorder:
        recorded = recorder.run(tokens, on_target=take)
    return found["heads"], recorded.activations


@pytest.mark.parametrize("way", list(WAYS))
def test_heads__are_a_layer_between_what_is_read_and_the_output_projection(way):
    network, tokens = made(way)

    architecture = trace(network, tokens[:2])

    (heads,) = [layer for layer in architecture.layers if layer.kind == "attention"]
    assert heads.name == "attn@heads"
    assert heads.n_channels == network.attn.o.in_features
    edges = {(e.source, e.target): e for e in architecture.edges}
    assert edges["embedding", heads.name].operation == "linear"
    assert edges["embedding", heads.name].node == "attn.v"
    assert edges["embedding", heads.name].attributes["heads"] == network.attn.n_heads
    assert {pair for pair, e in edges.items() if e.operation == "gate"} == {
        ("attn.q", heads.name), ("attn.k", heads.name),
    }  # fmt: skip
    assert edges[heads.name, "@add"].node == "attn.o"
    assert not any("v" in layer.name.split(".") for layer in architecture.layers)
    assert architecture.problems == ()
    assert architecture.validation_error < 1e-5


@pytest.mark.parametrize("way", list(WAYS))
def test_heads__influences_are_those_of_isolated_channels(way):
    network, tokens = made(way)
    found, activations = strongest(network, tokens)

    each, whole = contributions(network, tokens)

    torch.testing.assert_close(
        activations["attn@heads"].double(), whole.amax(1), rtol=1e-5, atol=1e-5
    )
    largest = each.amax(1).clamp(min=0).numpy()
    expected = -np.sort(-largest[found.instance, found.target], -1)
    np.testing.assert_allclose(found.influence, expected, rtol=1e-4, atol=1e-5)
    ranked = found.source >= 0
    rows = found.instance[:, None], found.target[:, None], found.source
    np.testing.assert_allclose(
        found.influence[ranked], largest[rows][ranked], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("way", list(WAYS))
def test_heads__contributions_at_the_peak_add_up_to_the_head(way):
    network, tokens = made(way)
    found, activations = strongest(network, tokens, signal="peak")

    each, whole = contributions(network, tokens)

    total = found.influence.sum(1) + found.remainder
    heads = activations["attn@heads"].numpy()[found.instance, found.target]
    np.testing.assert_allclose(total, heads, rtol=1e-4, atol=1e-5)
    peak = whole.argmax(1).numpy()[found.instance, found.target]
    at_peak = each.numpy()[found.instance, peak, found.target]
    rows = np.arange(len(peak))[:, None], found.source
    np.testing.assert_allclose(found.influence, at_peak[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("signal", ["max", "peak"])
def test_heads__are_the_same_however_few_instances_are_mixed_at_once(way, signal):
    network, tokens = made(way)

    together, _ = strongest(network, tokens, signal=signal)
    alone, _ = strongest(network, tokens, signal=signal, workspace=1)

    np.testing.assert_array_equal(together.source, alone.source)
    np.testing.assert_array_equal(together.influence, alone.influence)
    if signal == "peak":
        np.testing.assert_array_equal(together.remainder, alone.remainder)


def test_heads__nothing_but_queries_and_keys_is_left_out_of_the_pattern():
    network, tokens = made("rotary")

    architecture = trace(network, tokens[:2])

    assert [layer.name for layer in architecture.layers] == [
        "embedding", "attn.q", "attn.k", "attn@heads", "@add", "head",
    ]  # fmt: skip


class OfMeans(nn.Module):
    """Values that see their neighbours are no linear map token by token."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, WIDTH)
        self.v = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.o = nn.Linear(WIDTH, 3)

    def forward(self, tokens):
        x = self.embedding(tokens)
        pattern = (x @ x.mT).softmax(-1)
        return self.o((pattern @ self.v(x.mT).mT).mean(1))


def test_heads__other_values_are_passed_through_as_they_are():
    torch.manual_seed(0)
    network = OfMeans().eval()

    architecture = trace(network, torch.randint(0, N_WORDS, (2, 7)))

    assert [layer.name for layer in architecture.layers] == ["embedding", "v", "o"]
    assert {(e.source, e.target) for e in architecture.edges} == {
        ("embedding", "v"), ("v", "o"),
    }  # fmt: skip
    assert architecture.is_validated


@pytest.mark.parametrize("signal", ["max", "peak"])
def test_heads__padding_and_special_tokens_change_no_influence(signal):
    torch.manual_seed(3)
    network = bound(Encoder(), 9)
    sentences = [sentence(9, 0), sentence(6, 1), sentence(4, 2)]
    whole = torch.from_numpy(packed(sentences, 9))
    architecture = trace(network, whole[:2])
    other = record_other_length(network, whole[:2])
    analysis = analyse(record_operations(network, whole[:2]), other)
    taps = EdgeTaps(analysis, architecture)
    found = []

    def take(layer, activations, inputs):
        if layer.kind == "attention":
            found.append(strongest_sources(inputs, ranks=8, signal=signal))

    with Recorder(network, architecture, taps=taps) as recorder:
        for batch in (whole, *(packed([s], len(s["counted"])) for s in sentences)):
            x = torch.as_tensor(batch)
            n_tokens = x.shape[1] // 3
            recorder.run(x, x[:, 2 * n_tokens :].bool(), on_target=take)

    together, *alone = found
    for n, one in enumerate(alone):
        mine = together.instance == n
        np.testing.assert_allclose(together.influence[mine], one.influence, atol=1e-5)
