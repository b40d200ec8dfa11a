import pytest
import torch
from torch import nn

from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig


@pytest.mark.parametrize(("signal", "n_more"), [("max", 0), ("peak", 1)])
@pytest.mark.parametrize(
    ("norm", "n_passes"),
    [(nn.BatchNorm2d, 2), (nn.Identity, 1)],
    ids=["one to fold, one to analyse", "nothing to fold"],
)
def test_runtime__runs_the_network_no_more_than_it_has_to(
    norm, n_passes, signal, n_more
):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.ReLU()
    ).eval()
    architecture = trace(network, torch.rand(2, 3, 8, 8))
    batches = []
    # The runtime's copy of the network has the hook, too.
    network.register_forward_pre_hook(lambda module, given: batches.append(given))

    runtime = NetworkRuntime(
        network,
        architecture,
        preprocessing=PreprocessingConfig(),
        extraction=ExtractionConfig(signal=signal),
    )

    # Where peaks can be read is tried once more.
    assert len(batches) == n_passes + n_more
    assert architecture.edges
    assert runtime.architecture == architecture
