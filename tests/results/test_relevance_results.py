"""Which channels matter in A and B: by Welch's test of SciPy over the stored parts."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import nnviz
from nnviz.aggregation.aggregates import Aggregates
from nnviz.cli.main import main
from nnviz.errors import ConfigError, MissingDataError, QueryError
from nnviz.results.neuron_matrix import MEASURES, NeuronMatrix
from nnviz.testing import PlantedRun, planted_channels, write_complete_store

RUN = PlantedRun(n_classes=4, n_instances=160, n_unreadable=4, has_relevance=True)
LAYER = "late"
USABLE = ~RUN.is_unreadable
A, B = ((RUN.labels == i) & USABLE for i in (1, 2))
CLASS_A, CLASS_B = "label = 'class 001'", "label = 'class 002'"


PARTS = {"gradient": "gradient", "gradient_norm": "norm"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = tmp_path_factory.mktemp("relevance") / "run.zarr"
    write_complete_store(url, RUN)
    return nnviz.open_store(url)


def relevances(store, reference):
    product, gradient, mean = (
        store.read(f"relevance/{LAYER}/{part}").astype(np.float64)
        for part in ("product", "gradient", "mean")
    )
    return product - mean[reference].mean(0) * gradient


@pytest.mark.parametrize(
    ("reference", "members"),
    [("mean", USABLE), ("against", B), ("prediction = 'class 000'", None)],
)
def test_look__relevance_is_told_against_the_reference(store, reference, members):
    if members is None:
        members = (RUN.predictions == 0) & USABLE

    found = store.look(CLASS_A, CLASS_B).relevance(reference)

    values = relevances(store, members)
    for row, one in enumerate((A, B)):
        np.testing.assert_allclose(
            found.means(LAYER)[row], values[one].mean(0), atol=1e-9
        )
        np.testing.assert_allclose(
            found.variances(LAYER)[row], values[one].var(0), atol=1e-9
        )


def test_channels__planted_ones_come_first_and_p_is_welchs(store):
    found = store.look(CLASS_A, CLASS_B).relevance()

    planted = {
        (layer.name, channel)
        for layer in store.shown_layers
        for index in (1, 2)
        for channel in planted_channels(RUN, layer.name, index)
    } - {
        (layer.name, channel)
        for layer in store.shown_layers
        for channel in (
            set(planted_channels(RUN, layer.name, 1))
            & set(planted_channels(RUN, layer.name, 2))
        )
    }
    first = found.channels[: len(planted)]
    assert {(one.layer, one.channel) for one in first} == planted
    p_values = np.concatenate(
        [
            stats.ttest_ind(
                *(values_of(store, layer.name)[one] for one in (A, B)), equal_var=False
            ).pvalue
            for layer in store.shown_layers
        ]
    )
    adjusted = np.sort(stats.false_discovery_control(p_values))
    got = np.array([one.p_value for one in found.channels])
    np.testing.assert_allclose(np.sort(got), adjusted, rtol=1e-6)


def values_of(store, layer):
    product, gradient, mean = (
        store.read(f"relevance/{layer}/{part}").astype(np.float64)
        for part in ("product", "gradient", "mean")
    )
    return product - mean[USABLE].mean(0) * gradient


@pytest.mark.parametrize("measure", ["relevance", "gradient", "gradient_norm"])
def test_matrix__rows_of_classes_subsets_pairs_and_instances(store, measure):
    matrix = NeuronMatrix(store, lambda: Aggregates(store, "label"))
    found = store.look(CLASS_A, CLASS_B)
    values = (
        relevances(store, USABLE)
        if measure == "relevance"
        else store.read(f"relevance/{LAYER}/{PARTS[measure]}")
    )

    pair = matrix.pair(found, LAYER, measure)

    assert measure in matrix.measures
    for row, members in enumerate((A, B)):
        np.testing.assert_allclose(pair[row], values[members].mean(0), atol=1e-6)
    np.testing.assert_allclose(matrix.subset(found.subset, LAYER, measure), pair[0])
    np.testing.assert_allclose(matrix.class_row(2, LAYER, measure), pair[1], atol=1e-6)
    n = int(np.flatnonzero(A)[0])
    np.testing.assert_allclose(matrix.instance(LAYER, n, measure), values[n], atol=1e-6)
    contrast = matrix.contrast(found, LAYER, measure)
    exact = values.astype(np.float64)
    welch = stats.ttest_ind(exact[A], exact[B], equal_var=False)
    wanted = stats.false_discovery_control(welch.pvalue)
    np.testing.assert_allclose(contrast.p_value, wanted, rtol=1e-4)
    assert matrix.bounds(LAYER, measure)[0] <= 0


def test_channels__by_gradient_norm_are_tested_by_it(store):
    found = store.look(CLASS_A, CLASS_B).relevance(signal="gradient_norm")

    best = found.channels[0]
    norms = store.read(f"relevance/{best.layer}/norm").astype(np.float64)
    a, b = (norms[one, best.channel] for one in (A, B))
    np.testing.assert_allclose(best.gradient_norm, a.mean())
    np.testing.assert_allclose(best.other_gradient_norm, b.mean())
    spread = np.sqrt((a.size - 1) * a.var(ddof=1) + (b.size - 1) * b.var(ddof=1))
    pooled = spread / np.sqrt(a.size + b.size - 2)
    np.testing.assert_allclose(best.effect, (a.mean() - b.mean()) / pooled, rtol=0.02)
    assert best.p_value == min(one.p_value for one in found.channels)
    with pytest.raises(ConfigError, match="did you mean 'gradient_norm'"):
        store.look(CLASS_A).relevance(signal="gradient_nrm")


def test_matrix__run_from_before_norms_offers_the_rest(tmp_path):
    run = dataclasses.replace(RUN, has_gradient_norms=False)
    write_complete_store(tmp_path / "run.zarr", run)
    before = nnviz.open_store(tmp_path / "run.zarr")
    matrix = NeuronMatrix(before, lambda: Aggregates(before, "label"))

    assert matrix.measures == MEASURES[:-1]
    for ask in (
        lambda: matrix.instance(LAYER, 0, "gradient_norm"),
        lambda: before.look(CLASS_A).relevance(signal="gradient_norm"),
    ):
        with pytest.raises(MissingDataError, match="has no gradient norms"):
            ask()
    contrast = before.look(CLASS_A, CLASS_B).relevance().channels[0]
    assert np.isnan(contrast.gradient_norm)


def test_matrix__run_without_relevance_offers_activations_alone(finished):
    matrix = NeuronMatrix(finished, lambda: Aggregates(finished, "label"))

    assert matrix.measures == MEASURES[:3]
    with pytest.raises(MissingDataError, match="relevance"):
        matrix.instance("late", 0, "relevance")


def test_command__tells_channels_by_relevance(store):
    arguments = ["subset", store.url, CLASS_A, "--against", CLASS_B]

    text = CliRunner().invoke(main, [*arguments, "--relevance", "zero"])
    value = CliRunner().invoke(main, [*arguments, "--relevance", "against", "--json"])

    norms = CliRunner().invoke(main, [*arguments, "--signal", "gradient_norm"])
    assert "relevance      of " in text.output
    assert "against zero" in text.output
    assert "gradient norm  of " in norms.output
    found = json.loads(value.output)["relevance"]
    assert found["reference"] == f"the mean of {CLASS_B}"
    assert found["channels"][0]["p_value"] < 1e-6


def test_look__reference_that_is_no_query_is_refused(store):
    with pytest.raises(QueryError):
        store.look(CLASS_A).relevance("labl = 3")
