"""nnviz: what has this network learned, over all of its data?

::

    import nnviz
    from nnviz_cluster import local

    config = nnviz.load_config("run.toml")
    plan, probe = nnviz.plan_run(config)
    print(plan)  # what it will do and cost
    store = nnviz.prepare_store(plan, "run.zarr", probe=probe)
    with local.client(n_workers=2) as client:
        nnviz.extract(store, client=client)
        nnviz.aggregate(store, [nnviz.named_subsets(store, "label")], client=client)
        nnviz.derive(store, client=client)

Names are imported when they are first used: ``import nnviz`` loads neither torch nor
Dask nor Zarr.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnviz.aggregation.aggregates import aggregates_of
    from nnviz.aggregation.aggregation import aggregate
    from nnviz.derivation.derivation import derive
    from nnviz.errors import NnvizError
    from nnviz.export.tables import write_bundle
    from nnviz.extraction.extraction import extract
    from nnviz.graphs.comparison import compare_subsets
    from nnviz.graphs.making import attribution_graph
    from nnviz.inputs.datasets.opening import Dataset, open_dataset
    from nnviz.inputs.models.loading import load_model
    from nnviz.network.tracing import trace
    from nnviz.planning.planning import plan_run
    from nnviz.planning.store_creation import prepare_store
    from nnviz.runs.architecture import Architecture, Layer
    from nnviz.runs.config import load_config
    from nnviz.runs.plan import Plan
    from nnviz.store.store import Store, open_store
    from nnviz.subsets.naming import named_subsets
    from nnviz.subsets.subsets import Subset

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "Dataset",
    "Layer",
    "NnvizError",
    "Plan",
    "Store",
    "Subset",
    "aggregate",
    "aggregates_of",
    "attribution_graph",
    "compare_subsets",
    "derive",
    "extract",
    "load_config",
    "load_model",
    "named_subsets",
    "open_dataset",
    "open_store",
    "plan_run",
    "prepare_store",
    "trace",
    "write_bundle",
]

_HOMES = {
    "Architecture": "nnviz.runs.architecture",
    "Dataset": "nnviz.inputs.datasets.opening",
    "Layer": "nnviz.runs.architecture",
    "NnvizError": "nnviz.errors",
    "Plan": "nnviz.runs.plan",
    "Store": "nnviz.store.store",
    "Subset": "nnviz.subsets.subsets",
    "aggregate": "nnviz.aggregation.aggregation",
    "aggregates_of": "nnviz.aggregation.aggregates",
    "attribution_graph": "nnviz.graphs.making",
    "compare_subsets": "nnviz.graphs.comparison",
    "derive": "nnviz.derivation.derivation",
    "extract": "nnviz.extraction.extraction",
    "load_config": "nnviz.runs.config",
    "load_model": "nnviz.inputs.models.loading",
    "named_subsets": "nnviz.subsets.naming",
    "open_dataset": "nnviz.inputs.datasets.opening",
    "open_store": "nnviz.store.store",
    "plan_run": "nnviz.planning.planning",
    "prepare_store": "nnviz.planning.store_creation",
    "trace": "nnviz.network.tracing",
    "write_bundle": "nnviz.export.tables",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module 'nnviz' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
