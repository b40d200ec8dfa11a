"""Exported programs: the same layers, the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nnviz.errors import ModelError
from nnviz.inputs.models.loading import load_model
from nnviz.network.recording.recorder import Recorder
from nnviz.network.tracing import trace
from nnviz.planning.planning import plan_run
from nnviz.runs.config import (
    DatasetConfig,
    ExtractionConfig,
    ModelConfig,
    PreprocessingConfig,
    RunConfig,
)


class Net(nn.Module):
    """Normalisation, a residual sum, pooling, a concatenation, and interpolation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.mix = nn.Conv2d(16, 4, 1)
        self.head = nn.Linear(4, 5)
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)

    def forward(self, x):
        a = torch.relu_(self.norm(self.conv(x)))
        b = a + self.inner(a)
        pooled = [functional.max_pool2d(b, 2), functional.avg_pool2d(a, 2)]
        c = functional.silu(self.mix(torch.cat(pooled, 1)))
        c = functional.interpolate(c, scale_factor=2.0)[:, :, 1:]
        return self.head(functional.adaptive_avg_pool2d(c, 1).flatten(1))


def export(network, path, *, decomposed=False, batch=None):
    program = torch.export.export(
        network,
        (torch.randn(2, 3, 8, 8) if batch is None else batch,),
        dynamic_shapes=({0: torch.export.Dim.AUTO},),
    )
    if decomposed:
        program = program.run_decompositions()
    torch.export.save(program, path)
    return str(path)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Net().eval()


pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:torch", "ignore::FutureWarning"
)


@pytest.mark.parametrize("decomposed", [False, True], ids=["plain", "decomposed"])
@pytest.mark.slow
def test_exported_program__has_the_layers_and_maxima_of_its_module(
    network, tmp_path, decomposed
):
    source = export(network, tmp_path / "net.pt2", decomposed=decomposed)
    batch = torch.randn(2, 3, 8, 8)

    loaded = load_model(ModelConfig(source), trust=True)
    found, wanted = trace(loaded.module, batch), trace(network, batch)

    assert [layer.kind for layer in found.layers] == [
        layer.kind for layer in wanted.layers
    ]
    assert (len(found.edges), found.problems) == (len(wanted.edges), ())
    batch = torch.randn(5, 3, 8, 8)
    with Recorder(loaded.module, found) as ours, Recorder(network, wanted) as theirs:
        captured, expected = ours.run(batch), theirs.run(batch)
    for one, other in zip(found.layers, wanted.layers, strict=True):
        torch.testing.assert_close(
            captured.activations[one.name], expected.activations[other.name]
        )


def test_exported_program__can_be_planned(network, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((6, 3, 8, 8)))

    plan, _ = plan_run(
        RunConfig(
            model=ModelConfig(export(network, tmp_path / "net.pt2")),
            dataset=DatasetConfig("arrays", path=str(tmp_path / "x.npy")),
            preprocessing=PreprocessingConfig(kind="array"),
            extraction=ExtractionConfig(batch_size=4, device="cpu"),
        ),
        trust=True,
    )

    assert [layer.n_channels for layer in plan.architecture.layers] == [8, 8, 16, 4, 5]
    assert len(plan.architecture.edges) == 6


def test_exported_program__keeps_operators_that_nothing_replaces(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return torch.special.bessel_j0(self.head(x)).cummax(1).values

    network = Odd().eval()
    source = export(network, tmp_path / "net.pt2", batch=torch.randn(2, 4))
    batch = torch.randn(2, 4)

    loaded = load_model(ModelConfig(source), trust=True)

    torch.testing.assert_close(loaded.module(batch), network(batch))


def test_exported_program__of_one_number_of_instances_says_how_to_export(tmp_path):
    program = torch.export.export(nn.Linear(4, 2), (torch.randn(3, 4),))
    torch.export.save(program, tmp_path / "net.pt2")

    with pytest.raises(ModelError, match=r"batches of 3 instances .* dynamic_shapes"):
        load_model(ModelConfig(str(tmp_path / "net.pt2")), trust=True)


def test_exported_program__that_is_damaged_says_so(tmp_path):
    (tmp_path / "net.pt2").write_bytes(b"no archive")

    with pytest.raises(ModelError, match="cannot read the exported program"):
        load_model(ModelConfig(str(tmp_path / "net.pt2")), trust=True)
