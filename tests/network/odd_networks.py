"""Networks that are written in odd ways, each with its layers' outputs in plain code.

``outputs(x)`` computes, without nnviz and without hooks, what every layer should read,
by the layer's name, with channels on axis 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Heads(NamedTuple):
    logits: Tensor
    auxiliary: Tensor


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


class PreActivation(nn.Module):
    """Normalisation before the convolution; the sum is read by two."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        branch = self.conv1(self.relu(self.norm1(x)))
        branch = self.conv2(self.relu(self.norm2(branch)))
        x = x + branch
        return self.head(x.mean((2, 3)))

    def outputs(self, x):
        stem = self.stem(x)
        conv1 = self.norm2(self.conv1(self.norm1(stem).clamp(min=0))).clamp(min=0)
        total = stem + self.conv2(conv1)
        head = self.head(total.mean((2, 3)))
        return {"stem": stem, "conv1": conv1, "@add": total, "head": head}


class SliceAssignment(nn.Module):
    """Two convolutions are written into one buffer."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3)
        self.b = nn.Conv2d(3, 5, 3)
        self.c = nn.Conv2d(9, 6, 3)

    def forward(self, x):
        buffer = x.new_zeros(len(x), 9, x.shape[2] - 2, x.shape[3] - 2)
        buffer[:, :4] = F.relu(self.a(x))
        buffer[:, 4:] = F.relu(self.b(x))
        return self.c(buffer).amax((2, 3))

    def outputs(self, x):
        a, b = self.a(x).clamp(min=0), self.b(x).clamp(min=0)
        return {"a": a, "b": b, "c": self.c(torch.cat([a, b], 1))}


class Reused(nn.Module):
    """One convolution and its normalisation are used three times."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 64, 3)

    def forward(self, x):
        x = F.relu(self.first(x))
        for _ in range(3):
            x = F.relu_(self.norm(self.again(x)))
        return {"loss": None, "logits": self.head(x.flatten(1))}

    def outputs(self, x):
        x = self.first(x).clamp(min=0)
        found = {"first": x}
        for name in ("again", "again@2", "again@3"):
            x = self.norm(self.again(x)).clamp(min=0)
            found[name] = x
        return found | {"head": self.head(x.flatten(1))}


class UNet(nn.Module):
    """A skip connection is joined with what a transposed convolution made."""

    def __init__(self):
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(True))
        self.down2 = nn.Sequential(
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(True),
        )
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.join = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(True))
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        wide = self.down1(x)
        deep = self.down2(wide)
        return self.head(self.join(torch.cat([wide, self.up(deep)], 1)))

    def outputs(self, x):
        wide = self.down1(x)
        deep = self.down2(wide)
        joined = torch.cat([wide, self.up(deep)], 1)
        join = self.join(joined)
        return {
            "down1.0": wide,
            "down2.1": deep,
            "@cat": joined,
            "join.0": join,
            "head": self.head(join),
        }


class Generator(nn.Module):
    """Transposed convolutions, up-sampling and another padding."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(16, 8, 4, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(True),
            nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=2, bias=False),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(8, 3, 3, padding=1, padding_mode="reflect"),
            nn.Tanh(),
        )

    def forward(self, x):
        return self.layers(x)

    def outputs(self, x):
        first = self.layers[:3](x)
        second = self.layers[3:6](first)
        last = self.layers[6:](second)
        return {"layers.0": first, "layers.3": second, "layers.7": last}


class Text(nn.Module):
    """One-dimensional convolutions over embedded tokens."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 12)
        self.windows = nn.ModuleList(nn.Conv1d(12, 6, k) for k in (2, 3, 4))
        self.head = nn.Linear(18, 4)

    def forward(self, tokens):
        x = self.embedding(tokens).transpose(1, 2)
        pooled = [F.relu(window(x)).max(2).values for window in self.windows]
        return Output(None, self.head(torch.cat(pooled, 1)))

    def outputs(self, tokens):
        x = self.embedding(tokens).transpose(1, 2)
        maps = [window(x).clamp(min=0) for window in self.windows]
        joined = torch.cat([m.amax(2) for m in maps], 1)
        named = {f"windows.{i}": m for i, m in enumerate(maps)}
        return {"embedding": x, **named, "@cat": joined, "head": self.head(joined)}


