"""What tells A from B as a plain object, by plain NumPy and SciPy."""

import csv
import io

import numpy as np
import pytest
from scipy import stats

from nnviz_dashboards.differences.model import DifferencesModel
from nnviz_dashboards.differences.view import DifferencesView
from nnviz_dashboards.subsets.model import SubsetPairModel
from tests.planted_stores import RUN

USABLE = ~RUN.is_unreadable
LAYERS = {"early": "early", "middle": "middle", "late": "late"}


@pytest.fixture
def differences(results, selection):
    selection.choose(view="differences", a="label = cat", b="label = dog")
    return DifferencesModel(results, SubsetPairModel(results, selection))


@pytest.fixture
def cats_and_dogs(finished):
    values = finished.activations("late").astype(np.float64)
    return [values[USABLE & (RUN.labels == i)] for i in (6, 7)]


def test_channels__have_means_and_adjusted_p_values(differences, cats_and_dogs):
    a, b = cats_and_dogs
    p = stats.false_discovery_control(stats.ttest_ind(a, b, equal_var=False).pvalue)

    differences.limit("layer")

    found = differences.found
    assert len(found.channels) == 96
    assert found.n_different == (p < 0.05).sum()
    for one in found.channels[:10]:
        assert one.layer == "late"
        assert one.a == pytest.approx(a[:, one.channel].mean(), rel=1e-5)
        assert one.b == pytest.approx(b[:, one.channel].mean(), rel=1e-5)
        assert one.p_value == pytest.approx(p[one.channel], rel=1e-6)


def test_channels__begin_with_the_surest_that_differ_most(differences):
    found = differences.found

    sure = [abs(c.effect) for c in found.channels if c.p_value < 0.05]
    assert sure == sorted(sure, reverse=True)
    assert [c.p_value < 0.05 for c in found.channels[: len(sure)]] == [True] * len(sure)
    assert {c.layer for c in found.channels} == set(LAYERS)


def test_maxima__have_no_test(differences, cats_and_dogs):
    differences.measure("maximum")

    one = next(c for c in differences.found.channels if c.layer == "late")
    largest = [rows[:, one.channel].max() for rows in cats_and_dogs]
    assert (one.a, one.b) == tuple(largest)
    assert differences.found.n_different == 0


def test_empty_subset__says_what_to_do(differences, selection):
    selection.choose(a="confidence > 2")

    assert differences.found is None
    assert differences.missing.title == "There is nothing to compare"


def test_instances__are_shown_by_a_channel(differences, selection):
    differences.show_instances("middle", 3)

    assert (selection.view, selection.pinned) == ("instances", ("middle", 3))
    assert selection.order == "channel"


def test_csv__has_all_channels(differences):
    rows = list(csv.DictReader(io.StringIO(differences.table().csv().decode())))

    first = differences.found.channels[0]
    assert len(rows) == len(differences.found.channels)
    assert (rows[0]["layer"], int(rows[0]["channel"])) == (first.layer, first.channel)
    assert float(rows[0]["effect"]) == pytest.approx(first.effect, rel=1e-4)


def test_view__draws_the_first_ones(differences):
    panel = DifferencesView(differences, pictures="p", layers=LAYERS).__panel__()

    table = panel.table
    assert len(table["rows"]) == 60
    assert table["note"].endswith("; 60 are listed")
    assert max(abs(row["effect"]) for row in table["rows"]) == table["scale"]
