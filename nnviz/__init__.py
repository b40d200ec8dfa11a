"""nnviz: what has this network learned, over all of its data?

::

    import nnviz

    store = nnviz.run(model, dataset, "run.zarr", classes=names)
    store  # what it holds, what is missing
    taken = store.subset("label = horse and prediction = dog")  # any query, mask, ids
    store.look(taken)  # its errors, channels, company
    store.graph("horse")
    store.compare(taken, "label = horse and correct")
    nnviz.serve(store)

and the same stage by stage, here from a run file::

    plan, probe = nnviz.plan_run("run.toml")
    print(plan)  # what it will do and cost
    store = nnviz.prepare_store(plan, "run.zarr", probe=probe)
    nnviz.extract(store)
    nnviz.aggregate(store)
    nnviz.derive(store)

Names are imported when they are first used: ``import nnviz`` loads neither torch nor
Dask nor Zarr.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnviz.aggregation.aggregates import aggregates_of
    from nnviz.demo import write_demo
    from nnviz.errors import NnvizError
    from nnviz.export.tables import write_bundle
    from nnviz.inputs.datasets.opening import Dataset, open_dataset
    from nnviz.inputs.models.loading import load_model
    from nnviz.interface.packed_runs import pack
    from nnviz.interface.page import serve
    from nnviz.interface.questions import attribution_graph, compare, motifs, rescore
    from nnviz.interface.run_store import Store, open_store
    from nnviz.interface.stages import (
        aggregate,
        derive,
        extract,
        index,
        plan_run,
        run,
    )
    from nnviz.interface.upkeep import (
        ablate,
        ablate_difference,
        explain,
        extend,
        recompute,
        verify,
    )
    from nnviz.network.tracing import trace
    from nnviz.planning.store_creation import prepare_store
    from nnviz.runs.architecture import Architecture, Layer
    from nnviz.runs.config import (
        ClassesConfig,
        DatasetConfig,
        ExtractionConfig,
        ModelConfig,
        PreprocessingConfig,
        RunConfig,
        load_config,
    )
    from nnviz.runs.plan import Plan
    from nnviz.subsets.naming import named_subsets
    from nnviz.subsets.subsets import Subset, SubsetCollection

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "ClassesConfig",
    "Dataset",
    "DatasetConfig",
    "ExtractionConfig",
    "Layer",
    "ModelConfig",
    "NnvizError",
    "Plan",
    "PreprocessingConfig",
    "RunConfig",
    "Store",
    "Subset",
    "SubsetCollection",
    "ablate",
    "ablate_difference",
    "aggregate",
    "aggregates_of",
    "attribution_graph",
    "compare",
    "derive",
    "explain",
    "extend",
    "extract",
    "index",
    "load_config",
    "load_model",
    "motifs",
    "named_subsets",
    "open_dataset",
    "open_store",
    "pack",
    "plan_run",
    "prepare_store",
    "recompute",
    "rescore",
    "run",
    "serve",
    "trace",
    "verify",
    "write_bundle",
    "write_demo",
]

_HOMES = {
    "Architecture": "nnviz.runs.architecture",
    "ClassesConfig": "nnviz.runs.config",
    "Dataset": "nnviz.inputs.datasets.opening",
    "DatasetConfig": "nnviz.runs.config",
    "ExtractionConfig": "nnviz.runs.config",
    "Layer": "nnviz.runs.architecture",
    "ModelConfig": "nnviz.runs.config",
    "NnvizError": "nnviz.errors",
    "Plan": "nnviz.runs.plan",
    "PreprocessingConfig": "nnviz.runs.config",
    "RunConfig": "nnviz.runs.config",
    "Store": "nnviz.interface.run_store",
    "Subset": "nnviz.subsets.subsets",
    "SubsetCollection": "nnviz.subsets.subsets",
    "ablate": "nnviz.interface.upkeep",
    "ablate_difference": "nnviz.interface.upkeep",
    "aggregate": "nnviz.interface.stages",
    "aggregates_of": "nnviz.aggregation.aggregates",
    "attribution_graph": "nnviz.interface.questions",
    "compare": "nnviz.interface.questions",
    "derive": "nnviz.interface.stages",
    "explain": "nnviz.interface.upkeep",
    "extend": "nnviz.interface.upkeep",
    "extract": "nnviz.interface.stages",
    "index": "nnviz.interface.stages",
    "load_config": "nnviz.runs.config",
    "load_model": "nnviz.inputs.models.loading",
    "motifs": "nnviz.interface.questions",
    "named_subsets": "nnviz.subsets.naming",
    "open_dataset": "nnviz.inputs.datasets.opening",
    "open_store": "nnviz.interface.run_store",
    "pack": "nnviz.interface.packed_runs",
    "plan_run": "nnviz.interface.stages",
    "prepare_store": "nnviz.planning.store_creation",
    "recompute": "nnviz.interface.upkeep",
    "rescore": "nnviz.interface.questions",
    "run": "nnviz.interface.stages",
    "serve": "nnviz.interface.page",
    "trace": "nnviz.network.tracing",
    "verify": "nnviz.interface.upkeep",
    "write_bundle": "nnviz.export.tables",
    "write_demo": "nnviz.demo",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module 'nnviz' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
