"""Influences against their definition, on every kind of edge."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nnviz.errors import ShapeError
from nnviz.network.influence import on_device as influence_torch
from nnviz.network.influence.channel_operations import Convolution, Identity, Linear
from nnviz.network.influence.inputs import EdgeInput, Strongest
from nnviz.network.influence.strongest_sources import strongest_sources
from tests.oracles import influence as oracle

MODULES = {
    (1, False): nn.Conv1d,
    (2, False): nn.Conv2d,
    (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d,
    (2, True): nn.ConvTranspose2d,
    (3, True): nn.ConvTranspose3d,
}


@st.composite
def convolutions(draw):
    """Draw a module of small whole numbers, its operation, and a batch."""
    n_axes = draw(st.integers(1, 3))
    transposed = draw(st.booleans())
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    n_sources = groups * draw(st.integers(1, 6))
    n_targets = groups * draw(st.integers(1, 4))
    axes = st.tuples(*[st.integers(1, 3)] * n_axes)
    kernel = draw(axes)
    stride = draw(axes)
    dilation = draw(st.tuples(*[st.integers(1, 2)] * n_axes))
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding = tuple(draw(st.integers(0, span)) for span in spans)
    sizes = [draw(st.integers(span + 1, span + 7)) for span in spans]
    options = {"output_padding": 0}
    if transposed:
        spread = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
        options = {
            "output_padding": tuple(draw(st.integers(0, most)) for most in spread)
        }
        sizes = [
            max(size, 2 * p // s + 2)
            for size, p, s in zip(sizes, padding, stride, strict=True)
        ]
    else:
        modes = ["zeros", "reflect", "replicate", "circular"]
        options = {"padding_mode": draw(st.sampled_from(modes))}
    module = MODULES[n_axes, transposed](
        n_sources,
        n_targets,
        kernel,
        stride,
        padding,
        groups=groups,
        dilation=dilation,
        bias=False,
        **options,
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    weight = torch.randint(-3, 4, module.weight.shape, generator=generator).float()
    module.weight.data = weight
    lowest = draw(st.sampled_from([-4, 0, 1]))
    size = (draw(st.integers(1, 2)), n_sources, *sizes)
    x = torch.randint(lowest, 5, size, generator=generator).float()
    if n_axes == 2 and draw(st.booleans()):
        x = x.to(memory_format=torch.channels_last)
    operation = Convolution(
        weight,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        transposed=transposed,
        **options,
    )
    return module, operation, x


def ranked(found: Strongest):
    """Return the result as {(instance, target): [(source, value), …]}."""
    return {
        (int(n), int(j)): list(zip(sources.tolist(), values.tolist(), strict=True))
        for n, j, sources, values in zip(
            found.instance, found.target, found.source, found.influence, strict=True
        )
    }


def by_definition(values, ranks, extremum):
    """Rank a full array (n, targets, sources)."""
    return {
        (n, j): oracle.strongest(dict(enumerate(row)), ranks, extremum)
        for n, rows in enumerate(values)
        for j, row in enumerate(rows)
    }


def same(a: Strongest, b: Strongest) -> bool:
    """Whether two results are equal bit by bit."""
    return np.array_equal(a.source, b.source) and np.array_equal(
        a.influence.view(np.int32), b.influence.view(np.int32)
    )


def real_like(n, channels, size, seed=0):
    """Return a batch that is rectified and smooth, as activations are."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, channels, size, size, generator=generator)
    return torch.relu(nn.functional.avg_pool2d(x, 3, 1, 1) * 3 - 0.3)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    convolutions(),
    st.integers(1, 7),
    st.sampled_from(["max", "min"]),
    st.sampled_from([1, 2]),
)
def test_influence__of_any_convolution_is_the_definition(
    drawn, ranks, extremum, threads
):
    """Whole numbers are exact in float32: sources, values and ties must be equal."""
    module, operation, x = drawn
    parts = oracle.contributions(module, x)
    expected = by_definition(oracle.influences(parts, extremum), ranks, extremum)

    found = strongest_sources(
        [EdgeInput(x, operation)], ranks=ranks, extremum=extremum, threads=threads
    )

    assert ranked(found) == expected


