"""How far an answer is that reads chunks: told once for each, and only of many."""

import numpy as np
import pytest
from click.testing import CliRunner

from nnviz.aggregation import chunk_progress
from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.chunk_progress import tell_of_chunks
from nnviz.aggregation.index import make_index
from nnviz.aggregation.totals import activation_totals
from nnviz.cli.main import main
from nnviz.engine.progress import StageDone, StageStarted, TaskDone
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import Subset
from nnviz.testing import PlantedRun, write_store

pytestmark = pytest.mark.slow

RUN = PlantedRun(
    n_classes=3, n_instances=400, instances_per_chunk=10, influence_ranks=2
)


class Recorder:
    def __init__(self):
        self.events = []

    def receive(self, event):
        self.events.append(event)


@pytest.fixture
def url(tmp_path):
    return write_store(tmp_path / "run.zarr", RUN).url


def events_of(url, instances):
    store, recorder = Store.open(url), Recorder()
    tell_of_chunks(store, [recorder])
    activation_totals(store, [Subset("some", instances)])
    return recorder.events


def test_progress__without_an_index__is_told_of_every_layer(url):
    events = events_of(url, np.arange(3, 353))

    assert isinstance(events[0], StageStarted)
    assert isinstance(events[-1], StageDone)
    layers = [event for event in events if isinstance(event, TaskDone)]
    assert len(layers) == events[0].n_tasks == len(Store.open(url).shown_layers)


def test_progress__of_few_chunks_or_with_an_index__says_nothing(url):
    assert events_of(url, np.arange(0, 310)) == []

    make_index(Store.open(url))

    assert events_of(url, np.arange(400)) == []


@pytest.mark.parametrize(
    "command", [["subset"], ["graph"], ["compare"]], ids=lambda command: command[0]
)
def test_command__without_an_index__draws_a_bar(url, monkeypatch, command):
    monkeypatch.setattr(chunk_progress, "MIN_CHUNKS", 2)
    store = Store.open(url)
    aggregate(store, [named_subsets(store, "label")])
    asked = ["not correct", "correct"][: 1 + (command == ["compare"])]

    found = CliRunner().invoke(main, [*command, url, *asked])

    assert found.exit_code == 0, found.output
    assert "reading chunks: " in found.stderr
    assert "reading chunks" not in found.stdout