class Perceptron(nn.Module):
    """Nothing but linear maps."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(),
            nn.Dropout(), nn.Linear(8, 3),
        )  # fmt: skip

    def forward(self, x):
        return (self.layers(x), x)

    def outputs(self, x):
        first = self.layers[1](x).clamp(min=0)
        second = self.layers[3](first).tanh()
        last = self.layers[6](second)
        return {"layers.1": first, "layers.3": second, "layers.6": last}


class Gate(nn.Module):
    """Squeeze and excite, written in one forward method."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.squeeze = nn.Linear(8, 2)
        self.excite = nn.Linear(2, 8)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = F.relu(self.conv(x))
        gate = F.relu(self.squeeze(x.mean((2, 3))))
        x *= torch.sigmoid(self.excite(gate))[:, :, None, None]
        return self.head(x).mean((2, 3))

    def outputs(self, x):
        conv = self.conv(x).clamp(min=0)
        squeeze = self.squeeze(conv.mean((2, 3))).clamp(min=0)
        excite = torch.sigmoid(self.excite(squeeze))
        product = conv * excite[:, :, None, None]
        return {
            "conv": conv,
            "squeeze": squeeze,
            "excite": excite,
            "@mul": product,
            "head": self.head(product),
        }


class ControlFlow(nn.Module):
    """What runs depends on the data; a non-linearity is written out."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3)
        self.d = nn.Conv2d(4, 4, 3)
        self.aside = nn.Linear(4, 7)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.c(x)
        x = x * torch.sigmoid(x)
        if x.sum() > -1e9:
            x = self.d(x)
        x += 1
        x.relu_()
        x = x.amax((2, 3))
        return Heads(self.head(x), self.aside(x))

    def outputs(self, x):
        c = F.silu(self.c(x))
        d = (self.d(c) + 1).clamp(min=0)
        return {"c": c, "d": d, "head": self.head(d.amax((2, 3)))}


class Volumes(nn.Module):
    """Three position axes, group normalisation, dilation."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv3d(1, 4, 3, padding="same")
        self.norm = nn.GroupNorm(2, 4)
        self.d = nn.Conv3d(4, 6, 2, stride=2, dilation=2)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        x = F.silu(self.norm(self.c(x)))
        return self.head(F.gelu(self.d(x)).mean((2, 3, 4)))

    def outputs(self, x):
        c = F.silu(self.norm(self.c(x)))
        d = F.gelu(self.d(c))
        return {"c": c, "d": d, "head": self.head(d.mean((2, 3, 4)))}


