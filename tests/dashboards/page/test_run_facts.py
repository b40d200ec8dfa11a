"""What the page says of a run is counted again here."""

import pytest

from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz_dashboards.page.run_facts import run_facts
from tests.planted_stores import RUN


def test_run_facts__count_what_the_run_has(results):
    facts = run_facts(results)

    label, prediction = RUN.labels, RUN.predictions
    usable = ~RUN.is_unreadable
    assert (facts.n_instances, facts.n_unusable, facts.n_pending) == (296, 4, 0)
    assert (facts.n_classes, facts.n_outputs) == (10, 10)
    assert (facts.n_shown, facts.n_recorded) == (3, 4)
    assert facts.accuracy == pytest.approx((label == prediction)[usable].mean())


def test_run_facts__say_what_is_pending(partial_url):
    facts = run_facts(RunResults(Store.open(partial_url)))

    assert facts.n_pending == 128
    assert facts.n_instances + facts.n_unusable == 300 - 128
