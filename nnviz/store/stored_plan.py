"""Can the plan in a store be believed? It is checked before anything is made of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from nnviz.errors import ConfigError, StoreFormatError
from nnviz.runs.identity import fingerprint_of
from nnviz.runs.plan import Plan
from nnviz.runs.stored_names import is_storable

__all__ = ["plan_in"]

MOST_INSTANCES = 10**10
MOST_CHUNKS = 10**6

_PARTS = ("format_version", "plan", "plan_fingerprint")
_last: tuple[dict[str, Any], Plan] | None = None
"""What a plan was made of, and the plan."""


def plan_in(attributes: Mapping[str, Any], url: str) -> Plan:
    """Return the plan that the root of a store has.

    The last one is kept: workers open the same store for every task.

    Parameters
    ----------
    attributes
        Of the root.
    url
        Of the store, for messages.

    Raises
    ------
    StoreFormatError
        If it cannot be read, or was edited.
    """
    global _last
    parts = {name: attributes.get(name) for name in _PARTS}
    last = _last
    if last is not None and last[0] == parts:
        return last[1]
    try:
        _check_sense(attributes)
        plan = Plan.from_json(attributes["plan"])
        _check_names(plan)
    except ConfigError as error:
        msg = (
            f"the plan in the store {url!r} cannot be read: {error}; read it with the "
            "nnviz that wrote it, or extract again into a new store"
        )
        raise StoreFormatError(msg) from error
    _last = copy.deepcopy(parts), plan
    return plan


def _check_sense(attributes: Mapping[str, Any]) -> None:
    """Refuse a plan that was edited, before anything is made as large as it says.

    Raises
    ------
    ConfigError
        With the field that is wrong.
    """
    plan = attributes["plan"]
    if not isinstance(plan, dict) or not isinstance(plan.get("extraction"), dict):
        msg = "it is not a table with a table 'extraction'"
        raise ConfigError(msg)
    is_first_format = attributes["format_version"] == 1  # took it of other parts
    fingerprint = attributes.get("plan_fingerprint")
    if not is_first_format and fingerprint_of(plan) != fingerprint:
        msg = "it is not the one that its fingerprint was taken of: it was edited"
        raise ConfigError(msg)
    n, rows = plan.get("n_instances"), plan["extraction"].get("instances_per_chunk")
    if type(n) is not int or not 0 < n <= MOST_INSTANCES:
        msg = f"'n_instances' is {n!r}, not from 1 to {MOST_INSTANCES:,}"
        raise ConfigError(msg)
    if type(rows) is not int or rows < 1 or -(-n // rows) > MOST_CHUNKS:
        msg = (
            f"'extraction.instances_per_chunk' is {rows!r}; of {n:,} instances there "
            f"can be at most {MOST_CHUNKS:,} chunks"
        )
        raise ConfigError(msg)


def _check_names(plan: Plan) -> None:
    """Refuse names that lead out of the store, as a forged plan may have them."""
    parts = plan.architecture
    names = [layer.name for layer in parts.layers]
    names += [name for edge in parts.edges for name in (edge.source, edge.target)]
    for name in [*names, *plan.metadata_dtypes]:
        if not is_storable(name):
            msg = f"{name!r} cannot be the name of a layer or a column"
            raise ConfigError(msg)
