"""The page of a store in a process of its own: it starts, answers and stops."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import psutil
import pytest

import nnviz
from nnviz.testing import PlantedRun, write_complete_store


def status_of(address):
    parts = urlsplit(address)
    line = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        line.request("GET", f"{parts.path}?{parts.query}")
        return line.getresponse().status
    finally:
        line.close()


@pytest.mark.slow
def test_serve__answers_on_loopback_until_it_is_stopped(tmp_path):
    run = PlantedRun(n_instances=40, n_classes=4)
    store = write_complete_store(tmp_path / "run.zarr", run)

    page = nnviz.serve(store)
    try:
        server = psutil.Process(page._process.pid)
        listening = {
            one.laddr.ip
            for one in server.net_connections(kind="inet")
            if one.status == psutil.CONN_LISTEN
        }
        answered = status_of(page.address)
    finally:
        page.stop()

    assert answered in (200, 302)
    assert listening == {"127.0.0.1"}
    assert page.address in page._repr_html_()
    assert not server.is_running()
    with pytest.raises(ConnectionRefusedError):
        status_of(page.address)
