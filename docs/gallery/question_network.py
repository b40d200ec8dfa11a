"""A word CNN as in Kim (2014), trained on questions: what do they ask for?

Usage: ``python question_network.py FOLDER``, with TREC's questions as ``train.label``
and ``test.label`` in the folder: Li and Roth (2002), one a line, ``COARSE:fine
question``. It writes ``tokenizer.json`` and ``weights.safetensors`` beside itself, and
prints the accuracy on the test questions.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional

FOLDER = Path(__file__).resolve().parent
CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
N_WORDS = 9_000


class QuestionNetwork(nn.Module):
    """Windows of three, four and five words, and the strongest of each kind."""

    def __init__(self, n_words: int = N_WORDS, width: int = 100) -> None:
        super().__init__()
        self.words = nn.Embedding(n_words, width, padding_idx=0)
        self.three = nn.Conv1d(width, 100, 3, padding=1)
        self.four = nn.Conv1d(width, 100, 4, padding=2)
        self.five = nn.Conv1d(width, 100, 5, padding=2)
        self.dropout = nn.Dropout(0.5)
        self.classes = nn.Linear(300, len(CLASSES))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the scores of the classes, shape (instance, class)."""
        words = self.words(input_ids).movedim(2, 1)
        strongest = [
            torch.relu(window(words)).amax(2)
            for window in (self.three, self.four, self.five)
        ]
        return self.classes(self.dropout(torch.cat(strongest, 1)))


def read_questions(path: Path) -> list[tuple[str, str]]:
    """Return (question, coarse class) of each line."""
    found = []
    for line in path.read_text(encoding="latin-1").splitlines():
        coarse, question = re.fullmatch(r"(\w+):\w+ (.*)", line).groups()
        found.append((question, coarse))
    return found


def make_tokenizer(questions: list[str], n_words: int = N_WORDS) -> Tokenizer:
    """Return a tokenizer of the most frequent words, in small letters."""
    counts = Counter(w for question in questions for w in question.lower().split())
    words = ["<pad>", "<unk>", *(word for word, _ in counts.most_common(n_words - 2))]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_padding(pad_id=0, pad_token="<pad>")
    return tokenizer


def batches(lengths: Tensor, size: int = 64) -> list[Tensor]:
    """Return rows of similar lengths for each batch, in random order."""
    some = torch.randperm(len(lengths)).split(16 * size)
    alike = [
        part for rows in some for part in rows[lengths[rows].argsort()].split(size)
    ]
    return [alike[i] for i in torch.randperm(len(alike)).tolist()]


def train(
    ids: Tensor, labels: Tensor, *, epochs: int = 6, seed: int = 0
) -> QuestionNetwork:
    """Train the network on padded indices, shape (instance, token)."""
    torch.manual_seed(seed)
    network = QuestionNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, fused=True)
    lengths = (ids > 0).sum(1)
    for _ in range(epochs):
        for rows in batches(lengths):
            batch = ids[rows, : max(5, int(lengths[rows].max()))]
            # Some words become unknown, so that unknown ones mean something.
            hidden = (torch.rand(batch.shape) < 0.1) & (batch > 0)
            scores = network(batch.masked_fill(hidden, 1))
            optimizer.zero_grad()
            functional.cross_entropy(scores, labels[rows]).backward()
            optimizer.step()
    return network.eval()


def main(folder: Path) -> None:
    """Train, and write what a run needs."""
    began = time.monotonic()
    questions = {n: read_questions(folder / f"{n}.label") for n in ("train", "test")}
    tokenizer = make_tokenizer([question for question, _ in questions["train"]])
    ids, labels = {}, {}
    for name, pairs in questions.items():
        encoded = tokenizer.encode_batch([question for question, _ in pairs])
        ids[name] = torch.tensor([one.ids for one in encoded])
        labels[name] = torch.tensor([CLASSES.index(coarse) for _, coarse in pairs])
    network = train(ids["train"], labels["train"])
    with torch.no_grad():
        right = network(ids["test"]).argmax(1) == labels["test"]
    tokenizer.save(str(FOLDER / "tokenizer.json"))
    save_file(network.state_dict(), str(FOLDER / "weights.safetensors"))
    print(f"{right.double().mean():.1%} of {len(right)} test questions are right")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