class Shuffle(nn.Module):
    """Channels are shuffled, cut in halves, and joined again."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = F.relu(self.stem(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        left, right = x.chunk(2, 1)
        x = torch.cat((left, F.relu(self.branch(right))), 1)
        return self.head(F.relu6(x)).mean((2, 3))

    def outputs(self, x):
        stem = self.stem(x).clamp(min=0)
        shuffled = stem[:, [0, 4, 1, 5, 2, 6, 3, 7]]
        joined = torch.cat(
            [shuffled[:, :4], self.branch(shuffled[:, 4:]).clamp(min=0)], 1
        ).clamp(0, 6)
        return {"stem": stem, "@cat": joined, "head": self.head(joined)}


class SpaceToDepth(nn.Module):
    """Each source channel stands at four places of the channel axis."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3, padding=1)
        self.d = nn.Conv2d(16, 5, 3)
        self.head = nn.Linear(20, 2)

    def forward(self, x):
        x = F.pixel_unshuffle(F.relu(self.c(x)), 2)
        return self.head(F.relu(self.d(x)).permute(0, 2, 3, 1).flatten(1))

    def outputs(self, x):
        c = self.c(x).clamp(min=0)
        n, k, h, w = c.shape
        deep = c.view(n, k, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
        d = self.d(deep.reshape(n, 4 * k, h // 2, w // 2)).clamp(min=0)
        return {"c": c, "d": d, "head": self.head(d.movedim(1, -1).flatten(1))}


class Dense(nn.Module):
    """Every layer reads all before it; the last concatenation is the block's output."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block = _DenseBlock()
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        return self.head(F.relu(self.block(F.relu(self.stem(x)))).mean((2, 3)))

    def outputs(self, x):
        stem = self.stem(x).clamp(min=0)
        a = self.block.a(self.block.norm_a(stem).clamp(min=0))
        joined = torch.cat([stem, a], 1)
        b = self.block.b(self.block.norm_b(joined).clamp(min=0))
        block = torch.cat([joined, b], 1)
        head = self.head(block.clamp(min=0).mean((2, 3)))
        return {"stem": stem, "block@cat": joined, "block": block, "head": head}


class _DenseBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_a, self.a = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1)
        self.norm_b, self.b = nn.BatchNorm2d(7), nn.Conv2d(7, 3, 3, padding=1)

    def forward(self, x):
        x = torch.cat([x, self.a(F.relu(self.norm_a(x)))], 1)
        return torch.cat([x, self.b(F.relu(self.norm_b(x)))], 1)


class OptionA(nn.Module):
    """A shortcut without parameters: strided, and padded with channels of zeros."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        x = F.relu(torch.add(shortcut, self.norm(self.conv(x)), alpha=0.5))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def outputs(self, x):
        stem = self.stem(x).clamp(min=0)
        total = 0.5 * self.norm(self.conv(stem))
        total = torch.cat(
            [total[:, :2], total[:, 2:6] + stem[:, :, ::2, ::2], total[:, 6:]], 1
        ).clamp(min=0)
        return {"stem": stem, "@add": total, "head": self.head(total.mean((2, 3)))}


class Tokens(nn.Module):
    """A transformer's encoder, whose attention is one function of torch."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens)).mean(1))

    def outputs(self, tokens):
        x = self.embedding(tokens)
        e = self.encoder
        qkv = F.linear(x, e.self_attn.in_proj_weight, e.self_attn.in_proj_bias)
        n, t, _ = qkv.shape
        q, k, v = (
            part.view(n, t, 2, 4).transpose(1, 2) for part in qkv.split(8, dim=-1)
        )
        weights = (q @ k.transpose(2, 3) / 2).softmax(-1)
        attended = (weights @ v).transpose(1, 2).reshape(n, t, 8)
        middle = e.norm1(x + e.self_attn.out_proj(attended))
        wide = e.linear1(middle).clamp(min=0)
        last = e.norm2(middle + e.linear2(wide))
        return {
            "embedding": x.transpose(1, 2),
            "encoder.self_attn@linear": qkv.transpose(1, 2),
            "encoder.self_attn@heads": attended.transpose(1, 2),
            "encoder@add": middle.transpose(1, 2),
            "encoder.linear1": wide.transpose(1, 2),
            "encoder": last.transpose(1, 2),
            "head": self.head(last.mean(1)),
        }


def image():
    return torch.randn(3, 3, 8, 8)


NETWORKS = {
    "pre-activation": (PreActivation, image),
    "slice assignment": (SliceAssignment, image),
    "reused module": (Reused, image),
    "U-Net": (UNet, image),
    "generator": (Generator, lambda: torch.randn(3, 16, 1, 1)),
    "text": (Text, lambda: torch.randint(0, 50, (3, 11))),
    "perceptron": (Perceptron, lambda: torch.randn(3, 12)),
    "gate": (Gate, image),
    "control flow": (ControlFlow, image),
    "volumes": (Volumes, lambda: torch.randn(3, 1, 7, 7, 7)),
    "shuffle": (Shuffle, image),
    "space to depth": (SpaceToDepth, image),
    "dense": (Dense, image),
    "option A": (OptionA, image),
    "tokens": (Tokens, lambda: torch.randint(0, 9, (3, 6))),
}

EDGES = {
    "pre-activation": "stem>conv1 stem>@add conv1>@add @add>head",
    "slice assignment": "a>c b>c",
    "reused module": "first>again again>again@2 again@2>again@3 again@3>head",
    "U-Net": "down1.0>down2.1 down1.0>@cat down2.1>@cat @cat>join.0 join.0>head",
    "generator": "layers.0>layers.3 layers.3>layers.7",
    "text": (
        "embedding>windows.0 embedding>windows.1 embedding>windows.2 windows.0>@cat "
        "windows.1>@cat windows.2>@cat @cat>head"
    ),
    "perceptron": "layers.1>layers.3 layers.3>layers.6",
    "gate": "conv>squeeze squeeze>excite conv>@mul excite>@mul @mul>head",
    "control flow": "c>d d>head",
    "volumes": "c>d d>head",
    "shuffle": "stem>@cat @cat>head",
    "space to depth": "c>d d>head",
    "dense": "stem>block@cat block@cat>block block>head",
    "option A": "stem>@add @add>head",
    "tokens": (
        "embedding>encoder.self_attn@linear embedding>encoder@add "
        "embedding>encoder.self_attn@heads "
        "encoder.self_attn@linear>encoder.self_attn@heads "
        "encoder.self_attn@heads>encoder@add encoder@add>encoder.linear1 "
        "encoder@add>encoder encoder.linear1>encoder encoder>head"
    ),
}
"""Pairs of layers that edges must join, source>target."""


def make(name):
    """Return a network in evaluation mode with its statistics set, and an input."""
    torch.manual_seed(7)
    build, make_input = NETWORKS[name]
    network = build()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return network.eval(), make_input()
