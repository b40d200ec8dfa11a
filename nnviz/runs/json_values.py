"""How do frozen dataclasses become JSON values, and come back checked?

Reading refuses what a field does not allow, and says which field, which value, and what
it can be: run files, plans in stores and cluster files are all read by this.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from nnviz.errors import ConfigError, did_you_mean

__all__ = ["check_fields", "from_json", "to_json"]

T = TypeVar("T")


def to_json(value: Any) -> dict[str, Any]:
    """Return a dataclass, and all that it holds, as JSON values.

    Examples
    --------
    >>> from nnviz.runs.config import ClassesConfig
    >>> to_json(ClassesConfig(map="classes.csv"))
    {'map': 'classes.csv', 'match': None, 'name': None}
    """
    return json.loads(json.dumps(dataclasses.asdict(value)))  # type: ignore[no-any-return]


def from_json(kind: type[T], value: Mapping[str, Any], *, place: str = "") -> T:
    """Build a dataclass, and those inside it, from JSON or TOML values.

    Parameters
    ----------
    kind
        The dataclass. Its fields may be texts, numbers, booleans, literals, tuples,
        mappings, other dataclasses, unions of these, or anything (``Any``).
    value
        Values of the fields; fields with defaults may be missing.
    place
        Name of the table, for messages.

    Raises
    ------
    ConfigError
        If an option is unknown, missing, or has a value of another type.
    """
    known = _hints(typing.cast("Any", kind))
    options = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    where = f"in [{place}]" if place else "at the top of the run file"
    for name in value:
        if name not in known:
            what = "option" if place else "table"
            msg = (
                f"unknown {what} {name!r} {where}{did_you_mean(name, known)}; "
                f"known: {', '.join(known)}"
            )
            raise ConfigError(msg)
    arguments: dict[str, Any] = {}
    for name, option in options.items():
        if name in value:
            arguments[name] = _convert(known[name], value[name], f"{place}.{name}")
        elif (
            option.default is dataclasses.MISSING
            and option.default_factory is dataclasses.MISSING
        ):
            msg = f"option {name!r} is missing {where}"
            raise ConfigError(msg)
    return kind(**arguments)


def check_fields(value: Any) -> None:
    """Check what a frozen dataclass was made with, and make lists tuples.

    Parameters
    ----------
    value
        A dataclass as in :func:`from_json`, in its ``__post_init__``.

    Raises
    ------
    ConfigError
        If a field has a value of another type.
    """
    known = _hints(typing.cast("Any", type(value)))
    for one in dataclasses.fields(value):
        place = f"{type(value).__name__}.{one.name}"
        found = _convert(known[one.name], getattr(value, one.name), place)
        object.__setattr__(value, one.name, found)


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _convert(kind: Any, value: Any, place: str) -> Any:
    """Return `value` as the annotated type `kind`, or raise ConfigError."""
    place = place.removeprefix(".")
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(arguments, value, place)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return from_json(typing.cast("type[Any]", kind), value, place=place)
    if origin is Literal:
        if isinstance(value, str) and value in arguments:
            return value
        known = ", ".join(repr(item) for item in arguments)
        msg = (
            f"{place} is {value!r}{did_you_mean(str(value), map(str, arguments))}; "
            f"it can be {known}"
        )
        raise ConfigError(msg)
    if origin is tuple and isinstance(value, (list, tuple)):
        return _convert_tuple(arguments, value, place)
    if origin is Mapping and isinstance(value, Mapping):
        return {k: _convert(arguments[1], v, f"{place}.{k}") for k, v in value.items()}
    if kind is Any or (dataclasses.is_dataclass(kind) and type(value) is kind):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, str) and type(value) is kind:
        return value
    if kind is bool and isinstance(value, bool):
        return value
    msg = f"{place} is {value!r}; it should be {_name_of(kind)}"
    raise ConfigError(msg)


def _convert_union(choices: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in choices:
        return None
    wanted = [choice for choice in choices if choice is not type(None)]
    for choice in wanted:
        try:
            return _convert(choice, value, place)
        except ConfigError:
            if len(wanted) == 1:
                raise
    msg = f"{place} is {value!r}; it should be {' or '.join(map(_name_of, wanted))}"
    raise ConfigError(msg)


def _convert_tuple(kinds: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        msg = f"{place} is {list(value)!r}; it should have {len(kinds)} values"
        raise ConfigError(msg)
    return tuple(
        _convert(kind, item, place) for kind, item in zip(kinds, value, strict=True)
    )


def _name_of(kind: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
    }
    if kind in names:
        return names[kind]
    if typing.get_origin(kind) is Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        return "a list"
    return "a table"
