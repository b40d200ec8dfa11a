"""What is said of A and B, against plain NumPy over the stored values."""

import numpy as np
import pytest
from scipy import stats

from nnviz.aggregation.estimates import Estimates
from nnviz_dashboards.subsets.sentence import (
    said_of_answer,
    said_of_channels,
    said_of_estimate,
    said_of_sizes,
)
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


def test_estimate__names_the_channel_that_differs_most_surely():
    def estimates(mean, error):
        none = np.zeros(3)
        return {
            "late": Estimates(
                "late", np.array(mean), np.array(error), none, none, 2_000, 128_000
            )
        }

    parts = said_of_estimate(
        estimates([1.0, 5.0, 2.0], [0.1, 4.0, 0.2]),
        estimates([1.5, 9.0, 2.1], [0.1, 4.0, 0.2]),
        layer="early",
        layers=LAYERS,
    )

    text = "".join(part.text for part in parts)
    assert "About, in late: channel 0, on average 1 ± 0.1 in A and 1.5 ± 0.1" in text
    assert "From 2,000 of 128,000 instances of A, 95 % intervals." in text
    assert [part.is_muted for part in parts] == [False, False, False, True]
    assert (parts[1].layer, parts[1].channel) == ("late", 0)


def test_answer__says_where_it_comes_from():
    assert said_of_answer("index").text == " Exact, from the index."
    assert "nnviz index" in said_of_answer("chunks").text
