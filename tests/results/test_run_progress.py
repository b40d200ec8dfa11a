"""How far a run is, chunk by chunk and stage by stage."""

import shutil

import pytest

import nnviz
from nnviz.results.run_progress import progress_of
from nnviz.store.store import Store
from tests.faults.small_run import create, later_stages, one_worker, write_inputs


@pytest.mark.slow
def test_progress__of_a_run__counts_chunks_and_names_the_next_stage(tmp_path):
    create(write_inputs(tmp_path))  # 40 instances in chunks of 16
    url = str(tmp_path / "run.zarr")
    planned = progress_of(url, "label")
    assert (planned.stage, planned.n_done, planned.n_instances) == ("extract", 0, 40)
    assert (planned.n_chunks_done, planned.n_chunks, planned.share) == (0, 3, 0.0)

    with one_worker() as client:
        nnviz.extract(Store.open(url, writable=True), client=client)
    extracted = progress_of(url, "label")
    assert (extracted.stage, extracted.n_done, extracted.share) == ("aggregate", 40, 1)
    assert extracted.written == planned.written

    store = Store.open(url, writable=True)
    nnviz.aggregate(store, [nnviz.named_subsets(store, "label")])
    aggregated = progress_of(url, "label")
    assert aggregated.stage == "derive"
    assert aggregated.written != extracted.written

    later_stages(store)
    assert progress_of(url, "label").stage == ""

    store.chunks.remove(2)  # the last, of eight instances
    again = progress_of(url, "label")
    assert (again.stage, again.n_done, again.n_chunks_done) == ("extract", 32, 2)
    shutil.rmtree(url)
