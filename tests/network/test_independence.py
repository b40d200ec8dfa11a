"""Values of an instance must depend neither on its neighbours nor on chance."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnviz.errors import ModelError
from nnviz.network.tracing import trace


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.kernel = nn.Linear(6, 36)
        self.classifier = nn.Linear(6, 4)
        self.norm = nn.BatchNorm2d(6)

    def middle(self, h):
        return self.conv2(h)

    def after(self, y):
        return y

    def forward(self, x):
        h = F.relu(self.middle(F.relu(self.conv1(x))))
        return self.after(self.classifier(h.mean((2, 3))))


class Statistics(Network):
    def middle(self, h):
        return F.batch_norm(self.conv2(h), None, None, training=True)


class ByHand(Network):
    def middle(self, h):
        h = self.conv2(h)
        return (h - h.mean((0, 2, 3), keepdim=True)) / h.std((0, 2, 3), keepdim=True)


class Training(Network):
    """A part of the network that stays in training mode."""

    def middle(self, h):
        return self.norm.train()(self.conv2(h))


class Faint(Network):
    """A share of 1e-5 of the batch's mean."""

    def middle(self, h):
        h = self.conv2(h)
        return h + 1e-5 * h.mean(0, keepdim=True)


class Weights(Network):
    def middle(self, h):
        return F.conv2d(h, self.kernel(h.mean((0, 2, 3))).view(6, 6, 1, 1))


class Branch(Network):
    def middle(self, h):
        return self.conv2(h) if h.mean() > 0.25 else h + 1


class OutputOnly(Network):
    def after(self, y):
        return y - y.mean(0)


class Dropout(Network):
    def after(self, y):
        return F.dropout(y, 0.5)


class Noise(Network):
    def after(self, y):
        return y + 1e-4 * torch.randn_like(y)


class NoiseWithin(Network):
    def middle(self, h):
        return self.conv2(h) + 1e-3 * torch.randn_like(h)


class Counting(Network):
    """Another answer every time that it is asked."""

    def after(self, y):
        self.n = getattr(self, "n", 0) + 1
        return y * self.n


@pytest.mark.parametrize(
    ("network", "place"),
    [
        (Statistics, "layer 'conv2'"),
        (ByHand, "layer"),
        (Training, "layer 'conv2'"),
        (Faint, "layer"),
        (Weights, "layer '@conv2d'"),
        (Branch, "layer"),
        (OutputOnly, "the network's output"),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_trace__refuses_what_depends_on_the_batch_and_names_the_place(network, place):
    x = torch.randn(2, 3, 12, 12)

    with pytest.raises(ModelError, match=f"company.*first at {place}.*, by [0-9]"):
        trace(network().eval(), x)


@pytest.mark.parametrize(
    ("network", "place"),
    [
        (Dropout, "the network's output"),
        (Noise, "the network's output"),
        (NoiseWithin, "layer 'conv2'"),
        (Counting, "layer 'classifier'"),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_trace__refuses_what_depends_on_chance_and_names_the_place(network, place):
    x = torch.randn(2, 3, 12, 12)

    with pytest.raises(ModelError, match=f"differ, first at {place} by [0-9]"):
        trace(network().eval(), x)


def test_trace__takes_sums_of_another_order_for_the_rounding_that_they_are():
    """Kernels for one instance and for several add up in other orders."""
    torch.manual_seed(0)
    layers = [nn.Linear(2048, 2048) for _ in range(6)]
    network = nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())])

    assert trace(network.eval(), 100 * torch.randn(2, 2048)).is_validated


def test_trace__never_validates_what_is_not_a_number():
    class NotANumber(Network):
        def after(self, y):
            return y * float("nan")

    architecture = trace(NotANumber().eval(), torch.randn(2, 3, 12, 12))

    assert not architecture.is_validated
