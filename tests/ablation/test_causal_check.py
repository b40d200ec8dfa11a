"""What a causal check says, against numbers that are worked out by hand."""

import math

import numpy as np
import pytest

from nnviz.ablation.causal_check import CausalCheck
from nnviz.ablation.treatments import make_treatments
from nnviz.statistics import half_width, standard_error

LAYERS = {"a": 5, "b": 3}
TREATMENTS = make_treatments(LAYERS, draws=2, by_layer=True)
LOGITS = {
    ("none", 0, False, ""): [4.0, 6.0],
    ("graph", 0, False, ""): [1.0, 2.0],
    ("random", 1, False, ""): [3.0, 6.0],
    ("random", 2, False, ""): [1.0, 5.0],
    ("graph", 0, True, ""): [3.0, 4.0],
    ("all", 0, False, ""): [-1.0, 1.0],
    ("graph", 0, False, "a"): [3.0, 5.0],
    ("random", 1, False, "b"): [0.0, 0.0],
}
"""Of one subset with two instances; every other treatment changes nothing."""


@pytest.fixture
def check():
    """Return a check of three subsets: two instances, one, and none."""
    logit = np.full((3, len(TREATMENTS), 2), np.nan, np.float32)
    for row, one in enumerate(TREATMENTS):
        key = (one.what, one.draw, one.keeps, one.layer)
        logit[0, row] = LOGITS.get(key, LOGITS["none", 0, False, ""])
        logit[1, row, 0] = logit[0, row, 0]
    instance = np.array([[3, 8], [5, -1], [-1, -1]])
    prediction = np.where(np.isnan(logit), -1, np.where(logit > 2, 1, 0))
    return CausalCheck(
        subsets="label",
        names=("x", "y", "z"),
        graph={"preset": "directed"},
        options={"seed": 0},
        n_channels=LAYERS,
        n_kept=np.array([[2, 1], [1, 1], [0, 0]]),
        treatments=TREATMENTS,
        instance=instance,
        wanted=np.where(instance >= 0, 1, -1).astype(np.int32),
        logit=logit,
        probability=(logit / 10).astype(np.float32),
        prediction=prediction.astype(np.int32),
        problems=("subset 'z' has no usable instance: nothing was ablated",),
    )


def test_effect__of_the_graph(check):
    graph = check.effect("graph")

    # Drops of 3 and 4 of the largest possible 5 and 5.
    np.testing.assert_allclose(graph.drop, [3.5, 3.0, np.nan])
    np.testing.assert_allclose(graph.error, [0.5, np.nan, np.nan])
    np.testing.assert_allclose(graph.share, [0.7, 0.6, np.nan])
    np.testing.assert_allclose(graph.probability, [0.15, 0.1, np.nan], rtol=1e-6)
    np.testing.assert_allclose(graph.accuracy, [0.0, 0.0, np.nan])
    np.testing.assert_allclose(graph.spread, [0, 0, 0])


def test_effect__of_random_sets__is_the_mean_over_draws(check):
    random = check.effect("random")

    # Drops of 1 and 0 in one draw, of 3 and 1 in the other.
    np.testing.assert_allclose(random.drop, [1.25, 2.0, np.nan])
    np.testing.assert_allclose(random.spread[0], np.std([0.5, 2.0], ddof=1))
    np.testing.assert_allclose(random.accuracy, [0.75, 0.5, np.nan])


def test_effect__in_each_layer_alone__is_the_mean_over_layers(check):
    graph = check.effect("graph", layers=["a", "b"])

    np.testing.assert_allclose(graph.drop, [0.5, 0.5, np.nan])


def test_advantage__over_random_sets__is_paired(check):
    difference, error = check.advantage()

    paired = np.array([3 - 2, 4 - 0.5])
    expected = np.sqrt(paired.var(ddof=1) / 2 + np.var([0.5, 2.0], ddof=1) / 2)
    np.testing.assert_allclose(difference, [2.25, 1.0, np.nan])
    np.testing.assert_allclose(error[0], expected)


def test_beaten__counts_draws_and_halves_ties(check):
    np.testing.assert_allclose(check.beaten(), [1.0, 0.75, np.nan])
    np.testing.assert_allclose(check.beaten("least"), [0.0, 0.0, np.nan])
    # In 'a' the graph harms and no draw does; in 'b' it does not, and one draw does.
    np.testing.assert_allclose(check.beaten(layers=["a"]), [1.0, 1.0, np.nan])
    np.testing.assert_allclose(check.beaten(layers=["b"]), [0.25, 0.25, np.nan])


def test_overall__is_the_mean_over_subsets_with_instances(check):
    rows = {row["ablated"]: row for row in check.overall()}

    graph = rows["the graph's channels"]
    assert graph["drop"] == 3.25
    assert graph["share"] == pytest.approx(3.25 / 5)
    assert graph["channels"] == 2.5
    # Student's t with one degree of freedom, on drops of 3.5 and 3.
    assert graph["interval"] == pytest.approx(12.7062 * 0.25, rel=1e-5)
    assert rows["all"]["channels"] == 8
    assert rows["all but the graph's"]["channels"] == 5.5
    assert next(iter(rows)) == "nothing"


def test_to_json__has_null_where_nothing_is_known(check):
    value = check.to_json()

    assert [row["drop"] for row in value["by_subset"]] == [3.5, 3.0, None]
    assert [row["layer"] for row in value["by_layer"]] == ["b", "a"]
    assert value["each_layer"][0]["drop"] == 0.5
    assert value["problems"] == list(check.problems)


def test_repr__shows_all_tables_and_html_escapes(check):
    assert "all but as many at random" in repr(check)
    assert "by layer, each alone" in repr(check)
    assert "the graph&#x27;s channels" in check._repr_html_()


def test_half_width__of_one_subset__is_over_its_instances():
    values = np.array([[1.0, 2.0, 3.0], [np.nan] * 3])
    errors = standard_error(values)

    width = half_width(np.array([2.0, np.nan]), errors, np.array([3, 0]))

    assert errors[0] == pytest.approx(1 / math.sqrt(3))
    assert width == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)
    assert math.isnan(half_width(np.array([2.0]), np.array([np.nan]), np.array([1])))
