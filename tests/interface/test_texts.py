"""Texts go in through a tokenizer, and what is stored is what a plain loop computes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import nnviz
from nnviz.derivation.examples import read_examples
from nnviz.errors import ConfigError, ModelError, NnvizError
from nnviz.results.instance_pictures import InstancePictures
from nnviz.results.run_results import RunResults

WORDS = [
    "<pad>", "<unk>", "how", "many", "who", "what", "is", "are", "the", "of", "in", "a",
]  # fmt: skip
TEXTS = [
    "How many",
    "who is the king of a city",
    "what is a verb",
    "how many are in the town of many towns ?",
] * 5
LABELS = ["NUM", "HUM", "DESC", "NUM"] * 5
CLASSES = ["DESC", "HUM", "NUM"]


def ids_of(text: str) -> list[int]:
    """Return the index of every word."""
    return [WORDS.index(w) if w in WORDS else 1 for w in text.lower().split()]


class WordNetwork(nn.Module):
    """Kim (2014) in small; what it pools over is not padding, by its own mask."""

    def __init__(self, n_words: int = len(WORDS)) -> None:
        super().__init__()
        self.words = nn.Embedding(n_words, 6, padding_idx=0)
        self.convolution = nn.Conv1d(6, 8, 3, padding=1)
        self.classes = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids).movedim(2, 1)
        return self.classes(torch.relu(self.convolution(x)).amax(2))


def _network(**options: int) -> WordNetwork:
    torch.manual_seed(2)
    return WordNetwork(**options).eval()


def _wanted(network: WordNetwork) -> tuple[list[int], np.ndarray]:
    """Return predictions and maxima of the convolution, one text at a time, padded."""
    longest = max(len(ids_of(text)) for text in TEXTS)
    predictions, maxima = [], []
    for text in TEXTS:
        ids = ids_of(text)
        padded = torch.tensor([ids + [0] * (longest - len(ids))])
        with torch.no_grad():
            predictions.append(int(network(padded).argmax()))
            x = network.words(padded).movedim(2, 1)
            full = torch.relu(network.convolution(x))
            maxima.append(full[0, :, : len(ids)].amax(1).numpy())
    return predictions, np.stack(maxima)


def _lines(folder: Path) -> dict[str, object]:
    lines = [f"{a}:x {b}" for a, b in zip(LABELS, TEXTS, strict=True)]
    (folder / "questions.txt").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    pattern = r"(?P<label>\w+):(?P<fine>\w+) (?P<text>.*)"
    return {"kind": "lines", "path": str(folder / "questions.txt"), "pattern": pattern}


def _table(folder: Path, suffix: str) -> dict[str, object]:
    frame = pd.DataFrame({"label": LABELS, "question": TEXTS, "n": range(len(TEXTS))})
    path = folder / f"questions{suffix}"
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".feather":
        frame.to_feather(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    return {"kind": "table", "path": str(path), "text_column": "question"}


def _sources(folder: Path) -> dict[str, object]:
    both = list(zip(TEXTS, LABELS, strict=True))
    return {
        "lines": _lines(folder),
        **{s: _table(folder, s) for s in (".csv", ".parquet", ".jsonl", ".feather")},
        "lists": (TEXTS, LABELS),
        "items": both,
        "dictionaries": [{"text": t, "label": y} for t, y in both],
        "array of texts": (np.array(TEXTS), LABELS),
    }


WAYS = [
    "lines", ".csv", ".parquet", ".jsonl", ".feather",
    "lists", "items", "dictionaries", "array of texts",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_plan_run__reads_texts_from(way: str, tmp_path: Path) -> None:
    plan, probe = nnviz.plan_run(
        _network(), _sources(tmp_path)[way], tokenizer=ids_of, classes=CLASSES,
        timed=False,
    )  # fmt: skip
    assert [probe.dataset.read(i) for i in range(len(TEXTS))] == TEXTS
    assert probe.dataset.metadata["text"].tolist() == TEXTS
    assert [CLASSES[i] for i in probe.classes.labels] == LABELS
    assert plan.preprocessing.kind == "text"
    assert plan.architecture.inputs is not None
    assert plan.architecture.inputs.n_tokens == 10
    assert "ids (int64 x tokens), up to 10 tokens, padding" in str(plan)


@pytest.mark.slow
def test_run__texts(tmp_path: Path) -> None:
    network = _network()
    store = nnviz.run(
        network, (TEXTS, LABELS), tmp_path / "run.zarr",
        tokenizer=ids_of, classes=CLASSES, workers=0, progress=False,
    )  # fmt: skip
    predictions, maxima = _wanted(network)
    assert store.column("prediction").tolist() == predictions
    np.testing.assert_allclose(store.activations("convolution"), maxima, atol=1e-3)
    assert store.column("text").tolist() == TEXTS
    many = store.subset('text starts with "How many"')
    assert len(store.table(many)) == 5


def test_explain__has_an_activation_for_every_token(tmp_path: Path) -> None:
    network = _network()
    store = nnviz.run(
        network, (TEXTS, LABELS), tmp_path / "run.zarr",
        tokenizer=ids_of, classes=CLASSES, workers=0, progress=False,
    )  # fmt: skip
    number = 0
    ids = ids_of(TEXTS[number])
    longest = max(len(ids_of(text)) for text in TEXTS)

    found = store.explain(
        number, model=network, dataset=(TEXTS, LABELS), tokenizer=ids_of
    )

    padded = torch.tensor([ids + [0] * (longest - len(ids))])
    with torch.no_grad():
        x = network.words(padded).movedim(2, 1)
        full = torch.relu(network.convolution(x))[0].numpy()
    assert [token.text for token in found.tokens] == ["How", "many"]
    layer = found.layer("convolution")
    for channel in layer.mapped.tolist():
        values = layer.map_of(channel)
        counted = values[: len(ids)]
        np.testing.assert_allclose(counted, full[channel, : len(ids)], atol=1e-5)
        assert np.isnan(values[len(ids) :]).all()
        shades = RunResults(store).explained.token_values(found, "convolution", channel)
        top = max(float(counted.max()), 1e-9)
        np.testing.assert_allclose(shades, np.maximum(counted, 0) / top, atol=1e-3)


@pytest.mark.slow
def test_derive__keeps_the_token_of_each_maximum(tmp_path: Path) -> None:
    network = _network()
    store = nnviz.run(
        network, (TEXTS, LABELS), tmp_path / "run.zarr",
        tokenizer=ids_of, classes=CLASSES, workers=0, progress=False,
    )  # fmt: skip
    _, maxima = _wanted(network)
    examples = read_examples(store, "convolution")
    for channel in range(8):
        example = examples.text(channel, 0)
        instance = int(examples.instance[channel, 0])
        if maxima[instance, channel] == 0:
            continue
        text = TEXTS[instance]
        assert example is not None
        assert example.before + example.shown + example.after == text
        # The window in which a plain loop finds the maximum.
        padded = torch.tensor([[0, *ids_of(text), 0]])
        with torch.no_grad():
            x = network.words(padded).movedim(2, 1)
            window = network.convolution.weight[channel]
            sums = [
                float((x[0, :, i : i + 3] * window).sum())
                for i in range(len(text.split()))
            ]
        middle, words = int(np.argmax(sums)), text.split()
        assert example.token in (words[middle], str(padded[0, middle + 1].item()))
        assert example.shown == " ".join(words[max(0, middle - 1) : middle + 2])
        assert examples.picture(channel, 0).startswith(b"<svg")
        # Diverse examples begin with the strongest, with its token.
        diverse = RunResults(store).diverse
        assert diverse.of("convolution", channel)[0].instance == instance
        shown = diverse.picture("convolution", channel, 0)
        assert shown == examples.picture(channel, 0)
    assert InstancePictures(store).missing == ""
    assert b"king" in InstancePictures(store).picture(1)


def test_extract__refuses_another_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "own_words.py").write_text(
        "shift_of_text = 0\ndef ids(text):\n"
        "    return [len(w) + shift_of_text for w in text.split()]\n"
    )
    source = {"tokenizer": f"{tmp_path / 'own_words.py'}:ids"}
    network = _network()
    store = tmp_path / "run.zarr"
    plan, probe = nnviz.plan_run(
        network, (TEXTS, LABELS), preprocessing=source, classes=CLASSES, timed=False
    )
    nnviz.prepare_store(plan, str(store), probe=probe)
    loaded = [m for m in sys.modules.values() if "shift_of_text" in vars(m)]
    loaded[0].shift_of_text = 1
    with pytest.raises(NnvizError, match="tokenizer has changed since the plan"):
        nnviz.extract(
            store, model=network, dataset=(TEXTS, LABELS), workers=0, progress=False
        )


def test_plan_run__asks_for_a_tokenizer() -> None:
    with pytest.raises(ConfigError, match=r"texts, and preprocessing\.tokenizer is mi"):
        nnviz.plan_run(_network(), (TEXTS, LABELS), timed=False)


def test_plan_run__says_that_no_tokenizer_is_downloaded() -> None:
    with pytest.raises(ConfigError, match=r"nothing is downloaded.* tokenizer="):
        nnviz.plan_run(
            _network(), (TEXTS, LABELS), tokenizer="bert-base-uncased", timed=False
        )


def test_plan_run__names_the_token_that_a_network_does_not_know() -> None:
    with pytest.raises(ModelError, match="token 'a' of instance '18' has the index 11"):
        nnviz.plan_run(
            _network(n_words=10), (TEXTS, LABELS), tokenizer=ids_of, classes=CLASSES
        )


def test_plan_run__counts_what_is_cut_off() -> None:
    plan, _ = nnviz.plan_run(
        _network(), (TEXTS, LABELS), tokenizer=ids_of, classes=CLASSES,
        preprocessing={"max_length": 6}, timed=False,
    )  # fmt: skip
    assert "10 of 20 instances have more than 6 tokens" in str(plan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "nonsense"}, "encoding is 'nonsense', which nobody knows"),
        ({"pattern": "(?P<label>.*)"}, "no group in it is 'text'"),
        ({"pattern": "[(?P<text>.*)"}, "dataset.pattern is"),
        ({"pattern": "(?P<text>[a-z]+)"}, "line 1 of .* is 'NUM:x How many'"),
        ({"path": None}, "path is missing"),
        ({"label_column": "coarse"}, "label_column is 'coarse'"),
    ],
)
def test_plan_run__refuses_lines(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(NnvizError, match=message):
        nnviz.plan_run(
            _network(), _lines(tmp_path) | options, tokenizer=ids_of, timed=False
        )


def test_plan_run__says_that_lines_have_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Caf\xe9\n".encode("latin-1"))
    given = {"kind": "lines", "path": str(tmp_path / "latin.txt")}
    with pytest.raises(NnvizError, match=r"not UTF-8 text.*dataset\.encoding"):
        nnviz.plan_run(_network(), given, tokenizer=ids_of)


def test_run_file__names_tokenizer_and_lines(tmp_path: Path) -> None:
    _lines(tmp_path)
    (tmp_path / "words.py").write_text(
        "import torch\n"
        "def ids(text):\n    return [1 + len(w) % 9 for w in text.split()]\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.words = torch.nn.Embedding(12, 4)\n"
        "        self.classes = torch.nn.Linear(4, 3)\n"
        "    def forward(self, ids):\n"
        "        return self.classes(torch.relu(self.words(ids)).amax(1))\n"
    )
    (tmp_path / "run.toml").write_text(
        '[model]\nsource = "words.py:Net"\n'
        f"class_names = {json.dumps(CLASSES)}\n"
        '[dataset]\nkind = "lines"\npath = "questions.txt"\n'
        "pattern = '(?P<label>\\w+):(?P<fine>\\w+) (?P<text>.*)'\n"
        '[preprocessing]\nkind = "text"\ntokenizer = "words.py:ids"\n'
    )
    plan, probe = nnviz.plan_run(str(tmp_path / "run.toml"), timed=False)
    assert plan.preprocessing.tokenizer == f"{tmp_path}/./words.py:ids" or (
        plan.preprocessing.tokenizer == str(tmp_path / "words.py:ids")
    )
    assert probe.dataset.metadata["fine"].tolist() == ["x"] * len(TEXTS)
    assert probe.dataset.ids[1] == "2"
