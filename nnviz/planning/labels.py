"""Which output of the network is the class that a label of the data names?

Labels may be names, WordNet ids or indices; a subset of the network's classes, in
another order, or missing. With a class map (a CSV file with the column ``index`` and
any columns of names) the labels are looked up in one of its columns. Without one, what
a label means does not depend on which other labels happen to be there:

1. where the run file or the model names the outputs, labels are looked up among these
   names; whole numbers too, if any of the names is one, else they are indices;
2. whole numbers, however they are written, are indices of outputs; -1 is no label, and
   any other number that is no output is an error: whether the data count from 1, or
   skip classes, cannot be known;
3. names, none of them a number, are looked up among the data set's own classes where
   these are as many as the outputs, or are taken in sorted order where they are as many
   themselves, as every loader of folders numbers them.

Where a network has one output for two classes, and the labels are -1 and 1 and no
others, they are the sign of that output: -1 is the first class and 1 the second, as
where networks are trained with a margin.

Where a data set numbers its own classes, such numbers stand for the names of these
classes, if there is anything to join the names with.

What cannot be joined is an error that shows the first cases of both sides. A network
that is not a classifier has no outputs to join with: labels get classes of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError
from nnviz.planning.class_maps import (
    duplicates,
    first_cases,
    join_by_map,
)
from nnviz.planning.whole_numbers import is_number, whole_number
from nnviz.runs.config import ClassesConfig

__all__ = ["JoinedClasses", "join_labels"]

_MISSING = frozenset(("nan", "none", "null", "na", "n/a", "<na>", "nat"))
"""How other libraries write a missing number; not missing where labels are names."""


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
    notes: tuple[str, ...] = ()
    """What could have been meant otherwise, and how to say so."""
    class_of_label: Mapping[str, int] = field(default_factory=dict)
    """Class of every label that is a name, but not the class's own: of a folder."""


