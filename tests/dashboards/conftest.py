"""Two served runs, with influences and without."""

from __future__ import annotations

import pytest

from tests.dashboards.selections import choose
from tests.dashboards.served_pages import served


@pytest.fixture
def selection(results):
    """Return what a visitor of a finished run without influences has chosen."""
    return choose(results)


@pytest.fixture(scope="session")
def finished_address(finished_url):
    """Return where the page of a finished run without influences is served."""
    with served(finished_url) as (_, address):
        yield address


@pytest.fixture(scope="session")
def graph_address(graph_url):
    """Return where the page of a finished run with influences is served."""
    with served(graph_url) as (_, address):
        yield address
