"""What do texts cost: padding that is computed, and that it does not count?

Prints a table and writes ``benchmarks/results/text.json``::

    python -m benchmarks.text --repetitions 15

Padding: of the tokens that the batches of a run hold, how many are padding, by length
and to one length for all; of TREC's training questions where they are in ``../shared``
or where ``NNVIZ_SHARED`` points, else of as many with lengths like theirs.

Masking: in each repetition, in a process with a worker's environment, a network is run
on the same padded batch, one after the other: bare, in inference mode; recorded, with
maxima over all positions; and recorded, with maxima over the tokens that count.
Weights are random: they do not change the time, which is the processor's, of one
thread, so that others on the machine count less.
"""

from __future__ import annotations

import dataclasses
import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.isolated import measure_cases
from nnviz.inputs.preparation.batches import BatchReader
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.network.arguments import bind_inputs
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.chunk_sizes import chunk_rows
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig
from nnviz.runs.network_inputs import InputPart, NetworkInputs

N_WORDS = 8_000
LONGEST = 36
N_INSTANCES = 64

INPUTS = NetworkInputs(
    (
        InputPart("input_ids", (-1,), "int64"),
        InputPart("attention_mask", (-1,), "int64"),
        InputPart("counted", (-1,), "bool", "counted"),
    ),
    n_tokens=LONGEST,
)


class Encoder(nn.Module):
    """Transformer blocks of the size of MiniLM's, and the mean of the tokens."""

    def __init__(self, n_layers: int = 6, width: int = 384) -> None:
        super().__init__()
        self.words = nn.Embedding(N_WORDS, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(n_layers))
        self.head = nn.Linear(width, 6)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.words(input_ids)
        for block in self.blocks:
            x = block(x, attention_mask[:, None, None].bool())
        mask = attention_mask[..., None].to(x.dtype)
        logits: Tensor = self.head((x * mask).sum(1) / mask.sum(1))
        return logits


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.n_heads = 12
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        parts = self.qkv(x).chunk(3, -1)
        q, k, v = (p.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for p in parts)
        heads = nn.functional.scaled_dot_product_attention(q, k, v, mask)
        x = self.first(x + self.out(heads.transpose(1, 2).flatten(2)))
        result: Tensor = self.second(x + self.down(nn.functional.gelu(self.up(x))))
        return result


class WordCNN(nn.Module):
    """Windows of three to five words, and the largest of each kernel: Kim (2014)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(N_WORDS, 300)
        self.convolutions = nn.ModuleList(nn.Conv1d(300, 100, k) for k in (3, 4, 5))
        self.head = nn.Linear(300, 6)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        del attention_mask
        x = self.words(input_ids).transpose(1, 2)
        found = [torch.relu(one(x)).amax(2) for one in self.convolutions]
        logits: Tensor = self.head(torch.cat(found, 1))
        return logits


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "encoder": Encoder,
    "word CNN": WordCNN,
}
PADDING = "padding"
CASES = (*NETWORKS, PADDING)

ROOT = Path(__file__).resolve().parents[1]
N_QUESTIONS = 5_452
"""As many as TREC has for training."""


def say(name: str, row: dict[str, Any]) -> str:
    """Return a row in words."""
    if name == PADDING:
        return (
            f"{name:<10} of {row['instances']:,} {row['what']}: "
            f"{row['by_length']:.1%} of what is computed is padding, by length; "
            f"{row['one_length']:.1%} with one length of {row['longest']} tokens"
        )
    return (
        f"{name:<10} bare {row['bare_ms']:7.1f} ms   all positions "
        f"{row['all_ratio']:.3f}   those that count {row['counted_ratio']:.3f}"
    )


def measure(name: str, repetitions: int) -> dict[str, Any]:
    """Return the milliseconds of a batch, and their ratios; or what is padding."""
    return padding() if name == PADDING else masking(name, repetitions)


def masking(name: str, repetitions: int) -> dict[str, Any]:
    """Return the milliseconds of a batch, and their ratios; all interleaved."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    bind_inputs(network, INPUTS)
    values = sentences()
    architecture = trace(network, torch.from_numpy(values[:2]))
    plain = dataclasses.replace(
        architecture,
        layers=tuple(
            dataclasses.replace(layer, token_axis=None, token_field=None)
            for layer in architecture.layers
        ),
    )
    runtimes = {
        kind: NetworkRuntime(
            network,
            layers,
            preprocessing=PreprocessingConfig(),
            extraction=ExtractionConfig(targets="none", device="cpu"),
        )
        for kind, layers in {"all": plain, "counted": architecture}.items()
    }
    bare = optimize(network, architecture=architecture)
    seconds: dict[str, list[float]] = {"bare": [], "all": [], "counted": []}
    for _ in range(repetitions + 1):
        for kind, times in seconds.items():
            began = time.process_time()
            if kind == "bare":
                with torch.inference_mode():
                    bare(torch.from_numpy(values))
            else:
                runtimes[kind].run(values)
            times.append(time.process_time() - began)
    medians = {kind: statistics.median(times[1:]) for kind, times in seconds.items()}
    return {
        "instances": N_INSTANCES,
        "layers": len(architecture.layers),
        "counted_fraction": float(values[:, 2 * LONGEST :].mean()),
        "bare_ms": medians["bare"] * 1e3,
        "all_ratio": medians["all"] / medians["bare"],
        "counted_ratio": medians["counted"] / medians["bare"],
        "seconds": {kind: times[1:] for kind, times in seconds.items()},
    }


