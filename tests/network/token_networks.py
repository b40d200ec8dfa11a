"""Small networks over tokens, and batches for them: padded, and each one alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from nnviz.network.arguments import bind_inputs
from nnviz.runs.network_inputs import InputPart, NetworkInputs

IDS = InputPart("input_ids", (-1,), "int64")
MASK = InputPart("attention_mask", (-1,), "int64")
COUNTED = InputPart("counted", (-1,), "bool", "counted")
N_WORDS = 50


class MeanOfEmbeddings(nn.Module):
    """An MLP over the mean of the embeddings, hidden channels at every token."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(N_WORDS, 8)
        self.hidden = nn.Linear(8, 12)
        self.pooled = nn.Linear(12, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, input_ids, attention_mask):
        hidden = torch.relu(self.hidden(self.words(input_ids)))
        mask = attention_mask[..., None].to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return self.head(torch.relu(self.pooled(mean)))


class WithContext(nn.Module):
    """Each token and what the mean of all tokens adds to it."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(N_WORDS, 8)
        self.own, self.context = nn.Linear(8, 6), nn.Linear(8, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, input_ids, attention_mask):
        words = self.words(input_ids)
        mask = attention_mask[..., None].to(words.dtype)
        mean = (words * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        both = torch.relu(self.own(words) + self.context(mean))
        return self.head((both * mask).sum(1))


class WordCNN(nn.Module):
    """Windows of two and three words, the largest of each kernel: Kim (2014).

    Windows that see padding are left out, so that padding changes nothing.
    """

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(N_WORDS, 8)
        self.two = nn.Conv1d(8, 5, 2)
        self.three = nn.Conv2d(1, 6, (3, 8))
        self.head = nn.Linear(11, 3)

    def forward(self, input_ids, attention_mask):
        words = self.words(input_ids)
        two = torch.relu(self.two(words.transpose(1, 2)))
        three = torch.relu(self.three(words[:, None]))[..., 0]
        whole = attention_mask[:, None].to(words.dtype)
        found = [
            (maps * whole[..., maps_start(maps, whole) :]).amax(2)
            for maps in (two, three)
        ]
        return self.head(torch.cat(found, 1))


def maps_start(maps, whole):
    return whole.shape[-1] - maps.shape[-1]


class Strided(nn.Module):
    """Convolutions that keep, shorten and halve the tokens, and a pooling."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(N_WORDS, 6)
        self.same = nn.Conv1d(6, 5, 3, padding=1)
        self.valid = nn.Conv1d(5, 6, 3)
        self.halved = nn.Conv1d(6, 7, 3, stride=2, padding=1)
        self.after = nn.Conv1d(7, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids).transpose(1, 2)
        x = torch.relu(self.same(x))
        x = torch.relu(self.valid(x))
        x = torch.relu(self.halved(functional.pad(x, (1, 0))))
        x = torch.relu(self.after(functional.max_pool1d(x, 2)))
        return self.head(x.mean(2))


class Encoder(nn.Module):
    """A transformer's block written by hand; heads follow each other as rows."""

    def __init__(self, n_heads=2):
        super().__init__()
        self.n_heads = n_heads
        self.words = nn.Embedding(N_WORDS, 8)
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.head = nn.Linear(8, 3)

    def heads(self, x):
        n, n_tokens, width = x.shape
        split = x.view(n, n_tokens, self.n_heads, width // self.n_heads)
        return split.transpose(1, 2).reshape(n * self.n_heads, n_tokens, -1)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids)
        n, n_tokens, _ = x.shape
        q, k, v = (self.heads(f(x)) for f in (self.query, self.key, self.value))
        scores = torch.bmm(q, k.transpose(1, 2)) / 2
        hidden = attention_mask.repeat_interleave(self.n_heads, 0)[:, None] == 0
        weights = torch.softmax(scores.masked_fill(hidden, -1e9), 2)
        mixed = torch.bmm(weights, v).view(n, self.n_heads, n_tokens, -1)
        x = self.norms[0](x + self.out(mixed.transpose(1, 2).reshape(x.shape)))
        x = self.norms[1](x + self.down(functional.gelu(self.up(x))))
        return self.head(x[:, 0])


class Blocks(nn.Module):
    """Two transformer blocks around torch's attention, time or the instance first."""

    def __init__(self, *, batch_first=False, n_words=N_WORDS):
        super().__init__()
        self.batch_first = batch_first
        self.words = nn.Embedding(n_words, 8)
        self.blocks = nn.ModuleList(Block(batch_first=batch_first) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask=None):
        x = self.words(input_ids)
        padding = None if attention_mask is None else attention_mask == 0
        x = x if self.batch_first else x.permute(1, 0, 2)
        for block in self.blocks:
            x = block(x, padding)
        return self.head(x[:, 0] if self.batch_first else x[0])


class Block(nn.Module):
    def __init__(self, *, batch_first):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x, padding):
        read = self.norms[0](x)
        x = (
            x
            + self.attention(
                read, read, read, key_padding_mask=padding, need_weights=False
            )[0]
        )
        return x + self.down(functional.gelu(self.up(self.norms[1](x))))


class OneLength(nn.Module):
    """Reads words at fixed places: it takes one number of tokens."""

    def __init__(self, n_tokens):
        super().__init__()
        self.words = nn.Embedding(N_WORDS, 4)
        self.hidden = nn.Linear(4, 6)
        self.head = nn.Linear(6 * n_tokens, 3)

    def forward(self, input_ids, attention_mask):
        hidden = torch.relu(self.hidden(self.words(input_ids)))
        return self.head((hidden * attention_mask[..., None]).flatten(1))


def bound(network, n_tokens):
    """Return a network that takes packed batches of token numbers and masks."""
    network = network.eval()
    bind_inputs(network, inputs_with(n_tokens))
    return network


def inputs_with(n_tokens):
    return NetworkInputs((IDS, MASK, COUNTED), n_tokens=n_tokens)


def sentence(length, seed):
    """One sentence: its first and last token are special and do not count."""
    ids = np.random.default_rng(seed).integers(5, N_WORDS, length)
    counted = np.ones(length, np.int64)
    counted[[0, -1]] = 0
    values = {"attention_mask": np.ones(length, np.int64), "counted": counted}
    return {"input_ids": ids, **values}


def packed(sentences, n_tokens):
    """One packed batch of sentences, padded to a number of tokens."""
    inputs = inputs_with(n_tokens)
    return np.stack([inputs.pack(one, n_tokens) for one in sentences])
