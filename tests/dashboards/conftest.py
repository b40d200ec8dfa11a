"""Served runs: with influences and without, and one of a deep network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import nnviz
from benchmarks.networks import resnet32
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


@pytest.fixture(scope="session")
def deep_address(tmp_path_factory):
    """Return where a run with 17 shown layers is served: three stages of five."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = np.arange(8) % 2
    of_class = rng.integers(0, 180, (2, 32, 32, 3))
    noise = rng.integers(0, 76, (8, 32, 32, 3))
    data = (of_class[labels] + noise).astype(np.uint8), labels
    url = str(tmp_path_factory.mktemp("deep") / "run.zarr")
    nnviz.run(resnet32(), data, url, pictures=False, workers=0, progress=False)
    with served(url) as (_, address):
        yield address
