"""Toy networks of text, sound and images in patches: configurations and own code.

``make(name)`` returns a network in evaluation mode, with random weights, and a batch of
two instances. Those of a library that is not installed raise ImportError.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.network.token_networks import Blocks

__all__ = ["LIBRARY", "OWN", "make"]

Made = tuple[nn.Module, Tensor]

N_WORDS = 60
WIDTH = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES = {**WIDTH, "intermediate_size": 32}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {**SIZES, "num_attention_heads": 4, "num_key_value_heads": 2}


def make(name: str) -> Made:
    """Return a network and two instances, the same ones each time."""
    torch.manual_seed(5)
    model, x = (OWN | LIBRARY)[name]()
    for module in model.modules():
        # Libraries start with weights so small, and biases so equal, that no mistake
        # would show.
        if isinstance(module, (nn.Linear, nn.LayerNorm)) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return model.eval(), x


def words(length: int = 8) -> Tensor:
    """Return two sentences that end as sentences do."""
    found = torch.randint(5, N_WORDS, (2, length))
    found[:, -1] = 2
    return found


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32)


def of_library(
    config: str, model: str, x: Callable[[], Tensor] = words, **options: Any
) -> Callable[[], Made]:
    """Return how a network of the library is made: its configuration and its class."""

    def build() -> Made:
        library = importlib.import_module("transformers")
        network = getattr(library, model)(getattr(library, config)(**options))
        return network, x()

    return build


def text(family: str, head: str, **options: Any) -> Callable[[], Made]:
    known = {"vocab_size": N_WORDS, **SPECIAL, **options}
    return of_library(f"{family}Config", f"{family}{head}", **known)


def encoder(family: str, **options: Any) -> Callable[[], Made]:
    return text(family, "ForSequenceClassification", **{**SIZES, **options})


def decoder(family: str, **options: Any) -> Callable[[], Made]:
    return text(family, "ForCausalLM", **{**SIZES, **options})


def pictures(family: str, **options: Any) -> Callable[[], Made]:
    known = {"image_size": 32, "patch_size": 8, **SIZES, **options}
    model = f"{family}ForImageClassification"
    return of_library(f"{family}Config", model, images, **known)


class Encoder(nn.Module):
    """What the encoder of a network with a decoder gives."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).last_hidden_state


