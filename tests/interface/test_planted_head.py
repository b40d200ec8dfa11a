"""A small GPT learns a language in which one head must copy: the graph ends there.

Sentences are pairs of a key and a value; each sentence has a vocabulary of its own, and
ends in a key that was said before. What comes next can only be copied from behind that
key, which takes a head of the second block that finds it (an induction head) and one of
the first block that tells every value its key. In the second block only one head is
allowed to look at what words are; the others' queries and keys are zero and stay so.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nnviz

pytestmark = pytest.mark.slow

N_KEYS, N_PAIRS, WIDTH, N_HEADS, PLANTED = 8, 12, 32, 4, 2
LENGTH, SIZE = 2 * N_PAIRS + 1, WIDTH // N_HEADS


class Attention(nn.Module):
    def __init__(self, looking):
        super().__init__()
        self.qkv, self.o = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        asks = torch.zeros(N_HEADS, SIZE)
        asks[list(looking)] = 1
        kept = torch.cat([asks.flatten(), asks.flatten(), torch.ones(WIDTH)])
        for parameter, mask in (
            (self.qkv.weight, kept[:, None]),
            (self.qkv.bias, kept),
        ):
            parameter.data *= mask
            parameter.register_hook(lambda gradient, mask=mask: gradient * mask)
        self.silent = None

    def forward(self, x):
        q, k, v = (
            y.unflatten(-1, (N_HEADS, SIZE)).transpose(1, 2)
            for y in self.qkv(x).chunk(3, -1)
        )
        scores = q @ k.mT / math.sqrt(SIZE)
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        heads = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v
        if self.silent is not None:
            heads[:, self.silent] = heads[:, self.silent].mean((0, 1))
        return self.o(heads.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, looking):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = Attention(looking)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(2 * N_KEYS, WIDTH)
        self.wpe = nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList([Block(range(N_HEADS)), Block([PLANTED])])
        self.ln_f = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, N_KEYS, bias=False)

    def next_words(self, x):
        x = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))

    def forward(self, x):
        return self.next_words(x)[:, -1]


def sentences(n):
    """Return words, the value of every key that is said, and which were said before."""
    keys = torch.randint(0, N_KEYS, (n, N_PAIRS + 1))
    values = torch.rand(n, N_KEYS).argsort(1).gather(1, keys)
    words = torch.stack([keys, values + N_KEYS], 2).flatten(1)[:, :LENGTH]
    before = (keys[:, :, None] == keys[:, None]).tril(-1).any(2)
    return words, values, before


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    network = GPT()
    nn.init.normal_(network.wpe.weight, std=0.5)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(180):
        words, values, before = sentences(64)
        logits = network.next_words(words)[:, ::2]
        loss = F.cross_entropy(logits[before], values[before])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    words, values, before = sentences(200)
    known = before[:, -1]
    return network.eval(), words[known], values[known, -1]


def accuracy(network, words, values, silent=None):
    network.blocks[1].attn.silent = silent
    with torch.no_grad():
        found = network(words).argmax(1)
    network.blocks[1].attn.silent = None
    return float((found == values).float().mean())


def test_planted_head__is_what_the_network_needs(trained):
    whole = accuracy(*trained)
    without = [accuracy(*trained, silent=head) for head in range(N_HEADS)]

    assert whole > 0.85
    assert without[PLANTED] < 0.4
    assert min(part for head, part in enumerate(without) if head != PLANTED) > 0.7


@pytest.mark.parametrize("signal", ["max", "peak"])
def test_planted_head__comes_out_on_top_in_the_graphs_of_all_words(
    trained, signal, tmp_path
):
    network, words, values = trained
    store = nnviz.run(
        network,
        torch.utils.data.TensorDataset(words, values),
        tmp_path / "words.zarr",
        extraction=nnviz.ExtractionConfig(signal=signal),
        workers=0,
        progress=False,
    )

    heads = store.layer("blocks.1.attn.hook_z").name
    assert heads == "blocks.1.attn@heads"
    for word in range(N_KEYS):
        graph = nnviz.attribution_graph(store, str(word))
        mine = graph.layer == graph.layers.index(heads)
        evidence = np.zeros(N_HEADS)
        np.add.at(evidence, graph.channel[mine] // SIZE, graph.score[mine])
        assert evidence.argmax() == PLANTED
        assert evidence[PLANTED] > 0.8 * evidence.sum()
