"""What does a data set know of its instances before it reads one?

Identifiers, labels and columns, in one order that is the same on every machine, and a
fingerprint of them. The readers of :mod:`nnviz.inputs.datasets.opening` build their
listings with the functions of this module.
"""

from __future__ import annotations

import collections
import fnmatch
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ConfigError, DatasetError, did_you_mean

__all__ = [
    "DEFAULT_LABEL",
    "check_ids",
    "check_label_name",
    "endings_text",
    "fingerprint_of",
    "input_columns",
    "label_notes",
    "make_column",
    "make_labels",
    "select_columns",
    "typed_column",
]

DEFAULT_LABEL = "label"
"""Name of the labels where the run file states none."""

_N_COLUMNS = 10
"""How many columns a note names."""

_N_ENDINGS = 8
"""How many endings a note names."""

_WHOLE = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan", re.IGNORECASE
)
_LEADING_ZERO = re.compile(r"[+-]?0\d")
_TRUTH = {"true": True, "false": False}


def check_ids(ids: Sequence[str], *, place: str) -> None:
    """Refuse an empty data set, and identifiers that occur twice.

    Raises
    ------
    DatasetError
        With the first few cases.
    """
    if not ids:
        msg = f"{place} has no instances; nnviz needs at least one"
        raise DatasetError(msg)
    if len(set(ids)) == len(ids):
        return
    seen: dict[str, int] = {}
    cases: list[str] = []
    for index, name in enumerate(ids):
        if name in seen:
            cases.append(f"{name!r} (instances {seen[name]} and {index})")
        seen.setdefault(name, index)
        if len(cases) == 3:
            break
    msg = (
        f"identifiers in {place} are not unique: {', '.join(cases)}; each instance "
        f"needs its own: remove the duplicates, or name a column with unique values "
        f"as dataset.id_column"
    )
    raise DatasetError(msg)


def check_label_name(
    name: str | None, known: Iterable[str], *, option: str, place: str
) -> None:
    """Refuse a source of labels that is stated and does not exist.

    The default name may be absent: then the data have no labels.

    Parameters
    ----------
    name
        As the run file states it.
    known
        What there is.
    option, place
        ``dataset.label_column`` or the like, and the data, for the message.

    Raises
    ------
    ConfigError
        With what there is.
    """
    known = list(known)
    if name and name != DEFAULT_LABEL and name not in known:
        msg = (
            f"{option} is {name!r}{did_you_mean(name, known)}, which {place} does not "
            f"have; it has {', '.join(known) or 'none'}"
        )
        raise ConfigError(msg)


def label_notes(
    name: str | None, known: Iterable[str], *, option: str, place: str
) -> tuple[str, ...]:
    """Say that data have no labels under the default name, but other columns.

    Parameters
    ----------
    name, known, option, place
        As for :func:`check_label_name`.
    """
    others = [each for each in known if each]
    if name != DEFAULT_LABEL or name in others or not others:
        return ()
    shown = ", ".join(others[:_N_COLUMNS])
    more = f" and {len(others) - _N_COLUMNS} more" if len(others) > _N_COLUMNS else ""
    return (
        (
            f"no labels: {place} has no {name!r}, but {shown}{more}; name the one with "
            f'the labels as {option}, or set it to "" for data without labels'
        ),
    )


def endings_text(counts: collections.Counter[str]) -> str:
    """Return how many files there are of each ending, the most frequent first.

    Parameters
    ----------
    counts
        By ending, in small letters; "" for none, "." for hidden files.

    Examples
    --------
    >>> endings_text(collections.Counter({".heic": 4, "": 2, ".": 1}))
    '4 .heic, 2 without ending, 1 hidden'
    """
    words = {"": "without ending", ".": "hidden"}
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{n:,} {words.get(e, e)}" for e, n in ordered[:_N_ENDINGS]]
    rest = sum(n for _, n in ordered[_N_ENDINGS:])
    return ", ".join([*shown, *([f"{rest:,} others"] if rest else [])])


def make_labels(values: Iterable[Any]) -> NDArray[np.object_] | None:
    """Return raw labels as an array of str, int or None; None if there is no label.

    Missing labels (None, NaN, an empty text) become None; blanks around a text are no
    part of it. Several labels of an instance become a tuple: the members of a list or
    set, or where an array of zeros and ones (one for each class) is not zero. Where
    every instance has exactly one, as in one-hot arrays, these are single labels.
    """
    labels = [_label(value) for value in values]
    if all(isinstance(label, tuple) and len(label) == 1 for label in labels):
        labels = [label[0] for label in labels]
    if all(label is None for label in labels):
        return None
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def _marked(values: NDArray[Any]) -> tuple[int, ...]:
    if values.dtype.kind in "iufb" and np.isin(values, (0, 1)).all():
        return tuple(np.flatnonzero(values).tolist())
    msg = (
        f"a label is {values!r:.80}; several labels of an instance are a list or set "
        "of them, or an array of zeros and ones with a place for each class; several "
        "numbers to be predicted are columns: (inputs, None, {'width': ..., ...})"
    )
    raise DatasetError(msg)


def _label(value: Any) -> Any:
    if type(value) is str:  # nearly always, and a million times
        return value.strip() or None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (list, tuple, set, frozenset)):
        members = (
            sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        )
        return tuple(_label(each) for each in members)
    if hasattr(value, "shape") and len(value.shape) == 1:
        return _marked(np.asarray(value))
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    return str(value).strip() or None


