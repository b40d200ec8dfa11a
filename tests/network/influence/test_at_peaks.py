"""Contributions at the target's peak: they are signed, and nothing is lost."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnviz.network.influence import on_device as influence_torch
from nnviz.network.influence.at_peaks import rank_peaks_on_device
from nnviz.network.influence.channel_operations import Convolution, Identity, Linear
from nnviz.network.influence.inputs import EdgeInput, Strongest
from nnviz.network.influence.strongest_sources import strongest_sources
from tests.network.influence.test_strongest_sources import (
    convolutions,
    ranked,
)
from tests.oracles import influence as oracle


def at_peaks(parts):
    """Return the contributions (n, targets, sources) where their sum is largest."""
    peaks = parts.sum(1).argmax(2)
    return np.take_along_axis(parts, peaks[:, None, :, None], 3)[..., 0].swapaxes(1, 2)


def largest(full, ranks):
    """Rank by size, one pair after the other, and keep the signs."""
    found = {}
    for n, targets in enumerate(full.tolist()):
        for target, row in enumerate(targets):
            order = sorted(range(len(row)), key=lambda i: (-abs(row[i]), i))
            kept = [(i, row[i]) for i in order[:ranks] if row[i] != 0]
            found[n, target] = kept + [(-1, 0.0)] * (ranks - len(kept))
    return found


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(1, 7), st.sampled_from(["max", "min"]))
def test_peak_influence__of_any_convolution_is_the_definition(drawn, ranks, extremum):
    module, operation, x = drawn
    full = at_peaks(oracle.contributions(module, x))

    found = strongest_sources(
        [EdgeInput(x, operation)], ranks=ranks, signal="peak", extremum=extremum
    )

    assert ranked(found) == largest(full, ranks)


@settings(max_examples=30, deadline=None)
@given(convolutions(), st.integers(1, 7))
def test_peak_influence__by_operations_of_a_device_is_the_same(drawn, ranks):
    _, operation, x = drawn
    edge = EdgeInput(x, operation)
    found = strongest_sources([edge], ranks=ranks, signal="peak")
    positions = influence_torch.peak_positions([edge], found.instance, found.target)
    again = Strongest(
        found.instance,
        found.target,
        np.full_like(found.source, -1),
        np.zeros_like(found.influence),
        np.zeros_like(found.remainder),
    )

    rank_peaks_on_device([edge], again, positions, workspace=1000)

    assert np.array_equal(again.source, found.source)
    assert np.array_equal(again.influence, found.influence)
    np.testing.assert_allclose(again.remainder, found.remainder, rtol=1e-6, atol=1e-6)


@pytest.fixture
def block():
    """Return a residual block's last step: module, edges, and its pre-activation."""
    generator = torch.Generator().manual_seed(8)
    x, y = (torch.randn(3, 6, 7, 7, generator=generator) for _ in range(2))
    module = nn.Conv2d(6, 6, 3, padding=1)
    norm = nn.BatchNorm2d(6).eval()
    norm.running_mean.normal_(generator=generator)
    norm.running_var.uniform_(0.5, 2, generator=generator)
    norm.weight.data.normal_(generator=generator)
    with torch.no_grad():
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = module.weight * factor[:, None, None, None]
        bias = (module.bias - norm.running_mean) * factor + norm.bias
        total = (norm(module(x)) + y).flatten(2).numpy()
    convolution = Convolution(weight, bias, padding=1)
    sources = np.arange(6, 12, dtype=np.int32)
    edges = [EdgeInput(x, convolution), EdgeInput(y, Identity(), sources=sources)]
    return edges, bias.numpy(), total


def test_peak_influence__by_operations_of_a_device__over_edges_of_two_kinds(block):
    edges, _, total = block
    edges = [edges[0], replace(edges[1], targets=np.array([3, -1, 0, 5, 1, -1]))]
    position = total.argmax(2).ravel()
    pairs = np.repeat(np.arange(3), 6), np.tile(np.arange(6), 3)
    found = strongest_sources(edges, pairs, ranks=4, signal="peak", positions=position)
    again = Strongest(
        *pairs,
        np.full((18, 4), -1, np.int32),
        np.zeros((18, 4), np.float32),
        np.zeros(18, np.float32),
    )

    rank_peaks_on_device(edges, again, position, workspace=1000)

    assert np.array_equal(again.source, found.source)
    np.testing.assert_allclose(again.influence, found.influence, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again.remainder, found.remainder, rtol=1e-5, atol=1e-5)


