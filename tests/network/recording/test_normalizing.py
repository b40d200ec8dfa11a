"""Normalisation against torchvision's formula, bit by bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnviz.errors import ShapeError
from nnviz.network.recording.normalizing import normalize
from nnviz.runs.config import PreprocessingConfig

IMAGENET = PreprocessingConfig(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def to_tensor_and_normalize(images, config):
    """ToTensor() and Normalize() of torchvision for one image at a time."""
    mean = torch.as_tensor(config.mean, dtype=torch.float32).view(-1, 1, 1)
    std = torch.as_tensor(config.std, dtype=torch.float32).view(-1, 1, 1)
    return torch.stack(
        [
            image.permute(2, 0, 1)
            .contiguous()
            .to(torch.float32)
            .div(255)
            .clone()
            .sub_(mean)
            .div_(std)
            for image in images
        ]
    )


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3, st.sampled_from([1, 3, 4])),
    channels_last=st.booleans(),
    scalar=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_normalize__equals_torchvision_bit_by_bit(shape, channels_last, scalar, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    n = 1 if scalar else shape[-1]
    config = PreprocessingConfig(
        mean=tuple(torch.rand(n, generator=generator).tolist()),
        std=tuple((torch.rand(n, generator=generator) + 0.1).tolist()),
    )

    result = normalize(images, config, channels_last=channels_last)

    assert torch.equal(result, to_tensor_and_normalize(images, config))


@pytest.mark.parametrize("channels_last", [False, True])
def test_normalize__covers_all_256_values_and_many_blocks(channels_last):
    values = torch.arange(256, dtype=torch.uint8)
    images = values[None, :, None, None].expand(5, 256, 200, 3).contiguous()

    result = normalize(images, IMAGENET, channels_last=channels_last)

    assert torch.equal(result, to_tensor_and_normalize(images, IMAGENET))
    wanted = torch.channels_last if channels_last else torch.contiguous_format
    assert result.is_contiguous(memory_format=wanted)
    assert (result.shape, result.dtype) == ((5, 3, 256, 200), torch.float32)


def test_normalize__scales_by_other_factors():
    config = PreprocessingConfig(scale=0.5, mean=(1.0,), std=(2.0,))
    images = torch.full((1, 2, 2, 3), 8, dtype=torch.uint8)

    assert torch.equal(normalize(images, config), torch.full((1, 3, 2, 2), 1.5))


def test_normalize__does_not_scale_arrays_unless_asked():
    arrays = torch.full((1, 2, 3), 8.0)

    assert torch.equal(normalize(arrays, PreprocessingConfig(kind="array")), arrays)


def test_normalize__leaves_the_batch_as_it_was():
    arrays = torch.ones(2, 3, 4)

    normalize(arrays, PreprocessingConfig(kind="array", scale=2.0, mean=(5.0,)))

    assert torch.equal(arrays, torch.ones(2, 3, 4))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 5, 6)], ids=str)
def test_normalize__takes_statistics_along_axis_1_of_arrays(shape):
    config = PreprocessingConfig(
        kind="array", scale=1.0, mean=(0.0, 1.0, 2.0), std=(1.0, 2.0, 4.0)
    )
    arrays = torch.full(shape, 4.0)

    result = normalize(arrays, config, channels_last=True)

    columns = result.reshape(4, 3, -1)
    assert torch.equal(columns[:, :, 0], torch.tensor([[4.0, 1.5, 0.5]] * 4))
    assert result.shape == shape


def test_normalize__returns_indices_of_words_as_they_are():
    words = torch.arange(12).reshape(3, 4)

    assert normalize(words, PreprocessingConfig(kind="array")) is words


def test_normalize__takes_an_empty_batch():
    images = torch.zeros((0, 4, 4, 3), dtype=torch.uint8)

    assert normalize(images, IMAGENET).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    ("shape", "config", "message"),
    [
        pytest.param((4, 4, 3), IMAGENET, "N, H, W, C", id="axes"),
        pytest.param((1, 4, 4, 1), IMAGENET, "3 values", id="channels"),
    ],
)
def test_normalize__says_what_does_not_fit(shape, config, message):
    with pytest.raises(ShapeError, match=message):
        normalize(torch.zeros(shape, dtype=torch.uint8), config)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_normalize__agrees_on_cuda():
    images = torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8)

    on_device = normalize(images.cuda(), IMAGENET, channels_last=True)

    assert on_device.is_cuda
    torch.testing.assert_close(on_device.cpu(), normalize(images, IMAGENET))