class Both(nn.Module):
    """An encoder and a decoder that read the same words."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(input_ids=x, decoder_input_ids=x).logits


def both(family: str, **options: Any) -> Callable[[], Made]:
    name = {"T5": "T5ForConditionalGeneration", "Marian": "MarianMTModel"}.get(
        family, f"{family}ForConditionalGeneration"
    )

    def build() -> Made:
        make_it = of_library(
            f"{family}Config", name, vocab_size=N_WORDS, decoder_start_token_id=2,
            **SPECIAL, **options,
        )  # fmt: skip
        model, x = make_it()
        return Both(model), x

    return build


SEQ2SEQ = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "max_position_embeddings": 32,
}  # fmt: skip


def t5_encoder() -> Made:
    model, x = of_library(
        "T5Config", "T5EncoderModel", vocab_size=N_WORDS, d_model=16, d_kv=8, d_ff=32,
        num_layers=2, num_heads=2, feed_forward_proj="gated-gelu",
    )()  # fmt: skip
    return Encoder(model), x


def clip(family: str) -> Callable[[], Made]:
    def build() -> Made:
        library = importlib.import_module("transformers")
        part = {"vocab_size": N_WORDS, "max_position_embeddings": 16, **SIZES}
        vision = {"image_size": 32, "patch_size": 8, **SIZES}
        config = getattr(library, f"{family}Config")(
            text_config={**part, **SPECIAL}, vision_config=vision
        )
        model = getattr(library, f"{family}ForImageClassification")(config)
        return model, images()

    return build


def clip_text() -> Made:
    model, x = of_library(
        "CLIPTextConfig", "CLIPTextModelWithProjection", vocab_size=N_WORDS,
        max_position_embeddings=16, projection_dim=8, **SPECIAL, **SIZES,
    )()  # fmt: skip
    return model, x


SOUND = {
    "conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8),
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
}  # fmt: skip


def sound(length: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(2, length)


LIBRARY: dict[str, Callable[[], Made]] = {
    "BERT": encoder("Bert"),
    "RoBERTa": encoder("Roberta"),
    "DistilBERT": text(
        "DistilBert", "ForSequenceClassification",
        dim=16, n_layers=2, n_heads=2, hidden_dim=32,
    ),
    "ALBERT": encoder("Albert", embedding_size=8),
    "ELECTRA": encoder("Electra", embedding_size=8),
    "MiniLM": of_library(
        "BertConfig", "BertModel", vocab_size=N_WORDS, hidden_size=24,
        num_hidden_layers=2, num_attention_heads=12, intermediate_size=48, **SPECIAL,
    ),
    "DeBERTa": encoder("Deberta"),
    "DeBERTa v3": encoder(
        "DebertaV2", relative_attention=True, position_buckets=8,
        pos_att_type=["p2c", "c2p"], share_att_key=True, norm_rel_ebd="layer_norm",
    ),
    "MPNet": encoder("MPNet"),
    "ModernBERT": encoder(
        "ModernBert", cls_token_id=1, sep_token_id=2, attn_implementation="sdpa"
    ),
    "XLNet": text(
        "XLNet", "ForSequenceClassification", d_model=16, n_layer=2, n_head=2,
        d_inner=32,
    ),
    "GPT": text("OpenAIGPT", "LMHeadModel", n_positions=16, n_embd=16, n_layer=2,
                n_head=2),
    "GPT-2": text("GPT2", "LMHeadModel", n_positions=16, n_embd=16, n_layer=2,
                  n_head=2),
    "GPT-2 eager": text(
        "GPT2", "LMHeadModel", n_positions=16, n_embd=16, n_layer=2, n_head=2,
        attn_implementation="eager",
    ),
    "GPT-2 classifier": text(
        "GPT2", "ForSequenceClassification", n_positions=16, n_embd=16, n_layer=2,
        n_head=2,
    ),
    "GPT-Neo": text(
        "GPTNeo", "ForCausalLM", hidden_size=16, num_layers=2, num_heads=2,
        attention_types=[[["global", "local"], 1]], intermediate_size=32,
        max_position_embeddings=16, window_size=4,
    ),
    "GPT-J": text("GPTJ", "ForCausalLM", n_positions=16, n_embd=16, n_layer=2,
                  n_head=2, rotary_dim=4),
    "GPT-NeoX": decoder("GPTNeoX"),
    "OPT": text(
        "OPT", "ForCausalLM", hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, ffn_dim=32, word_embed_proj_dim=16,
        max_position_embeddings=16,
    ),
    "XGLM": text(
        "XGLM", "ForCausalLM", d_model=16, num_layers=2, attention_heads=2,
        ffn_dim=32, max_position_embeddings=32,
    ),
    "BigBird": encoder("BigBird", attention_type="original_full"),
    "Llama": decoder("Llama", **GROUPED),
    "Llama eager": decoder("Llama", attn_implementation="eager", **GROUPED),
    "Mistral": decoder("Mistral", sliding_window=4, **GROUPED),
    "Qwen2": decoder("Qwen2", **GROUPED),
    "Qwen3": decoder("Qwen3", head_dim=8, **GROUPED),
    "Gemma": decoder("Gemma", head_dim=8, **GROUPED),
    "Gemma 2": decoder("Gemma2", head_dim=8, **GROUPED),
    "Gemma 3": of_library(
        "Gemma3TextConfig", "Gemma3ForCausalLM", vocab_size=N_WORDS, head_dim=8,
        **SPECIAL, **GROUPED,
    ),
    "OLMo 2": decoder("Olmo2"),
    "Cohere": decoder("Cohere", **GROUPED),
    "DeepSeek V3": decoder(
        "DeepseekV3", n_routed_experts=4, num_experts_per_tok=2, n_group=1,
        topk_group=1, kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4,
        qk_nope_head_dim=4, v_head_dim=8, moe_intermediate_size=16,
        first_k_dense_replace=1,
    ),
    "MPT": text("Mpt", "ForCausalLM", d_model=16, n_layers=2, n_heads=2,
                max_seq_len=16),
    "Phi": decoder("Phi"),
    "Phi-3": decoder("Phi3", **GROUPED),
    "Falcon": text("Falcon", "ForCausalLM", new_decoder_architecture=False,
                   **WIDTH),
    "Falcon grouped": text(
        "Falcon", "ForCausalLM", new_decoder_architecture=True, num_kv_heads=2,
        **{**WIDTH, "num_attention_heads": 4},
    ),
    "BLOOM": text("Bloom", "ForCausalLM", hidden_size=16, n_layer=2, n_head=2),
    "StableLM": decoder("StableLm", **GROUPED),
    "Mixtral": decoder(
        "Mixtral", num_local_experts=4, num_experts_per_tok=2, **GROUPED
    ),
    "T5 encoder": t5_encoder,
    "T5": both("T5", d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2),
    "BART": both("Bart", **SEQ2SEQ),
    "MarianMT": both("Marian", **SEQ2SEQ),
    "Mamba": text(
        "Mamba", "ForCausalLM", hidden_size=16, state_size=4, num_hidden_layers=2,
        expand=2, use_cache=False, use_mambapy=False,
    ),
    "RWKV": text("Rwkv", "ForCausalLM", hidden_size=16, num_hidden_layers=2,
                 attention_hidden_size=16, intermediate_size=32, context_length=16),
    "ViT": pictures("ViT"),
    "DeiT": pictures("DeiT"),
    "BEiT": pictures("Beit"),
    "DINOv2": pictures("Dinov2"),
    "CLIP": clip("CLIP"),
    "CLIP text": clip_text,
    "SigLIP": clip("Siglip"),
    "Whisper": of_library(
        "WhisperConfig", "WhisperForAudioClassification",
        lambda: torch.randn(2, 8, 40), vocab_size=N_WORDS, num_mel_bins=8,
        max_source_positions=20, max_target_positions=16, classifier_proj_size=8,
        decoder_start_token_id=1,
        **{k: v for k, v in SEQ2SEQ.items() if k != "max_position_embeddings"},
        **SPECIAL,
    ),
    "Wav2Vec2": of_library(
        "Wav2Vec2Config", "Wav2Vec2ForSequenceClassification", sound(400),
        **SOUND, **SIZES,
    ),
    "HuBERT": of_library(
        "HubertConfig", "HubertForSequenceClassification", sound(400),
        **SOUND, **SIZES,
    ),
}  # fmt: skip


class WordCNN(nn.Module):
    """Kim 2014: convolutions of several widths over words, each with its maximum."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, 12, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(12, 6, k) for k in (2, 3, 4))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(18, 5)

    def forward(self, x):
        x = self.embedding(x).transpose(1, 2)
        found = [F.relu(c(x)).amax(2) for c in self.convolutions]
        return self.head(self.dropout(torch.cat(found, 1)))


