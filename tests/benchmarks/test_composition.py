"""What is lost where layers are composed away: the evidence over all ways."""

import itertools

import numpy as np
import pytest

from benchmarks.composition import ways
from tests.oracles.attribution_graph import arcs_of, random_graph


@pytest.mark.parametrize("seed", [0, 1])
def test_ways__are_the_products_of_shares_along_every_path(seed):
    whole = random_graph(seed, (4, 3, 5, 3), skips=True)
    names = whole.layers
    shown = (names[0], names[3])

    found = ways(whole, shown, names[3])[names[0]]

    arcs = arcs_of(whole)
    into = {}
    for (layer, channel, *_), value in arcs.items():
        into[layer, channel] = into.get((layer, channel), 0) + value
    sizes = [range(len(counts)) for counts in whole.counts]
    wanted = np.zeros_like(found)
    for inner in ((), (1,), (2,), (2, 1)):
        layers = (3, *inner, 0)
        for path in itertools.product(*(sizes[x] for x in layers)):
            at = [(names[x], c) for x, c in zip(layers, path, strict=True)]
            share = 1.0
            for target, source in itertools.pairwise(at):
                share *= arcs.get((*target, *source), 0) / max(into.get(target, 0), 1)
            wanted[path[0], path[-1]] += share
    np.testing.assert_allclose(found, wanted, atol=1e-12)
