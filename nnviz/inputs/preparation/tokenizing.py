"""How does a text become the indices that a network receives, and back its tokens?

By a tokenizer that the run file names: a ``tokenizer.json`` of Hugging Face's
``tokenizers`` or a folder with one, a folder of ``transformers`` without one, or a
callable from a text to its indices. The callable may return a dictionary, with masks
and types beside ``input_ids``, and with ``tokens`` or ``offsets`` for people to read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnviz.argument_types import described
from nnviz.engine.handing_over import handed_over
from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.importing import import_callable, import_library, is_callable_source
from nnviz.inputs.datasets.opening import Dataset
from nnviz.inputs.preparation.packed_inputs import IDS, MASK, SPECIAL
from nnviz.user_code import raised_text

__all__ = [
    "MEMORY",
    "Token",
    "Tokenizer",
    "imports_code",
    "known_tokenizer",
    "open_tokenizer",
    "sampled_texts",
    "tokenizer_fingerprint",
]

MEMORY = "memory:"
"""Beginning of the name of a tokenizer that was handed over."""

TEXTS_SAMPLED = 64
"""By what it makes of so many texts a tokenizer is known."""

_FILE = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
_UNBOUNDED = 1_000_000
"""Longer limits are written where there is none."""
_PADDING_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<PAD>", "<unk>")
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text."""

    text: str
    """As the tokenizer has it."""
    start: int = 0
    stop: int = 0
    """Its characters in the text, half open; none of a special token, or where the
    tokenizer does not say."""


class Tokenizer(Protocol):
    """What turns a text into the inputs of a network."""

    @property
    def padding_id(self) -> int:
        """Index with which shorter texts are filled up."""

    @property
    def max_length(self) -> int | None:
        """Longest text that its network takes, in tokens; None where it is not said."""

    def arrays_of(
        self, text: str, max_length: int | None = None
    ) -> Mapping[str, NDArray[Any]]:
        """Return indices, and what else it gives, by the names of transformers.

        Parameters
        ----------
        text
            One instance.
        max_length
            To how many tokens it is cut off, special ones included; None: not at all.

        Raises
        ------
        UnreadableInstanceError
            If the tokenizer cannot take the text.
        """

    def tokens_of(self, text: str, max_length: int | None = None) -> list[Token]:
        """Return the tokens, one for each index.

        Parameters
        ----------
        text, max_length
            As for :meth:`arrays_of`.
        """


def open_tokenizer(source: str | None) -> Tokenizer:
    """Return the tokenizer of a run file.

    Parameters
    ----------
    source
        ``preprocessing.tokenizer``: a file, a folder, ``package.module:callable``, or
        what was handed over.

    Raises
    ------
    ConfigError
        If it is missing, or names nothing that is known.
    DatasetError
        If it cannot be read.
    MissingDependencyError
        If ``tokenizers`` is needed and not installed.
    """
    if source is None:
        msg = (
            "the instances are texts, and preprocessing.tokenizer is missing; name a "
            "folder with a 'tokenizer.json', or 'package.module:callable' from a text "
            "to the indices of its tokens; from Python, hand the tokenizer itself "
            "over: tokenizer=..."
        )
        raise ConfigError(msg)
    if source.startswith(MEMORY):
        held = handed_over(source)
        if held is None:
            what = source.removeprefix(MEMORY)
            msg = (
                f"the tokenizer was in memory when the plan was made ({what}), and is "
                "nowhere else; hand it over again: tokenizer=..."
            )
            raise DatasetError(msg)
        return known_tokenizer(held)
    path = Path(source)
    if _is_code(source):
        function = import_callable(source, error_type=DatasetError)
        _imported.add(source)
        return _OfCallable(function)
    return _opened(str(path))


_imported: set[str] = set()
"""What was imported in this process, for whoever has named it in a run file."""


def imports_code(source: str | None) -> bool:
    """Whether to open a tokenizer would import code that this process has not yet.

    Parameters
    ----------
    source
        ``preprocessing.tokenizer``.
    """
    return source is not None and _is_code(source) and source not in _imported


def _is_code(source: str) -> bool:
    is_named = is_callable_source(source) and not Path(source).exists()
    return is_named and not source.startswith(MEMORY)