def typed_column(
    texts: Sequence[str], *, has_decimal_commas: bool = False
) -> NDArray[Any]:
    """Return a column of texts as whole numbers, numbers, truth values or texts.

    Parameters
    ----------
    texts
        One for each instance.
    has_decimal_commas
        Whether ``1,5`` is a number, as where a semicolon separates the values.

    Texts with leading zeros stay texts (they are codes), and a column with missing
    values (empty texts) that is numeric otherwise has NaN there.

    Examples
    --------
    >>> typed_column(["1", "20"]).tolist(), typed_column(["1", ""]).tolist()
    ([1, 20], [1.0, nan])
    >>> typed_column(["007", "8"]).tolist(), typed_column(["True", "false"]).tolist()
    (['007', '8'], [True, False])
    """
    if has_decimal_commas and not any("." in text for text in texts):
        with_points = typed_column([text.replace(",", ".") for text in texts])
        if with_points.dtype.kind == "f":
            return with_points
    present = [text for text in texts if text]
    if not present:
        return make_column(texts)
    if not any(_LEADING_ZERO.match(text) for text in present):
        if all(_WHOLE.fullmatch(text) for text in present):
            if len(present) == len(texts):
                return np.array([int(text) for text in texts], dtype=np.int64)
            return _floats(texts)
        if all(_NUMBER.fullmatch(text) for text in present):
            return _floats(texts)
    truths = [_TRUTH.get(text.lower()) for text in texts]
    if None not in truths:
        return np.array(truths, dtype=np.bool_)
    return make_column(texts)


def _floats(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([float(text or "nan") for text in texts], dtype=np.float64)


def make_column(values: Sequence[Any]) -> NDArray[Any]:
    """Return values as a column: numbers and truth values as they are, else texts.

    Parameters
    ----------
    values
        One value for each instance; None is NaN among numbers, and both are "" among
        texts.
    """
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, (bool, np.bool_)) for value in present):
        if len(present) == len(values):
            return np.array(values, dtype=np.bool_)
    elif present and all(isinstance(v, (int, float, np.number)) for v in present):
        if len(present) < len(values):
            values = [math.nan if value is None else value for value in values]
        column = np.array(values)
        if column.dtype.kind in "iuf":
            return column
        try:
            return column.astype(np.float64)
        except OverflowError:
            pass  # whole numbers of hundreds of digits are texts
    texts = np.empty(len(values), dtype=object)
    texts[:] = ["" if _is_missing(value) else str(value) for value in values]
    return texts


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def select_columns(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the names that glob patterns keep; a pattern with ``!`` in front removes.

    Raises
    ------
    DatasetError
        If a pattern without wildcard names no column.
    """
    names = list(names)
    kept: dict[str, None] = {}
    for pattern in patterns:
        glob = pattern.removeprefix("!")
        found = [name for name in names if fnmatch.fnmatchcase(name, glob)]
        if not found and not any(mark in glob for mark in "*?["):
            msg = (
                f"dataset.metadata_columns names {glob!r}, which the data do not have"
                f"{did_you_mean(glob, names)}; columns: {', '.join(names) or 'none'}"
            )
            raise DatasetError(msg)
        for name in found:
            if pattern.startswith("!"):
                kept.pop(name, None)
            else:
                kept[name] = None
    return [name for name in names if name in kept]


def input_columns(
    names: Iterable[str], patterns: Sequence[str], *, place: str
) -> list[str]:
    """Return the columns that are the network's inputs, each once.

    Parameters
    ----------
    names
        What there is, without labels and the instances' names.
    patterns
        Names, or glob patterns of several.
    place
        The data, for the message.

    Raises
    ------
    ConfigError
        If one fits no column, with the near match.
    """
    names = list(names)
    found: dict[str, None] = {}
    for pattern in patterns:
        fitting = [pattern] if pattern in names else fnmatch.filter(names, pattern)
        if not fitting:
            msg = (
                f"{place} has no column {pattern!r} for the network"
                f"{did_you_mean(pattern, names)}; beside labels and the instances' "
                f"names it has {', '.join(names) or 'none'}"
            )
            raise ConfigError(msg)
        found |= dict.fromkeys(fitting)
    return list(found)


def fingerprint_of(
    kind: str,
    ids: Sequence[str],
    labels: NDArray[np.object_] | None,
    metadata: Mapping[str, NDArray[Any]],
    *facts: Iterable[object],
) -> str:
    """Return the SHA-256 of a listing.

    Parameters
    ----------
    kind
        The kind of reader.
    ids, labels, metadata
        The listing.
    facts
        What else tells one data set from another, such as the sizes of the files.
    """
    digest = hashlib.sha256()
    parts: list[tuple[str, Iterable[object]]] = [("kind", [kind]), ("ids", ids)]
    parts.append(("labels", () if labels is None else map(repr, labels.tolist())))
    parts += [
        (f"column {name}", map(repr, metadata[name].tolist())) for name in metadata
    ]
    parts += [(f"facts {index}", fact) for index, fact in enumerate(facts)]
    for name, values in parts:
        text = "\0".join(map(str, values))
        digest.update(f"{name} {len(text)}\n".encode())
        digest.update(text.encode("utf-8", errors="surrogateescape"))
    return digest.hexdigest()
