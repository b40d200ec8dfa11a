"""Toy networks of text, sound and mixtures: planned, and what is missing is named."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnviz.network.tracing import trace

pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2,
}  # fmt: skip
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def words():
    """Return tokens that end as sentences do."""
    found = torch.randint(5, 60, (2, 8))
    found[:, -1] = 1
    return found


def gpt2(name):
    def build(library):
        config = library.GPT2Config(
            vocab_size=64, n_positions=16, n_embd=16, n_layer=2, n_head=2, **TOKENS
        )
        return getattr(library, name)(config), words()

    return build


def t5(library):
    config = library.T5Config(
        vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=0, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return library.T5ForSequenceClassification(config), words()


def whisper(library):
    config = library.WhisperConfig(
        vocab_size=64, num_mel_bins=8, d_model=16, encoder_layers=2,
        encoder_attention_heads=2, decoder_layers=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, max_source_positions=20,
        max_target_positions=16, decoder_start_token_id=1, classifier_proj_size=8,
        **TOKENS,
    )  # fmt: skip
    return library.WhisperForAudioClassification(config), torch.randn(2, 8, 40)


def clip(library):
    text = {"vocab_size": 64, "max_position_embeddings": 16, **TOKENS, **SIZES}
    vision = {"image_size": 32, "patch_size": 8, **SIZES}
    config = library.CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=8
    )
    return library.CLIPForImageClassification(config), torch.randn(2, 3, 32, 32)


def mamba(library):
    config = library.MambaConfig(
        vocab_size=64, hidden_size=16, state_size=4, num_hidden_layers=2, expand=2,
        use_cache=False, use_mambapy=False,
    )  # fmt: skip
    return library.MambaForCausalLM(config), words()


def llama(library):
    config = library.LlamaConfig(
        vocab_size=64, num_key_value_heads=1, max_position_embeddings=16, **SIZES
    )
    return library.LlamaForCausalLM(config), words()


def mixtral(library):
    config = library.MixtralConfig(
        vocab_size=64, num_key_value_heads=1, num_local_experts=4,
        num_experts_per_tok=2, max_position_embeddings=16, **SIZES,
    )  # fmt: skip
    return library.MixtralForCausalLM(config), words()


class Hidden(nn.Module):
    """An encoder, for its last hidden state."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        return self.encoder(x).last_hidden_state


def switch(library):
    """Experts that get some of all tokens."""
    config = library.SwitchTransformersConfig(
        vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        num_experts=4, num_sparse_encoder_layers=1,
    )  # fmt: skip
    return Hidden(library.SwitchTransformersEncoderModel(config)), words()


def sam(library):
    """Windows of attention with positions relative to each other."""
    config = library.SamVisionConfig(
        hidden_size=16, output_channels=8, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8, window_size=2, global_attn_indexes=[1],
        mlp_dim=32, num_pos_feats=8,
    )  # fmt: skip
    return Hidden(library.SamVisionModel(config)), torch.randn(2, 3, 32, 32)


def detr(library):
    """Queries that are the same for all instances look at a map of features."""
    backbone = library.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic",
        out_features=["stage2"],
    )  # fmt: skip
    config = library.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=backbone, d_model=16, num_queries=5, num_labels=4,
        encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2,
    )  # fmt: skip
    return Logits(library.DetrForObjectDetection(config)), torch.randn(2, 3, 32, 32)


class Logits(nn.Module):
    """A detector, for the classes of what it finds."""

    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, x):
        return self.detector(x).logits


class Timed(nn.Module):
    """A residual block that adds a number for each channel, made of the time."""

    def __init__(self, n_from, n_to):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(4, n_from), nn.GroupNorm(4, n_to)
        self.conv1 = nn.Conv2d(n_from, n_to, 3, padding=1)
        self.conv2 = nn.Conv2d(n_to, n_to, 3, padding=1)
        self.time = nn.Linear(16, n_to)
        self.shortcut = nn.Conv2d(n_from, n_to, 1)

    def forward(self, x, time):
        added = self.time(time)[:, :, None, None]
        hidden = self.conv1(F.silu(self.norm1(x))) + added
        return self.conv2(F.silu(self.norm2(hidden))) + self.shortcut(x)


class Denoiser(nn.Module):
    """A small U-Net as diffusion has it: one step, at one time."""

    def __init__(self):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(8, 16), nn.SiLU())
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.down, self.deep = Timed(8, 8), Timed(16, 16)
        self.smaller = nn.Conv2d(8, 16, 3, 2, 1)
        self.qkv, self.out = nn.Conv2d(16, 48, 1), nn.Conv2d(16, 16, 1)
        self.up, self.head = Timed(24, 8), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        angles = torch.full((len(x), 1), 10.0) * torch.exp(-torch.arange(4.0))
        time = self.time(torch.cat([angles.sin(), angles.cos()], 1))
        wide = self.down(self.stem(x), time)
        deep = self.deep(self.smaller(wide), time)
        parts = self.qkv(deep).flatten(2).transpose(1, 2).chunk(3, -1)
        seen = F.scaled_dot_product_attention(*(part[:, None] for part in parts))
        deep = deep + self.out(seen[:, 0].transpose(1, 2).reshape(deep.shape))
        joined = torch.cat([F.interpolate(deep, scale_factor=2.0), wide], 1)
        return self.head(F.silu(self.up(joined, time)))


def denoiser(library):
    del library
    return Denoiser(), torch.randn(2, 3, 8, 8)


VALIDATED = {
    "detr": detr,
    "denoiser": denoiser,
    "gpt2": gpt2("GPT2LMHeadModel"),
    "gpt2 classifier": gpt2("GPT2ForSequenceClassification"),
    "whisper": whisper,
    "clip": clip,
    "llama": llama,
    "sam": sam,
}
NAMED = {
    "t5": (t5, "classification_head.dense"),
    "mamba": (mamba, "mixer@matmul.2 is no layer"),
    "mixtral": (mixtral, "the result of topk at model.layers.0.mlp.gate@topk"),
    "switch": (switch, "'encoder.*experts.* is left out: the instance is neither"),
}


def traced(build):
    library = pytest.importorskip("transformers", exc_type=ImportError)
    torch.manual_seed(0)
    model, x = build(library)
    return trace(model.eval(), x)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(VALIDATED))
def test_toy_network__is_validated_without_a_problem(name):
    architecture = traced(VALIDATED[name])

    assert architecture.problems == ()
    assert architecture.is_validated


@pytest.mark.parametrize("name", list(NAMED))
def test_toy_network__names_what_is_not_taken_apart(name):
    build, sentence = NAMED[name]

    architecture = traced(build)

    assert architecture.is_validated
    assert any(re.search(sentence, p) for p in architecture.problems)
