"""Networks with affine maps, products and branches where they are easily overlooked.

``entering(x)`` says in plain code what enters some of their layers: for each, a list of
(source layer, operation, source tensor, step), where ``step(source)`` is the layer in
its units as it is read, without what is not affine, everything else held at its value.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Network(nn.Module):
    """A first layer, a middle that differs, and a classifier."""

    width = 6

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.conv3 = nn.Conv2d(6, 6, 1)
        self.gate = nn.Linear(6, 6)
        self.norm = nn.BatchNorm2d(self.width)
        self.classifier = nn.Linear(self.width, 4)

    def forward(self, x):
        h = self.middle(F.relu(self.conv1(x)))
        return self.classifier(h.mean((2, 3)))

    def first(self, x):
        return self.conv1(x).clamp(min=0)


class NormalisedConcatenation(Network):
    """A convolution beside a pooling, concatenated, then normalised."""

    width = 12

    def middle(self, h):
        return F.relu(
            self.norm(torch.cat([self.conv2(h), F.max_pool2d(h, 3, 1, 1)], 1))
        )

    def entering(self, x):
        h = self.first(x)
        pooled = F.max_pool2d(h, 3, 1, 1)
        return {
            "@cat": [
                (
                    "conv1", "convolution", h,
                    lambda s: self.norm(torch.cat([self.conv2(s), pooled], 1)),
                ),
                (
                    "conv1", "identity", pooled,
                    lambda s: self.norm(torch.cat([self.conv2(h), s], 1)),
                ),
            ]
        }  # fmt: skip


class NestedConcatenation(Network):
    """A concatenation within one, a sign and an offset behind both."""

    width = 18

    def middle(self, h):
        inner = torch.cat([self.conv2(h), h], 1)
        return 2 - 3 * torch.cat([self.conv3(h), inner], 1)

    def entering(self, x):
        h = self.first(x)

        def read(a, b, c):
            return 2 - 3 * torch.cat([a, b, c], 1)

        a, b = self.conv3(h), self.conv2(h)
        return {
            "@cat.2": [
                ("conv1", "convolution", h, lambda s: read(a, self.conv2(s), h)),
                ("conv1", "convolution", h, lambda s: read(self.conv3(s), b, h)),
                ("conv1", "identity", h, lambda s: read(a, b, s)),
            ]
        }


class ScaledAfterNonlinearity(Network):
    """Normalisation, with weights of both signs, behind the non-linearity."""

    def middle(self, h):
        return self.norm(F.relu(self.conv2(h)))

    def entering(self, x):
        return {
            "conv2": [
                (
                    "conv1",
                    "convolution",
                    self.first(x),
                    lambda s: self.norm(self.conv2(s)),
                )
            ]
        }


class NegatedProduct(Network):
    def middle(self, h):
        return 1 - h * torch.sigmoid(self.gate(h.mean((2, 3))))[:, :, None, None]

    def entering(self, x):
        h = self.first(x)
        gate = torch.sigmoid(self.gate(h.mean((2, 3))))[:, :, None, None]
        return {"@mul": [("conv1", "identity", h, lambda s: 1 - s * gate)]}


class SoftmaxGate(Network):
    def middle(self, h):
        return h * F.softmax(self.gate(h.mean((2, 3))), 1)[:, :, None, None] * 6

    def entering(self, x):
        h = self.first(x)
        gate = F.softmax(self.gate(h.mean((2, 3))), 1)[:, :, None, None]
        return {"@mul": [("conv1", "identity", h, lambda s: s * gate * 6)]}


class GatedLast(Network):
    def middle(self, h):
        return self.conv3(h) * torch.sigmoid(self.conv2(h))

    def entering(self, x):
        h = self.first(x)
        gate = torch.sigmoid(self.conv2(h))
        return {"@mul": [("conv3", "identity", self.conv3(h), lambda s: s * gate)]}


class GatedFirst(GatedLast):
    def middle(self, h):
        return torch.sigmoid(self.conv2(h)) * self.conv3(h)


class HardGate(GatedLast):
    """A hard sigmoid that is written by hand."""

    def middle(self, h):
        return F.relu6(self.conv2(h) + 3) / 6 * self.conv3(h)

    def entering(self, x):
        h = self.first(x)
        gate = (self.conv2(h) + 3).clamp(0, 6) / 6
        return {"@mul": [("conv3", "identity", self.conv3(h), lambda s: s * gate)]}


class SwiGLU(Network):
    """SiLU is not bounded: both factors carry, one half each."""

    def middle(self, h):
        return F.silu(self.conv2(h)) * self.conv3(h)

    def entering(self, x):
        h = self.first(x)
        one, two = F.silu(self.conv2(h)), self.conv3(h)
        return {
            "@mul": [
                ("conv2", "identity", one, lambda s: 0.5 * s * two),
                ("conv3", "identity", two, lambda s: 0.5 * s * one),
            ]
        }


class BothBounded(SwiGLU):
    """As in a WaveNet: neither of two bounded factors is the gate."""

    def middle(self, h):
        return torch.tanh(self.conv2(h)) * torch.sigmoid(self.conv3(h))

    def entering(self, x):
        h = self.first(x)
        one, two = torch.tanh(self.conv2(h)), torch.sigmoid(self.conv3(h))
        return {
            "@mul": [
                ("conv2", "identity", one, lambda s: 0.5 * s * two),
                ("conv3", "identity", two, lambda s: 0.5 * s * one),
            ]
        }


class GatedLinearUnit(Network):
    """Torch's own function, over the channels of one convolution."""

    width = 3

    def middle(self, h):
        return F.glu(self.conv2(h), 1)

    def entering(self, x):
        h = self.conv2(self.first(x))
        gate = torch.sigmoid(h[:, 3:])
        return {"@mul": [("conv2", "identity", h, lambda s: s[:, :3] * gate)]}


