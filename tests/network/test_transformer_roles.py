"""What layers of transformers are to their blocks: other names, and what is shown."""

from __future__ import annotations

import pytest

from nnviz.errors import UnknownNameError
from nnviz.network.tracing import trace
from nnviz.runs.architecture import Architecture
from nnviz.runs.json_values import from_json, to_json
from tests.network.language_networks import make
from tests.network.odd_networks import make as make_odd

pytestmark = pytest.mark.filterwarnings("ignore")


def traced(name):
    try:
        return trace(*make(name))
    except ImportError as missing:
        pytest.skip(f"needs {missing.name}")


def block(i, *, heads, hidden, middle, last, normalized=False):
    """Return the layers of a block by the names that TransformerLens has for them."""
    post = "normalized_resid_post" if normalized else "resid_post"
    names = {
        f"blocks.{i}.attn.hook_z": heads,
        f"blocks.{i}.mlp.hook_post": hidden,
        f"blocks.{i}.hook_{post}": last,
    }
    return names | ({f"blocks.{i}.hook_resid_mid": middle} if middle else {})


BLOCKS = {
    "nanoGPT": lambda i: block(
        i, heads=f"blocks.{i}.attn@heads", hidden=f"blocks.{i}.mlp.0",
        middle=f"blocks.{i}@add", last=f"blocks.{i}",
    ),
    "GPT-2": lambda i: block(
        i, heads=f"transformer.h.{i}.attn@heads",
        hidden=f"transformer.h.{i}.mlp.c_fc", middle=f"transformer.h.{i}@add",
        last=f"transformer.h.{i}",
    ),
    "Llama": lambda i: block(
        i, heads=f"model.layers.{i}.self_attn@heads",
        hidden=f"model.layers.{i}.mlp@mul", middle=f"model.layers.{i}@add",
        last=f"model.layers.{i}",
    ),
    "Gemma 2": lambda i: block(
        i, heads=f"model.layers.{i}.self_attn@heads",
        hidden=f"model.layers.{i}.mlp@mul", middle=f"model.layers.{i}@add",
        last=f"model.layers.{i}",
    ),
    "GPT-NeoX": lambda i: block(
        i, heads=f"gpt_neox.layers.{i}.attention@heads",
        hidden=f"gpt_neox.layers.{i}.mlp.dense_h_to_4h", middle=None,
        last=f"gpt_neox.layers.{i}",
    ),
    "BERT": lambda i: block(
        i, heads=f"bert.encoder.layer.{i}.attention.self",
        hidden=f"bert.encoder.layer.{i}.intermediate", middle=None,
        last=f"bert.encoder.layer.{i}.output", normalized=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BLOCKS))
def test_aliases__are_those_of_transformer_lens(name):
    architecture = traced(name)

    for i in range(2):
        for alias, layer in BLOCKS[name](i).items():
            assert architecture.layer(alias).name == layer


@pytest.mark.parametrize("name", list(BLOCKS))
def test_shown__are_heads_hidden_layers_and_the_stream_after_each_block(name):
    architecture = traced(name)

    every = {layer.name for layer in architecture.layers}
    inside = {
        layer for layer in every if any(f".{i}." in f"{layer}." for i in range(2))
    } | {layer for i in range(2) for layer in BLOCKS[name](i).values()}
    wanted = {
        layer
        for i in range(2)
        for alias, layer in BLOCKS[name](i).items()
        if not alias.endswith("mid")
    }
    shown = {layer.name for layer in architecture.shown}
    assert shown & inside == wanted
    # The words, and what the network puts out.
    assert {architecture.layers[0].name, architecture.layers[-1].name} <= shown


def test_aliases__tell_encoder_decoder_and_attention_across_apart():
    architecture = traced("T5")

    for i in range(2):
        place = f"model.{{}}.block.{i}.layer.{{}}"
        for alias, layer in {
            f"encoder.{i}.attn.hook_z": ("encoder", "0.SelfAttention@heads"),
            f"encoder.{i}.mlp.hook_post": ("encoder", "1.DenseReluDense.wi"),
            f"encoder.{i}.hook_resid_post": ("encoder", "1"),
            f"decoder.{i}.attn.hook_z": ("decoder", "0.SelfAttention@heads"),
            f"decoder.{i}.cross_attn.hook_z": ("decoder", "1.EncDecAttention@heads"),
            f"decoder.{i}.hook_resid_mid": ("decoder", "0"),
            f"decoder.{i}.hook_resid_mid_cross": ("decoder", "1"),
            f"decoder.{i}.mlp.hook_post": ("decoder", "2.DenseReluDense.wi"),
            f"decoder.{i}.hook_resid_post": ("decoder", "2"),
        }.items():
            assert architecture.layer(alias).name == place.format(*layer)


def test_aliases__are_accepted_in_patterns_and_kept_in_plans():
    architecture = traced("nanoGPT")

    kept = architecture.selected(
        recorded=["blocks.*.hook_resid_post", "*.mlp.hook_post", "lm_head"],
        shown=["!lm_head", "*hook_post"],
    )

    assert [layer.name for layer in kept.layers] == [
        "blocks.0.mlp.0", "blocks.0", "blocks.1.mlp.0", "blocks.1", "lm_head",
    ]  # fmt: skip
    assert [layer.name for layer in kept.shown] == ["blocks.0.mlp.0", "blocks.1.mlp.0"]
    assert from_json(Architecture, to_json(architecture)) == architecture


def test_aliases__near_matches_are_named():
    with pytest.raises(UnknownNameError, match=r"blocks\.0\.attn\.hook_z"):
        traced("nanoGPT").layer("blocks.0.attn.hook_zz")


def test_networks_without_attention__have_no_other_names():
    network, x = make_odd("U-Net")

    architecture = trace(network, x[:2])

    assert all(layer.aliases == () for layer in architecture.layers)
