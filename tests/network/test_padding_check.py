"""Whether padding changes something, on networks of which it is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnviz.network.tracing import trace
from nnviz.runs.architecture import Architecture
from nnviz.runs.json_values import from_json, to_json
from nnviz.runs.padding import PaddingCheck
from tests.network.token_networks import (
    N_WORDS,
    Encoder,
    MeanOfEmbeddings,
    OneLength,
    Strided,
    WithContext,
    WordCNN,
    bound,
    packed,
    sentence,
)


class Backwards(nn.Module):
    """Reads a sentence backwards, padding first."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(N_WORDS, 6)
        self.read = nn.GRU(6, 5, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 3)

    def forward(self, input_ids, attention_mask):
        states, _ = self.read(self.words(input_ids))
        return self.head(states[:, 0])


class Unmasked(nn.Module):
    """The mean over all tokens, padding too, after a layer that is not affected."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(N_WORDS, 6)
        self.hidden = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, input_ids, attention_mask):
        return self.head(torch.relu(self.hidden(self.words(input_ids))).mean(1))


def checked(network, lengths=(9, 6), n_tokens=9):
    torch.manual_seed(0)
    network = bound(network, n_tokens)
    sentences = [sentence(n, seed) for seed, n in enumerate(lengths)]
    return trace(network, torch.from_numpy(packed(sentences, max(lengths)))).padding


@pytest.mark.parametrize("make", [MeanOfEmbeddings, WithContext, Encoder])
@pytest.mark.parametrize("lengths", [(9, 6), (9, 9), (4,)], ids=str)
def test_check_padding__of_networks_with_masks_finds_nothing(make, lengths):
    found = checked(make(), lengths)

    assert found.mode == "buckets"
    assert 0 <= found.difference < 1e-5


@pytest.mark.parametrize(
    ("make", "where"),
    [
        pytest.param(Backwards, "layer ", id="backwards"),
        pytest.param(Unmasked, "layer ", id="mean"),
    ],
)
def test_check_padding__finds_what_sees_padding(make, where):
    found = checked(make())

    assert found.mode == "one length"
    assert found.difference > 1e-4
    assert where in found.where
    assert "padding changes" in str(found)


@pytest.mark.parametrize(
    ("make", "where"), [(WordCNN, "layer 'three'"), (Strided, "layer 'valid'")]
)
def test_check_padding__finds_windows_that_end_in_padding(make, where):
    found = checked(make())

    assert (found.mode, found.difference) == ("one length", None)
    assert where in found.where


def test_check_padding__of_what_is_behind_a_mean_names_the_place():
    found = checked(Unmasked())

    assert "hidden" not in found.where


@pytest.mark.parametrize("lengths", [(9, 7), (9, 9)], ids=str)
def test_check_padding__of_a_network_of_one_length(lengths):
    found = checked(OneLength(9), lengths)

    assert (found.mode, found.difference) == ("one length", None)
    assert "one number of tokens: " in str(found)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("lengths", [(9, 6), (9, 9)], ids=str)
def test_check_padding__of_bert_finds_nothing(attention, lengths):
    library = pytest.importorskip("transformers", exc_type=ImportError)
    config = library.BertConfig(
        vocab_size=N_WORDS,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=20,
        attn_implementation=attention,
    )

    found = checked(library.BertForSequenceClassification(config), lengths)

    assert found.mode == "buckets"


def test_padding_check__comes_back_from_json():
    check = PaddingCheck("one length", 0.25, "layer 'x'")
    architecture = Architecture((), padding=check)

    assert from_json(Architecture, to_json(architecture)).padding == check
