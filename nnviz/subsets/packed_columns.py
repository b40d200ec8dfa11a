"""How is a column of a million instances there at once? Packed, a part of the index.

The store has columns as tasks wrote them: numbers in a file for each chunk, texts one
by one. Here is a second copy, each column in one file that is mapped: numbers as they
are, texts as codes into their distinct values. A predicate on texts then looks at each
value once, and nothing has to be unpacked before.

Like the rest of the index it is derived from the store, has a key of all that it
depends on, and is never needed for a correct answer: what is not there, not current or
damaged is read from the store's own arrays.

Symbols: N instances, U distinct texts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import MissingDataError, StoreFormatError
from nnviz.runs.arrays import ArraySpec
from nnviz.runs.declarations import declaration_of
from nnviz.store.groups import PACKED
from nnviz.store.store import Store

__all__ = ["PackedColumns", "PackedTexts", "pack_columns"]

VERSION = 1
"""Changes whenever columns that were packed before could be misread."""

SEPARATORS = "\0\n\x1e\x1f\x1d\x1c\x01\x02\x03\x04"
"""Characters that can stand between texts: the first that none of them has."""

MAX_TEXT_BYTES = 1 << 28
"""Of the distinct texts of a column; larger ones stay where they are."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedTexts:
    """A column of texts."""

    codes: NDArray[np.signedinteger]
    """Which of the texts each instance has, shape (N,)."""
    texts: tuple[str, ...]
    """The distinct texts, U of them, in order of appearance."""


def packed_key(store: Store) -> str:
    """Return the SHA-256 of all that the packed columns of a store depend on."""
    stated = store.groups.file_checksums("")
    columns = {k: v for k, v in stated.items() if k.startswith("instances/")}
    known = [VERSION, store.fingerprint, store.n_instances, columns]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    digest.update(store.chunks.mark_values().tobytes())
    return digest.hexdigest()


def pack_columns(store: Store) -> bool:
    """Pack the columns of a store's instances, where this has not been done.

    Parameters
    ----------
    store
        With a complete extraction, opened for writing.

    Returns
    -------
    bool
        Whether there was something to be done.

    Raises
    ------
    MissingDataError
        If extraction is not complete.
    StoreFormatError
        If a column is damaged.
    """
    key = packed_key(store)
    if _attributes(store).get("key") == key:
        return False
    store.groups.start(PACKED, groups=("values", "texts"))
    kinds: dict[str, dict[str, Any]] = {}
    added = store.added.listed()
    for name in store.columns:
        if name in added:
            continue
        values = store.column(name)
        facts: dict[str, Any] = {}
        if values.dtype.kind not in "biuf":
            packed = _packed(values)
            if packed is None:
                continue
            values, facts["separator"], texts = packed
            facts["n_bytes"] = len(texts)
            _write(store, "texts", name, texts)
        _write(store, "values", name, values)
        kinds[name] = {"dtype": str(values.dtype), **facts}
    store.groups.finish(PACKED, {"key": key, "kinds": kinds})
    return True


def _packed(
    values: NDArray[np.object_],
) -> tuple[NDArray[np.signedinteger], str, NDArray[np.uint8]] | None:
    """Return codes, a separator and joined texts; None where they stay as they are."""
    import pandas as pd  # noqa: PLC0415  slow to import, and needed for texts only

    codes, distinct = pd.factorize(values)
    if (codes < 0).any():
        return None
    found = set().union(*map(set, distinct)) if len(distinct) else set()
    free = [character for character in SEPARATORS if character not in found]
    if not free:
        return None
    data = free[0].join(distinct).encode()
    if len(data) > MAX_TEXT_BYTES:
        return None
    dtype = np.promote_types(np.int16, np.min_scalar_type(-len(distinct) - 1))
    return codes.astype(dtype), free[0], np.frombuffer(data, np.uint8)


def _write(store: Store, part: str, name: str, values: NDArray[Any]) -> None:
    declaration = declaration_of(f"{PACKED}/{part}/<column>")
    path = f"{PACKED}/{part}/{name}"
    spec = ArraySpec(path, values.shape, declaration, str(values.dtype), len(values))
    store.groups.write_plain(spec, values)


def _attributes(store: Store) -> dict[str, Any]:
    """Return what was written of packed columns; nothing where they are not whole."""
    with contextlib.suppress(MissingDataError, StoreFormatError):
        return store.groups.attributes(PACKED)
    return {}


class PackedColumns:
    """The packed columns of an opened store; may be shared by threads.

    Parameters
    ----------
    store
        Without an index nothing is found.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kinds: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> NDArray[Any] | PackedTexts | None:
        """Return a column, every byte checked; None where the store has to be read."""
        facts = self._known().get(name)
        if facts is None:
            return None
        n, dtype = self._store.n_instances, np.dtype(facts["dtype"])
        read = self._store.groups.read_plain
        try:
            values = read(PACKED, f"values/{name}", dtype, n)
            if "separator" not in facts:
                return values
            data = read(
                PACKED, f"texts/{name}", np.dtype(np.uint8), int(facts["n_bytes"])
            )
        except (StoreFormatError, OSError, ValueError):
            return None
        texts = tuple(data.tobytes().decode().split(facts["separator"]))
        return PackedTexts(values, texts)

    def _known(self) -> dict[str, dict[str, Any]]:
        """Return what is there, by name; it is asked again until something is."""
        with self._lock:
            if not self._kinds:
                attributes = _attributes(self._store)
                if attributes and attributes["key"] == packed_key(self._store):
                    self._kinds = dict(attributes["kinds"])
            return self._kinds
