"""What is said of A and B, against plain NumPy over the stored values."""

import numpy as np
import pytest
from scipy import stats

from nnviz_dashboards.subsets.sentence import said_of_channels, said_of_sizes
from tests.planted_stores import RUN

USABLE = ~RUN.is_unreadable
LAYERS = {"early": "early", "middle": "middle", "late": "late"}


def pair_of(results, a, b=""):
    pair = results.pairs.pair(a, b)
    return pair, results.pairs.count(pair)


def text_of(results, a, b, layer="late"):
    pair, found = pair_of(results, a, b)
    parts = said_of_channels(
        results.neurons, found, pair.names, layer=layer, layers=LAYERS
    )
    return "".join(part.text for part in parts), parts


def test_channels__names_how_many_differ_and_the_strongest(results, finished):
    values = finished.activations("late").astype(np.float64)
    a, b = (values[USABLE & (RUN.labels == i)] for i in (6, 7))
    p = stats.false_discovery_control(stats.ttest_ind(a, b, equal_var=False).pvalue)

    text, parts = text_of(results, "label = cat", "label = dog")

    assert f"In late, {(p < 0.05).sum()} of 96 channels tell A from “dog”" in text
    _, channel, _ = parts
    assert channel.layer == "late"
    assert p[channel.channel] < 0.05
    assert f"{a[:, channel.channel].mean():.3g} in A" in text


def test_channels__that_do_not_differ__are_said_not_to(results):
    ids = [np.flatnonzero(USABLE & (RUN.labels == 6))[k::2] for k in range(2)]
    names = results.store.column("id")
    queries = [
        f"id in ({', '.join(repr(str(names[i])) for i in part)})" for part in ids
    ]

    text, _ = text_of(results, *queries)

    assert "No channel of late tells A from" in text


@pytest.mark.parametrize(
    ("a", "wanted"),
    [
        ("confidence > 2", "No usable instance is in 'confidence > 2'."),
        ("label = wolf and prediction = 2", "instances of wolf are taken for crane"),
        ("label = wolf", "predicted right ("),
        ("label = wolf and correct", "wolf, predicted right: 26 instances."),
    ],
)
def test_sizes__say_what_is_in_a(results, a, wanted):
    assert wanted in said_of_sizes(results.pairs.pair(a))
