"""What can be said of instances in a line of text? The query language, as a tree.

::

    label = horse and prediction = dog and confidence > 0.5
    not (camera in (front, "rear left")) and taken between 2024-05-01 and 2024-06-01
    activation(mixed4d, 313) > 2.5 and top(mixed4d, 313)
    "blurry horses" or id contains "night" except correct

A query is parsed here and knows nothing of any data; what names mean is decided where
it is evaluated (:mod:`nnviz.subsets.evaluation`). Every node knows its place in the
text, so that any error can point at it. There are no regular expressions, no arithmetic
and no calls but the two above: nothing outside of the grammar can be said.

Binding, the strongest first: ``not``, ``and``, ``or``, ``except``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nnviz.errors import QueryError, did_you_mean

if TYPE_CHECKING:
    from lark import Lark

__all__ = [
    "Activation",
    "And",
    "Between",
    "ColumnName",
    "Comparison",
    "Except",
    "Expression",
    "IsNull",
    "Named",
    "Not",
    "OneOf",
    "Operand",
    "Or",
    "Span",
    "TextMatch",
    "Top",
    "WrittenValue",
    "parse_query",
    "pointing_at",
]

MAX_CHARACTERS = 4_000
"""Longer texts are refused; at this length a parse takes a fraction of a second."""

MAX_DEPTH = 100
"""Parentheses and ``not`` inside of each other."""

Span = tuple[int, int]
"""First and past-last character of a part of a query."""


@dataclass(frozen=True, slots=True)
class WrittenValue:
    """A value as it was written."""

    text: str
    kind: Literal["number", "date", "word", "text"]
    """``word`` is a bare word, ``text`` was quoted."""
    span: Span


@dataclass(frozen=True, slots=True)
class ColumnName:
    """A column of the instance table, or one that follows from it."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Activation:
    """The activation of one channel of a layer."""

    layer: str
    channel: int
    span: Span


Operand = ColumnName | Activation


@dataclass(frozen=True, slots=True)
class Comparison:
    """An operand against a value."""

    operand: Operand
    operator: Literal["=", "!=", "<", "<=", ">", ">="]
    value: WrittenValue
    span: Span


@dataclass(frozen=True, slots=True)
class Between:
    """An operand between two values, both included."""

    operand: Operand
    low: WrittenValue
    high: WrittenValue
    span: Span