class Questions:
    """Texts of given lengths, as a data set; what they say does not matter here."""

    def __init__(self, lengths: NDArray[np.int64]) -> None:
        self.lengths = lengths
        self.ids = tuple(map(str, range(len(lengths))))

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, index: int) -> dict[str, NDArray[np.int64]]:
        """Return indices and mask of one question."""
        ones = np.ones(self.lengths[index], np.int64)
        return {"input_ids": ones, "attention_mask": ones}


def padding() -> dict[str, Any]:
    """Return which part of the tokens in a run's batches are padding."""
    lengths, what = question_lengths()
    longest, options = int(lengths.max()), ExtractionConfig()
    inputs = dataclasses.replace(INPUTS, n_tokens=longest)
    reader = BatchReader(
        Questions(lengths),  # type: ignore[arg-type]  # has what is asked for
        Preprocessing(PreprocessingConfig(kind="inputs"), inputs),
        batch_size=options.batch_size,
        n_threads=options.reader_threads,
        shape=(inputs.length(),),
        dtype="int64",
        inputs=inputs,
    )
    computed = 0
    rows = chunk_rows(len(lengths), is_sorted=True)
    for start in range(0, len(lengths), rows):
        stop = min(start + rows, len(lengths))
        for batch in reader.iter_batches(start, stop):
            n_rows, length = batch.values.shape
            computed += n_rows * inputs.tokens_of(length)
    own = int(lengths.sum())
    return {
        "instances": len(lengths),
        "what": what,
        "longest": longest,
        "by_length": 1 - own / computed,
        "one_length": 1 - own / (len(lengths) * longest),
    }


def question_lengths() -> tuple[NDArray[np.int64], str]:
    """Return the tokens of each question, two special ones included."""
    shared = Path(os.environ.get("NNVIZ_SHARED", ROOT.parent / "shared"))
    path = shared / "data" / "trec" / "train.label"
    if not path.is_file():
        drawn = np.random.default_rng(0).gamma(6.5, 1.55, N_QUESTIONS)
        return np.clip(drawn.round(), 2, 37).astype(np.int64) + 2, "made-up questions"
    lines = path.read_text(encoding="latin-1").splitlines()
    words = [re.findall(r"\S+", line.partition(" ")[2]) for line in lines]
    return np.array([len(each) + 2 for each in words]), "questions of TREC"


def sentences() -> NDArray[np.int64]:
    """Return packed sentences of 12 to 36 words; the first and last do not count."""
    rng = np.random.default_rng(0)
    found = []
    for length in rng.integers(12, LONGEST + 1, N_INSTANCES):
        mask = np.ones(length, np.int64)
        counted = mask.copy()
        counted[[0, -1]] = 0
        ids = rng.integers(1, N_WORDS, length)
        parts = {"input_ids": ids, "attention_mask": mask, "counted": counted}
        found.append(INPUTS.pack(parts))
    return np.stack(found)


if __name__ == "__main__":
    measure_cases("text", __doc__, CASES, measure, say)
