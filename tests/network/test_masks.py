"""Products with masks: what is masked carries all, and the mask is held."""

from __future__ import annotations

import numpy as np
import torch

from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.architecture import LARGEST_ERROR
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig
from tests.network.token_networks import (
    MeanOfEmbeddings,
    WordCNN,
    bound,
    packed,
    sentence,
)


def traced(network):
    torch.manual_seed(0)
    network = bound(network, 9)
    batch = packed([sentence(9, 1), sentence(6, 2)], 9)
    return network, trace(network, torch.from_numpy(batch))


def test_masks__a_masked_mean_passes_on_what_its_tokens_have():
    _, found = traced(MeanOfEmbeddings())

    assert [(e.source, e.target, e.operation) for e in found.edges] == [
        ("words", "hidden", "linear"),
        ("hidden", "@mul", "identity"),
        ("@mul", "@div", "identity"),
        ("@div", "pooled", "linear"),
        ("pooled", "head", "linear"),
    ]
    assert found.problems == ()
    assert found.validation_error < LARGEST_ERROR


def test_masks__masked_windows_keep_their_tokens():
    _, found = traced(WordCNN())

    layers = {x.name: x for x in found.layers}
    assert layers["@mul"].token_field == layers["two"].token_field
    assert layers["@mul.2"].token_field == layers["three"].token_field
    assert ("two", "@mul", "identity") in [
        (e.source, e.target, e.operation) for e in found.edges
    ]


def test_masks__the_influence_on_a_mean_is_the_mean_over_the_sentence():
    network, found = traced(MeanOfEmbeddings())
    runtime = NetworkRuntime(
        network,
        found,
        preprocessing=PreprocessingConfig(),
        extraction=ExtractionConfig(device="cpu", targets="all"),
    )
    sentences = [sentence(n, n) for n in (9, 4, 7)]

    with runtime.recording(0) as recording:
        result = recording.run(packed(sentences, 12), valid=np.ones(3, np.bool_))

    strongest = result.influences["@div"]
    for row, target, influence in zip(
        strongest.instance, strongest.target, strongest.influence, strict=True
    ):
        with torch.no_grad():
            words = network.words(torch.from_numpy(sentences[row]["input_ids"]))
            wanted = torch.relu(network.hidden(words)).mean(0)[target]
        assert abs(influence[0] - float(wanted)) < 1e-5
