"""Counting of sets that nobody waits for any more ends between two chunks."""

import pytest

import nnviz
from nnviz.aggregation.totals import count_blocks
from nnviz.engine.wanted import NotWantedError, while_wanted
from nnviz.store.completion import Completion
from nnviz.subsets.subsets import Subset
from nnviz.testing import PlantedRun, write_store

RUN = PlantedRun(n_classes=4, n_instances=200, influence_ranks=2, instances_per_chunk=8)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = tmp_path_factory.mktemp("counts") / "run.zarr"
    write_store(url, RUN)
    return nnviz.open_store(url)


def test_count__that_is_not_wanted__reads_no_further_chunk(store, monkeypatch):
    subset, read = Subset("all", range(200)), []
    monkeypatch.setattr(
        Completion,
        "read",
        lambda self, path, *rest, whole=Completion.read: (
            read.append(path) or whole(self, path, *rest)
        ),
    )

    with pytest.raises(NotWantedError), while_wanted(lambda: len(read) < 6):
        count_blocks(store, subset)

    n_before = len(read)
    count_blocks(store, subset)
    assert n_before == 6
    assert len(read) - n_before > 100
