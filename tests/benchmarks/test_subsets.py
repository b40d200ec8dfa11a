"""The benchmark of subsets, small: it measures, and asks in the cold."""

import numpy as np
import pytest

from benchmarks.subsets import QUERY, measure
from benchmarks.subsets_cold import ask_cold
from benchmarks.subsets_store import make_store
from nnviz.aggregation.index import make_index

pytestmark = pytest.mark.slow


def test_measure__of_a_small_store__has_every_number(tmp_path):
    found = measure(tmp_path, 2_100, is_cold=False)

    assert found["instances"] == 2_100
    assert found["index_bytes"] > 2_100 * 5_484 * 2
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert set(found["processor_seconds"]) == set(found["seconds"])
    assert 0 < found["found"]["query of five terms"] < 2_100


def test_ask_cold__in_a_process_of_its_own__says_how_long(tmp_path):
    url = tmp_path / "run.zarr"
    make_index(make_store(url, 1_100))
    questions = {"a query": (QUERY, np.arange(5))}

    found = ask_cold(url, url, questions, (QUERY,), is_warmed=True)

    assert found["a query"]["s"] > 0
    assert found["a query"]["warming_s"] > 0
