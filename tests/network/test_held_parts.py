"""How much normalisations and patterns matter that influences hold, in plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnviz.network.tracing import trace
from tests.network.odd_networks import make as make_odd
from tests.network.test_attention_heads import made

CHANGED = 3


def changes(x):
    """Yield x with one channel set to its mean, for the channels that vary most."""
    spread = x.flatten(0, -2).std(0, correction=0)
    for channel in spread.argsort(descending=True)[:CHANGED].tolist():
        changed = x.clone()
        changed[..., channel] = x[..., channel].mean()
        yield channel, changed


def beside(whole, own):
    return float((whole - own).norm() / own.norm())


def held_by_part(network, tokens):
    architecture = trace(network, tokens)
    return {one.part: one for one in architecture.held}, architecture


@pytest.mark.parametrize("way", ["plain", "fused", "rotary, grouped, fused"])
def test_normalization__is_measured_by_what_other_channels_become(way):
    network, tokens = made(way)
    found, _ = held_by_part(network, tokens)

    with torch.no_grad():
        x = network.embedding(tokens)
        sizes = []
        for channel, changed in changes(x):
            difference = network.norm(changed) - network.norm(x)
            own = torch.zeros_like(difference)
            own[..., channel] = difference[..., channel]
            sizes.append(beside(difference, own))

    assert found["normalization"].layer == "attn.q"
    assert found["normalization"].size == pytest.approx(max(sizes), rel=1e-4)


@pytest.mark.parametrize("way", ["plain", "fused", "rotary, grouped, fused"])
def test_pattern__is_measured_by_what_the_heads_become_with_another_one(way):
    network, tokens = made(way)
    found, _ = held_by_part(network, tokens)

    attn = network.attn
    with torch.no_grad():
        x, read, visible = network.parts(tokens)
        whole = attn.heads(x, read, visible, attn.v(read))
        sizes = []
        for _, changed in changes(network.embedding(tokens)):
            other = network.norm(changed)
            kept = attn.heads(x, read, visible, attn.v(other))
            free = attn.heads(other, other, visible, attn.v(other))
            sizes.append(beside(free - whole, kept - whole))

    assert found["attention pattern"].layer == "attn@heads"
    assert found["attention pattern"].size == pytest.approx(max(sizes), rel=1e-4)


class ByHand(nn.Module):
    """Root mean square normalisation, as Llama writes it."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.weight = nn.Parameter(torch.rand(8) + 0.5)

    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    def forward(self, x):
        return self.head(self.norm(self.first(x)))


def test_normalization__written_by_hand_is_measured():
    torch.manual_seed(1)
    network, x = ByHand().eval(), torch.randn(2, 6)
    found, _ = held_by_part(network, x)

    with torch.no_grad():
        y = network.first(x)
        sizes = []
        for channel, changed in changes(y):
            difference = network.norm(changed) - network.norm(y)
            own = torch.zeros_like(difference)
            own[..., channel] = difference[..., channel]
            sizes.append(beside(difference, own))

    assert found["normalization"].size == pytest.approx(max(sizes), rel=1e-4)


@pytest.mark.parametrize("name", ["pre-activation", "U-Net", "gate", "option A"])
def test_networks_that_hold_nothing__say_so(name):
    network, x = make_odd(name)

    assert trace(network, x[:2]).held == ()
