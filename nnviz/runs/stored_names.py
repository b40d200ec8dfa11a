"""Which names may layers, columns and collections have? They become paths in a store.

What is refused here would be another path: with a separator, up and out of the store,
hidden, too long for a file system, or in place of what Zarr itself writes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from nnviz.errors import PlanError
from nnviz.runs.declarations import RESERVED_COLUMNS

__all__ = [
    "GROUPS",
    "RESERVED_COLLECTIONS",
    "check_columns",
    "check_layers",
    "collection_of_column",
    "is_collection",
    "is_storable",
]

GROUPS = (
    "ablation",
    "attribution_graphs",
    "classes",
    "columns",
    "examples",
    "saved_subsets",
)
"""Groups beside which what was derived of a collection stands."""

RESERVED_COLLECTIONS = ("all", "label", "prediction", "outcome", "saved", *GROUPS)
"""Names that neither a file nor a column gives its collection."""

MAX_BYTES = 200
"""Of 255 that file systems take."""

MAX_LAYER_BYTES = 120
"""The influences of a pair of layers are stored under both names."""


def is_storable(name: str, *, max_bytes: int = MAX_BYTES) -> bool:
    """Whether a name can be one part of a path in a store, on any file system.

    Parameters
    ----------
    name
        Any text.
    max_bytes
        Of the name in UTF-8.

    Examples
    --------
    >>> is_storable("site"), is_storable("../site"), is_storable("zarr.json")
    (True, False, False)
    """
    return (
        bool(name)
        and name.isprintable()
        and not name.startswith(".")
        and not {"/", "\\"} & set(name)  # Zarr takes either for a separator
        and name != "zarr.json"
        and len(name.encode()) <= max_bytes
    )


def is_collection(name: object) -> bool:
    """Whether a collection of subsets may have a name."""
    return (
        isinstance(name, str)
        and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name) is not None
        and is_storable(name)
        and name not in GROUPS
    )


def collection_of_column(name: str) -> str:
    """Return what the collection of a column's values is called in a store.

    Parameters
    ----------
    name
        Of the column. Where it cannot be that of a collection, a hash of it tells two
        columns apart.

    Examples
    --------
    >>> collection_of_column("site"), collection_of_column("km h")
    ('site', 'km_h-8c7f6ee0')
    """
    if is_collection(name) and name not in RESERVED_COLLECTIONS:
        return name
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return f"{plain[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def check_layers(names: Iterable[str]) -> None:
    """Refuse layers that cannot be stored under their name.

    Raises
    ------
    PlanError
        With the first of them, and how it can be left out.
    """
    for name in names:
        if not is_storable(name, max_bytes=MAX_LAYER_BYTES):
            msg = (
                f"the layer {name!r} cannot be stored: the name must not hold '/', "
                f"'\\' or unprintable characters, be longer than {MAX_LAYER_BYTES} "
                "bytes, start with '.' or be 'zarr.json'; rename the module, or leave "
                f"it out with extraction.layers = ['*', '!{name}']"
            )
            raise PlanError(msg)


def check_columns(names: Iterable[str]) -> None:
    """Refuse metadata columns that cannot be stored under their name.

    Raises
    ------
    PlanError
        With the first of them, and how it can be left out.
    """
    for name in names:
        if name in RESERVED_COLUMNS or not is_storable(name):
            # A column of labels arrives here if the run file names another one.
            source = (
                "if it holds the labels, name it as dataset.label_column "
                "(dataset.label_array for arrays); else "
                if name == "label"
                else ""
            )
            msg = (
                f"the metadata column {name!r} cannot be stored: the name must not be "
                f"empty, hold '/', '\\' or unprintable characters, be longer than "
                f"{MAX_BYTES} bytes, start with '.' or be one of "
                f"{', '.join(RESERVED_COLUMNS)}, which nnviz writes itself, or "
                f"'zarr.json'; {source}rename it, or leave it out with "
                f"dataset.metadata_columns = ['*', '!{name}']"
            )
            raise PlanError(msg)