class MeanOfWords(nn.Module):
    """A perceptron over the mean of word vectors."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, 12)
        self.hidden, self.head = nn.Linear(12, 10), nn.Linear(10, 5)

    def forward(self, x):
        return self.head(F.relu(self.hidden(self.embedding(x).mean(1))))


class BagOfWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(N_WORDS, 12, mode="mean")
        self.hidden, self.head = nn.Linear(12, 10), nn.Linear(10, 5)

    def forward(self, x):
        return self.head(F.relu(self.hidden(self.bag(x))))


class Recurrent(nn.Module):
    """Words, a recurrent network, and a head on one of its three results."""

    def __init__(
        self, kind, reads="last", *, batch_first=True, packed=False, **options
    ):
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, 12)
        self.rnn = kind(12, 6, batch_first=batch_first, **options)
        self.both = options.get("bidirectional", False)
        self.head = nn.Linear(12 if self.both else 6, 5)
        self.reads, self.batch_first, self.packed = reads, batch_first, packed

    def forward(self, x):
        lengths, n_words = (x != 0).sum(1), x.shape[1]
        x = self.embedding(x)
        x = x if self.batch_first else x.transpose(0, 1)
        if self.packed:
            x = pack_padded_sequence(
                x, lengths, batch_first=self.batch_first, enforce_sorted=False
            )
        out, state = self.rnn(x)
        if self.packed:
            # Else the number of positions would depend on the company.
            out, _ = pad_packed_sequence(
                out, batch_first=self.batch_first, total_length=n_words
            )
        out = out if self.batch_first else out.transpose(0, 1)
        if self.reads == "last":
            return self.head(out[:, -1])
        if self.reads == "all":
            return self.head(F.relu(out).amax(1))
        state = state[0] if isinstance(state, tuple) else state
        joined = torch.cat([state[-2], state[-1]], 1) if self.both else state[-1]
        return self.head(joined)


class CausalAttention(nn.Module):
    """As in nanoGPT: one projection for queries, keys and values."""

    def __init__(self, width, n_heads, *, fused):
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.n_heads, self.fused = n_heads, fused

    def forward(self, x):
        n, t, c = x.shape
        parts = self.c_attn(x).split(c, dim=2)
        shape = (n, t, self.n_heads, c // self.n_heads)
        q, k, v = (part.view(shape).transpose(1, 2) for part in parts)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(k.shape[-1])
            mask = torch.tril(torch.ones(t, t, dtype=torch.bool))
            y = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(n, t, c))


class NanoBlock(nn.Module):
    def __init__(self, width, n_heads, *, fused):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = CausalAttention(width, n_heads, fused=fused)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    """A decoder as people write it, with tied embeddings."""

    def __init__(self, *, fused, n_heads=2):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(N_WORDS, 16), nn.Embedding(32, 16)
        self.blocks = nn.ModuleList(
            NanoBlock(16, n_heads, fused=fused) for _ in range(2)
        )
        self.ln_f = nn.LayerNorm(16)
        self.lm_head = nn.Linear(16, N_WORDS, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, x):
        x = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class TorchEncoder(nn.Module):
    """torch's own layers, which have a fast path in evaluation mode."""

    def __init__(self, *, batch_first=True, **options):
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, 16)
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, batch_first=batch_first, **options
        )
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head, self.batch_first = nn.Linear(16, 5), batch_first

    def forward(self, x):
        padding = x == 0
        x = self.embedding(x)
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.encoder(x, src_key_padding_mask=padding)
        return self.head(x.mean(1 if self.batch_first else 0))


