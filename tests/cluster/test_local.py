"""Workers on this machine."""

import os

import pytest

from nnviz_cluster import local

pytestmark = pytest.mark.cluster


def test_client__leaves_this_process_as_it_was(monkeypatch):
    """Dask sets variables here to start workers; numba here must not hear of them."""
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)

    with local.client(n_workers=1, threads=1) as client:
        threads = client.run(
            lambda: (os.environ["OMP_NUM_THREADS"], os.environ["NUMBA_NUM_THREADS"])
        )
        assert "NUMBA_NUM_THREADS" not in os.environ

    assert list(threads.values()) == [("1", "1")]
    assert dict(os.environ) == before
