"""A run of the planted network; not beside it: workers import that module alone."""

import nnviz
from nnviz.runs.config import load_config
from tests import planted_network as planted
from tests.faults.small_run import one_worker


def aggregated_store(folder):
    """Return the store of a run in this folder, extracted and aggregated by label."""
    plan, probe = nnviz.plan_run(load_config(planted.write_run(folder)))
    store = nnviz.prepare_store(plan, str(folder / "run.zarr"), probe=probe)
    with one_worker() as client:
        nnviz.extract(store, client=client)
    nnviz.aggregate(store, [nnviz.named_subsets(store, "label")])
    return store