@pytest.mark.parametrize("extremum", ["max", "min"])
@pytest.mark.parametrize("signed", [False, True], ids=["rectified", "signed"])
@pytest.mark.parametrize(
    ("n_sources", "n_targets", "size", "options"),
    [
        pytest.param(24, 40, 19, {"padding": 1}, id="3x3"),
        pytest.param(70, 9, 8, {"padding": 1}, id="8x8 map"),
        pytest.param(20, 8, 33, {"stride": 2, "padding": 1}, id="stride"),
        pytest.param(20, 8, 17, {"dilation": 3}, id="dilation"),
        pytest.param(24, 12, 11, {"padding": 1, "groups": 3}, id="groups"),
        pytest.param(16, 16, 11, {"padding": 1, "groups": 16}, id="depthwise"),
        pytest.param(6, 4, 130, {"padding": 1}, id="large map"),
        pytest.param(40, 30, 4, {}, id="four positions"),
    ],
)
def test_influence__agrees_with_float64_to_rounding(
    n_sources, n_targets, size, options, signed, extremum
):
    generator = torch.Generator().manual_seed(3)
    x = real_like(2, n_sources, size)
    x = x - 0.4 if signed else x
    module = nn.Conv2d(n_sources, n_targets, 3, bias=False, **options)
    module.weight.data = torch.randn(module.weight.shape, generator=generator)
    operation = Convolution(module.weight.detach().clone(), **options)
    full = oracle.influences(oracle.contributions(module, x), extremum)

    found = strongest_sources([EdgeInput(x, operation)], ranks=5, extremum=extremum)

    assert_strongest(found, full, extremum)


def assert_strongest(found, full, extremum):
    """Compare values, and sources by their exact values: ties may change places."""
    sign = 1 if extremum == "max" else -1
    rows = sign * full[found.instance, found.target]
    expected = -np.sort(-rows.clip(min=0), axis=1)[:, : found.source.shape[1]]
    scale = np.abs(full).max()
    width = expected.shape[1]
    np.testing.assert_allclose(
        sign * found.influence[:, :width], expected, rtol=1e-6, atol=1e-6 * scale
    )
    own = np.take_along_axis(rows, found.source[:, :width].clip(min=0).astype(int), 1)
    own = np.where(found.source[:, :width] >= 0, own, 0.0)
    np.testing.assert_allclose(own, expected, rtol=1e-6, atol=1e-6 * scale)


CASES = {
    "pairs": lambda x, operation, pairs: strongest_sources(
        [EdgeInput(x, operation)], pairs
    ),
    "threads": lambda x, operation, pairs: strongest_sources(
        [EdgeInput(x, operation)], pairs, threads=3
    ),
    "little memory": lambda x, operation, pairs: strongest_sources(
        [EdgeInput(x, operation)], pairs, workspace=1
    ),
    "channels last": lambda x, operation, pairs: strongest_sources(
        [EdgeInput(x.to(memory_format=torch.channels_last), operation)], pairs
    ),
    "slice of a batch": lambda x, operation, pairs: strongest_sources(
        [EdgeInput(torch.cat([x, x])[5:], operation)], (pairs[0] + 0, pairs[1])
    ),
}


@pytest.mark.parametrize("way", CASES)
def test_influence__does_not_depend_on_how_it_is_computed(way):
    """What pruning leaves out may differ; the result may not, by a single bit."""
    x = real_like(5, 40, 21)
    generator = torch.Generator().manual_seed(1)
    operation = Convolution(
        torch.randn(30, 40, 3, 3, generator=generator) * 0.1, padding=1
    )
    everything = strongest_sources([EdgeInput(x, operation)], ranks=40)
    pairs = (np.array([0, 0, 2, 3, 4]), np.array([7, 29, 0, 11, 11]))
    rows = pairs[0] * 30 + pairs[1]

    found = CASES[way](x, operation, pairs)

    assert np.array_equal(found.source, everything.source[rows, :5])
    assert np.array_equal(found.influence, everything.influence[rows, :5])


@pytest.mark.parametrize("shape", [(), (7,), (3, 4)], ids=["dense", "tokens", "maps"])
@pytest.mark.parametrize("extremum", ["max", "min"])
def test_influence__of_a_linear_map_is_the_definition(shape, extremum):
    generator = torch.Generator().manual_seed(5)
    x = torch.randint(-4, 5, (3, 6, *shape), generator=generator).float()
    module = nn.Linear(6, 5, bias=False)
    module.weight.data = torch.randint(-3, 4, (5, 6), generator=generator).float()
    operation = Linear(module.weight.detach().clone())
    full = oracle.influences(oracle.contributions(module, x), extremum)

    found = strongest_sources([EdgeInput(x, operation)], ranks=4, extremum=extremum)

    assert ranked(found) == by_definition(full, 4, extremum)


