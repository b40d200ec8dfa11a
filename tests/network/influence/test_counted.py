"""Influences are looked for where positions count, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nnviz.network.influence import on_device
from nnviz.network.influence.channel_operations import Convolution, Identity, Linear
from nnviz.network.influence.inputs import EdgeInput, Strongest
from nnviz.network.influence.strongest_sources import strongest_sources
from tests.network.influence.test_at_peaks import largest
from tests.network.influence.test_strongest_sources import convolutions, ranked
from tests.oracles import influence as oracle


def counted_like(parts, seed):
    """Which positions count, (n, positions): at least one of each instance."""
    rng = np.random.default_rng(seed)
    counted = rng.random((len(parts), parts.shape[3])) < 0.5
    counted[np.arange(len(parts)), rng.integers(parts.shape[3], size=len(parts))] = True
    return counted


def by_counted(parts, counted, ranks, extremum):
    """Rank the contributions (n, sources, targets, positions) of what counts."""
    found = {}
    for n, own in enumerate(counted):
        values = oracle.influences(parts[n : n + 1][..., own], extremum)[0]
        for target, row in enumerate(values):
            sources = dict(enumerate(row))
            found[n, target] = oracle.strongest(sources, ranks, extremum)
    return found


def on_another_device(edge, ranks, extremum):
    """What a GPU computes, on the CPU."""
    every = strongest_sources([edge], ranks=ranks)
    shape = every.source.shape
    result = Strongest(
        every.instance, every.target,
        np.full(shape, -1, np.int32), np.zeros(shape, np.float32),
    )  # fmt: skip
    on_device.rank([edge], result, extremum, 2**20)
    if extremum == "min":
        np.negative(result.influence, out=result.influence, where=result.source >= 0)
    return result


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.slow
@given(
    convolutions(),
    st.integers(1, 7),
    st.sampled_from(["max", "min"]),
    st.sampled_from([1, 2]),
    st.integers(0, 1000),
)
def test_influence__of_any_convolution_is_that_of_what_counts(
    drawn, ranks, extremum, threads, seed
):
    module, operation, x = drawn
    parts = oracle.contributions(module, x)
    counted = counted_like(parts, seed)
    edge = EdgeInput(x, operation, counted=torch.from_numpy(counted))
    expected = by_counted(parts, counted, ranks, extremum)

    found = strongest_sources([edge], ranks=ranks, extremum=extremum, threads=threads)

    assert ranked(found) == expected
    assert ranked(on_another_device(edge, ranks, extremum)) == expected


@pytest.mark.parametrize("extremum", ["max", "min"])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("n_positions", [3, 40, 700])
def test_influence__of_long_rows_is_that_of_what_counts(kernel, n_positions, extremum):
    generator = torch.Generator().manual_seed(n_positions)
    module = nn.Conv1d(9, 12, kernel, padding=kernel // 2, bias=False)
    module.weight.data = torch.randint(-3, 4, module.weight.shape).float()
    operation = Convolution(module.weight.detach().clone(), padding=kernel // 2)
    x = torch.randint(-4, 5, (3, 9, n_positions), generator=generator).float()
    parts = oracle.contributions(module, x)
    counted = counted_like(parts, 1)

    found = strongest_sources(
        [EdgeInput(x, operation, counted=torch.from_numpy(counted))], extremum=extremum
    )

    assert ranked(found) == by_counted(parts, counted, 5, extremum)


@pytest.mark.parametrize("extremum", ["max", "min"])
def test_influence__of_linear_maps_and_sums_is_that_of_what_counts(extremum):
    generator = torch.Generator().manual_seed(4)
    x, y = (
        torch.randint(-5, 6, (3, 6, 11), generator=generator).float() for _ in range(2)
    )
    weight = torch.randint(-3, 4, (6, 6), generator=generator).float()
    scale = torch.randint(-3, 4, (6,), generator=generator).float()
    linear = nn.Linear(6, 6, bias=False)
    linear.weight.data = weight
    first = oracle.contributions(linear, x)
    second = np.zeros((3, 6, 6, 11))
    for channel in range(6):
        second[:, channel, channel] = (y[:, channel] * scale[channel]).numpy()
    parts = np.concatenate([first, second], 1)
    counted = counted_like(parts, 2)
    mask = torch.from_numpy(counted)
    numbers = np.arange(6, 12, dtype=np.int32)
    edges = [
        EdgeInput(x, Linear(weight), counted=mask),
        EdgeInput(y, Identity(scale), sources=numbers, counted=mask),
    ]

    found = strongest_sources(edges, ranks=4, extremum=extremum)

    assert ranked(found) == by_counted(parts, counted, 4, extremum)


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(1, 7), st.integers(0, 1000))
def test_peak_influence__is_at_the_peak_of_what_counts(drawn, ranks, seed):
    module, operation, x = drawn
    parts = oracle.contributions(module, x)
    counted = counted_like(parts, seed)
    total = np.where(counted[:, None], parts.sum(1), -np.inf)
    peaks = total.argmax(2)
    full = np.take_along_axis(parts, peaks[:, None, :, None], 3)[..., 0].swapaxes(1, 2)

    found = strongest_sources(
        [EdgeInput(x, operation, counted=torch.from_numpy(counted))],
        ranks=ranks,
        signal="peak",
    )

    assert ranked(found) == largest(full, ranks)


def test_influence__of_an_instance_of_which_nothing_counts_is_nothing():
    counted = torch.zeros(1, 5, dtype=torch.bool)
    for operation in (
        Linear(torch.ones(2, 3)), Identity(), Convolution(torch.ones(2, 3, 1)),
    ):  # fmt: skip
        edge = EdgeInput(torch.ones(1, 3, 5), operation, counted=counted)
        assert (strongest_sources([edge]).source == -1).all()
