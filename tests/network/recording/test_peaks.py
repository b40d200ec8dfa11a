"""The strongest instances of every channel, against a sort of everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnviz.network.recording.maxima import channel_activations
from nnviz.network.recording.peaks import PeakTracker


def plain_peaks(values, ranks):
    """Sort all instances of every channel; the first of equals wins."""
    rows = values.flatten(2) if values.ndim > 2 else values[..., None]
    maxima = rows.amax(2)
    shape = (rows.shape[1], ranks)
    instance = np.full(shape, -1, np.int64)
    position = np.full(shape, -1, np.int32)
    value = np.full(shape, np.nan, np.float32)
    for c in range(rows.shape[1]):
        finite = [n for n in range(len(rows)) if bool(maxima[n, c].isfinite())]
        finite.sort(key=lambda n: (-float(maxima[n, c]), n))
        for rank, n in enumerate(finite[:ranks]):
            hits = (rows[n, c] == maxima[n, c]).nonzero()
            instance[c, rank], position[c, rank] = n, int(hits[0])
            value[c, rank] = float(maxima[n, c])
    return instance, position, value


def track(values, ranks, sizes, dtype=torch.float32):
    tracker, start = PeakTracker(ranks), 0
    for size in sizes:
        part = values[start : start + size].to(dtype)
        tracker.update(
            "layer",
            part,
            channel_activations(part),
            instances=np.arange(start, start + size),
        )
        start += size
    return tracker.result("layer")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("sizes", [(12,), (5, 7), (1,) * 12], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_peaks__are_the_first_of_a_full_sort(dtype, sizes, layout):
    torch.manual_seed(1)
    # Few distinct values, so that there are ties of instances and of positions.
    values = torch.randint(0, 4, (12, 5, 3, 4)).float().contiguous(memory_format=layout)

    found = track(values, 4, sizes, dtype)

    instance, position, value = plain_peaks(values, 4)
    assert np.array_equal(found.instance, instance)
    assert np.array_equal(found.position, position)
    assert np.array_equal(found.value, value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_peaks__values_that_are_not_finite_never_count(dtype):
    values = torch.rand(6, 2, 2, 2)
    values[1, 0, 0, 0], values[2, 1, 1, 1] = torch.nan, torch.inf

    found = track(values, 6, (6,), dtype)

    instance, position, value = plain_peaks(values, 6)
    assert np.array_equal(found.instance, instance)
    assert np.array_equal(found.position, position)
    assert np.array_equal(found.value, value, equal_nan=True)


def test_peaks__layer_without_positions():
    found = track(torch.tensor([[1.0, 5.0], [3.0, 4.0]]), 1, (2,))

    assert found.instance.tolist() == [[1], [0]]
    assert found.position.tolist() == [[0], [0]]


def test_peaks__channels_on_the_last_axis():
    values = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    tracker = PeakTracker(1)

    tracker.update(
        "tokens", values, values.amax(1), instances=np.array([7]), channel_axis=2
    )

    assert tracker.result("tokens").position.tolist() == [[0], [1]]
    assert tracker.result("tokens").instance.tolist() == [[7], [7]]


def test_peaks__without_ranks_are_refused():
    with pytest.raises(ValueError, match="give at least 1"):
        PeakTracker(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [1, 3, 5, 12])
def test_peaks__are_the_same_in_whatever_order_instances_come(dtype, size):
    torch.manual_seed(3)
    values = torch.randint(0, 3, (12, 6, 5)).to(dtype)
    order = np.random.default_rng(size).permutation(12)

    tracker = PeakTracker(4)
    for start in range(0, 12, size):
        own = order[start : start + size]
        part = values[torch.from_numpy(own)]
        tracker.update("x", part, channel_activations(part), instances=own)
    found = tracker.result("x")

    instance, position, value = plain_peaks(values, 4)
    assert np.array_equal(found.instance, instance)
    assert np.array_equal(found.position, position)
    assert np.array_equal(found.value, value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("token_axis", [0, 1])
def test_peaks__lie_where_positions_count_and_count_tokens_first(dtype, token_axis):
    torch.manual_seed(2)
    # (instance, channel, token, head); ties are many, and padding is larger than all.
    values = torch.randint(0, 4, (9, 5, 6, 2)).to(dtype)
    counted = torch.rand(9, 6) < 0.6
    counted[3] = False
    by_head = counted[:, :, None].expand(-1, -1, 2)
    padded = torch.where(by_head[:, None], values, 99.0)
    if token_axis == 1:
        padded, by_head = padded.transpose(2, 3), by_head.transpose(1, 2)

    tracker = PeakTracker(3)
    tracker.update(
        "layer",
        padded,
        channel_activations(padded, counted=by_head),
        instances=np.arange(9),
        token_axis=token_axis,
        counted=by_head,
    )
    found = tracker.result("layer")

    alone = torch.where(counted[:, None, :, None], values, -1.0)
    alone[3] = torch.nan
    instance, position, value = plain_peaks(alone, 3)
    assert np.array_equal(found.instance, instance)
    assert np.array_equal(found.position, position)
    assert np.array_equal(found.value, value)
    assert counted[found.instance, found.position // 2].all()
