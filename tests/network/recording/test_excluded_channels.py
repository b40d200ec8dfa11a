"""Excluded channels count nowhere: not as targets, not as sources, not in ranks."""

import numpy as np
import pytest
import torch
from torch import nn

from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig

EXCLUDED = {"0": (1, 4), "2": (0, 3)}


def run(excluded, **options):
    """Return the influences on layer ``2`` of a network of two convolutions."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU()
    ).eval()
    rows = np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3), dtype=np.uint8)
    x = torch.from_numpy(rows).float().movedim(-1, 1) / 255
    runtime = NetworkRuntime(
        network,
        trace(network, x[:2]),
        preprocessing=PreprocessingConfig(),
        extraction=ExtractionConfig(
            excluded_channels=excluded, ranks=6, share=1.0, **options
        ),
    )
    with runtime.recording(0) as recording:
        return recording.run(rows, valid=np.ones(4, bool)).influences["2"]


@pytest.mark.parametrize("targets", ["top", "all"])
@pytest.mark.parametrize("signal", ["max", "peak"])
def test_excluded_channels__are_no_sources_no_targets_and_take_no_rank(targets, signal):
    everything = run({}, targets=targets, signal=signal)
    found = run(EXCLUDED, targets=targets, signal=signal)

    assert set(found.target.tolist()) <= {1, 2, 4}
    assert not np.isin(found.source, EXCLUDED["0"]).any()
    expected = {
        (n, target): [s for s in sources if s >= 0 and s not in EXCLUDED["0"]]
        for n, target, sources in zip(
            everything.instance.tolist(),
            everything.target.tolist(),
            everything.source.tolist(),
            strict=True,
        )
        if target not in EXCLUDED["2"]
    }
    ranked = {
        (n, target): [s for s in sources if s >= 0]
        for n, target, sources in zip(
            found.instance.tolist(),
            found.target.tolist(),
            found.source.tolist(),
            strict=True,
        )
    }
    assert ranked == expected


def test_excluded_channels__stay_in_the_remainder_of_a_peak():
    everything = run({}, targets="all", signal="peak")
    found = run({"0": (1, 4)}, targets="all", signal="peak")

    whole = everything.influence.sum(1) + everything.remainder
    np.testing.assert_allclose(
        found.influence.sum(1) + found.remainder, whole, rtol=1e-5, atol=1e-6
    )