@functools.lru_cache(maxsize=4)
def _opened(path: str) -> Tokenizer:
    """Read a tokenizer's file once in a process; they do not change in a run."""
    place = Path(path)
    file = place / _FILE if place.is_dir() else place
    if file.is_file() and file.suffix == ".json":
        library = import_library("tokenizers", extra="text")
        try:
            made = library.Tokenizer.from_file(str(file))
            stated = _stated(file.with_name(_CONFIG))
        except Exception as error:
            # The library raises plain Exception, whatever is wrong.
            msg = f"cannot read the tokenizer {str(file)!r}: {error}"
            raise DatasetError(msg) from error
        return _OfTokenizers(made, stated)
    if place.is_dir() and any(place.glob("*.json")):
        library = import_library("transformers", extra="transformers")
        try:
            found = library.AutoTokenizer.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            # transformers raises anything on a folder that is none of its own.
            msg = f"transformers cannot read the tokenizer in {path!r}: {error}"
            raise DatasetError(msg) from error
        return known_tokenizer(found)
    msg = (
        f"preprocessing.tokenizer is {path!r}, where there is no 'tokenizer.json'; it "
        "should be such a file, a folder with one, or 'package.module:callable' "
        "(nothing is downloaded: what has a name only is loaded and saved first, or "
        "handed over from Python: tokenizer=...)"
    )
    raise ConfigError(msg)


def known_tokenizer(value: Any) -> Tokenizer:
    """Return an object as a tokenizer.

    Parameters
    ----------
    value
        Of ``tokenizers`` or ``transformers``, or a callable from a text to indices.

    Raises
    ------
    ConfigError
        If it is nothing of these.
    """
    if hasattr(value, "encode") and hasattr(value, "to_str"):
        return _OfTokenizers(value, {})
    backend = getattr(value, "backend_tokenizer", None)
    if backend is not None and hasattr(backend, "to_str"):
        stated = {"model_max_length": getattr(value, "model_max_length", None)}
        stated["pad_token"] = getattr(value, "pad_token", None)
        return _OfTokenizers(backend, stated)
    if callable(value):
        return _OfCallable(value)
    msg = (
        f"the tokenizer is {described(value)}; it should be one of the libraries "
        "tokenizers or transformers, a function from a text to the indices of its "
        "tokens, or the path of a folder with a 'tokenizer.json'"
    )
    raise ConfigError(msg)


def tokenizer_fingerprint(tokenizer: Tokenizer, texts: Sequence[str]) -> str:
    """Return what a tokenizer is known by: SHA-256 of what it makes of some texts.

    Parameters
    ----------
    tokenizer
        Any.
    texts
        The same ones each time.
    """
    digest = hashlib.sha256(str(tokenizer.padding_id).encode())
    for text in texts:
        try:
            found = tokenizer.arrays_of(text)
        except UnreadableInstanceError:
            continue
        for name, values in found.items():
            digest.update(f"{name} {values.tolist()}".encode())
    return digest.hexdigest()


def sampled_texts(dataset: Dataset) -> list[str]:
    """Return the first texts of a data set, by which its tokenizer is known.

    Parameters
    ----------
    dataset
        In the order of the store's rows.
    """
    found = []
    for index in range(min(len(dataset), TEXTS_SAMPLED)):
        with contextlib.suppress(UnreadableInstanceError):
            raw = dataset.read(index)
            if isinstance(raw, str):
                found.append(raw)
    return found


class _OfTokenizers:
    """A tokenizer of Hugging Face's ``tokenizers``; texts are cut off as it does it."""

    def __init__(self, tokenizer: Any, stated: Mapping[str, Any]) -> None:
        padding = tokenizer.padding
        made = type(tokenizer).from_str(tokenizer.to_str())
        made.no_padding()
        made.no_truncation()
        self._whole = made
        self._cut: tuple[int, Any] | None = None
        self.padding_id = self._padding_id(padding, stated.get("pad_token"))
        limit = stated.get("model_max_length")
        is_limit = isinstance(limit, (int, float)) and 0 < limit < _UNBOUNDED
        self.max_length = int(limit) if is_limit and limit is not None else None

    def arrays_of(
        self, text: str, max_length: int | None = None
    ) -> Mapping[str, NDArray[Any]]:
        """Return indices, masks and types."""
        found = self._encode(text, max_length)
        return {
            IDS: np.array(found.ids, np.int64),
            MASK: np.array(found.attention_mask, np.int64),
            SPECIAL: np.array(found.special_tokens_mask, np.int64),
            "token_type_ids": np.array(found.type_ids, np.int64),
        }

    def tokens_of(self, text: str, max_length: int | None = None) -> list[Token]:
        """Return the tokens with their characters."""
        found = self._encode(text, max_length)
        return [
            Token(token, int(start), int(stop))
            for token, (start, stop) in zip(found.tokens, found.offsets, strict=True)
        ]

    def _encode(self, text: str, max_length: int | None) -> Any:
        try:
            found = self._whole.encode(text)
            if max_length is None or len(found.ids) <= max_length:
                return found
            return self._cutting(max_length).encode(text)
        except Exception as error:
            # The library raises plain Exception, whatever is wrong.
            msg = f"the tokenizer cannot take it: {error}"
            raise UnreadableInstanceError(msg) from error

    def _cutting(self, max_length: int) -> Any:
        # Its own way of cutting off keeps special tokens at the end.
        if self._cut is None or self._cut[0] != max_length:
            made = type(self._whole).from_str(self._whole.to_str())
            made.no_padding()
            made.enable_truncation(max_length)
            self._cut = (max_length, made)
        return self._cut[1]

    def _padding_id(self, padding: Mapping[str, Any] | None, stated: Any) -> int:
        if padding is not None:
            return int(padding["pad_id"])
        # transformers writes a special token as its text or as a table with it.
        named = stated.get("content") if isinstance(stated, Mapping) else stated
        for token in (named, *_PADDING_TOKENS):
            found = None if token is None else self._whole.token_to_id(str(token))
            if found is not None:
                return int(found)
        return 0