def test_influence__of_a_flattened_map_keeps_channels_as_blocks():
    """A linear layer over flattened maps is a convolution with one position."""
    generator = torch.Generator().manual_seed(6)
    x = torch.randint(-2, 3, (2, 4, 3, 3), generator=generator).float()
    weight = torch.randint(-2, 3, (5, 36), generator=generator).float()
    contributions = np.einsum(
        "nip,jip->nji", x.reshape(2, 4, 9), weight.reshape(5, 4, 9)
    )

    found = strongest_sources([EdgeInput(x, Convolution(weight.reshape(5, 4, 3, 3)))])

    assert ranked(found) == by_definition(contributions, 5, "max")


def test_influence__ranks_all_edges_of_a_target_jointly():
    """A convolution, a projection and an identity compete; ties go to lower numbers."""
    generator = torch.Generator().manual_seed(7)
    x, y = (
        torch.randint(0, 4, (2, 5, 6, 6), generator=generator).float() for _ in range(2)
    )
    modules = [
        nn.Conv2d(5, 5, 3, padding=1, bias=False),
        nn.Conv2d(5, 5, 1, bias=False),
    ]
    for module in modules:
        size = module.weight.shape
        module.weight.data = torch.randint(-1, 2, size, generator=generator).float()
    weights = [module.weight.detach().clone() for module in modules]
    wide, narrow = (
        oracle.influences(oracle.contributions(module, x), "max") for module in modules
    )
    own = np.zeros((2, 5, 5))
    own[:, range(5), range(5)] = y.amax((2, 3)).numpy()
    numbers = np.arange(5, dtype=np.int32)

    found = strongest_sources(
        [
            EdgeInput(x, Convolution(weights[0], padding=1), sources=numbers),
            EdgeInput(x, Convolution(weights[1]), sources=numbers + 5),
            EdgeInput(y, Identity(), sources=numbers + 10),
        ],
        ranks=6,
    )

    full = np.concatenate([wide, narrow, own], 2)
    assert ranked(found) == by_definition(full, 6, "max")


@pytest.mark.parametrize("extremum", ["max", "min"])
def test_influence__of_an_identity_is_the_scaled_activation(extremum):
    x = torch.tensor([[[1.0, -2.0], [3.0, 4.0], [-5.0, -1.0]]])
    scale = torch.tensor([2.0, -1.0, 1.0])
    expected = {
        "max": [(0, 2.0), (-1, 0.0), (-1, 0.0)],
        "min": [(0, -4.0), (1, -4.0), (2, -5.0)],
    }

    found = strongest_sources(
        [EdgeInput(x, Identity(scale))], ranks=1, extremum=extremum
    )

    assert [row[0] for row in ranked(found).values()] == expected[extremum]


def test_influence__enters_only_the_mapped_targets_from_the_mapped_sources():
    """Branches of a concatenation, and channels that belong to no recorded layer."""
    x = torch.tensor([[[3.0], [2.0], [5.0]]])
    narrow = EdgeInput(
        x,
        Linear(torch.tensor([[1.0, 1.0, 1.0]])),
        sources=np.array([4, 5, -1], np.int32),
        targets=np.array([2], np.int32),
    )
    shifted = EdgeInput(
        x,
        Identity(),
        sources=np.array([0, 1, 2], np.int32),
        targets=np.array([1, -1, 2], np.int32),
    )

    found = strongest_sources([narrow, shifted], ranks=3)

    assert ranked(found) == {
        (0, 0): [(-1, 0.0), (-1, 0.0), (-1, 0.0)],
        (0, 1): [(0, 3.0), (-1, 0.0), (-1, 0.0)],
        (0, 2): [(2, 5.0), (4, 3.0), (5, 2.0)],
    }


def test_influence__takes_known_extremes_instead_of_a_pass_over_the_input():
    x = real_like(3, 12, 9)
    generator = torch.Generator().manual_seed(2)
    operation = Convolution(torch.randn(8, 12, 1, 1, generator=generator))
    maxima = x.amax((2, 3))
    known = EdgeInput(x, operation, extremes=(maxima, torch.zeros_like(maxima)))

    assert same(
        strongest_sources([known]), strongest_sources([EdgeInput(x, operation)])
    )


def test_influence__of_inputs_without_any_activation_has_no_source():
    edge = EdgeInput(torch.zeros(2, 4, 5, 5), Convolution(torch.ones(3, 4, 3, 3)))

    found = strongest_sources([edge])

    assert (found.source == -1).all()
    assert (found.influence == 0).all()


