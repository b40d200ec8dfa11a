"""The map of the instances as a plain object."""

import base64

import numpy as np
import pytest

from nnviz_dashboards.instance_map.model import InstanceMapModel
from nnviz_dashboards.instance_map.view import REACH, InstanceMapView
from nnviz_dashboards.subsets.model import SubsetPairModel
from tests.planted_stores import RUN

USABLE = ~RUN.is_unreadable


@pytest.fixture
def model(results, selection):
    selection.choose(view="map", a="label = cat", b="label = dog")
    return InstanceMapModel(results, SubsetPairModel(results, selection))


def test_points__have_class_outcome_and_side(model):
    shown = model.shown

    labels = RUN.labels[shown.instances]
    np.testing.assert_array_equal(shown.labels, labels)
    np.testing.assert_array_equal(shown.side, (labels == 6) + 2 * (labels == 7))
    wrong = RUN.predictions[shown.instances] != labels
    np.testing.assert_array_equal(shown.is_wrong, wrong)


def test_points__of_another_layer__have_other_places(model, selection):
    before = model.shown

    selection.choose(layer="middle")

    assert model.shown.map.layer == "middle"
    assert not np.allclose(model.shown.places, before.places)


def test_lasso__becomes_a_subset(model, selection):
    model.use("a", [4, 2, 9, 10**6, -1])

    assert selection.a == "instance in (2, 4, 9)"
    assert selection.b == "label = dog"


def test_open__shows_the_instance(model, selection):
    model.open(12)

    assert (selection.view, selection.instance) == ("instances", 12)


def test_view__sends_places_in_few_bytes(model, results):
    view = InstanceMapView(model, pictures="p", layers={}, point_at=lambda _: None)

    points = view.__panel__().points

    shown = model.shown
    sent = np.frombuffer(base64.b64decode(points["places"]), "<i2").reshape(-1, 2)
    np.testing.assert_allclose(sent / 32_767 * REACH, shown.places, atol=1e-4)
    numbers = np.frombuffer(base64.b64decode(points["numbers"]), "<u4")
    np.testing.assert_array_equal(numbers, shown.instances)
    assert points["has_pictures"] is False


def test_points__are_the_darker_the_larger_their_target(results, selection):
    targets = np.random.default_rng(0).normal(size=len(RUN.labels))
    targets[RUN.is_unreadable] = np.nan
    targets[5] = 1e6
    vars(results.pairs)["targets"] = targets  # as if they were measured

    selection.choose(view="map", a="label = cat", b="label = dog")
    shown = InstanceMapModel(results, SubsetPairModel(results, selection)).shown

    low, high = shown.bounds
    assert -4 < low < -1 < 1 < high < 4
    values = np.clip((targets[shown.instances] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(shown.shades / 254, values, atol=0.003)


def test_points__of_a_run_without_targets__have_no_shades(model):
    assert model.shown.shades is None