def join_labels(
    labels: NDArray[np.object_] | None,
    *,
    config: ClassesConfig,
    n_outputs: int | None,
    class_names: Sequence[str] = (),
    label_names: Sequence[str] = (),
    n_instances: int | None = None,
    has_one_output: bool = False,
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
    has_one_output
        Whether the two outputs are made of the only one that the network has.

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
    is_joined_by_name = bool(label_names) and _have_names_to_join(
        config, n_outputs, class_names, label_names
    )
    if is_joined_by_name:
        values = [_name_of(value, label_names) for value in values]
    notes: tuple[str, ...] = ()
    has_minus_one = any(whole_number(v) == -1 for v in set(values) if v is not None)
    if has_one_output and config.map is None and not label_names:
        values, class_names, notes = _signs_by_name(values, class_names)
    values = _without_missing(values, class_names, label_names)
    distinct = sorted({v for v in values if v is not None}, key=_sorting_key)
    if n_outputs is None:
        place_of, names = _own_classes(distinct)
        joined_by = "the labels' own names, sorted; the network is no classifier"
    else:
        if class_names and len(class_names) != n_outputs:
            msg = (
                f"there are {len(class_names)} class names for {n_outputs} outputs of "
                "the network; correct model.class_names (from Python: classes=[...])"
            )
            raise DatasetError(msg)
        if config.map is not None:
            place_of, names, joined_by = join_by_map(
                distinct, config, n_outputs, class_names
            )
        elif class_names and (
            not label_names
            or is_joined_by_name
            or any(isinstance(value, str) for value in distinct)
        ):
            place_of, names, joined_by = _join_by_names(
                distinct, n_outputs, class_names
            )
        else:
            place_of, names, joined_by = _join_without_names(
                distinct, n_outputs, class_names, label_names
            )
        notes = notes or _notes_on_numbers(
            place_of,
            n_outputs,
            class_names,
            config.map,
            has_minus_one=has_minus_one,
        )
    joined = [-1 if value is None else place_of[value] for value in values]
    unique = _unique_names(names)
    return JoinedClasses(
        labels=np.array(joined, dtype=np.int32),
        class_names=unique,
        n_present=len(set(place_of.values())),
        joined_by=joined_by if distinct else "",
        notes=notes,
        class_of_label=_other_names(labels, joined, unique, label_names),
    )


def _other_names(
    labels: NDArray[np.object_] | None,
    joined: Sequence[int],
    class_names: Sequence[str],
    label_names: Sequence[str],
) -> dict[str, int]:
    """Return the class of each label that is a name, and none of the classes' names.

    Numbers are left out: to whoever asks, they are indices of classes.
    """
    if labels is None:
        return {}
    pairs = {
        (_name_of(value, label_names), place)
        for value, place in zip(labels.tolist(), joined, strict=True)
        if place >= 0
    }
    taken = {*class_names, *duplicates([name for name, _ in pairs])}
    found = {
        name: place
        for name, place in pairs
        if isinstance(name, str) and name not in taken and not is_number(name)
    }
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


_Join = tuple[dict[str | int, int], list[str], str]
"""The output of each label, a name for each output, and how they were joined."""


def _without_missing(
    values: list[str | int | None],
    class_names: Sequence[str],
    label_names: Sequence[str],
) -> list[str | int | None]:
    """Take -1 for a missing label; texts such as "-1" where all others are numbers."""
    missing: set[str | int] = set()
    if label_names or all(whole_number(name) != -1 for name in class_names):
        missing.add(-1)
    texts = {value for value in values if isinstance(value, str)}
    known = {*class_names, *label_names}
    spelled = {
        text
        for text in texts - known
        if whole_number(text) == -1 or text.strip().casefold() in _MISSING
    }
    if all(is_number(text) for text in texts - spelled):
        missing |= {
            text for text in spelled if whole_number(text) is None or -1 in missing
        }
    return [None if value in missing else value for value in values]


def _signs_by_name(
    values: list[str | int | None], class_names: Sequence[str]
) -> tuple[list[str | int | None], Sequence[str], tuple[str, ...]]:
    """Take -1 and 1 for the names of two classes, where nothing else is a label.

    Returns labels, names of the classes, and what the reader should know.
    """
    signs = {whole_number(v) for v in set(values) if v is not None}
    if signs != {-1, 1} or any(map(is_number, class_names)):
        return values, class_names, ()
    first, second = class_names or ("-1", "1")
    name_of = {-1: first, 1: second}
    meant = f": -1 is {first}, 1 is {second}" if class_names else ""
    note = f"the labels -1 and 1 are the sign of the network's one output{meant}"
    named: list[str | int | None] = [
        None if value is None else name_of[whole_number(value) or 0] for value in values
    ]
    return named, (first, second), (note,)


def _own_classes(distinct: list[str | int]) -> tuple[dict[str | int, int], list[str]]:
    """Return a class for each label; numbers are one class however they are written."""
    numbers = {value: whole_number(value) for value in distinct}
    key_of: dict[str | int, str | int] = {value: value for value in distinct}
    if None not in numbers.values():
        key_of = {value: n for value, n in numbers.items() if n is not None}
    keys = sorted(set(key_of.values()), key=_sorting_key)
    place_of = {key: place for place, key in enumerate(keys)}
    return {v: place_of[key] for v, key in key_of.items()}, [str(key) for key in keys]


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


def _join_by_names(
    distinct: list[str | int], n_outputs: int, class_names: Sequence[str]
) -> _Join:
    """Look labels up among the outputs' names; numbers too, if a name is one."""
    numbers = [whole_number(name) for name in class_names]
    is_numbered = any(number is not None for number in numbers)
    if not is_numbered and distinct and all(map(is_number, distinct)):
        return (
            _indices(distinct, n_outputs),
            list(class_names),
            "indices of the network's outputs",
        )
    keys: dict[str | int, int] = {}
    for each in (numbers, class_names):
        twice = set(duplicates(each))
        keys |= {
            key: place
            for place, key in enumerate(each)
            if key is not None and key not in twice
        }
    place_of: dict[str | int, int] = {}
    lost = []
    for value in distinct:
        number = whole_number(value) if is_numbered else None
        place = keys.get(value, None if number is None else keys.get(number))
        if place is None:
            lost.append(value)
        else:
            place_of[value] = place
    if lost:
        raise DatasetError(_lost(distinct, lost, class_names, n_outputs))
    return place_of, list(class_names), "the model's class names"


def _join_without_names(
    distinct: list[str | int],
    n_outputs: int,
    class_names: Sequence[str],
    label_names: Sequence[str],
) -> _Join:
    """Join where nobody names the outputs, or the data set names them alike."""
    own = list(class_names or (label_names if len(label_names) == n_outputs else ()))
    are_numbers = bool(own) and all(whole_number(name) is not None for name in own)
    if all(map(is_number, distinct)):
        # The classes of a folder are numbers themselves: their order says nothing.
        is_folder = any(isinstance(value, str) for value in distinct)
        names = own if own and not (are_numbers and is_folder) else []
        return (
            _indices(distinct, n_outputs),
            names or [str(index) for index in range(n_outputs)],
            "indices of the network's outputs",
        )
    numbered = [name for name in (own or distinct) if is_number(name)]
    if numbered and not all(isinstance(value, int) for value in numbered):
        msg = (
            f"some labels are names and others numbers: {first_cases(distinct)}; which "
            f"outputs they mean cannot be known; {_advice(n_outputs)}"
        )
        raise DatasetError(msg)
    keys = {name: place for place, name in enumerate(own)}
    if own and all(value in keys or isinstance(value, int) for value in distinct):
        place_of = _indices([v for v in distinct if isinstance(v, int)], n_outputs)
        place_of |= {v: keys[v] for v in distinct if isinstance(v, str)}
        return place_of, own, "the data set's classes, in their order"
    if not own and len(distinct) == n_outputs and not numbered:
        place_of = {value: index for index, value in enumerate(distinct)}
        return place_of, list(map(str, distinct)), "the labels' names, sorted"
    lost = [value for value in distinct if value not in keys] or distinct
    raise DatasetError(_lost(distinct, lost, own, n_outputs))


def _indices(distinct: Sequence[str | int], n_outputs: int) -> dict[str | int, int]:
    """Take labels that are numbers for outputs, or refuse them."""
    numbers = {value: whole_number(value) for value in distinct}
    fractions = [value for value, number in numbers.items() if number is None]
    if fractions:
        msg = (
            f"{len(fractions)} of {len(distinct)} labels are numbers that are not "
            f"whole, and no classes: {first_cases(fractions)}; outputs are 0 to "
            f"{n_outputs - 1}; {_advice(n_outputs)}"
        )
        raise DatasetError(msg)
    whole = {value: n for value, n in numbers.items() if n is not None}
    outside = [value for value, n in whole.items() if not 0 <= n < n_outputs]
    if outside:
        counts_from_1 = min(whole.values()) == 1 and max(whole.values()) == n_outputs
        hint = "; the data seem to count from 1" if counts_from_1 else ""
        msg = (
            f"{len(outside)} of {len(distinct)} labels are whole numbers, but no "
            f"output of the network: {first_cases(outside)}; outputs are 0 to "
            f"{n_outputs - 1}, and -1 is no label{hint}; {_advice(n_outputs)}"
        )
        raise DatasetError(msg)
    return whole


def _notes_on_numbers(
    place_of: dict[str | int, int],
    n_outputs: int,
    class_names: Sequence[str],
    map_path: str | None,
    *,
    has_minus_one: bool,
) -> tuple[str, ...]:
    """Say what numbers were taken for, where something else could be meant."""
    numbers = {value: whole_number(value) for value in place_of}
    if map_path is not None or not numbers or None in numbers.values():
        return ()
    other = next((v for v, n in numbers.items() if n != place_of[v]), None)
    if other is not None:
        note = (
            f"labels that are whole numbers were looked up among the names of the "
            f"outputs: label {str(other)!r} is output {place_of[other]}; to take them "
            f"as indices, leave out model.class_names or {_advice(n_outputs)}"
        )
        return (note,)
    notes = []
    texts = [value for value in place_of if isinstance(value, str)]
    in_order = sorted(texts, key=lambda text: place_of[text])
    if in_order != sorted(texts) and not class_names:
        case = next(a for a, b in zip(sorted(texts), in_order, strict=True) if a != b)
        notes.append(
            f"labels that are whole numbers were taken as indices of outputs: "
            f"{case!r} is output {place_of[case]}; a loader that sorts names as texts "
            f"puts it at place {sorted(texts).index(case)}; if the network was trained "
            f"so, state the names in that order as model.class_names"
        )
    if place_of.keys() == {1} and n_outputs == 2 and has_minus_one:
        notes.append(
            "the labels are -1 and 1, and -1 is no label; if it is the first class, "
            'name the outputs: model.class_names = ["-1", "1"] (from Python: '
            "classes=[...])"
        )
    elif min(place_of.values()) == 1 and n_outputs > 1:
        notes.append(
            f"no label is 0: numbers were taken as indices of outputs, from 0; if the "
            f"data count from 1, {_advice(n_outputs)}"
        )
    return tuple(notes)


def _lost(
    distinct: list[str | int],
    lost: list[str | int],
    named: Sequence[str],
    n_outputs: int,
) -> str:
    outputs = f"the outputs 0 to {n_outputs - 1}, without names"
    known = first_cases(list(named)) if named else outputs
    correct = (
        "correct the labels, or model.class_names (from Python: classes=[...]), or "
    )
    plain = (
        "; labels that are no classes of the network can be a column of the table: "
        'dataset.label_column = "" (from Python: (inputs, None, {"kind": labels}))'
    )
    return (
        f"{len(lost)} of {len(distinct)} labels join no output of the network; the "
        f"data have {first_cases(lost)}, the network has {known}; "
        f"{correct if named else ''}{_advice(n_outputs)}{plain}"
    )


def _advice(n_outputs: int) -> str:
    return (
        f"give a class map: a CSV file with the column 'index' (0 to {n_outputs - 1}) "
        f"and a column with the labels, named in the run file as "
        f'[classes] map = "classes.csv" (from Python: classes="classes.csv")'
    )


def _sorting_key(value: str | int) -> tuple[int, int, str]:
    # Numbers by value and before names; the order of names is that of code points.
    return (0, value, "") if isinstance(value, int) else (1, 0, value)


def _unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Add the index to names that occur more than once (ImageNet has two cranes)."""
    twice = set(duplicates(names))
    unique = [f"{n} ({i})" if n in twice else n for i, n in enumerate(names)]
    return tuple(unique)
