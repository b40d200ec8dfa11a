"""Networks whose factors differ by position, or come from no channels that are known.

``entering(x)`` is that of :mod:`tests.network.affine_networks`.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tests.network.affine_networks import Network


class Varying(Network):
    def __init__(self):
        super().__init__()
        self.register_buffer("plane", torch.randn(12, 12))
        self.register_buffer("stack", torch.randn(6, 12, 12))
        self.register_buffer("hidden", torch.rand(12, 12) > 0.6)


class FixedScale(Varying):
    """One number a position, of both signs, before the non-linearity."""

    def middle(self, h):
        return F.relu(self.conv2(h) * self.plane)

    def entering(self, x):
        y = self.conv2(self.first(x))
        return {"@mul": [("conv2", "identity", y, lambda s: s * self.plane)]}


class ScaleOfEveryElement(Varying):
    """Numbers that differ by channel and position, then normalised."""

    def middle(self, h):
        return self.norm(F.relu(self.conv2(h)) / self.stack)

    def entering(self, x):
        y = self.conv2(self.first(x)).relu()
        return {"@div": [("conv2", "identity", y, lambda s: self.norm(s / self.stack))]}


class HiddenPlaces(Varying):
    """A fixed mask, in a residual branch."""

    def middle(self, h):
        return self.conv2(h).masked_fill(self.hidden, 0.0) + h

    def entering(self, x):
        y = self.conv2(self.first(x))
        return {
            "@masked_fill": [
                ("conv2", "identity", y, lambda s: s * (~self.hidden).double())
            ]
        }


class Checkerboard(Varying):
    """Signs that alternate along an axis, between two convolutions."""

    def middle(self, h):
        return self.conv3(self.conv2(h) * (-1.0) ** torch.arange(12))

    def entering(self, x):
        signs = (-1.0) ** torch.arange(12)
        y = self.conv2(self.first(x))
        return {
            "@mul": [("conv2", "identity", y, lambda s: s * signs)],
            "conv3": [("@mul", "convolution", y * signs, self.conv3)],
        }


class GateOfNoChannel(Varying):
    """A bounded gate made from the mean of all channels."""

    def middle(self, h):
        return self.conv2(h) * torch.sigmoid(h.mean(1, keepdim=True))

    def entering(self, x):
        h = self.first(x)
        gate = torch.sigmoid(h.mean(1, keepdim=True))
        return {"@mul": [("conv2", "identity", self.conv2(h), lambda s: s * gate)]}


class GateOfItself(Varying):
    """A gate made from all channels of what it gates."""

    def middle(self, h):
        y = self.conv2(h)
        return y * torch.sigmoid(y.sort(1).values)

    def entering(self, x):
        y = self.conv2(self.first(x))
        gate = torch.sigmoid(y.sort(1).values)
        return {"@mul": [("conv2", "identity", y, lambda s: s * gate)]}


class Threshold(Varying):
    """A mask made from the input: a gate that is open or shut."""

    def middle(self, h):
        return self.conv2(h) * (h.amax(1, keepdim=True) > 0.5)

    def entering(self, x):
        h = self.first(x)
        mask = (h.amax(1, keepdim=True) > 0.5).double()
        return {"@mul": [("conv2", "identity", self.conv2(h), lambda s: s * mask)]}


class FixedChoice(Varying):
    """Torch's ``where`` with a fixed mask, in a residual branch."""

    def middle(self, h):
        return torch.where(self.hidden, self.conv2(h), 0.0) + h

    def entering(self, x):
        y = self.conv2(self.first(x))
        return {
            "@where": [("conv2", "identity", y, lambda s: s * self.hidden.double())]
        }


class FixedChoiceReversed(FixedChoice):
    """The zeros first, as a method, behind a non-linearity."""

    def middle(self, h):
        zeros = torch.zeros((), dtype=h.dtype)
        return zeros.where(~self.hidden, F.relu(self.conv2(h)))

    def entering(self, x):
        y = self.conv2(self.first(x)).relu()
        return {
            "@where": [("conv2", "identity", y, lambda s: s * self.hidden.double())]
        }


class ChosenChannels(Varying):
    """Whole channels are chosen: a scale of one or zero."""

    def middle(self, h):
        return torch.where(torch.arange(6).view(6, 1, 1) > 2, self.conv2(h), 0.5)

    def entering(self, x):
        def step(s):
            return self.conv2(s) * (torch.arange(6) > 2).double().view(6, 1, 1)

        return {"conv2": [("conv1", "convolution", self.first(x), step)]}