@dataclass(frozen=True, slots=True)
class OneOf:
    """An operand among values."""

    operand: Operand
    values: tuple[WrittenValue, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class IsNull:
    """Whether an operand has no value: no label, NaN, an empty text."""

    operand: Operand
    span: Span


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A text that contains another one, or starts or ends with it."""

    operand: Operand
    how: Literal["contains", "starts", "ends"]
    value: WrittenValue
    span: Span


@dataclass(frozen=True, slots=True)
class Top:
    """Whether a channel is one of the instance's top channels in its layer."""

    layer: str
    channel: int
    span: Span


@dataclass(frozen=True, slots=True)
class Named:
    """A column of truth values, or a subset by its name."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Not:
    """What is not so."""

    part: Expression
    span: Span


@dataclass(frozen=True, slots=True)
class And:
    """All of these."""

    parts: tuple[Expression, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Or:
    """Any of these."""

    parts: tuple[Expression, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Except:
    """The instances of the first set that are not in the second."""

    kept: Expression
    removed: Expression
    span: Span


Expression = (
    Comparison
    | Between
    | OneOf
    | IsNull
    | TextMatch
    | Top
    | Named
    | Not
    | And
    | Or
    | Except
)

_GRAMMAR = r"""
?start: expression
?expression: disjunction
    | expression _EXCEPT disjunction -> except_
?disjunction: conjunction
    | conjunction (_OR conjunction)+ -> or_
?conjunction: negation
    | negation (_AND negation)+ -> and_
?negation: predicate
    | _NOT negation -> not_
    | "(" expression ")"
?predicate: operand OPERATOR value -> comparison
    | operand _BETWEEN value _AND value -> between
    | operand _IN "(" value ("," value)* ")" -> one_of
    | operand _NOT _IN "(" value ("," value)* ")" -> none_of
    | operand _IS _NULL -> is_null
    | operand _IS _NOT _NULL -> is_not_null
    | operand _CONTAINS value -> contains
    | operand _NOT _CONTAINS value -> contains_not
    | operand _STARTS _WITH value -> starts
    | operand _ENDS _WITH value -> ends
    | _TOP "(" layer "," NUMBER ")" -> top
    | (WORD | TEXT) -> named
?operand: (WORD | TEXT) -> column
    | _ACTIVATION "(" layer "," NUMBER ")" -> activation
layer: WORD | TEXT | NUMBER
value: NUMBER | DATE | WORD | TEXT

_EXCEPT.4: /except\b/i
_OR.4: /or\b/i
_AND.4: /and\b/i
_NOT.4: /not\b/i
_BETWEEN.4: /between\b/i
_IN.4: /in\b(?=\s*\()/i
_IS.4: /is\b/i
_NULL.4: /null\b/i
_CONTAINS.4: /contains\b/i
_STARTS.4: /starts\b/i
_ENDS.4: /ends\b/i
_WITH.4: /with\b/i
_TOP.5: /top\b(?=\s*\()/i
_ACTIVATION.5: /activation\b(?=\s*\()/i
OPERATOR: "==" | "!=" | "<>" | "<=" | ">=" | "=" | "<" | ">"
DATE.3: /\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(?![\w.\/:-])/
NUMBER.2: /[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?![\w.\/:-])/
TEXT: /"([^"\\]|\\.)*"/ | /'([^'\\]|\\.)*'/
WORD: /(?!(and|or|not|except|between|is|null)\b(?![.\/:-]))\w[\w.\/:-]*/i
%ignore /\s+/
"""

_WORDS = {
    "_EXCEPT": "except",
    "_OR": "or",
    "_AND": "and",
    "_NOT": "not",
    "_BETWEEN": "between",
    "_IN": "in (...)",
    "_IS": "is",
    "_NULL": "null",
    "_CONTAINS": "contains",
    "_STARTS": "starts with",
    "_ENDS": "ends with",
    "_WITH": "with",
    "_TOP": "top(layer, channel)",
    "_ACTIVATION": "activation(layer, channel)",
    "OPERATOR": "=, !=, <, <=, >, >=",
    "DATE": "a date as 2024-05-31",
    "NUMBER": "a number",
    "TEXT": "a quoted text",
    "WORD": "a name",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "$END": "the end",
}
"""How tokens of the grammar are called in messages."""

_OPERATORS = {"==": "=", "<>": "!="}


def parse_query(text: str) -> Expression:
    """Return the tree of a query.

    Parameters
    ----------
    text
        At most 4,000 characters.

    Returns
    -------
    Expression
        Its nodes know their places in `text`.

    Raises
    ------
    QueryError
        If the text is not a query; the message points at the place, and says what
        could stand there.

    Examples
    --------
    >>> parse_query("correct and not blurry").parts[0].name
    'correct'
    """
    if len(text) > MAX_CHARACTERS:
        msg = (
            f"the query has {len(text):,} characters; at most {MAX_CHARACTERS:,} are "
            "read; save a part of it as a subset, and use its name"
        )
        raise QueryError(msg)
    if not text.strip():
        msg = "the query is empty; write for instance: label = horse and not correct"
        raise QueryError(msg)
    _check_depth(text)
    from lark import UnexpectedInput  # noqa: PLC0415  no query, no parser

    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise QueryError(_problem(text, error)) from None
    node: Expression = _node(tree, text)
    return node


def pointing_at(text: str, span: Span) -> str:
    """Return the part of a query around a place, with carets below it.

    Parameters
    ----------
    text
        The query.
    span
        First and past-last character of the place.

    Examples
    --------
    >>> print(pointing_at("labell = horse", (0, 6)))
      labell = horse
      ^^^^^^
    """
    # Tabs and line breaks would put the carets elsewhere.
    line = "".join(" " if character.isspace() else character for character in text)
    start = max(0, span[0] - 50)
    stop = min(len(line), max(span[1], span[0] + 1) + 30)
    before, after = "…" if start else "", "…" if stop < len(line) else ""
    width = max(1, min(span[1], stop) - span[0])
    carets = " " * (len(before) + span[0] - start) + "^" * width
    return f"  {before}{line[start:stop]}{after}\n  {carets}"


@functools.cache
def _parser() -> Lark:
    from lark import Lark  # noqa: PLC0415  no query, no parser

    return Lark(
        _GRAMMAR, parser="lalr", propagate_positions=True, maybe_placeholders=False
    )


def _check_depth(text: str) -> None:
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth > MAX_DEPTH:
            msg = (
                f"the query has more than {MAX_DEPTH} parentheses inside of each "
                f"other:\n{pointing_at(text, (place, place + 1))}"
            )
            raise QueryError(msg)
    if chain := re.search(rf"(not\s+){{{MAX_DEPTH},}}", text, re.IGNORECASE):
        msg = f"the query has more than {MAX_DEPTH} 'not' in a row:\n"
        raise QueryError(msg + pointing_at(text, (chain.start(), chain.start() + 3)))


def _problem(text: str, error: Any) -> str:
    """Return what is wrong at which place, and what could stand there."""
    start = getattr(error, "pos_in_stream", None)
    token = getattr(error, "token", None)
    is_end = token is not None and token.type == "$END"
    if start is None or is_end:
        start = len(text.rstrip())
    word = "" if is_end else _word_at(text, start)
    expected = {
        *(getattr(error, "accepts", None) or getattr(error, "expected", None) or ()),
        *(getattr(error, "allowed", None) or ()),
    }
    names = [name for kind, name in _WORDS.items() if kind in expected]
    if not is_end and text[start] in "\"'":
        problem = "this quote is not closed"
    else:
        found = "the query ends here" if is_end else f"{word!r} cannot stand here"
        known = [name.split("(")[0].strip() for name in _WORDS.values()]
        is_new = word.isalpha() and word.lower() not in known
        near = did_you_mean(word.lower(), known) if is_new else ""
        problem = f"{found}{near}; expected {_listed(names)}"
    return f"{problem}:\n{pointing_at(text, (start, start + max(1, len(word))))}"


def _word_at(text: str, start: int) -> str:
    stop = start
    while stop < len(text) and (text[stop].isalnum() or text[stop] in "_.-"):
        stop += 1
    return text[start : max(stop, start + 1)]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    if len(names) < 2:
        return "".join(names) or "something else"
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _node(tree: Any, text: str) -> Any:
    """Return a node of the parser's tree as one of ours."""
    children = tree.children
    span = (tree.meta.start_pos, tree.meta.end_pos)
    kind = tree.data
    if kind in ("and_", "or_"):
        parts = tuple(_node(child, text) for child in children)
        return And(parts, span) if kind == "and_" else Or(parts, span)
    if kind == "except_":
        return Except(_node(children[0], text), _node(children[1], text), span)
    if kind == "not_":
        return Not(_node(children[0], text), span)
    if kind == "named":
        return Named(_plain(children[0]), span)
    if kind == "column":
        return ColumnName(_plain(children[0]), span)
    if kind == "value":
        return _value(children[0], span)
    if kind in ("top", "activation"):
        layer = _plain(children[0].children[0])
        made = Top if kind == "top" else Activation
        return made(layer, _channel(children[1], text), span)
    return _predicate(kind, children, span, text)


def _predicate(kind: str, children: list[Any], span: Span, text: str) -> Expression:
    operand: Operand = _node(children[0], text)
    if kind == "comparison":
        operator = str(children[1])
        return Comparison(
            operand,
            _OPERATORS.get(operator, operator),  # type: ignore[arg-type]
            _node(children[2], text),
            span,
        )
    values = [_node(child, text) for child in children[1:]]
    if kind == "between":
        return Between(operand, values[0], values[1], span)
    if kind in ("one_of", "none_of"):
        among = OneOf(operand, tuple(values), span)
        return among if kind == "one_of" else Not(among, span)
    if kind in ("is_null", "is_not_null"):
        missing = IsNull(operand, span)
        return missing if kind == "is_null" else Not(missing, span)
    if kind == "contains_not":
        return Not(TextMatch(operand, "contains", values[0], span), span)
    return TextMatch(operand, kind, values[0], span)  # type: ignore[arg-type]


def _value(token: Any, span: Span) -> WrittenValue:
    kinds = {"NUMBER": "number", "DATE": "date", "WORD": "word", "TEXT": "text"}
    return WrittenValue(_plain(token), kinds[token.type], span)  # type: ignore[arg-type]


def _plain(token: Any) -> str:
    """Return what a token says, without its quotes."""
    text = str(token)
    if token.type != "TEXT":
        return text
    kept, is_escaped = [], False
    for character in text[1:-1]:
        is_escaped = character == "\\" and not is_escaped
        if not is_escaped:
            kept.append(character)
    return "".join(kept)


def _channel(token: Any, text: str) -> int:
    if not str(token).isdigit():
        place = pointing_at(text, (token.start_pos, token.end_pos))
        msg = f"a channel is a whole number from 0 on, not {token}:\n{place}"
        raise QueryError(msg)
    return int(token)
