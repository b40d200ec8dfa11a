"""Of what there are graphs, and what the first one of sets of instances needs."""

import subprocess
import sys

from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.index import make_index
from nnviz.results.graph_results import OF_A, OF_PAIR
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedRun, write_store

RUN = PlantedRun(n_classes=4, n_instances=90, influence_ranks=3)

ASK = """
import gc, sys
import numpy as np
from nnviz.graphs.options import GraphOptions
from nnviz.results.graph_results import GraphRequest
from nnviz.results.run_results import RunResults
from nnviz.results.subset_key import SubsetKey
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

results = RunResults(Store.open(sys.argv[1]))
results.graphs.warm_up_sets(results.kind)

def loaded():
    from numba.core.dispatcher import Dispatcher
    loops = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    return {(one.__name__, kind) for one in loops for kind in one.signatures}

modules, loops = set(sys.modules), loaded()
some = np.arange(results.store.n_instances)
sets = [Subset("even", some[::2]), Subset("odd", some[1::2])]
request = GraphRequest(
    results.kind, "even", "odd", GraphOptions(), tuple(map(SubsetKey, sets))
)
compared = results.graphs.comparison(request)

print(len(compared.nodes) > 0, len(loops) > 0)
print(*sorted(set(sys.modules) - modules))
print(*sorted(name for name, _ in loaded() - loops))
"""


def test_warm_up_sets__leaves_nothing_to_load_for_the_first_graph_of_sets(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, "label")])
    make_index(store)
    command = [sys.executable, "-c", ASK, store.url]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["True True", "", ""]


def test_collections__influences_of_subsets_alone__offer_no_sets_of_instances(
    graph_url, tmp_path
):
    counted = RunResults(Store.open(graph_url)).graphs
    assert counted.has_influences("label")
    assert not {OF_A, OF_PAIR} & {*counted.collections("label")}

    store = write_store(tmp_path / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, "label")])
    assert RunResults(store).graphs.collections("label")[-2:] == (OF_A, OF_PAIR)
