"""Influences of trained networks on photographs, against float64."""

import numpy as np
import pytest
import torch

from nnviz.network.influence.channel_operations import Convolution, Identity
from nnviz.network.influence.inputs import EdgeInput
from nnviz.network.influence.strongest_sources import strongest_sources
from tests.oracles import influence as oracle
from tests.oracles import real_networks


def assert_strongest(found, full):
    """Compare ranks of one instance with (targets, sources); ties may change places."""
    expected = -np.sort(-full.clip(min=0), axis=1)[:, : found.source.shape[1]]
    scale = full.max()
    np.testing.assert_allclose(found.influence, expected, rtol=1e-6, atol=1e-6 * scale)
    own = np.take_along_axis(full, found.source.clip(min=0).astype(int), 1)
    own = np.where(found.source >= 0, own, 0.0)
    np.testing.assert_allclose(own, expected, rtol=1e-6, atol=1e-6 * scale)


def squeezenet_convolutions():
    """Return (name, input layer, pooled first, padding)."""
    before, rows = "features.0", []
    for number in (3, 4, 5, 7, 8, 9, 10, 12):
        name = f"features.{number}"
        rows += [
            (f"{name}.squeeze", before, number in (3, 7, 12), 0),
            (f"{name}.expand1x1", f"{name}.squeeze", False, 0),
            (f"{name}.expand3x3", f"{name}.squeeze", False, 1),
        ]
        before = name
    return [*rows, ("classifier.1", before, False, 0)]


@pytest.fixture(scope="module")
def squeezenet(shared):
    """Return the weights and the maps of one photograph, float64."""
    file = shared / "models" / "squeezenet1_0-imagenet.safetensors"
    weights = real_networks.load_weights(file)
    picture = sorted((shared / "data" / "imagenet-sample").glob("*/*"))[7]
    pixels = real_networks.open_picture(picture, shorter_side=128, crop=128)
    return weights, real_networks.squeezenet(weights, pixels)[0]


@pytest.mark.parametrize(
    ("name", "source", "pooled", "padding"),
    [pytest.param(*row, id=row[0]) for row in squeezenet_convolutions()],
)
def test_influence__in_squeezenet_is_that_of_float64(
    squeezenet, name, source, pooled, padding
):
    weights, maps = squeezenet
    x = maps[source]
    if pooled:
        x = torch.nn.functional.max_pool2d(x[None], 3, 2, ceil_mode=True)[0]
    weight = weights[f"{name}.weight"]
    single = x.float()[None].contiguous(memory_format=torch.channels_last)

    found = strongest_sources([EdgeInput(single, Convolution(weight, padding=padding))])

    full = oracle.patch_influences(weight, single[0].double(), 1, padding)
    assert_strongest(found, full)


@pytest.fixture(scope="module")
def resnet20(shared):
    """Return the weights and the maps of one photograph, float64."""
    file = shared / "models" / "resnet20-cifar10.safetensors"
    weights = real_networks.load_weights(file)
    picture = sorted((shared / "data" / "cifar10-test").glob("*/*"))[4321]
    pixels = real_networks.open_picture(picture)
    return weights, real_networks.resnet20(weights, pixels)[0]


def folded(weights, convolution, norm):
    """Return a convolution's weight with its normalisation folded into it."""
    factor = weights[f"{norm}.weight"] / torch.sqrt(
        weights[f"{norm}.running_var"] + 1e-5
    )
    return weights[f"{convolution}.weight"] * factor[:, None, None, None]


def shortcut(x, n_channels):
    """Return the channels of the target that x enters, and x where it is read."""
    if len(x) == n_channels:
        return np.arange(n_channels, dtype=np.int32), x
    first = (n_channels - len(x)) // 2
    return np.arange(first, first + len(x), dtype=np.int32), x[:, ::2, ::2]


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("block", [0, 1, 2])
def test_influence__in_resnet20_ranks_convolution_and_shortcut_jointly(
    resnet20, stage, block
):
    weights, maps = resnet20
    name = f"layer{stage}.{block}"
    before = {(1, 0): "conv1", (2, 0): "layer1.2", (3, 0): "layer2.2"}
    x = maps[before.get((stage, block), f"layer{stage}.{block - 1}")].float()
    inner = maps[f"{name}.conv1"].float()
    weight = folded(weights, f"{name}.conv2", f"{name}.bn2")
    n_channels = len(inner)
    targets, identity = shortcut(x, n_channels)
    sources = np.arange(n_channels, n_channels + len(x), dtype=np.int32)

    found = strongest_sources(
        [
            EdgeInput(inner[None], Convolution(weight, padding=1)),
            EdgeInput(identity[None], Identity(), sources=sources, targets=targets),
        ]
    )

    full = np.zeros((n_channels, n_channels + len(x)))
    full[:, :n_channels] = oracle.patch_influences(weight, inner.double(), 1, 1)
    full[targets, sources] = identity.amax((1, 2)).numpy()
    assert_strongest(found, full)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_influence__in_resnet20_follows_the_stride(resnet20, stage):
    weights, maps = resnet20
    x = maps[{1: "conv1", 2: "layer1.2", 3: "layer2.2"}[stage]].float()
    stride = 1 if stage == 1 else 2
    weight = folded(weights, f"layer{stage}.0.conv1", f"layer{stage}.0.bn1")

    found = strongest_sources(
        [EdgeInput(x[None], Convolution(weight, stride=stride, padding=1))]
    )

    assert_strongest(found, oracle.patch_influences(weight, x.double(), stride, 1))
