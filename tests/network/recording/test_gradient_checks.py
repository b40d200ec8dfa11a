"""Networks without gradients are refused by the layer behind which they are broken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nnviz.errors import PlanError
from nnviz.network.recording.gradient_checks import check_gradients
from nnviz.network.recording.gradients import Explained
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.architecture import Architecture, Layer
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig


class Broken(nn.Module):
    """The gradient does not come through what `step` does."""

    def __init__(self, step):
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)
        self.step = step

    def forward(self, x):
        return self.head(torch.relu(self.second(self.step(torch.relu(self.first(x))))))


class Sorting(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sort(1).values

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError


class NoGradient(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)

    @torch.no_grad()
    def forward(self, x):
        return self.inner(x)


class Aside(nn.Module):
    """One of two branches leads to another output."""

    def __init__(self):
        super().__init__()
        self.aside, self.head = nn.Linear(4, 6), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x), self.aside(x)


def runtime(network, architecture=None):
    if architecture is None:
        architecture = trace(network.eval(), torch.rand(3, 4)).selected(shown=("*",))
    return NetworkRuntime(
        network,
        architecture,
        preprocessing=PreprocessingConfig(kind="array"),
        extraction=ExtractionConfig(targets="none", device="cpu"),
        explained=Explained("label"),
    )


VALUES = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "step",
    [
        torch.detach,
        NoGradient(),
        lambda x: nn.functional.one_hot(x.argmax(1), 6).to(x.dtype),
    ],
    ids=["detach", "no_grad", "argmax"],
)
def test_check__broken_gradient_is_refused_by_the_layer_before_it(step):
    with pytest.raises(PlanError, match=r"depend on layer 'first'.*no gradient"):
        check_gradients(runtime(Broken(step)), VALUES)


def test_check__operation_without_gradient_is_refused():
    with pytest.raises(
        PlanError, match=r"no gradients for relevance: .*NotImplemented"
    ):
        check_gradients(runtime(Broken(Sorting.apply)), VALUES)


def test_check__network_without_outputs_is_refused():
    network = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)))

    with pytest.raises(PlanError, match="not of shape"):
        check_gradients(runtime(network), VALUES)


def test_check__layer_without_a_way_to_the_outputs_is_told():
    # As a run file could name it; tracing leaves it out.
    layers = Layer("aside", "aside", "linear", 6), Layer("head", "head", "linear", 3)
    one = runtime(Aside().eval(), Architecture(layers, input_shape=(4,)))

    (note,) = check_gradients(one, VALUES)

    assert note == "relevance is 0 where no way leads to the outputs: aside"
    assert not one.run(VALUES).relevance["aside"]["product"].any()


def test_check__sound_network_needs_no_note():
    one = runtime(Broken(lambda x: x))

    assert check_gradients(one, VALUES) == ()
    # Five instances of float32: the outputs of all layers.
    assert one.graph_bytes(VALUES) == 5 * (6 + 5 + 3) * 4
