"""How is a user's function asked for the values of a column, and what may it answer?

A function is asked for one instance, or for a list of them, at a time. Its answers
become plain values: a truth value, a whole number, a number, a text, or nothing. What
it raises, and what it answers that is none of these, becomes one message with the place
in the user's code and the instance.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import inspect
import math
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.argument_types import described
from nnviz.errors import InputError
from nnviz.inputs.datasets.items import as_label
from nnviz.store.added_columns import ColumnSource, ValueKind
from nnviz.user_code import telling_user_errors

__all__ = [
    "PlainValue",
    "UserFunction",
    "as_arrays",
    "asked_for",
    "code_fingerprint",
    "common_kind",
    "name_of",
]

UserFunction = Callable[[Any], object]

PlainValue = bool | int | float | str | None

ADVICE = (
    "repair it, and repeat the call: it goes on with what was not asked for, and with "
    "other code begins anew (replace=True, --replace)"
)

_PLAIN = (bool, int, float, str, bytes, tuple, frozenset, np.ndarray, np.generic)
"""Global values of these kinds are constants, and no caches."""

_INT64 = (-(2**63), 2**63 - 1)


def name_of(function: UserFunction) -> str:
    """Return what a function is called.

    Examples
    --------
    >>> name_of(len), name_of(functools.partial(round, ndigits=2))
    ('len', 'round')
    """
    while isinstance(function, functools.partial):
        function = function.func
    found = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(found).rpartition("<locals>.")[2].replace("<lambda>", "a lambda")


def code_fingerprint(function: UserFunction, over: ColumnSource) -> str:
    """Return a hash of a function's code, and of the plain values that it uses.

    These are its defaults, what it closes over, the public attributes of its object,
    and the global numbers, texts and arrays that its code names. Other globals, private
    attributes and those that are None may be what it keeps between calls. What it
    calls, and what stands in files, is not looked at.

    Parameters
    ----------
    function
        A function, a lambda, a partial, or an object that can be called.
    over
        What it gets.
    """
    digest = hashlib.sha256(over.encode())
    for part in _code_parts(function):
        digest.update(f"\0{part}".encode(errors="backslashreplace"))
    return digest.hexdigest()


def _code_parts(function: Any) -> Iterator[str]:
    if isinstance(function, functools.partial):
        yield from _plain_parts([function.args, function.keywords])
        yield from _code_parts(function.func)
        return
    function = inspect.unwrap(function)
    if isinstance(function, types.MethodType):
        yield from _plain_parts([_attributes(function.__self__)])
        function = function.__func__
    if isinstance(function, types.FunctionType):
        yield from _plain_parts(function.__defaults__ or ())
        yield from _plain_parts(
            cell.cell_contents for cell in function.__closure__ or () if _is_full(cell)
        )
        yield from _plain_parts([_named_globals(function)])
        if function.__name__ == "<lambda>":
            # Its source is the whole line in which it stands.
            yield from _instructions(function.__code__)
            return
    elif not isinstance(function, (type, types.BuiltinFunctionType)):
        yield from _plain_parts([_attributes(function)])
        function = type(function)
    try:
        yield textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        yield from [name_of(function)] if code is None else _instructions(code)


def _attributes(owner: object) -> dict[str, object]:
    return {
        name: value
        for name, value in getattr(owner, "__dict__", {}).items()
        if value is not None and not name.startswith("_")
    }


def _named_globals(function: types.FunctionType) -> dict[str, object]:
    """Return the global constants that a function's code names, by their names."""
    found = {n: function.__globals__.get(n) for n in _names_in(function.__code__)}
    return {name: value for name, value in found.items() if isinstance(value, _PLAIN)}


def _names_in(code: types.CodeType) -> set[str]:
    inner = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))


