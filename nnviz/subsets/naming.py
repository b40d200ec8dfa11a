"""Which subsets does a user name? The standard ones of a run, or those in a file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.argument_types import checked
from nnviz.errors import DatasetError, did_you_mean
from nnviz.runs.declarations import LABEL_SETS
from nnviz.runs.stored_names import RESERVED_COLLECTIONS
from nnviz.spreadsheets import as_meant
from nnviz.store.store import Store, opened
from nnviz.subsets.by_value import column_subsets, set_subsets
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.subsets import (
    Subset,
    SubsetCollection,
    all_instances,
    class_subsets,
    collect_subsets,
    outcome_subsets,
)
from nnviz.text_files import parse_json, read_text
from nnviz.text_tables import read_text_table

__all__ = ["named_subsets", "read_subsets", "split_names"]

SAVED = "saved"
"""Collection of the subsets that were saved in the store."""

FILE_SUFFIXES = (".csv", ".json")

SHOWN_CASES = 5
"""How many wrong ids a message shows."""

MAX_IDS_FOR_MATCHES = 10_000
"""Near matches of an id are looked for among this many ids at most: it is slow."""


@checked
def named_subsets(store: Store | str | os.PathLike[str], name: str) -> SubsetCollection:
    """Return a collection of subsets over a store's instances.

    Parameters
    ----------
    store
        The store, or its path, with a complete extraction.
    name
        ``label``, ``prediction``, ``outcome`` or ``all``; a column of the instance
        table, see :mod:`nnviz.subsets.by_value`; ``saved`` for all that were saved; the
        path of a file; or a query, which makes a collection of one subset. Where
        instances have several labels, ``label`` has a subset for each.

    Raises
    ------
    DatasetError
        If it is neither, or the file is not as :func:`read_subsets` expects it.
    QueryError
        If it is a query that does not fit the store.
    MissingDataError
        If the column that is needed has not been extracted.
    """
    store = opened(store)
    if name == "all":
        return all_instances(store.n_instances)
    plan = store.plan
    if name == "label" and plan.has_label_sets:
        names = store.class_names
        return set_subsets(store.column(LABEL_SETS), names, name="label")
    if name in ("label", "prediction"):
        return class_subsets(store.column(name), store.class_names, name=name)
    if name == "outcome":
        labels, predictions = store.column("label"), store.column("prediction")
        return outcome_subsets(labels, predictions, store.class_names)
    own = (*plan.metadata_dtypes, *plan.outcome_columns, *store.added.listed())
    if name in own:
        values = store.column(name)
        if name == "rank" and name in plan.outcome_columns:
            values = np.where(values < 0, np.nan, values)  # without a label
        return column_subsets(values, name)
    if name == SAVED:
        finder = SubsetFinder(store)
        found = [finder.find(one) for one in finder.saved()]
        if not found:
            msg = f"no subset has been saved in {store.url!r}; nnviz subset --save does"
            raise DatasetError(msg)
        return collect_subsets(found, store.n_instances, name=SAVED, kind="saved")
    if Path(name).suffix.lower() in FILE_SUFFIXES:
        return read_subsets(name, store.column("id"))
    if re.search(r"[\s=<>(]", name):
        found = [SubsetFinder(store).find(name)]
        key = f"query-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        return collect_subsets(found, store.n_instances, name=key, kind="query")
    standard = ("label", "prediction", "outcome", "all", SAVED, *own)
    msg = (
        f"unknown subsets {name!r}{did_you_mean(name, standard)}; known are "
        f"{', '.join(standard)}, and files that end in {' or '.join(FILE_SUFFIXES)}"
    )
    raise DatasetError(msg)


def split_names(text: str) -> list[str]:
    """Return the names in a list that commas separate, queries with commas whole.

    Examples
    --------
    >>> split_names('label, camera in (front, "rear, left")')
    ['label', 'camera in (front, "rear, left")']
    """
    names, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        depth += 0 if quote else (character == "(") - (character == ")")
        if character == "," and not depth and not quote:
            names.append("")
        else:
            names[-1] += character
    return [name.strip() for name in names]


def read_subsets(
    path: str | Path, ids: Sequence[str] | NDArray[Any], *, name: str | None = None
) -> SubsetCollection:
    """Read subsets from a file.

    Parameters
    ----------
    path
        A CSV file with the columns ``id`` and ``subset``, or a JSON file with a table
        from names to lists of ids. An instance may be in several subsets.
    ids
        Ids of the run's instances in their order, shape (N,).
    name
        Name of the collection in the store; None: the file's name without its suffix.

    Raises
    ------
    DatasetError
        If the file cannot be read, has another form, names ids that the run has not,
        or ids that several instances have; or if its name is reserved.
    """
    path = Path(path)
    name = path.stem if name is None else name
    if name in RESERVED_COLLECTIONS:
        msg = f"subsets from a file cannot be called {name!r}; choose another name"
        raise DatasetError(msg)
    wanted = _read_json(path) if path.suffix.lower() == ".json" else _read_csv(path)
    index_of = _index_of_ids(path, wanted, ids)
    subsets = [
        Subset(subset, np.array([index_of[key] for key in members], dtype=np.int64))
        for subset, members in wanted.items()
    ]
    return collect_subsets(subsets, len(ids), name=name, kind="file")


def _read_json(path: Path) -> dict[str, list[str]]:
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        value = parse_json(text)
    except ValueError as error:
        msg = f"{str(path)!r} is not valid JSON: {error}"
        raise DatasetError(msg) from error
    if not isinstance(value, dict) or not all(
        isinstance(members, list) and all(isinstance(m, (str, int)) for m in members)
        for members in value.values()
    ):
        msg = (
            f'{str(path)!r} should hold a table like {{"name": ["id", "id"]}}: names '
            "of subsets, and the ids of their instances"
        )
        raise DatasetError(msg)
    return {name: [str(m) for m in members] for name, members in value.items()}


def _read_csv(path: Path) -> dict[str, list[str]]:
    try:
        table = read_text_table(path, wanted=("id", "subset"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    columns = table.columns
    if not {"id", "subset"} <= set(columns):
        msg = (
            f"{str(path)!r} has the columns {', '.join(columns) or 'none'}; it should "
            "have 'id' and 'subset'"
        )
        raise DatasetError(msg)
    wanted: dict[str, list[str]] = {}
    # As nnviz writes them, spreadsheets run none of them.
    names, keys = (map(as_meant, columns[name]) for name in ("subset", "id"))
    for number, (key, subset) in enumerate(zip(keys, names, strict=True)):
        if not subset or not key:
            msg = f"row {number} of {str(path)!r} has no id or no subset"
            raise DatasetError(msg)
        wanted.setdefault(subset, []).append(key)
    return wanted


def _unreadable(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"cannot read the subsets in {str(path)!r}: {error}")


def _index_of_ids(
    path: Path, wanted: Mapping[str, list[str]], ids: Sequence[str] | NDArray[Any]
) -> dict[str, int]:
    index_of: dict[str, int] = {}
    several: set[str] = set()
    for index, key in enumerate(map(str, ids)):
        if index_of.setdefault(key, index) != index:
            several.add(key)
    named = [key for members in wanted.values() for key in members]
    unknown = [key for key in named if key not in index_of]
    if unknown:
        matches = (
            did_you_mean(unknown[0], index_of)
            if len(index_of) <= MAX_IDS_FOR_MATCHES
            else ""
        )
        known = ", ".join(repr(key) for key in list(index_of)[:SHOWN_CASES])
        msg = (
            f"{len(unknown):,} of the {len(named):,} ids in {str(path)!r} are not in "
            f"the run: {', '.join(map(repr, unknown[:SHOWN_CASES]))}{matches}; the run "
            f"has ids like {known}"
        )
        raise DatasetError(msg)
    ambiguous = [key for key in named if key in several]
    if ambiguous:
        msg = (
            f"id {ambiguous[0]!r} in {str(path)!r} belongs to several instances; a "
            "subset needs ids that are unique"
        )
        raise DatasetError(msg)
    return index_of
