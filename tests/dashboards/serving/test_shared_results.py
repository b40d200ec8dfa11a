"""What the server reads before anybody asks, on a real store."""

import time

import pytest

from nnviz_dashboards.serving.shared_results import SharedResults

SECONDS = 60
"""A guard against hanging, no measurement."""


def test_texts__of_a_store_without_an_index__are_read_before_they_are_asked_for(
    finished_url, monkeypatch
):
    monkeypatch.setattr(
        "nnviz_dashboards.serving.shared_results.SECONDS_TO_OPEN", -SECONDS
    )

    results = SharedResults(finished_url).latest

    assert not results.store.groups.names("index")
    columns, until = results.pairs.finder.columns, time.monotonic() + SECONDS
    while not columns.is_read("id"):
        if time.monotonic() > until:
            pytest.fail("the column of texts was not read")
        time.sleep(0.02)
    results.close()