class _OfCallable:
    """A function of the user's."""

    padding_id = 0
    max_length = None

    def __init__(self, function: Callable[[str], Any]) -> None:
        self._function = function

    def arrays_of(
        self, text: str, max_length: int | None = None
    ) -> Mapping[str, NDArray[Any]]:
        """Return what the function returned, as arrays."""
        found = self._called(text)
        arrays = {}
        for name, values in found.items():
            if name not in ("tokens", "offsets", "offset_mapping"):
                array = np.asarray(getattr(values, "tolist", lambda v=values: v)())
                arrays[name] = _indices(name, array)[:max_length]
        return arrays

    def tokens_of(self, text: str, max_length: int | None = None) -> list[Token]:
        """Return its tokens; else the words, if they are as many, or the indices."""
        found = self._called(text)
        ids = np.asarray(found[IDS]).reshape(-1)
        offsets = found.get("offsets", found.get("offset_mapping"))
        words = list(_WORD.finditer(text))
        if offsets is not None and len(offsets) == len(ids):
            spans = [(int(start), int(stop)) for start, stop in offsets]
            texts = [text[start:stop] for start, stop in spans]
            tokens = list(found.get("tokens", texts))
        elif "tokens" in found and len(found["tokens"]) == len(ids):
            tokens = list(found["tokens"])
            spans = _spans_of(text, tokens)
        elif len(words) == len(ids):
            tokens, spans = [w.group() for w in words], [w.span() for w in words]
        else:
            tokens, spans = ids.tolist(), [(0, 0)] * len(ids)
        made = [
            Token(str(token), start, stop)
            for token, (start, stop) in zip(tokens, spans, strict=True)
        ]
        return made[:max_length]

    def _called(self, text: str) -> dict[str, Any]:
        try:
            found = self._function(text)
        except Exception as error:
            # The user's function may raise anything; it concerns this text.
            msg = f"the tokenizer raised {raised_text(error)}"
            raise UnreadableInstanceError(msg) from error
        if isinstance(found, Mapping):
            if IDS not in found:
                msg = f"the tokenizer gave {', '.join(map(str, found))}, and no {IDS!r}"
                raise UnreadableInstanceError(msg)
            return {str(name): _one_row(values) for name, values in found.items()}
        return {IDS: _one_row(found)}


def _one_row(values: Any) -> Any:
    """Return the values of one text, where the tokenizer made a batch of it."""
    shape = getattr(values, "shape", None)
    return values[0] if shape is not None and len(shape) == 2 else values


def _indices(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 1 or array.dtype.kind not in "iub":
        if not array.size:
            return np.zeros(0, np.int64)
        msg = (
            f"the tokenizer gave {name!r} as {array.dtype} of shape {array.shape}; it "
            "should be a list of whole numbers"
        )
        raise UnreadableInstanceError(msg)
    return array.astype(np.int64)


def _spans_of(text: str, tokens: Sequence[Any]) -> list[tuple[int, int]]:
    """Find tokens in a text, one after the other, in any spelling."""
    folded, position, spans = text.casefold(), 0, []
    for token in tokens:
        start = folded.find(str(token).casefold(), position)
        if start < 0 or len(folded) != len(text):
            spans.append((0, 0))
            continue
        position = start + len(str(token))
        spans.append((start, position))
    return spans


def _stated(file: Path) -> Mapping[str, Any]:
    """Return what stands beside a tokenizer's file, if it does."""
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}