class TorchTransformer(nn.Module):
    """An encoder and a decoder of torch, with attention across."""

    def __init__(self, *, batch_first=True):
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, 16)
        self.transformer = nn.Transformer(16, 2, 2, 2, 32, batch_first=batch_first)
        self.head, self.batch_first = nn.Linear(16, 5), batch_first

    def forward(self, x):
        x = self.embedding(x)
        if self.batch_first:
            return self.head(self.transformer(x, x[:, :5]).mean(1))
        x = x.transpose(0, 1)
        return self.head(self.transformer(x, x[:5]).mean(0))


class Temporal(nn.Module):
    """A temporal network: dilated causal convolutions with residuals."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, 12)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(12, 12, 3, dilation=2**i) for i in range(3)
        )
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.embedding(x).transpose(1, 2)
        for i, convolution in enumerate(self.convolutions):
            x = x + F.relu(convolution(F.pad(x, (2 * 2**i, 0))))
        return self.head(x[:, :, -1])


class EinsumAttention(nn.Module):
    """Attention that is written with einsum, on word vectors."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(N_WORDS, 16)
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.out, self.head = nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = self.embedding(x)
        q, k, v = (f(x).unflatten(-1, (2, 8)) for f in (self.q, self.k, self.v))
        pattern = torch.einsum("bqhd,bkhd->bhqk", q, k).softmax(-1)
        seen = torch.einsum("bhqk,bkhd->bqhd", pattern, v).flatten(-2)
        return self.head((x + self.out(seen)).mean(1))


def own(kind: Callable[..., nn.Module], **options: Any) -> Callable[[], Made]:
    return lambda: (kind(**options), words())


def recurrent(kind: type[nn.Module], **options: Any) -> Callable[[], Made]:
    return lambda: (Recurrent(kind, **options), words())


def perceptron() -> Made:
    return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5)), torch.randn(
        2, 12
    )


OWN: dict[str, Callable[[], Made]] = {
    "word CNN": own(WordCNN),
    "mean of words": own(MeanOfWords),
    "bag of words": own(BagOfWords),
    "perceptron": perceptron,
    "LSTM": recurrent(nn.LSTM),
    "LSTM, time first": recurrent(nn.LSTM, batch_first=False),
    "LSTM, 2 layers": recurrent(nn.LSTM, num_layers=2, reads="state"),
    "LSTM, both ways": recurrent(nn.LSTM, bidirectional=True, reads="all"),
    "LSTM, 2 layers, both ways": recurrent(
        nn.LSTM, num_layers=2, bidirectional=True, reads="state"
    ),
    "LSTM, packed": recurrent(nn.LSTM, packed=True, reads="state"),
    "LSTM, packed, both ways": recurrent(
        nn.LSTM, packed=True, reads="all", bidirectional=True
    ),
    "GRU": recurrent(nn.GRU, reads="all"),
    "GRU, 2 layers": recurrent(nn.GRU, num_layers=2, reads="state"),
    "GRU, both ways": recurrent(nn.GRU, bidirectional=True, reads="state"),
    "GRU, time first": recurrent(nn.GRU, batch_first=False, reads="all"),
    "GRU, packed": recurrent(nn.GRU, packed=True, reads="all"),
    "RNN": recurrent(nn.RNN, reads="all"),
    "nanoGPT": own(NanoGPT, fused=True),
    "nanoGPT, slow": own(NanoGPT, fused=False),
    "nanoGPT, one head": own(NanoGPT, fused=False, n_heads=1),
    "torch encoder": own(TorchEncoder),
    "torch encoder, norm first": own(TorchEncoder, norm_first=True, activation="gelu"),
    "torch encoder, time first": own(TorchEncoder, batch_first=False),
    "torch transformer": own(TorchTransformer),
    "torch transformer, time first": own(TorchTransformer, batch_first=False),
    "torch attention": own(Blocks, batch_first=True, n_words=N_WORDS),
    "torch attention, time first": own(Blocks, n_words=N_WORDS),
    "temporal CNN": own(Temporal),
    "einsum attention": own(EinsumAttention),
}
