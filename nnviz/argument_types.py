"""Is an argument of the type that its annotation says? If not, what would do?

For what users call: types are read from the annotations, so that nothing is said twice.
Annotations of libraries that are slow to import stand under ``TYPE_CHECKING`` and have
no object here; a value fits these by the name of its class.
"""

from __future__ import annotations

import builtins
import collections.abc
import functools
import inspect
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

from nnviz.errors import ConfigError, did_you_mean

__all__ = ["checked", "described"]

P = ParamSpec("P")
R = TypeVar("R")

_NUMBERS: Mapping[type, type] = {int: numbers.Integral, float: numbers.Real}
"""NumPy's numbers are numbers; a truth value is none."""

_WORDS: Mapping[Any, str] = {
    bool: "True or False",
    collections.abc.Callable: "a function",
    float: "a number",
    int: "a whole number",
    os.PathLike: "a path",
    str: "a text",
    types.NoneType: "None",
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse arguments of other types than it is annotated with.

    Raises
    ------
    ConfigError
        By the function, if an argument has another type, is missing, or is unknown;
        parameters annotated as ``object`` take anything.

    Examples
    --------
    >>> @checked
    ... def double(number: int) -> int:
    ...     return 2 * number
    >>> double("two")
    Traceback (most recent call last):
    nnviz.errors.ConfigError: number is 'two', a str; it should be a whole number
    >>> double(numbr=2)
    Traceback (most recent call last):
    nnviz.errors.ConfigError: double() has no 'numbr'; did you mean 'number'?; it is \
    double(number)
    """
    signature = inspect.signature(function)

    @functools.cache
    def hints() -> dict[str, Any]:
        return {
            name: _hint(parameter, function)
            for name, parameter in signature.parameters.items()
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            and parameter.annotation is not parameter.empty  # self
        }

    @functools.cache
    def names() -> dict[str, str]:
        return _shown_parameters(signature, function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        why = ""
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            given, why = {}, str(error)
        known = names()
        unknown = [name for name in kwargs if name not in known]
        if why or unknown:
            what = f"{function.__qualname__}()"
            raise ConfigError(_misfit(what, why, unknown, known))
        for name, hint in hints().items():
            if name in given and not _fits(given[name], hint):
                wanted = " or ".join(dict.fromkeys(_wanted(hint)))
                msg = f"{name} is {described(given[name])}; it should be {wanted}"
                raise ConfigError(msg)
        return function(*args, **kwargs)

    return call


def _shown_parameters(
    signature: inspect.Signature, function: Callable[..., Any]
) -> dict[str, str]:
    """Return every parameter by its name, as a call would be written."""
    shown: dict[str, str] = {}
    for each in signature.parameters.values():
        if each.kind is each.VAR_KEYWORD:
            # Keywords that are declared as a dictionary's: Unpack[Options].
            options = typing.get_args(_hint(each, function))[0]
            shown |= {name: f"{name}=..." for name in typing.get_type_hints(options)}
        elif each.name != "self":
            default = "" if each.default is each.empty else f"={each.default!r}"
            bar = "*, " if each.kind is each.KEYWORD_ONLY else ""
            is_first = bar and not any(text.startswith("*") for text in shown.values())
            shown[each.name] = (bar if is_first else "") + each.name + default
    return shown


def _misfit(
    what: str, why: str, unknown: Sequence[str], known: Mapping[str, str]
) -> str:
    """Return what does not fit of a call, and how the call would be."""
    if unknown:
        why = f"{what} has no {unknown[0]!r}{did_you_mean(unknown[0], known)}"
    else:
        why = f"{what}: {why}"
    return f"{why}; it is {what[:-1]}{', '.join(known.values())})"


def described(value: object) -> str:
    """Return what a value is, for a message.

    Examples
    --------
    >>> described(None), described(3), described(int), described([1, 2])
    ('None', '3, an int', 'the class int', 'a list')
    """
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = _with_article(type(value).__name__)
    is_short = isinstance(value, (str, int, float)) and len(repr(value)) < 60
    return f"{value!r}, {kind}" if is_short else kind


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


class _ByName(type):
    """The type of classes that stand for one that is not imported."""

    def __instancecheck__(cls, value: object) -> bool:
        return any(kind.__name__ == cls.__name__ for kind in type(value).__mro__)


class _Names(dict[str, Any]):
    """What names in annotations mean."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, None) or _ByName(name, (), {})


def _hint(parameter: inspect.Parameter, function: Callable[..., Any]) -> Any:
    hint = parameter.annotation
    names = _Names(getattr(function, "__globals__", {}))
    return eval(hint, {}, names) if isinstance(hint, str) else hint


def _fits(value: object, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return True
    if hint is None:
        return value is None
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, each) for each in arguments)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in arguments)
    if hint in _NUMBERS:
        return isinstance(value, _NUMBERS[hint]) and not isinstance(value, bool)
    if origin is None:
        return isinstance(value, hint)
    if not isinstance(value, origin):
        return False
    if issubclass(origin, collections.abc.Sequence) and len(arguments) == 1:
        # A text is a sequence of texts, and never meant as one.
        is_text = isinstance(value, (str, bytes))
        return not is_text and all(_fits(each, arguments[0]) for each in value)
    return True


def _wanted(hint: Any, *, plural: bool = False) -> Iterator[str]:
    """Yield what would fit, in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    kind = types.NoneType if hint is None else origin or hint
    if origin in (types.UnionType, typing.Union):
        for each in arguments:
            yield from _wanted(each)
    elif origin is Literal:
        yield from map(repr, arguments)
    elif kind in _WORDS:
        yield _WORDS[kind]
    elif issubclass(kind, collections.abc.Sequence) and len(arguments) == 1:
        yield f"a list, each of it {' or '.join(_wanted(arguments[0]))}"
    else:
        yield _with_article(kind.__name__)
