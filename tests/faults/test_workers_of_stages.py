"""Row 41: all workers of a stage die at once, between two steps or in a task."""

import contextlib
import os
import shutil
import signal
import threading

import psutil
import pytest

import nnviz
from nnviz.aggregation.index import make_index
from nnviz.derivation.derivation import derive
from nnviz.store.store import Store
from nnviz.testing import PlantedDataset, PlantedRun, write_store
from tests.faults.tiny_run import workers
from tests.oracles.files import tree_bytes

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

RUN = PlantedRun(
    n_classes=3,
    n_instances=240,
    layers=(("early", 24, (6, 6)), ("late", 10, (3, 3))),
    instances_per_chunk=20,
    examples_per_channel=2,
    influence_ranks=3,
)


def aggregate_labels(store, client):
    nnviz.aggregate(store, [nnviz.named_subsets(store, "label")], client=client)


def index(store, client):
    make_index(store, client=client)


def derive_with_pictures(store, client):
    derive(store, client=client, dataset=PlantedDataset(RUN))


STAGES = {
    "aggregate": aggregate_labels,
    "index": index,
    "derive": derive_with_pictures,
}


def kill_workers():
    """Kill the worker processes of this process, which does not know of it yet."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)


@contextlib.contextmanager
def killed_when_busy(client):
    """Kill all workers once more, when one of them has a task."""
    is_over = threading.Event()

    def watch():
        while not is_over.wait(0.01):
            with contextlib.suppress(OSError):
                if any(client.processing().values()):
                    kill_workers()
                    return

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        is_over.set()
        watching.join()


def test_stages__all_workers_killed__others_do_the_rest(tmp_path):
    """Before the stage sends them anything, and again in its first tasks."""
    write_store(tmp_path / "run.zarr", RUN)
    shutil.copytree(tmp_path / "run.zarr", tmp_path / "whole.zarr")
    for stage in STAGES.values():
        stage(Store.open(tmp_path / "whole.zarr", writable=True), None)

    with workers(1) as client:
        for stage in STAGES.values():
            kill_workers()
            with killed_when_busy(client):
                stage(Store.open(tmp_path / "run.zarr", writable=True), client)

    assert tree_bytes(tmp_path / "run.zarr") == tree_bytes(tmp_path / "whole.zarr")