@settings(max_examples=40, deadline=None)
@given(
    n_sources=st.integers(1, 70),
    n_targets=st.integers(1, 5),
    size=st.integers(4, 12),
    stride=st.integers(1, 2),
    n_pairs=st.integers(1, 10),
    counts=st.booleans(),
    workspace=st.sampled_from([1, 2**14, 48 * 2**20]),
    seed=st.integers(0, 2**31),
)
def test_influence__does_not_depend_on_the_memory_format(
    n_sources, n_targets, size, stride, n_pairs, counts, workspace, seed
):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, n_sources, size, size, generator=generator)
    weight = torch.randn(n_targets, n_sources, 3, 3, generator=generator)
    operation = Convolution(weight, stride=stride, padding=1)
    n_positions = (-(-size // stride)) ** 2
    counted = torch.rand(3, n_positions, generator=generator) < 0.6 if counts else None
    rng = np.random.default_rng(seed)
    pairs = np.sort(rng.integers(0, 3, n_pairs)), rng.integers(0, n_targets, n_pairs)

    one, other = (
        strongest_sources(
            [EdgeInput(x.to(memory_format=way), operation, counted=counted)],
            pairs,
            workspace=workspace,
        )
        for way in (torch.contiguous_format, torch.channels_last)
    )

    full = nn.functional.conv2d(
        x.double().flatten(0, 1)[:, None],
        weight.double().transpose(0, 1).reshape(-1, 1, 3, 3),
        stride=stride,
        padding=1,
    )
    full = full.view(3, n_sources, n_sources, n_targets, -1)
    full = full.diagonal(dim1=1, dim2=2)  # instance, target, position, source
    if counted is not None:
        full = full.masked_fill(~counted[:, None, :, None], -torch.inf)
    best = full.amax(2)[pairs].amax(1).clamp_min(0).float()
    assert same(one, other)
    assert torch.allclose(torch.from_numpy(other.influence[:, 0]), best, atol=1e-5)


def test_influence__of_no_pairs_is_empty():
    edge = EdgeInput(torch.ones(2, 4, 5, 5), Convolution(torch.ones(3, 4, 3, 3)))
    none = np.array([], np.int64)

    assert strongest_sources([edge], (none, none)).source.shape == (0, 5)


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.sampled_from(["max", "min"]))
def test_influence__on_other_devices_is_the_same(drawn, extremum):
    """The path for GPUs, run on the CPU with little memory at a time."""
    _, operation, x = drawn
    edge = EdgeInput(x, operation)
    found = strongest_sources([edge], extremum=extremum)
    other = Strongest(
        found.instance,
        found.target,
        np.full_like(found.source, -1),
        np.zeros_like(found.influence),
    )

    influence_torch.rank([edge], other, extremum, 2**14)

    sign = 1 if extremum == "max" else -1
    assert np.array_equal(other.source, found.source)
    assert np.array_equal(sign * other.influence, found.influence)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("signal", ["max", "peak"])
def test_influence__on_a_gpu_agrees_to_rounding(signal):
    x = real_like(3, 20, 17)
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(12, 20, 3, 3, generator=generator)
    here = strongest_sources([EdgeInput(x, Convolution(weight))], signal=signal)

    there = strongest_sources(
        [EdgeInput(x.cuda(), Convolution(weight.cuda()))], signal=signal
    )

    np.testing.assert_allclose(there.influence, here.influence, rtol=1e-5, atol=1e-5)


def test_influence__needs_little_memory_whatever_the_layer():
    """The direct formulation would hold 300 MB for this layer and instance."""
    x = real_like(1, 64, 96)
    operation = Convolution(torch.randn(128, 64, 3, 3) * 0.05, padding=1)
    edge = EdgeInput(x.to(memory_format=torch.channels_last), operation)
    strongest_sources([edge])

    tracemalloc.start()
    strongest_sources([edge], workspace=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 3 * 2**20


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param([], "at least one edge", id="no edge"),
        pytest.param([(2, 4), (3, 4)], r"batches of \[2, 3\] instances", id="batches"),
        pytest.param([(2, 5)], "5 channels but the operation reads 4", id="channels"),
    ],
)
def test_influence__refuses_inputs_that_do_not_fit(inputs, message):
    operation = Linear(torch.ones(3, 4))
    edges = [EdgeInput(torch.ones(shape), operation) for shape in inputs]
    pairs = (np.array([0]), np.array([0]))

    with pytest.raises(ShapeError, match=message):
        strongest_sources(edges, pairs)


def test_influence__refuses_pairs_that_are_not_sorted():
    edge = EdgeInput(torch.ones(2, 4), Linear(torch.ones(3, 4)))

    with pytest.raises(ShapeError, match="not sorted by instance"):
        strongest_sources([edge], (np.array([1, 0]), np.array([0, 0])))
