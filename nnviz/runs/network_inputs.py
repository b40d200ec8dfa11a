"""Which inputs does a network take by name, and how do they travel as one array?

An instance of several inputs, or of tokens, is one packed array of one axis: its parts
one after the other. So batches, readers and workers handle it as any other instance,
and only the network takes it apart (:mod:`nnviz.network.arguments`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ShapeError

__all__ = ["InputPart", "NetworkInputs"]


@dataclass(frozen=True, slots=True)
class InputPart:
    """One part of a packed instance."""

    name: str | None
    """Keyword of the network's ``forward``; None: the next positional argument."""
    shape: tuple[int, ...]
    """Shape of one instance's part, in which -1 is the number of tokens."""
    dtype: Literal["float32", "int64", "bool"]
    """In which the network receives it."""
    role: Literal["input", "counted"] = "input"
    """``counted`` is not handed to the network: 1 where a position counts, 0 at padding
    and wherever else maxima and influences shall not be looked for."""
    padding: int = 0
    """What stands past an instance's own tokens."""

    def n_elements(self, n_tokens: int) -> int:
        """Return how many elements it has for a number of tokens."""
        return math.prod(n_tokens if size < 0 else size for size in self.shape)


@dataclass(frozen=True, slots=True)
class NetworkInputs:
    """The parts of a packed instance, in their order."""

    parts: tuple[InputPart, ...]
    n_tokens: int = 0
    """Tokens of the longest instance; 0 where no part runs over tokens."""

    @property
    def names(self) -> tuple[str, ...]:
        """Under which names a part's values are given: its own, or its number."""
        return tuple(
            str(index) if part.name is None else part.name
            for index, part in enumerate(self.parts)
        )

    @property
    def counted(self) -> InputPart | None:
        """The part that says which positions count; None: all do."""
        return next((part for part in self.parts if part.role == "counted"), None)

    @property
    def has_tokens(self) -> bool:
        """Whether a part runs over tokens."""
        return any(size < 0 for part in self.parts for size in part.shape)

    @property
    def dtype(self) -> Literal["int64", "float64"]:
        """Of the packed array; float64 holds every float32 and index exactly."""
        is_real = any(part.dtype == "float32" for part in self.parts)
        return "float64" if is_real else "int64"

    def length(self, n_tokens: int | None = None) -> int:
        """Return the length of a packed instance.

        Parameters
        ----------
        n_tokens
            Tokens to which it is padded; None: as many as the longest one has.
        """
        n_tokens = self.n_tokens if n_tokens is None else n_tokens
        return sum(part.n_elements(n_tokens) for part in self.parts)

    def tokens_of(self, length: int) -> int:
        """Return how many tokens a packed instance of a length has.

        Raises
        ------
        ShapeError
            If no number of tokens gives this length.

        Examples
        --------
        >>> ids = InputPart("ids", (-1,), "int64")
        >>> NetworkInputs((ids, InputPart("age", (1,), "int64"))).tokens_of(8)
        7
        """
        fixed = self.length(0)
        each = self.length(1) - fixed
        n_tokens, rest = divmod(length - fixed, each) if each else (0, length - fixed)
        if rest or n_tokens < 0:
            msg = (
                f"a packed instance of {length} elements does not fit the inputs "
                f"{', '.join(self.names)}, which take {fixed} elements and {each} for "
                "each token"
            )
            raise ShapeError(msg)
        return n_tokens

    def pack(
        self, values: Mapping[str, NDArray[Any]], n_tokens: int | None = None
    ) -> NDArray[Any]:
        """Return one instance as one array, padded.

        Parameters
        ----------
        values
            Of each part, by its name.
        n_tokens
            Tokens to which it is padded; None: as many as the longest one has.

        Returns
        -------
        ndarray
            Shape (length,), of :attr:`dtype`.

        Raises
        ------
        ShapeError
            If a part is missing, or has another shape.
        """
        n_tokens = self.n_tokens if n_tokens is None else n_tokens
        packed = np.empty(self.length(n_tokens), self.dtype)
        start = 0
        for name, part in zip(self.names, self.parts, strict=True):
            stop = start + part.n_elements(n_tokens)
            if name not in values:
                msg = f"the input {name!r} is missing; there are {', '.join(values)}"
                raise ShapeError(msg)
            packed[start:stop] = _padded(name, part, values[name], n_tokens).ravel()
            start = stop
        return packed

    def repacked(self, packed: NDArray[Any], n_tokens: int) -> NDArray[Any]:
        """Return packed instances with another number of tokens.

        Parameters
        ----------
        packed
            Shape (..., length).
        n_tokens
            At least as many as each of these instances has, without padding.
        """
        before = self.tokens_of(packed.shape[-1])
        if before == n_tokens:
            return packed
        lead, start, found = packed.shape[:-1], 0, []
        for part in self.parts:
            stop = start + part.n_elements(before)
            shape = [before if size < 0 else size for size in part.shape]
            values = packed[..., start:stop].reshape(*lead, *shape)
            for axis, size in enumerate(part.shape, len(lead)):
                if size < 0:
                    values = _resized(values, axis, n_tokens, part.padding)
            found.append(values.reshape(*lead, -1))
            start = stop
        return np.concatenate(found, axis=-1)

    def are_token_indices(self, n_tokens: int) -> NDArray[np.bool_]:
        """Return which elements of a packed instance are the indices of its tokens.

        Those of the first part that has an index for each; none where no part has.

        Parameters
        ----------
        n_tokens
            Tokens of the instance.
        """
        first = next(
            (
                part
                for part in self.parts
                if part.dtype == "int64" and part.shape == (-1,) and not _is_mask(part)
            ),
            None,
        )
        return np.concatenate(
            [np.full(part.n_elements(n_tokens), part is first) for part in self.parts]
        )

    def are_real(self, n_tokens: int) -> NDArray[np.bool_]:
        """Return which elements of a packed instance are real numbers.

        Parameters
        ----------
        n_tokens
            Tokens of the instance.
        """
        return np.concatenate(
            [
                np.full(part.n_elements(n_tokens), part.dtype == "float32")
                for part in self.parts
            ]
        )

    def own_tokens(self, packed: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many tokens each packed instance has without its padding.

        Parameters
        ----------
        packed
            Shape (instance, length).

        Returns
        -------
        ndarray
            Shape (instance,).
        """
        n_tokens = self.tokens_of(packed.shape[1])
        found, start = np.zeros(len(packed), np.int64), 0
        for part in self.parts:
            stop = start + part.n_elements(n_tokens)
            if -1 in part.shape and n_tokens:
                shape = [n_tokens if size < 0 else size for size in part.shape]
                values = packed[:, start:stop].reshape(len(packed), *shape)
                own = values != part.padding
                own = np.moveaxis(own, 1 + part.shape.index(-1), 1)
                own = own.reshape(len(packed), n_tokens, -1).any(axis=2)
                last = n_tokens - own[:, ::-1].argmax(axis=1)
                found = np.maximum(found, np.where(own.any(axis=1), last, 0))
            start = stop
        return found

    def ends_in_padding(self, packed: NDArray[Any]) -> NDArray[np.bool_]:
        """Return whether the last token of each packed instance is padding.

        Parameters
        ----------
        packed
            Shape (instance, length).

        Returns
        -------
        ndarray
            Shape (instance,).
        """
        n_tokens = self.tokens_of(packed.shape[1])
        found = np.ones(len(packed), np.bool_)
        if not n_tokens:
            return found
        cut = self.repacked(packed, n_tokens - 1)
        return np.asarray((self.repacked(cut, n_tokens) == packed).all(axis=1))

    def example(self, n: int, n_tokens: int | None = None) -> NDArray[Any]:
        """Return made-up instances that a network can be run on, packed.

        Indices and numbers are 0, masks are 1.

        Parameters
        ----------
        n
            How many.
        n_tokens
            Tokens of each; None: as many as the longest one has.
        """
        n_tokens = self.n_tokens if n_tokens is None else n_tokens
        parts = [
            np.full((n, part.n_elements(n_tokens)), _is_mask(part), self.dtype)
            for part in self.parts
        ]
        return np.concatenate(parts, axis=1)


def _is_mask(part: InputPart) -> bool:
    return part.role == "counted" or part.dtype == "bool" or "mask" in (part.name or "")


def _padded(
    name: str, part: InputPart, values: NDArray[Any], n_tokens: int
) -> NDArray[Any]:
    """Return a part's values, with its padding up to a number of tokens."""
    is_same = len(values.shape) == len(part.shape) and all(
        found <= n_tokens if size < 0 else found == size
        for found, size in zip(values.shape, part.shape, strict=True)
    )
    if not is_same:
        wanted = tuple(f"up to {n_tokens}" if s < 0 else str(s) for s in part.shape)
        msg = (
            f"the input {name!r} has the shape {values.shape}; the network was planned "
            f"for ({', '.join(wanted)})"
        )
        raise ShapeError(msg)
    for axis, size in enumerate(part.shape):
        if size < 0:
            values = _resized(values, axis, n_tokens, part.padding)
    return values


def _resized(
    values: NDArray[Any], axis: int, n_tokens: int, padding: int
) -> NDArray[Any]:
    """Return values that are cut off or padded at the end of one axis."""
    more = n_tokens - values.shape[axis]
    if more <= 0:
        return values[(slice(None),) * axis + (slice(n_tokens),)]
    widths = [(0, 0)] * values.ndim
    widths[axis] = (0, more)
    return np.pad(values, widths, constant_values=padding)
