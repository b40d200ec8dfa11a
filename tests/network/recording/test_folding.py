"""Folding changes the rounding and the speed, nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnviz.errors import ModelError
from nnviz.network.recording.folding import optimize
from tests.network.odd_networks import make


def n_norms(network):
    return sum(
        isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules()
    )


class Pair(nn.Module):
    """A convolution whose output may be read by more than its normalisation."""

    def __init__(self, *, reads_twice=False, norms_twice=False):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.reads_twice, self.norms_twice = reads_twice, norms_twice
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.uniform_(self.norm.weight, -2, 2)

    def forward(self, x):
        y = self.conv(x)
        out = F.relu(self.norm(y))
        if self.reads_twice:
            out = out + y
        if self.norms_twice:
            out = self.norm(out)
        return out


@pytest.mark.parametrize(
    ("options", "left"),
    [({}, 0), ({"reads_twice": True}, 1), ({"norms_twice": True}, 1)],
    ids=["only the norm reads it", "the sum reads it too", "the norm is used twice"],
)
def test_optimize__folds_only_where_nothing_else_reads(options, left):
    network, x = Pair(**options).eval(), torch.randn(2, 2, 6, 6)

    folded = optimize(network, batch=x)

    assert n_norms(folded) == left
    with torch.no_grad():
        torch.testing.assert_close(folded(x), network(x))


@pytest.mark.parametrize("name", ["reused module", "generator", "U-Net", "option A"])
def test_optimize__gives_the_same_output(name):
    network, x = make(name)

    folded = optimize(network, batch=x)

    assert n_norms(folded) == 0
    with torch.no_grad():
        a, b = network(x), folded(x)
    a, b = (y["logits"] if isinstance(y, dict) else y for y in (a, b))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_optimize__leaves_the_network_as_it_was():
    network, x = make("option A")
    before = {name: value.clone() for name, value in network.state_dict().items()}

    optimize(network, batch=x)

    assert n_norms(network) == 1
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_optimize__weights_have_channels_last():
    network, x = make("option A")

    folded = optimize(network, batch=x)

    assert folded.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_optimize__nothing_is_changed_when_not_asked_for():
    network, x = make("option A")

    same = optimize(network, memory_format="contiguous", fold_batch_norm=False)

    with torch.no_grad():
        assert torch.equal(same(x), network(x))


def test_optimize__shared_weights_are_not_folded():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return self.b(self.norm(self.a(x)))

    network, x = Shared().eval(), torch.randn(2, 3)

    assert n_norms(optimize(network, batch=x)) == 1


def test_optimize__without_input_is_refused():
    network, _ = make("option A")

    with pytest.raises(ModelError, match="give architecture= or batch="):
        optimize(network)