class Residual(Network):
    """Squeeze and excitation, normalisation and a layer scale with signs."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(-1, 1, 6).view(6, 1, 1))

    def middle(self, h):
        branch = self.norm(self.conv2(h))
        branch = branch * F.hardsigmoid(self.gate(branch.mean((2, 3))))[..., None, None]
        return h - self.scale * branch

    def entering(self, x):
        h = self.first(x)
        branch = self.norm(self.conv2(h))
        gate = F.hardsigmoid(self.gate(branch.mean((2, 3))))[..., None, None]
        return {
            "conv2": [("conv1", "convolution", h, lambda s: self.norm(self.conv2(s)))],
            "@mul": [("conv2", "identity", branch, lambda s: self.scale * s * gate)],
            "@sub": [
                ("conv1", "identity", h, lambda s: s - self.scale * branch * gate),
                ("@mul", "identity", self.scale * branch * gate, lambda s: h - s),
            ],
        }


class Shuffled(Network):
    """Half of the channels pass a convolution; all are shuffled, and turned over."""

    def __init__(self):
        super().__init__()
        self.branch = nn.Conv2d(3, 3, 3, padding=1)

    def middle(self, h):
        kept, passed = h.chunk(2, 1)
        joined = torch.cat([kept, F.relu(self.branch(passed))], 1)
        n, c, *size = joined.shape
        return self.norm(
            joined.view(n, 2, c // 2, *size).transpose(1, 2).reshape(n, c, *size)
        )


class Branches(Network):
    """Three normalised branches, one of them the identity, then a non-linearity."""

    def __init__(self):
        super().__init__()
        self.norm2, self.norm3 = nn.BatchNorm2d(6), nn.BatchNorm2d(6)

    def middle(self, h):
        return F.relu(
            self.norm2(self.conv2(h)) + self.norm3(self.conv3(h)) + self.norm(h)
        )

    def entering(self, x):
        h = self.first(x)
        a, b, c = self.norm2(self.conv2(h)), self.norm3(self.conv3(h)), self.norm(h)
        return {
            "@add.2": [
                (
                    "conv1", "convolution", h,
                    lambda s: self.norm2(self.conv2(s)) + b + c,
                ),
                (
                    "conv1", "convolution", h,
                    lambda s: a + self.norm3(self.conv3(s)) + c,
                ),
                ("conv1", "identity", h, lambda s: a + b + self.norm(s)),
            ]
        }  # fmt: skip


class StandardisedWeights(Network):
    """Weights are standardised in the forward pass; the output is scaled and turned."""

    def weight(self):
        w = self.conv2.weight
        w = w - w.mean((1, 2, 3), keepdim=True)
        return w / (w.std((1, 2, 3), keepdim=True) + 1e-5)

    def middle(self, h):
        return F.relu(F.conv2d(h, self.weight(), self.conv2.bias, padding=1) * -0.5)

    def entering(self, x):
        return {
            "@conv2d": [
                (
                    "conv1", "convolution", self.first(x),
                    lambda s: F.conv2d(s, self.weight(), padding=1) * -0.5,
                )
            ]
        }  # fmt: skip


class Einsum(Network):
    def middle(self, h):
        return F.relu(torch.einsum("bchw,oc->bohw", h, self.gate.weight))

    def entering(self, x):
        def step(s):
            return torch.einsum("bchw,oc->bohw", s, self.gate.weight)

        return {"@einsum": [("conv1", "linear", self.first(x), step)]}


class Patches(Network):
    """A convolution as a product of matrices, the weights first."""

    def middle(self, h):
        columns = F.unfold(h, 3, padding=1)
        out = self.conv2.weight.flatten(1) @ columns
        return F.relu(out.view(len(h), 6, *h.shape[2:]))

    def entering(self, x):
        def step(s):
            return F.conv2d(s, self.conv2.weight, padding=1)

        return {"@matmul": [("conv1", "linear", self.first(x), step)]}


class Tensordot(Network):
    def middle(self, h):
        out = torch.tensordot(h, self.gate.weight, dims=([1], [1]))
        return F.relu(out).permute(0, 3, 1, 2)

    def entering(self, x):
        def step(s):
            return torch.einsum("bchw,oc->bohw", s, self.gate.weight)

        return {"@tensordot": [("conv1", "linear", self.first(x), step)]}


class Spectrum(Network):
    """Positions are mixed in the frequency domain, every channel by itself."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(6, 12, 7, 2))

    def mixed(self, h):
        spectrum = torch.fft.rfft2(h) * torch.view_as_complex(self.filter)
        return torch.fft.irfft2(spectrum, s=h.shape[2:])

    def middle(self, h):
        return F.relu(self.conv2(self.mixed(h)))

    def entering(self, x):
        mixed = self.mixed(self.first(x))
        return {"conv2": [("conv1", "convolution", mixed, self.conv2)]}