def test_peak_influence__finds_the_peak_of_the_sum_of_all_edges(block):
    edges, _, total = block

    found = strongest_sources(edges, signal="peak", ranks=12)

    position = total.argmax(2)[found.instance, found.target]
    given_positions = strongest_sources(
        edges, signal="peak", ranks=12, positions=position
    )
    assert np.array_equal(found.source, given_positions.source)
    assert np.array_equal(found.influence, given_positions.influence)


@pytest.mark.parametrize("ranks", [1, 3, 12])
def test_peak_influence__and_its_remainder_add_up_to_the_preactivation(block, ranks):
    edges, _, total = block

    found = strongest_sources(edges, signal="peak", ranks=ranks)

    sums = (found.influence.sum(1) + found.remainder).reshape(3, 6)
    np.testing.assert_allclose(sums, total.max(2), rtol=1e-5, atol=1e-5)


def test_peak_influence__keeps_the_remainder_of_channels_that_are_no_sources(block):
    edges, _, total = block
    edges[1] = EdgeInput(edges[1].x, Identity(), sources=np.full(6, -1, dtype=np.int32))

    found = strongest_sources(edges, signal="peak", ranks=3)

    assert found.source.max() < 6
    sums = (found.influence.sum(1) + found.remainder).reshape(3, 6)
    np.testing.assert_allclose(sums, total.max(2), rtol=1e-5, atol=1e-5)


def test_peak_positions__are_the_first_of_equal_ones():
    x = torch.tensor([[[0.0, 5.0, 5.0]]])
    edge = EdgeInput(x, Linear(torch.tensor([[2.0]])))

    positions = influence_torch.peak_positions([edge], np.array([0]), np.array([0]))

    assert positions.tolist() == [1]


@pytest.mark.parametrize("values_together", [1, 2**22])
def test_peak_positions__of_many_instances_are_those_of_sums_in_float64(
    monkeypatch, values_together
):
    monkeypatch.setattr(influence_torch, "VALUES_TOGETHER", values_together)
    rng = np.random.default_rng(8)
    x, side = (rng.normal(size=(5, n, 3, 4)).astype("f4") for n in (7, 4))
    weight, bias = rng.normal(size=(6, 7)).astype("f4"), rng.normal(size=6)
    counted = rng.random((5, 12)) < 0.6
    where = torch.from_numpy(counted)
    linear = Linear(torch.from_numpy(weight), torch.from_numpy(bias).float())
    edges = [
        EdgeInput(torch.from_numpy(x), linear, counted=where),
        EdgeInput(
            torch.from_numpy(side).movedim(1, 3).contiguous().movedim(3, 1),
            Identity(),
            targets=np.array([5, 0, 3, 1], np.int32),
            counted=where,
        ),
    ]
    # Not sorted, not of every instance, and not as many of each.
    instance = np.array([4, 0, 4, 1, 4, 0, 1, 4])
    target = np.array([2, 5, 0, 1, 3, 4, 3, 1])

    positions = influence_torch.peak_positions(edges, instance, target)

    total = np.einsum("ts,nszy->ntzy", weight.astype(float), x) + bias[:, None, None]
    total[:, [5, 0, 3, 1]] += side
    total = total.reshape(5, 6, 12)
    total = np.where(counted[:, None], total, -np.inf)
    assert positions.tolist() == total[instance, target].argmax(1).tolist()


def test_peak_influence__needs_no_positions_for_a_dense_layer():
    x = torch.tensor([[1.0, -2.0]])
    edge = EdgeInput(x, Linear(torch.tensor([[3.0, 1.0], [1.0, -4.0]])))

    found = strongest_sources([edge], signal="peak", ranks=2)

    assert ranked(found) == {
        (0, 0): [(0, 3.0), (1, -2.0)],
        (0, 1): [(1, 8.0), (0, 1.0)],
    }


def test_peak_influence__does_not_depend_on_the_workspace(block):
    edges, _, _ = block

    usual = strongest_sources(edges, signal="peak")
    little = strongest_sources(edges, signal="peak", workspace=1)

    assert np.array_equal(usual.source, little.source)
    assert np.array_equal(usual.influence, little.influence)
