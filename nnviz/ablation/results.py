"""Where does a store keep causal checks? One group for each collection and graph.

The group says which channels were ablated in which instances, and what the network put
out: all numbers are made from it again when it is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.ablation.causal_check import CausalCheck
from nnviz.ablation.treatments import Channels, SetName, Treatment
from nnviz.aggregation.aggregates import usual_collection
from nnviz.errors import MissingDataError, UnknownNameError, did_you_mean
from nnviz.store.store import Store

__all__ = ["ABLATION", "causal_check_of", "check_names", "write_causal_check"]

ABLATION = "artifacts/ablation"

_ARRAYS = {
    "instance": ("subset", "sample"),
    "wanted": ("subset", "sample"),
    "n_kept": ("subset", "layer"),
    "logit": ("subset", "treatment", "sample"),
    "probability": ("subset", "treatment", "sample"),
    "prediction": ("subset", "treatment", "sample"),
}


def write_causal_check(
    store: Store,
    name: str,
    check: CausalCheck,
    sets: Sequence[Mapping[tuple[SetName, int], Channels]],
) -> None:
    """Write a check, or replace the one of the same collection and name.

    Parameters
    ----------
    store
        Opened for writing.
    name
        Name of the graph, such as ``directed-evidence``.
    check
        The outputs.
    sets
        The channels of each set by layer, for each subset.
    """
    arrays: dict[str, NDArray[Any]] = {x: getattr(check, x) for x in _ARRAYS}
    listed = list(sets[0])
    for layer, n_channels in check.n_channels.items():
        members = np.zeros((len(sets), len(listed), n_channels), dtype=np.bool_)
        for row, of_subset in enumerate(sets):
            for number, key in enumerate(listed):
                members[row, number, of_subset[key][layer]] = True
        arrays[f"sets/{layer}"] = members
    store.groups.write(
        f"{ABLATION}/{check.subsets}/{name}",
        arrays,
        {
            "names": list(check.names),
            "graph": dict(check.graph),
            "options": dict(check.options),
            "layers": list(check.n_channels.items()),
            "sets": listed,
            "treatments": [dataclasses.asdict(one) for one in check.treatments],
            "problems": list(check.problems),
        },
        dimensions=_ARRAYS | {"sets": ("subset", "set", "channel")},
    )
    store.groups.finish(ABLATION, {})


def check_names(store: Store, subsets: str | None = None) -> list[str]:
    """Return the names of a collection's checks, sorted.

    Parameters
    ----------
    store
        Opened.
    subsets
        Name of the collection; None: the usual one.
    """
    path = f"{ABLATION}/{subsets or usual_collection(store)}"
    return [
        x for x in store.groups.names(path) if store.groups.is_complete(f"{path}/{x}")
    ]


def causal_check_of(
    store: Store, subsets: str | None = None, name: str | None = None
) -> CausalCheck:
    """Read a causal check.

    Parameters
    ----------
    store
        Opened.
    subsets
        Name of the collection; None: the usual one.
    name
        Name of the graph; None: the only one.

    Raises
    ------
    MissingDataError
        If there is none.
    UnknownNameError
        If there is none of this name, or several and no name was given.
    """
    subsets = subsets or usual_collection(store)
    known = check_names(store, subsets)
    if not known:
        msg = (
            f"the store {store.url!r} has no causal check of {subsets!r}; run "
            f"'nnviz ablate {store.url}'"
        )
        raise MissingDataError(msg)
    if name is None and len(known) == 1:
        (name,) = known
    if name not in known:
        near = "" if name is None else did_you_mean(name, known)
        msg = f"name one of the causal checks of {subsets!r}{near}: {', '.join(known)}"
        raise UnknownNameError(msg)
    path = f"{ABLATION}/{subsets}/{name}"
    attributes = store.groups.attributes(path)
    return CausalCheck(
        subsets=subsets,
        names=tuple(attributes["names"]),
        graph=attributes["graph"],
        options=attributes["options"],
        n_channels=dict(attributes["layers"]),
        treatments=tuple(Treatment(**one) for one in attributes["treatments"]),
        problems=tuple(attributes["problems"]),
        **{x: store.groups.read(f"{path}/{x}") for x in _ARRAYS},
    )
