"""Nothing of an instance depends on its padding: each alone, in plain loops."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnviz.errors import ModelError
from nnviz.network.recording.ablated import ChannelMeans
from nnviz.network.recording.padding_masks import CountedTokens
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.architecture import Layer, ReceptiveField
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig
from tests.network.token_networks import (
    N_WORDS,
    Encoder,
    MeanOfEmbeddings,
    Strided,
    WithContext,
    WordCNN,
    bound,
    inputs_with,
    packed,
    sentence,
)

ACTIVATIONS = {
    "hidden": torch.relu,
    "pooled": torch.relu,
    "up": torch.nn.functional.gelu,
    "two": torch.relu,
    "three": torch.relu,
    "same": torch.relu,
    "valid": torch.relu,
    "halved": torch.relu,
    "after": torch.relu,
}
WINDOWS = {"two": (2, 1, 0), "three": (3, 1, 0), "valid": (3, 1, 0)}
WINDOWS |= {"halved": (5, 2, -2), "after": (7, 4, -2)}


def maxima_alone(network, values, names):
    """Run one sentence by itself and look at each token in a loop."""
    outputs = {}

    def keep(name):
        return lambda module, given, output: outputs.update({name: output})

    handles = [network.get_submodule(n).register_forward_hook(keep(n)) for n in names]
    given_values = {k: torch.from_numpy(v)[None] for k, v in values.items()}
    counted = given_values.pop("counted")[0].bool().tolist()
    with torch.no_grad():
        logits = network(**given_values)
    for handle in handles:
        handle.remove()
    found = {}
    for name, output in outputs.items():
        maps = ACTIVATIONS.get(name, lambda x: x)(output[0])
        if name in ("two", "three", "same", "valid", "halved", "after"):
            maps = maps.flatten(1).T
        if maps.ndim == 2:
            size, step, start = WINDOWS.get(name, (1, 1, 0))
            rows = []
            for p in range(len(maps)):
                first = start + p * step
                seen = range(max(0, first), min(len(counted), first + size))
                if any(counted[t] for t in seen):
                    rows.append(maps[p])
            maps = torch.stack(rows).max(0).values
        found[name] = maps
    return getattr(logits, "logits", logits)[0], found


def runtime_of(network, architecture, **options):
    return NetworkRuntime(
        network,
        architecture,
        preprocessing=PreprocessingConfig(),
        extraction=ExtractionConfig(
            device="cpu", **{"targets": "none", "signal": "max"} | options
        ),
    )


@functools.cache
def planned(make, n_tokens, lengths, **options):
    """A network that was planned with other sentences, and runs them."""
    torch.manual_seed(1)
    network = bound(make(), n_tokens)
    first = packed([sentence(n, 100 + n) for n in lengths], max(lengths))
    architecture = trace(network, torch.from_numpy(first))
    return network, runtime_of(network, architecture, **options)


def check(planned, names, lengths, n_tokens, *, one_length=False):
    """Compare padded batches with each sentence alone."""
    network, runtime = planned
    sentences = [sentence(n, seed) for seed, n in enumerate(lengths)]
    batch = packed(sentences, n_tokens)

    together = runtime.run(batch)

    inputs = inputs_with(n_tokens)
    for row, values in enumerate(sentences):
        alone = values
        if one_length:
            parts = batch[row].reshape(3, n_tokens)
            alone = dict(zip([p.name for p in inputs.parts], parts, strict=True))
        logits, maxima = maxima_alone(network, alone, names)
        assert np.allclose(together.logits[row], logits, atol=1e-5)
        for name in names:
            assert np.allclose(
                together.activations[name][row], maxima[name], atol=1e-5
            ), (name, row)


LENGTHS = st.lists(st.integers(3, 12), min_size=2, max_size=5)


@settings(deadline=None, max_examples=30)
@given(lengths=LENGTHS, more=st.integers(0, 3))
def test_maxima__of_an_mlp_are_those_of_each_sentence_alone(lengths, more):
    network = planned(MeanOfEmbeddings, 9, (9, 7))

    check(network, ["words", "hidden", "pooled"], lengths, max(lengths) + more)


@settings(deadline=None, max_examples=30)
@given(lengths=LENGTHS, more=st.integers(0, 3))
def test_maxima__of_an_encoder_are_those_of_each_sentence_alone(lengths, more):
    network = planned(Encoder, 9, (9, 7))

    check(network, ["words", "query", "key", "up"], lengths, max(lengths) + more)


@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(4, 20), min_size=2, max_size=5))
def test_maxima__of_windows_are_those_that_see_a_token_that_counts(lengths):
    cnn, strided = (planned(make, 20, (20, 9)) for make in (WordCNN, Strided))

    check(cnn, ["two", "three"], lengths, 20, one_length=True)
    names = ["same", "valid", "halved", "after"]
    check(strided, names, lengths, 20, one_length=True)


def bert(attention):
    library = pytest.importorskip("transformers", exc_type=ImportError)
    config = library.BertConfig(
        vocab_size=N_WORDS,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=20,
        num_labels=3,
        attn_implementation=attention,
    )
    return library.BertForSequenceClassification(config)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("planned_with", [(9, 6), (9, 9)], ids=["padded", "equal"])
def test_maxima__of_bert_are_those_of_each_sentence_alone(attention, planned_with):
    network = planned(functools.partial(bert, attention), 9, planned_with)
    names = [
        "bert.embeddings",
        "bert.encoder.layer.0.intermediate",
        "bert.encoder.layer.1.output",
        "bert.pooler",
    ]

    # It takes another way where nothing is padded.
    for lengths, n_tokens in (((9, 6, 4), 9), ((8, 8), 8), ((8, 8), 11)):
        check(network, names, lengths, n_tokens)


def llama():
    """With grouped heads, which take another way where nothing is padded."""
    library = pytest.importorskip("transformers", exc_type=ImportError)
    config = library.LlamaConfig(
        vocab_size=N_WORDS,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=40,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        use_cache=False,
        num_labels=3,
        attn_implementation="sdpa",
    )
    return library.LlamaForSequenceClassification(config)


@pytest.mark.parametrize("planned_with", [(9, 6), (9, 9)], ids=["padded", "equal"])
@pytest.mark.parametrize("targets", ["none", "top"])
def test_maxima__of_a_network_that_takes_another_way_without_padding(
    planned_with, targets
):
    network = planned(llama, 9, planned_with, targets=targets)
    names = ["model.embed_tokens", "model.layers.1.mlp.up_proj", "model.layers.1"]

    for lengths, n_tokens in (((9, 6, 4), 9), ((8, 8), 8), ((9,), 9), ((8, 8), 11)):
        check(network, names, lengths, n_tokens)


def products_alone(network, values, name):
    """What each source contributes to each target, (token, target, source), alone."""
    found = {}
    module = network.get_submodule(name)

    def keep(one, given_values, output):
        found["x"] = given_values[0].detach()[0]

    handle = module.register_forward_hook(keep)
    given_values = {k: torch.from_numpy(v)[None] for k, v in values.items()}
    counted = given_values.pop("counted")[0].bool()
    with torch.no_grad():
        network(**given_values)
    handle.remove()
    x, weight = found["x"], module.weight.detach()
    if weight.ndim == 3:  # windows of a convolution
        windows = x.unfold(1, weight.shape[2], 1).permute(1, 0, 2)
        products = torch.einsum("pik,jik->pji", windows, weight)
        kept = torch.stack(
            [counted[p : p + weight.shape[2]].any() for p in range(len(products))]
        )
        return products[kept], module.bias.detach()
    products = x[..., None, :] * weight
    if products.ndim == 3:
        products = products[counted]
    return products, module.bias.detach()


CASES = [
    (MeanOfEmbeddings, "hidden", False),
    (MeanOfEmbeddings, "pooled", False),
    (Encoder, "query", False),
    (Encoder, "up", False),
    (WordCNN, "two", True),
]


@pytest.mark.parametrize(("make", "name", "one_length"), CASES)
@pytest.mark.parametrize("lengths", [(9, 5, 4, 3), (6, 6)], ids=str)
def test_influences__are_those_of_each_sentence_alone(make, name, one_length, lengths):
    network, runtime = planned(make, 9, (9, 7), targets="all")
    n_tokens = 9 if one_length else max(lengths) + 2
    sentences = [sentence(n, seed) for seed, n in enumerate(lengths)]
    batch = packed(sentences, n_tokens)

    with runtime.recording(0) as recording:
        found = recording.run(batch, valid=np.ones(len(batch), np.bool_))

    strongest = found.influences[name]
    for row, target, influence in zip(
        strongest.instance, strongest.target, strongest.influence, strict=True
    ):
        alone = sentences[row]
        if one_length:
            parts = batch[row].reshape(3, n_tokens)
            names = ["input_ids", "attention_mask", "counted"]
            alone = dict(zip(names, parts, strict=True))
        products, _ = products_alone(network, alone, name)
        at_most = products.amax(0) if products.ndim == 3 else products
        wanted = at_most[target].clamp_min(0).sort(descending=True).values[:5]
        assert np.allclose(influence[: len(wanted)], wanted, atol=1e-5)


@pytest.mark.parametrize(("make", "name"), [case[:2] for case in CASES[:4]])
def test_peak_influences__add_up_to_the_maximum_of_the_sentence_alone(make, name):
    network, runtime = planned(make, 9, (9, 7), targets="all", signal="peak")
    sentences = [sentence(n, seed) for seed, n in enumerate((9, 5, 4, 3))]

    with runtime.recording(0) as recording:
        found = recording.run(packed(sentences, 11), valid=np.ones(4, np.bool_))

    strongest = found.influences[name]
    total = strongest.influence.sum(1) + strongest.remainder
    for row, target, sum_at_peak in zip(
        strongest.instance, strongest.target, total, strict=True
    ):
        products, bias = products_alone(network, sentences[row], name)
        sums = products.sum(-1) + bias
        wanted = (sums.amax(0) if sums.ndim == 2 else sums)[target]
        # What is not active after a ReLU has its maximum anywhere.
        assert wanted <= 0 or abs(float(wanted) - sum_at_peak) < 1e-5


@pytest.mark.parametrize("signal", ["max", "peak"])
def test_influences__of_a_sum_of_each_token_and_of_all_together(signal):
    network, runtime = planned(WithContext, 9, (9, 7), targets="all", signal=signal)
    sentences = [sentence(n, seed) for seed, n in enumerate((9, 5, 4, 3))]

    with runtime.recording(0) as recording:
        found = recording.run(packed(sentences, 12), valid=np.ones(4, np.bool_))

    (layer,) = [x.name for x in runtime.architecture.layers if x.kind == "sum"]
    strongest = found.influences[layer]
    remainder = 0.0 if signal == "max" else strongest.remainder
    total = strongest.influence.sum(1) + remainder
    for row, target, influence, at_peak in zip(
        strongest.instance, strongest.target, strongest.influence, total, strict=True
    ):
        own, bias = products_alone(network, sentences[row], "own")
        ids = torch.from_numpy(sentences[row]["input_ids"])
        with torch.no_grad():
            added = network.context(network.words(ids).mean(0))[target]
        if signal == "max":
            every = torch.cat([own.amax(0)[target], added[None]])
            wanted = every.clamp_min(0).sort(descending=True).values[:5]
            assert np.allclose(influence, wanted, atol=1e-5)
        else:
            wanted = own[:, target].sum(1).max() + added + bias[target]
            assert wanted <= 0 or abs(at_peak - float(wanted)) < 1e-5


def test_maxima__are_nan_where_no_token_counts():
    network = bound(MeanOfEmbeddings(), 5)
    batch = packed([sentence(5, 0), sentence(4, 1)], 5)
    batch[1, 10:] = 0
    x = torch.from_numpy(batch)
    counted = x[:, 10:].bool()

    with Recorder(network, trace(network, x)) as recorder:
        found = recorder.run(x, counted).activations

    assert found["hidden"][0].isfinite().all()
    assert found["hidden"][1].isnan().all()
    assert found["pooled"].isfinite().all()


def test_channel_means__are_over_the_tokens_that_count():
    network, runtime = planned(MeanOfEmbeddings, 9, (9, 7))
    sentences = [sentence(n, seed) for seed, n in enumerate((9, 5, 4))]
    means = ChannelMeans()

    found = {}

    def keep(layer, output, activations, counted):
        means(layer, output, activations, counted)
        found.update(means.values)

    runtime.run(packed(sentences, 12), on_layer=keep)

    for row, one in enumerate(sentences):
        with torch.no_grad():
            words = network.words(torch.from_numpy(one["input_ids"][1:-1]))
            hidden = torch.relu(network.hidden(words))
        assert np.allclose(found["words"][row], words.mean(0), atol=1e-6)
        assert np.allclose(found["hidden"][row], hidden.mean(0), atol=1e-6)


def test_peaks__are_tokens_that_count():
    torch.manual_seed(0)
    network = bound(MeanOfEmbeddings(), 9)
    lengths = [9, 5, 7, 3]
    batch = packed([sentence(n, n) for n in lengths], 9)
    runtime = runtime_of(
        network, trace(network, torch.from_numpy(batch[:2])), examples_per_channel=2
    )

    with runtime.recording(0) as recording:
        recording.run(batch, valid=np.ones(4, np.bool_))
        arrays = recording.peak_arrays()

    for name in ("words", "hidden"):
        instance = arrays[f"peaks/{name}/instance"].ravel()
        token = arrays[f"peaks/{name}/position"].ravel()
        assert (token >= 1).all()
        assert (token < np.array(lengths)[instance] - 1).all()


def test_counted_tokens__refuse_another_number_of_positions():
    layer = Layer("x", "x", "linear", 2, (4,), token_axis=0)

    with pytest.raises(ModelError, match="6 positions for 4 tokens"):
        CountedTokens(torch.ones(1, 4, dtype=torch.bool)).of_layer(layer, (6,))


@settings(deadline=None, max_examples=50)
@given(
    counted=st.lists(st.booleans(), min_size=1, max_size=12),
    size=st.integers(1, 5),
    step=st.sampled_from([0.5, 1.0, 2.0]),
    start=st.integers(-3, 3),
    n_positions=st.integers(1, 15),
)
def test_counted_tokens__windows_count_where_any_token_does(
    counted, size, step, start, n_positions
):
    seen = ReceptiveField((size,), (step,), (float(start),))
    layer = Layer("x", "x", "linear", 2, (3, n_positions), 1, True, None, 1, seen)

    found = CountedTokens(torch.tensor([counted])).of_layer(layer, (3, n_positions))

    wanted = []
    for p in range(n_positions):
        first, stop = start + p * step, start + p * step + size
        wanted.append(
            any(c and first < t + 1 and t < stop for t, c in enumerate(counted))
        )
    assert found.tolist() == [[wanted] * 3]
