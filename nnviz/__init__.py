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
    from nnviz.aggregation import aggregate
    from nnviz.config import load_config
    from nnviz.derivation import derive
    from nnviz.errors import NnvizError
    from nnviz.export import write_bundle
    from nnviz.extraction import extract
    from nnviz.graphs import attribution_graph
    from nnviz.inputs.datasets import Dataset, open_dataset
    from nnviz.inputs.models import load_model
    from nnviz.inputs.subset_files import named_subsets
    from nnviz.inputs.subsets import Subset
    from nnviz.network.architecture import Architecture, Layer
    from nnviz.network.tracing import trace
    from nnviz.planning import Plan
    from nnviz.probing import plan_run, prepare_store
    from nnviz.queries import aggregates_of
    from nnviz.store.store import Store, open_store

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
    "Architecture": "nnviz.network.architecture",
    "Dataset": "nnviz.inputs.datasets",
    "Layer": "nnviz.network.architecture",
    "NnvizError": "nnviz.errors",
    "Plan": "nnviz.planning",
    "Store": "nnviz.store.store",
    "Subset": "nnviz.inputs.subsets",
    "aggregate": "nnviz.aggregation",
    "aggregates_of": "nnviz.queries",
    "attribution_graph": "nnviz.graphs",
    "derive": "nnviz.derivation",
    "extract": "nnviz.extraction",
    "load_config": "nnviz.config",
    "load_model": "nnviz.inputs.models",
    "named_subsets": "nnviz.inputs.subset_files",
    "open_dataset": "nnviz.inputs.datasets",
    "open_store": "nnviz.store.store",
    "plan_run": "nnviz.probing",
    "prepare_store": "nnviz.probing",
    "trace": "nnviz.network.tracing",
    "write_bundle": "nnviz.export",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module 'nnviz' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
