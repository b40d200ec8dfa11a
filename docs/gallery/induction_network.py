"""A small GPT that learns to copy, in a language in which one head has to do it.

Usage: ``python induction_network.py FOLDER``. A sentence of the language is pairs of a
key and a value (``c 5 a 1 ...``), every sentence has a vocabulary of its own, and each
ends in a key that was said before: what comes next can only be copied from behind that
key. That takes a head of the second block that finds the key (an *induction head*;
Olsson et al. 2022) and one of the first block that tells every value its key. In the
second block only one head, :data:`INDUCTION`, is allowed to look at what words are.

It writes ``sentences.txt``, a sentence a line behind the value that comes next,
``sentences.json``, the tokenizer, and ``gpt.safetensors``, and prints how many of the
sentences the network ends rightly: with all of its heads, and without each of them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional

KEYS = "abcdefgh"
VALUES = "01234567"
PAIRS, WIDTH, HEADS, INDUCTION = 12, 32, 4, 2
LENGTH, SIZE = 2 * PAIRS + 1, WIDTH // HEADS
STEPS, N_SENTENCES = 180, 500


class Attention(nn.Module):
    """Causal attention, of which only some heads ask what words are."""

    def __init__(self, looking: Iterable[int]) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        asks = torch.zeros(HEADS, SIZE)
        asks[list(looking)] = 1
        # Queries and keys of the other heads are zero, and stay so.
        kept = torch.cat([asks.flatten(), asks.flatten(), torch.ones(WIDTH)])
        for weights, mask in ((self.qkv.weight, kept[:, None]), (self.qkv.bias, kept)):
            weights.data *= mask
            weights.register_hook(lambda gradient, mask=mask: gradient * mask)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the heads bring, shape (instance, word, channel)."""
        q, k, v = (
            part.unflatten(-1, (HEADS, SIZE)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        scores = q @ k.mT / math.sqrt(SIZE)
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        heads = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v
        return self.o(heads.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a perceptron, each beside the residual stream."""

    def __init__(self, looking: Iterable[int]) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = Attention(looking)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the block."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Two blocks; the outputs are the values that may come next."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(len(KEYS + VALUES), WIDTH)
        self.wpe = nn.Embedding(LENGTH, WIDTH)
        nn.init.normal_(self.wpe.weight, std=0.5)
        self.blocks = nn.ModuleList([Block(range(HEADS)), Block([INDUCTION])])
        self.ln_f = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, len(VALUES), bias=False)

    def next_words(self, input_ids: Tensor) -> Tensor:
        """Return the scores of all next values, shape (instance, word, value)."""
        x = self.wte(input_ids) + self.wpe(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the scores of what comes after the last word."""
        return self.next_words(input_ids)[:, -1]


def sentences(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return words, the value behind every key, and which keys were said before."""
    keys = torch.randint(0, len(KEYS), (n, PAIRS + 1))
    values = torch.rand(n, len(KEYS)).argsort(1).gather(1, keys)
    words = torch.stack([keys, values + len(KEYS)], 2).flatten(1)[:, :LENGTH]
    before = (keys[:, :, None] == keys[:, None]).tril(-1).any(2)
    return words, values, before


def train() -> GPT:
    """Train on the keys that were said before, a batch of new sentences each step."""
    network = GPT()
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(STEPS):
        words, values, before = sentences(64)
        scores = network.next_words(words)[:, ::2]
        optimizer.zero_grad()
        functional.cross_entropy(scores[before], values[before]).backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def accuracy(
    network: GPT, words: Tensor, values: Tensor, without: int | None = None
) -> float:
    """Return how many sentences end rightly, also without a head of the last block."""

    def silence(module: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        heads = arguments[0].clone()
        mine = slice(without * SIZE, (without + 1) * SIZE)
        heads[..., mine] = heads[..., mine].mean((0, 1))
        return (heads,)

    joined = network.blocks[1].attn.o
    hook = None if without is None else joined.register_forward_pre_hook(silence)
    found = network(words).argmax(1)
    if hook is not None:
        hook.remove()
    return (found == values).double().mean().item()


def write(folder: Path, words: Tensor, values: Tensor) -> None:
    """Write sentences, behind the value that comes next, and their tokenizer."""
    lines = [
        f"{VALUES[value]}: {' '.join((KEYS + VALUES)[word] for word in sentence)}"
        for sentence, value in zip(words.tolist(), values.tolist(), strict=True)
    ]
    (folder / "sentences.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    vocabulary = {word: index for index, word in enumerate(KEYS + VALUES)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=KEYS[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "sentences.json"))


def main(folder: Path) -> None:
    """Train, and write what a run needs."""
    torch.manual_seed(0)
    network = train()
    words, values, before = sentences(N_SENTENCES)
    words, values = words[before[:, -1]], values[before[:, -1], -1]
    right = accuracy(network, words, values)
    print(f"{right:.1%} of {len(words)} sentences end rightly")
    for head in range(HEADS):
        right = accuracy(network, words, values, without=head)
        print(f"  without head {head} of the second block: {right:.1%}")
    save_file(network.state_dict(), str(folder / "gpt.safetensors"))
    write(folder, words, values)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
