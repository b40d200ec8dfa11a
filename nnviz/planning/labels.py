"""Which output of the network is the class that a label of the data names?

Labels may be names, WordNet ids or indices; a subset of the network's classes, in
another order, or missing. With a class map (a CSV file with the column ``index`` and
any columns of names) the labels are looked up in one of its columns. Without one:

1. whole numbers are indices of outputs (of the data set's own classes where it names
   them: these names are joined instead, if there is anything to join them with);
   -1 means no label; another number that is not an output is an error: whether the data
   count from 1, or skip classes, cannot be known;
2. names are looked up among the class names that the model brings along, or else among
   the data set's classes where these are as many as the outputs;
3. names that are as many as the outputs, none of them a number, are taken in sorted
   order, as every loader of folders numbers them.

What cannot be joined is an error that shows the first cases of both sides. A network
that is not a classifier has no outputs to join with: labels get classes of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError, did_you_mean
from nnviz.planning.class_maps import ClassMap, duplicates, read_class_map
from nnviz.runs.config import ClassesConfig

__all__ = ["JoinedClasses", "join_labels"]

_N_CASES = 5


@dataclass(frozen=True, slots=True)
class JoinedClasses:
    """Labels as indices of classes."""

    labels: NDArray[np.int32]
    """(instance,) index into `class_names`; -1 where there is no label."""
    class_names: tuple[str, ...]
    """Unique names; for a classifier one for each output, in the order of outputs."""
    n_present: int
    """How many of the classes at least one instance has as its label."""
    joined_by: str
    """How the labels were joined, for people: ``column 'wnid' of classes.csv``.

    Empty if there are no labels.
    """


def join_labels(
    labels: NDArray[np.object_] | None,
    *,
    config: ClassesConfig,
    n_outputs: int | None,
    class_names: Sequence[str] = (),
    label_names: Sequence[str] = (),
    n_instances: int | None = None,
) -> JoinedClasses:
    """Join a data set's labels with the network's outputs.

    Parameters
    ----------
    labels
        Raw labels (instance,): str, int, or None where one is missing, as is -1; None
        for data without labels.
    config
        The ``[classes]`` table of the run file.
    n_outputs
        Number of the network's outputs; None if it is not a classifier.
    class_names
        Names of the outputs as the run file or the model states them; may be empty.
    label_names
        All classes that the data set knows, in order; whole-number labels index them.
        Empty if it knows none.
    n_instances
        Number of instances, needed where `labels` is None.

    Returns
    -------
    JoinedClasses
        With a name for every output.

    Raises
    ------
    DatasetError
        If a label joins no class, the class map is damaged or does not fit the network;
        the message shows the first cases of both sides.
    """
    values = [None] * (n_instances or 0) if labels is None else labels.tolist()
    if label_names and _have_names_to_join(config, n_outputs, class_names, label_names):
        values = [_name_of(value, label_names) for value in values]
    values = _without_sentinel(values, (*class_names, *label_names))
    distinct = sorted({v for v in values if v is not None}, key=_sorting_key)
    if n_outputs is None:
        names = [str(value) for value in distinct]
        joined_by = "the labels' own names, sorted; the network is not a classifier"
        place_of = {value: i for i, value in enumerate(distinct)}
    else:
        if class_names and len(class_names) != n_outputs:
            msg = (
                f"there are {len(class_names)} class names for {n_outputs} outputs of "
                f"the network; correct model.class_names"
            )
            raise DatasetError(msg)
        place_of, names, joined_by = (
            _join_without_map(distinct, n_outputs, class_names, label_names)
            if config.map is None
            else _join_by_map(distinct, config, n_outputs, class_names)
        )
    joined = [-1 if value is None else place_of[value] for value in values]
    return JoinedClasses(
        labels=np.array(joined, dtype=np.int32),
        class_names=_unique_names(names),
        n_present=len(set(place_of.values())),
        joined_by=joined_by if distinct else "",
    )


_Join = tuple[dict[str | int, int], list[str], str]


def _without_sentinel(
    values: list[str | int | None], names: Sequence[str]
) -> list[str | int | None]:
    """Take -1 for a missing label, and "-1" where all other texts are numbers too."""
    missing: set[str | int] = {-1}
    texts = {value for value in values if isinstance(value, str)} - {"-1"}
    if "-1" not in names and all(_number(text) is not None for text in texts):
        missing.add("-1")
    return [None if value in missing else value for value in values]


def _have_names_to_join(
    config: ClassesConfig,
    n_outputs: int | None,
    class_names: Sequence[str],
    label_names: Sequence[str],
) -> bool:
    """Whether whole-number labels stand for names here, not for outputs.

    They number the data set's classes. These are the outputs where both are named
    alike, or where nothing but their number is known.
    """
    if config.map is not None:
        return config.match != "index"
    if n_outputs is None:
        return True
    return list(class_names) != list(label_names) and (
        bool(class_names) or len(label_names) != n_outputs
    )


def _name_of(value: str | int | None, label_names: Sequence[str]) -> str | int | None:
    if isinstance(value, int) and 0 <= value < len(label_names):
        return label_names[value]
    return value


def _join_by_map(
    distinct: list[str | int],
    config: ClassesConfig,
    n_outputs: int,
    class_names: Sequence[str],
) -> _Join:
    class_map = read_class_map(config.map or "")
    outside = [index for index in class_map.index if index >= n_outputs]
    if outside:
        msg = (
            f"the class map {class_map.path!r} has the index {outside[0]}, but the "
            f"network has {n_outputs} outputs, 0 to {n_outputs - 1}"
        )
        raise DatasetError(msg)
    column = _matching_column(distinct, class_map, config.match)
    keys = _keys(class_map, column, distinct)
    lost = [value for value in distinct if str(value) not in keys]
    if lost:
        raise DatasetError(_not_joined(distinct, lost, class_map, column))
    place_of = {value: keys[str(value)] for value in distinct}
    names = _names_of_map(class_map, column, config.name, n_outputs, class_names)
    return place_of, names, f"column {column!r} of {Path(class_map.path).name}"


def _matching_column(
    distinct: list[str | int], class_map: ClassMap, match: str | None
) -> str:
    """Return the column that holds the labels: the stated one, or the best fit."""
    known = [*class_map.columns, "index"]
    if match is not None:
        if match not in known:
            msg = (
                f"classes.match is {match!r}{did_you_mean(match, known)}; columns of "
                f"{class_map.path!r}: {', '.join(known)}"
            )
            raise DatasetError(msg)
        return match
    texts = set(map(str, distinct))
    fits = {
        column: len(texts.intersection(class_map.values_of(column))) for column in known
    }
    best = [column for column in known if fits[column] == max(fits.values())]
    joins = {column: _places(class_map, column, texts) for column in best}
    other = next((c for c in best if joins[c] != joins[best[0]]), None)
    if other is not None and max(fits.values()) > 0:
        msg = (
            f"the labels {_first(distinct)} fit the columns {best[0]!r} and {other!r} "
            f"of the class map {class_map.path!r} equally well, with other classes; "
            f"name the right one as classes.match"
        )
        raise DatasetError(msg)
    return best[0]


def _places(class_map: ClassMap, column: str, texts: set[str]) -> set[tuple[str, int]]:
    pairs = zip(class_map.values_of(column), class_map.index, strict=True)
    return {(text, index) for text, index in pairs if text in texts}


def _keys(
    class_map: ClassMap, column: str, distinct: list[str | int]
) -> dict[str, int]:
    values = class_map.values_of(column)
    twice = set(duplicates(values)).intersection(map(str, distinct))
    if twice:
        msg = (
            f"the labels {_first(sorted(twice))} are more than once in column "
            f"{column!r} of the class map {class_map.path!r}, and cannot be told "
            f"apart; name another column as classes.match"
        )
        raise DatasetError(msg)
    return dict(zip(values, class_map.index, strict=True))


def _names_of_map(
    class_map: ClassMap,
    match: str,
    name: str | None,
    n_outputs: int,
    class_names: Sequence[str],
) -> list[str]:
    known = [*class_map.columns, "index"]
    if name is not None and name not in known:
        msg = (
            f"classes.name is {name!r}{did_you_mean(name, known)}; columns of "
            f"{class_map.path!r}: {', '.join(known)}"
        )
        raise DatasetError(msg)
    column = name or ("name" if "name" in class_map.columns else match)
    names = list(class_names) or [str(index) for index in range(n_outputs)]
    for index, text in zip(class_map.index, class_map.values_of(column), strict=True):
        names[index] = text or names[index]
    return names


def _join_without_map(
    distinct: list[str | int],
    n_outputs: int,
    class_names: Sequence[str],
    label_names: Sequence[str],
) -> _Join:
    # A data set that knows as many classes as there are outputs numbers them alike.
    joined_by = "the model's class names"
    if not class_names and len(label_names) == n_outputs:
        class_names, joined_by = label_names, "the data set's classes, in their order"
    named = list(class_names)
    twice = set(duplicates(named))
    keys = {name: i for i, name in enumerate(named) if name not in twice}
    if distinct and all(str(v) in keys for v in distinct):
        place_of = {value: keys[str(value)] for value in distinct}
        return place_of, named, joined_by
    numbers = [_number(value) for value in distinct]
    if all(number is not None and 0 <= number < n_outputs for number in numbers):
        place_of = {
            v: n for v, n in zip(distinct, numbers, strict=True) if n is not None
        }
        names = named or [str(index) for index in range(n_outputs)]
        return place_of, names, "indices of the network's outputs"
    outside = [
        value
        for value, number in zip(distinct, numbers, strict=True)
        if number is not None and not 0 <= number < n_outputs
    ]
    if outside and None not in numbers:
        msg = (
            f"{len(outside)} of {len(distinct)} labels are whole numbers, but no "
            f"output of the network: {_first(outside)}; outputs are 0 to "
            f"{n_outputs - 1}, and -1 means no label; {_advice(n_outputs)}"
        )
        raise DatasetError(msg)
    if not named and len(distinct) == n_outputs and set(numbers) == {None}:
        place_of = {value: index for index, value in enumerate(distinct)}
        return place_of, list(map(str, distinct)), "the labels' names, sorted"
    lost = [value for value in distinct if str(value) not in keys] or distinct
    known = named or [f"outputs 0 to {n_outputs - 1}, without names"]
    msg = (
        f"{len(lost)} of {len(distinct)} labels join no output of the network; the "
        f"data have {_first(lost)}, the network has {_first(known)}; "
        f"{_advice(n_outputs)}"
    )
    raise DatasetError(msg)


def _advice(n_outputs: int) -> str:
    return (
        f"give a class map: a CSV file with the column 'index' (0 to {n_outputs - 1}) "
        f"and a column with the labels, named in the run file as "
        f'[classes] map = "classes.csv"'
    )


def _not_joined(
    distinct: list[str | int], lost: list[str | int], class_map: ClassMap, column: str
) -> str:
    return (
        f"{len(lost)} of {len(distinct)} labels are not in column {column!r} of the "
        f"class map {class_map.path!r}; the data have {_first(lost)}, the column has "
        f"{_first(class_map.values_of(column))}; complete the map, or name its column "
        f"with the data's labels as classes.match "
        f"(columns: {', '.join([*class_map.columns, 'index'])})"
    )


def _first(values: Sequence[object]) -> str:
    shown = ", ".join(repr(value) for value in values[:_N_CASES])
    return f"{shown}, ..." if len(values) > _N_CASES else shown


def _number(value: str | int) -> int | None:
    if isinstance(value, int):
        return value
    digits = value.removeprefix("-")
    return int(value) if digits.isascii() and digits.isdecimal() else None


def _sorting_key(value: str | int) -> tuple[int, int, str]:
    # Numbers by value and before names; the order of names is that of code points.
    return (0, value, "") if isinstance(value, int) else (1, 0, value)


def _unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Add the index to names that occur more than once (ImageNet has two cranes)."""
    twice = set(duplicates(names))
    unique = [f"{n} ({i})" if n in twice else n for i, n in enumerate(names)]
    return tuple(unique)