class ScaledProduct(Varying):
    """A matrix product with factors for its two parts, over rows of positions."""

    def middle(self, h):
        rows = h.permute(0, 2, 3, 1).reshape(-1, 6)
        weight, bias = self.gate.weight.t(), self.gate.bias
        rows = torch.addmm(bias, rows, weight, beta=-0.5, alpha=2.0)
        return rows.view(len(h), 12, 12, 6).permute(0, 3, 1, 2)

    def entering(self, x):
        def step(s):
            return 2 * torch.einsum("bchw,oc->bohw", s, self.gate.weight)

        return {"@addmm": [("conv1", "linear", self.first(x), step)]}


class Wide(Varying):
    """A part of the network computes in float64."""

    def middle(self, h):
        y = F.conv2d(h.double(), self.conv2.weight.double(), padding=1)
        return y.to(self.conv1.weight.dtype)

    def entering(self, x):
        def step(s):
            return F.conv2d(s, self.conv2.weight, padding=1)

        return {"@conv2d": [("conv1", "convolution", self.first(x), step)]}


class ReversedProduct(Varying):
    """A channel times another one of the same layer."""

    def middle(self, h):
        y = self.conv2(h)
        return y * y.flip(1)

    def entering(self, x):
        y = self.conv2(self.first(x))

        def both(s):
            return 0.5 * s * y.flip(1) + 0.5 * y * s.flip(1)

        return {"@mul": [("conv2", "identity", y, both)]}


class NoChannels(Varying):
    """A part of a concatenation is empty."""

    def middle(self, h):
        return self.conv2(torch.cat([h[:, :0], h], 1))

    def entering(self, x):
        return {"conv2": [("conv1", "convolution", self.first(x), self.conv2)]}


class ChoiceByTheInput(Threshold):
    """Torch's ``where`` with a mask made from the input."""

    def middle(self, h):
        return torch.where(h.amax(1, keepdim=True) > 0.5, self.conv2(h), 0.0)

    def entering(self, x):
        return {"@where": super().entering(x)["@mul"]}


class FilledChoice(Varying):
    """What is not chosen is no zero."""

    def middle(self, h):
        return torch.where(self.hidden, self.conv2(h), 3.0)


class FilledMask(Varying):
    def middle(self, h):
        return self.conv3(self.conv2(h).masked_fill(self.hidden, -2.0))


class ChoiceOfTwo(Varying):
    def middle(self, h):
        return torch.where(self.hidden, self.conv2(h), self.conv3(h))


class SumOfAllChannels(Varying):
    """To every channel the sum of all channels of another layer is added."""

    def middle(self, h):
        return F.relu(self.conv2(h) + h.sum(1, keepdim=True))


class ShiftedSelf(Varying):
    """A layer is added to itself, a position further on."""

    def middle(self, h):
        y = self.conv2(h)
        return F.relu(y + y.roll(1, 2))


class ReversedSelf(Varying):
    """A layer is taken from itself, channels turned over."""

    def middle(self, h):
        y = self.conv2(h)
        return F.relu(y - y.flip(1))


class ComplexPhase(Varying):
    """A layer itself, with no transform, is turned by a phase of every position."""

    def middle(self, h):
        phase = torch.exp(1j * torch.arange(12))
        return F.relu((self.conv2(h) * phase).real)


class FactorOfNoChannel(Varying):
    """No gate: half of the product is that of a factor that has no channels."""

    def middle(self, h):
        return self.conv2(h) * h.mean(1, keepdim=True)


class RunningSum(Varying):
    def middle(self, h):
        return self.conv2(h).cumsum(2)


class SumOverChannels(Varying):
    def middle(self, h):
        return self.conv3(self.conv2(h).cumsum(1))


class WeightsFromTheInput(Varying):
    """A small network makes the weights of another one."""

    def __init__(self):
        super().__init__()
        self.hyper = nn.Linear(6, 36)

    def middle(self, h):
        weights = self.hyper(h.mean((2, 3))).view(-1, 6, 6)
        return torch.einsum("bij,bjhw->bihw", weights, h)