class Squared(Network):
    def middle(self, h):
        h = self.conv2(h)
        return h * h

    def entering(self, x):
        return {"conv2": [("conv1", "convolution", self.first(x), self.conv2)]}


class Quotient(Network):
    """A quotient is a product with a reciprocal: one half each."""

    def middle(self, h):
        return self.conv3(h) / (1 + self.conv2(h).abs())

    def entering(self, x):
        h = self.first(x)
        below = 1 + self.conv2(h).abs()
        quotient = self.conv3(h) / below
        return {
            "@div": [
                ("conv3", "identity", self.conv3(h), lambda s: 0.5 * s / below),
                ("conv2", "identity", quotient, lambda s: 0.5 * s),
            ]
        }


class Interpolated(Network):
    """Torch's ``lerp`` with a learned weight between two branches."""

    def middle(self, h):
        weight = torch.sigmoid(self.gate.bias).view(6, 1, 1)
        return torch.lerp(self.conv2(h), self.conv3(h), weight)


class BilinearPooling(Network):
    """Products of every two channels: no layer, and named."""

    def middle(self, h):
        pairs = torch.einsum("bchw,bdhw->bcd", h, self.conv2(h))
        return h * pairs.mean(2)[:, :, None, None]


class ChannelSpectrum(Network):
    """A Fourier transform over channels: no layer, and named."""

    def middle(self, h):
        return self.conv2(torch.fft.fft(h, dim=1).real)


NETWORKS = [
    NormalisedConcatenation, NestedConcatenation, ScaledAfterNonlinearity,
    NegatedProduct, SoftmaxGate, GatedLast, GatedFirst, HardGate, SwiGLU, BothBounded,
    GatedLinearUnit, Residual, Branches, StandardisedWeights, Einsum, Patches,
    Tensordot, Spectrum, Squared, Quotient,
]  # fmt: skip
OTHERS = [Shuffled, Interpolated]
NAMED = {
    BilinearPooling: "@einsum is no layer",
    ChannelSpectrum: "@fft_fft is no layer",
}


def make(network):
    """Return a network with statistics and weights of both signs, and its input."""
    torch.manual_seed(4)
    made = network()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.normal_(0, 1)
            module.bias.data.normal_(0, 0.3)
    return made.eval(), torch.randn(2, 3, 12, 12)
