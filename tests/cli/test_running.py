"""What a command starts: workers, as many as have something to do."""

import os

import pytest

from nnviz.cli.running import client_of


@pytest.mark.cluster
def test_client_of__fewer_chunks_than_cores__starts_one_worker_for_each(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})

    with client_of(None, most=1) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]

    assert len(workers) == 1