def _is_full(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # its variable has no value yet
        return False


def _instructions(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _instructions(constant)
        else:
            yield repr(constant)


def _plain_parts(values: Iterable[object]) -> Iterator[str]:
    """Yield the values that say the same in every process."""
    for value in values:
        if isinstance(value, (bool, int, float, str, bytes, type(None))):
            yield repr(value)
        elif isinstance(value, (tuple, list)):
            yield from _plain_parts(value)
        elif isinstance(value, (set, frozenset)):
            yield from sorted(_plain_parts(value))
        elif isinstance(value, Mapping):
            for key in sorted(value, key=repr):
                parts = list(_plain_parts([value[key]]))
                yield from [repr(key), *parts] if parts else ()
        elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
            yield f"{value.dtype.str}{value.shape}"
            yield hashlib.sha256(value.tobytes()).hexdigest()


def asked_for(
    function: UserFunction,
    things: Iterable[object],
    ids: Sequence[str],
    *,
    batch_size: int | None,
) -> list[PlainValue]:
    """Ask a function for the value of each of some things.

    Parameters
    ----------
    function
        Gets one of them, or with a batch size a list of them.
    things
        Rows or instances.
    ids
        Of these, for messages.
    batch_size
        How many it gets at a time; None for one, not in a list.

    Raises
    ------
    InputError
        If it raises anything, or answers something that is no value.
    """
    name, found = name_of(function), list[PlainValue]()
    size = batch_size or 1
    remaining = iter(things)
    for start in range(0, len(ids), size):
        some = ids[start : start + size]
        batch = [next(remaining) for _ in some]
        more = f" and {len(some) - 1:,} more" if len(some) > 1 else ""
        what = f"the function {name!r}, asked for {some[0]!r}{more},"
        with telling_user_errors(what, advice=ADVICE, error_type=InputError):
            answer = function(batch if batch_size else batch[0])
            answers = _listed(answer, len(some), what) if batch_size else [answer]
        found += [
            _plain(value, name, of) for value, of in zip(answers, some, strict=True)
        ]
    return found


def _listed(answer: Any, n: int, what: str) -> list[object]:
    if isinstance(answer, (str, bytes)) or not hasattr(answer, "__len__"):
        msg = (
            f"{what} answered {described(answer)}; with a batch size it gets a list of "
            "instances, and should answer a list of as many values"
        )
        raise InputError(msg)
    tolist = getattr(answer, "tolist", None)  # of arrays, tensors and Series
    values: list[object] = tolist() if callable(tolist) else [*answer]
    if len(values) != n:
        msg = f"{what} answered {len(values):,} values; it should answer {n:,}"
        raise InputError(msg)
    return values


def _plain(value: Any, name: str, of: str) -> PlainValue:
    """Return an answer as a value that can be stored.

    Raises
    ------
    InputError
        If it cannot.
    """
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    value = as_label(value)
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and _INT64[0] <= value <= _INT64[1]:
        return int(value)
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    if isinstance(value, str) and _can_be_written(value):
        return str(value) or None
    msg = (
        f"the function {name!r} answered {described(value)}, for {of!r}; it should "
        "answer one number, truth value, text or date, or None for no value"
    )
    raise InputError(msg)


def _can_be_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_KINDS: dict[type, ValueKind] = {
    bool: "truth",
    int: "whole",
    float: "number",
    str: "text",
}

_WORDS: dict[ValueKind, str] = {
    "truth": "a truth value",
    "whole": "a whole number",
    "number": "a number",
    "text": "a text",
}


def common_kind(
    kind: ValueKind, values: Iterable[PlainValue], *, function: str
) -> ValueKind:
    """Return what values are, together with others of a kind.

    Raises
    ------
    InputError
        If they are of several kinds; whole numbers are numbers.
    """
    for value in values:
        if value is None:
            continue
        now = _KINDS[type(value)]
        if {kind, now} == {"whole", "number"}:
            now = "number"
        elif kind not in ("", now):
            msg = (
                f"the function {function!r} answered {_WORDS[now]}, {value!r}, and "
                f"{_WORDS[kind]} before; it should answer values of one kind, or None "
                "for no value"
            )
            raise InputError(msg)
        kind = now
    return kind


def as_arrays(
    values: NDArray[np.object_], kind: ValueKind
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return plain values as an array of one dtype, and where there is one."""
    has_value = np.array([value is not None for value in values], np.bool_)
    empty: PlainValue = "" if kind == "text" else 0
    filled = values.copy()
    filled[~has_value] = empty
    dtypes: dict[ValueKind, Any] = {"truth": bool, "whole": np.int64, "text": object}
    return filled.astype(dtypes.get(kind, np.float64)), has_value
