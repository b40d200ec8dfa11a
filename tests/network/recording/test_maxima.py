"""Maxima over positions, bit by bit, and the rule of the top channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nnviz.errors import ShapeError
from nnviz.network.recording.maxima import channel_activations, relu_activations
from nnviz.network.top_channels import top_channels

SHAPES = [(2, 3, 5, 7), (3, 16, 4, 4), (1, 1, 1, 1), (2, 33, 9), (2, 5, 3, 3, 3)]


def plain_maximum(values, channel_axis):
    rows = values.movedim(channel_axis, 1).flatten(2)
    return torch.stack([row.T.max(0).values for row in rows]).float()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_channel_activations__equal_the_maximum_bit_by_bit(shape, layout, dtype):
    torch.manual_seed(0)
    values = torch.randn(shape).to(dtype)
    if layout == "channels last":
        values = values.movedim(1, -1).contiguous().movedim(-1, 1)

    found = channel_activations(values)

    assert found.dtype == torch.float32
    assert torch.equal(found, plain_maximum(values, 1))


def test_channel_activations__channel_axis_last():
    values = torch.randn(2, 7, 4)

    assert torch.equal(
        channel_activations(values, channel_axis=2), plain_maximum(values, 2)
    )


COUNTED = st.tuples(
    st.integers(1, 4), st.integers(1, 20), st.integers(1, 33), st.integers(0, 2**32 - 1)
)


def counted_case(case):
    """Values (N, C, P), what does not count is larger than all else or NaN."""
    n, n_positions, n_channels, seed = case
    rng = torch.Generator().manual_seed(seed)
    counted = torch.rand(n, n_positions, generator=rng) < 0.6
    values = torch.randn(n, n_channels, n_positions, generator=rng)
    junk = torch.where(
        torch.rand(n, 1, n_positions, generator=rng) < 0.5, 99, torch.nan
    )
    return torch.where(counted[:, None], values, junk), counted


def maxima_of_what_counts(values, counted):
    nothing = torch.full(values.shape[1:2], torch.nan)
    return torch.stack(
        [
            row[:, own].amax(1) if own.any() else nothing
            for row, own in zip(values, counted, strict=True)
        ]
    ).float()


def same(found, wanted):
    return torch.equal(found.isnan(), wanted.isnan()) and torch.equal(
        found.nan_to_num(), wanted.nan_to_num()
    )


@settings(max_examples=50, deadline=None)
@given(case=COUNTED, last=st.booleans(), dtype=st.sampled_from(["float32", "float64"]))
def test_channel_activations__look_at_what_counts_only(case, last, dtype):
    values, counted = counted_case(case)
    values = values.to(getattr(torch, dtype))
    given_values = values.movedim(1, -1).contiguous() if last else values

    found = channel_activations(
        given_values, channel_axis=2 if last else 1, counted=counted
    )

    assert same(found, maxima_of_what_counts(values, counted))


@settings(max_examples=50, deadline=None)
@given(case=COUNTED, last=st.booleans())
def test_relu_activations__look_at_what_counts_only_and_rectify_all(case, last):
    values, counted = counted_case(case)
    given_values = values.movedim(1, -1).contiguous() if last else values.clone()

    found, _ = relu_activations(
        given_values, channel_axis=2 if last else 1, counted=counted
    )

    rectified = given_values.movedim(-1, 1) if last else given_values
    assert same(rectified, torch.relu(values))
    assert same(found, maxima_of_what_counts(torch.relu(values), counted))


def test_channel_activations__what_counts_has_the_axes_of_the_positions():
    torch.manual_seed(0)
    values = torch.randn(2, 5, 3, 4)
    counted = torch.rand(2, 3, 4) < 0.5

    wanted = maxima_of_what_counts(values.flatten(2), counted.flatten(1))
    for axis in (1, 2, 3):
        moved = values.movedim(1, axis).contiguous()
        found = channel_activations(moved, channel_axis=axis, counted=counted)
        assert same(found, wanted)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("value", [float("nan"), -float("nan")], ids=["nan", "-nan"])
@pytest.mark.parametrize("position", [0, 5, 24])
def test_channel_activations__nan_goes_through(layout, value, position):
    values = torch.randn(2, 3, 5, 5)
    values.view(2, 3, 25)[1, 2, position] = value

    found = channel_activations(values.contiguous(memory_format=layout))

    assert found.isnan().nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_channel_activations__infinities_and_negative_maps(layout):
    values = -torch.rand(1, 2, 3, 3) - 1
    values[0, 1, 2, 2] = torch.inf

    found = channel_activations(values.contiguous(memory_format=layout))

    assert found[0, 0] == values[0, 0].max()
    assert found[0, 1] == torch.inf


def test_channel_activations__a_layer_without_positions_is_its_own():
    values = torch.randn(3, 4)

    assert torch.equal(channel_activations(values), values)


def test_channel_activations__no_positions_are_refused():
    with pytest.raises(ShapeError, match="has no positions"):
        channel_activations(torch.empty(2, 3, 0, 4))


def test_channel_activations__channels_on_the_instance_axis_are_refused():
    with pytest.raises(ShapeError, match="instances must be on axis 0"):
        channel_activations(torch.empty(2, 3), channel_axis=0)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 16, 40, 40), (2, 5, 3, 3, 3)])
def test_relu_activations__are_a_relu_and_its_maxima(shape):
    torch.manual_seed(0)
    values = torch.randn(shape).movedim(1, -1).contiguous().movedim(-1, 1)
    values.flatten(2)[0, 1] = -1
    values[0, 2].view(-1)[3] = -torch.inf
    values[-1, 0, 0, 1] = -float("nan")
    expected = torch.relu(values)

    found, since = relu_activations(values)

    assert torch.equal(values.nan_to_num(7), expected.nan_to_num(7))
    assert found.isnan().nonzero().tolist() == [[shape[0] - 1, 0]]
    assert torch.equal(found.nan_to_num(7), plain_maximum(expected, 1).nan_to_num(7))
    where = expected.nan_to_num(-1).flatten(2).argmax(2)
    is_known = ~found.isnan()
    assert (since >= 0).all()
    assert (since <= where)[is_known].all()
    assert (where - since)[is_known].max() < max(4, 2048 // shape[1])


@pytest.mark.parametrize("n_channels", [1, 3, 16, 24, 64, 96, 300])
@pytest.mark.parametrize("n_positions", [1, 5, 49, 1023, 1024])
def test_relu_activations__of_maps_of_any_size(n_channels, n_positions):
    torch.manual_seed(n_channels)
    # Few different values, so that maxima are at several positions.
    values = torch.randint(-3, 4, (3, n_positions, n_channels)).float()
    expected = torch.relu(values)

    found, since = relu_activations(values, channel_axis=2)

    assert torch.equal(values, expected)
    assert torch.equal(found, expected.amax(1))
    is_largest = expected == found[:, None]
    first = is_largest.int().argmax(1)
    assert (since <= first).all()


@pytest.mark.parametrize(
    "values",
    [torch.randn(2, 3, 5, 7), torch.randn(2, 3), torch.randn(2, 3, 4).bfloat16()],
    ids=["channels first", "no positions", "another type"],
)
def test_relu_activations__are_left_to_torch_elsewhere(values):
    before = values.clone()

    assert relu_activations(values) is None
    assert torch.equal(values, before)


def plain_top_channels(activations, *, share=None, count=None, excluded=()):
    """The rule of the definition, in plain loops."""
    selected = np.zeros(activations.shape, np.uint8)
    for row, values in enumerate(activations.astype(np.float64)):
        if not np.isfinite(values).all():
            continue
        pairs = [(-v, c) for c, v in enumerate(values) if v > 0 and c not in excluded]
        total = -sum(v for v, _ in pairs)
        reached = 0.0
        for taken, (v, c) in enumerate(sorted(pairs), start=1):
            selected[row, c] = 1
            reached -= v
            if taken == count or (share is not None and reached >= share * total):
                break
    return selected


halves = arrays.arrays(
    np.float16,
    st.tuples(st.integers(0, 6), st.integers(1, 90)),
    elements=st.one_of(
        st.just(0.0), st.just(1.0), st.floats(-4, 60_000, width=16), st.just(np.nan)
    ),
)


@settings(deadline=None, max_examples=60)
@given(halves, st.sampled_from([0.001, 0.03, 0.3, 0.5, 0.9, 1.0]))
def test_top_channels__share_rule_is_the_definition(activations, share):
    found = top_channels(activations, share=share)

    assert np.array_equal(found.toarray(), plain_top_channels(activations, share=share))


@settings(deadline=None, max_examples=60)
@given(halves, st.integers(1, 100), st.sets(st.integers(0, 200), max_size=4))
def test_top_channels__count_rule_with_excluded_channels(activations, count, excluded):
    excluded = [c for c in excluded if c < activations.shape[1]]

    found = top_channels(activations, count=count, excluded=excluded)

    expected = plain_top_channels(activations, count=count, excluded=excluded)
    assert np.array_equal(found.toarray(), expected)


@pytest.mark.parametrize("share", [0.01, 0.3])
def test_top_channels__at_least_so_many_are_taken_by_either_rule(share):
    activations = np.random.default_rng(3).normal(0, 1, (40, 20)).astype(np.float16)

    found = top_channels(activations, share=share, at_least=4).toarray()

    by_share = plain_top_channels(activations, share=share)
    by_count = plain_top_channels(activations, count=4)
    assert np.array_equal(found, np.maximum(by_share, by_count))
    counted = top_channels(activations, count=2, at_least=4).toarray()
    assert np.array_equal(counted, by_count)


def test_top_channels__excluded_channels_are_not_in_the_total():
    activations = np.array([[100.0, 3.0, 1.0]])

    found = top_channels(activations, share=0.7, excluded=[0])

    assert found.toarray().tolist() == [[0, 1, 0]]


def test_top_channels__indices_are_sorted_and_small():
    rng = np.random.default_rng(0)

    found = top_channels(rng.random((50, 300)).astype(np.float16), share=0.9)

    assert found.dtype == np.uint8
    assert found.has_sorted_indices
    assert np.array_equal(
        found.toarray(),
        plain_top_channels(
            np.random.default_rng(0).random((50, 300)).astype(np.float16), share=0.9
        ),
    )


def test_top_channels__without_instances():
    assert top_channels(np.zeros((0, 5), np.float16), share=0.03).shape == (0, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give exactly one of the two rules"),
        ({"share": 0.1, "count": 2}, "give exactly one of the two rules"),
        ({"share": 0.0}, "not a fraction"),
        ({"share": 3.0}, "not a fraction"),
        ({"count": 0}, "give at least 1"),
    ],
    ids=str,
)
def test_top_channels__rules_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        top_channels(np.ones((1, 2)), **options)


def test_top_channels__other_axes_are_refused():
    with pytest.raises(ShapeError, match="expected two axes"):
        top_channels(np.ones(3), share=0.1)