class Involution(Varying):
    """Kernels that the input makes, one for each position."""

    def __init__(self):
        super().__init__()
        self.kernels = nn.Conv2d(6, 54, 1)

    def middle(self, h):
        patches = F.unfold(h, 3, padding=1).view(-1, 6, 9, 144)
        kernels = self.kernels(h).view(-1, 6, 9, 144)
        return (patches * kernels).sum(2).view_as(h)


class ComplexProduct(Varying):
    def middle(self, h):
        return (torch.complex(self.conv2(h), h) * torch.complex(h, -h)).real


class ShiftedGroups(Varying):
    """Each group of channels is shifted its own way, then all are mixed."""

    def middle(self, h):
        a, b, c = h.chunk(3, 1)
        shifted = torch.cat([a.roll(1, 2), b.roll(-1, 3), c], 1)
        return self.conv3(shifted) + h

    def entering(self, x):
        h = self.first(x)
        shifted = torch.cat([h[:, :2].roll(1, 2), h[:, 2:4].roll(-1, 3), h[:, 4:]], 1)
        return {
            "@add": [
                ("conv1", "convolution", shifted, lambda s: self.conv3(s) + h),
                ("conv1", "identity", h, lambda s: self.conv3(shifted) + s),
            ]
        }


class TiedWeights(Varying):
    """One convolution twice, and once more with its weights transposed."""

    def middle(self, h):
        y = F.relu(self.conv2(F.relu(self.conv2(h))))
        return F.conv2d(y, self.conv2.weight.transpose(0, 1), padding=1)

    def entering(self, x):
        return {"conv2": [("conv1", "convolution", self.first(x), self.conv2)]}


class LocalAttention(Varying):
    """Every position sees those near it: a mask of its own."""

    def middle(self, h):
        rows = h.flatten(2).transpose(1, 2)
        place = torch.arange(144)
        far = (place[:, None] - place).abs() > 5
        pattern = (self.gate(rows) @ rows.transpose(1, 2)).masked_fill(far, -1e9)
        seen = pattern.softmax(-1) @ rows
        return self.conv3(seen.transpose(1, 2).view_as(h))

    def entering(self, x):
        rows = self.first(x).flatten(2).transpose(1, 2)
        place = torch.arange(144)
        far = (place[:, None] - place).abs() > 5
        pattern = (self.gate(rows) @ rows.transpose(1, 2)).masked_fill(far, -1e9)
        seen = (pattern.softmax(-1) @ rows).transpose(1, 2).unflatten(2, (12, 12))
        return {"conv3": [("conv1", "convolution", seen, self.conv3)]}


VALIDATED = [
    FixedScale, ScaleOfEveryElement, HiddenPlaces, Checkerboard, ShiftedGroups,
    TiedWeights, LocalAttention, FixedChoice, FixedChoiceReversed, ChosenChannels,
    ScaledProduct, Wide, ReversedProduct, NoChannels,
]  # fmt: skip
GATED = {
    GateOfNoChannel: "the gate at @mul: @mul reads the result of mean at @mean",
    GateOfItself: "the gate at @mul: @mul reads the result of sort at @sort",
    Threshold: "the gate at @mul: @mul reads the result of amax at @amax",
    ChoiceByTheInput: "the gate at @where: @where reads the result of amax at @amax",
}
REFUSED = {
    FactorOfNoChannel: "into '@mul' is not available: @mul reads the result of mean",
    RunningSum: "reads the result of cumsum at @cumsum",
    SumOverChannels: "into 'conv3' is not available: .*result of cumsum at @cumsum",
    WeightsFromTheInput: "@einsum is no layer",
    Involution: "into '@mul' is not available: @mul reads the result of view at @view",
    FilledChoice: "into '@where' is not available: @where calls where",
    FilledMask: "into '@masked_fill' is not available: @masked_fill calls masked_fill",
    ChoiceOfTwo: "into '@where' is not available: @where calls where",
    SumOfAllChannels: "into '@add' is not available: @add reads the result of sum",
    ShiftedSelf: "@add adds the result of conv2d at conv2@conv2d in an unknown way",
    ReversedSelf: "@sub adds the result of conv2d at conv2@conv2d in an unknown way",
    ComplexPhase: "@mul.2 is no layer: mul multiplies by complex numbers",
    ComplexProduct: "reads the result of complex at @complex",
}
