"""How does an instance of several inputs become one packed array?

Its arrays are the network's inputs as they are. Those that run over tokens are cut off
at the longest length that the plan knows and filled up to that of the batch; which
positions count is said beside them: those that the attention mask has, without special
tokens unless these are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ShapeError, UnreadableInstanceError
from nnviz.runs.network_inputs import InputPart, NetworkInputs

__all__ = ["COUNTED", "IDS", "MASK", "SPECIAL", "NamedInputs", "n_tokens_of"]

IDS = "input_ids"
"""Under which name a tokenizer gives the indices of tokens."""
MASK = "attention_mask"
"""Under which name an instance says which of its positions are no padding."""
SPECIAL = "special_tokens_mask"
"""Under which name an instance says which of its tokens are no part of the text."""
COUNTED = "counted"
"""Name of the part that says which positions count."""


class NamedInputs:
    """Packs instances of several inputs.

    Parameters
    ----------
    inputs
        What the network takes.
    special_tokens_count
        Whether special tokens count.
    may_cut
        Whether longer instances are cut off, and not refused.
    """

    def __init__(
        self, inputs: NetworkInputs, *, special_tokens_count: bool, may_cut: bool
    ) -> None:
        self.inputs = inputs
        self._special_tokens_count = special_tokens_count
        self._may_cut = may_cut

    def pack(self, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return one instance as one array, filled up to the longest length.

        Parameters
        ----------
        values
            Arrays by the names of the inputs, or by their numbers from 0 on.

        Raises
        ------
        UnreadableInstanceError
            If an input is missing, has another shape, or no position counts.
        """
        self._check_length(n_tokens_of(values, self.inputs))
        named = self._named(values)
        if self.inputs.counted is not None:
            named[COUNTED] = self._counted(named)
        try:
            return self.inputs.pack(named)
        except ShapeError as error:
            raise UnreadableInstanceError(str(error)) from error

    def _check_length(self, n_tokens: int) -> None:
        longest = self.inputs.n_tokens
        is_short = n_tokens < longest and self.inputs.counted is None
        if is_short or (n_tokens > longest and not self._may_cut):
            msg = (
                f"it has {n_tokens} tokens, and the instances that were tried for the "
                f"plan had {longest}; state preprocessing.max_length, to which they "
                "are cut off and filled up"
            )
            raise UnreadableInstanceError(msg)

    def _named(self, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        longest = self.inputs.n_tokens
        named = dict(values)
        for index, (name, part) in enumerate(
            zip(self.inputs.names, self.inputs.parts, strict=True)
        ):
            found = _value_of(values, index, name)
            if found is None:
                continue
            named[name] = _as_dtype(name, found, part)
            for axis, size in enumerate(part.shape):
                if size < 0 and axis < found.ndim:
                    cut = (slice(None),) * axis + (slice(longest),)
                    named[name] = named[name][cut]
        return named

    def _counted(self, named: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        n_tokens = n_tokens_of(named, self.inputs)
        counted = np.ones(n_tokens, np.bool_)
        if MASK in named:
            counted &= named[MASK][:n_tokens].astype(np.bool_)
        if SPECIAL in named and not self._special_tokens_count:
            counted &= ~named[SPECIAL][:n_tokens].astype(np.bool_)
        if not counted.any():
            msg = "it has no token that counts: it is empty, or of special tokens only"
            raise UnreadableInstanceError(msg)
        return counted


def n_tokens_of(values: Mapping[str, NDArray[Any]], inputs: NetworkInputs) -> int:
    """Return how many tokens an instance has.

    Parameters
    ----------
    values
        Arrays by the names of the inputs, or by their numbers.
    inputs
        What the network takes.
    """
    for index, (name, part) in enumerate(zip(inputs.names, inputs.parts, strict=True)):
        found = _value_of(values, index, name)
        if found is not None and -1 in part.shape and found.ndim == len(part.shape):
            return int(found.shape[part.shape.index(-1)])
    return 0


def _value_of(
    values: Mapping[str, NDArray[Any]], index: int, name: str
) -> NDArray[Any] | None:
    """Return an input by its name or number; ids may be the first under their own."""
    for key in (name, str(index), *([IDS] if index == 0 else [])):
        if key in values:
            return values[key]
    return None


def _as_dtype(name: str, values: NDArray[Any], part: InputPart) -> NDArray[Any]:
    """Return values in a part's dtype; refuses what would become others silently."""
    if values.dtype.kind not in "iufb":
        msg = (
            f"the input {name!r} is {values.flat[0]!r:.40}, which is not a number; "
            "preprocessing.columns say what the columns of a table become"
        )
        raise UnreadableInstanceError(msg)
    if part.dtype != "float32" and values.dtype.kind == "f":
        whole = np.isfinite(values) & (values == np.floor(values))
        if not whole.all():
            msg = (
                f"the input {name!r} has {values[~whole].flat[0]!s}, which is not a "
                "whole number as in the first instances"
            )
            raise UnreadableInstanceError(msg)
    return values.astype(part.dtype)
