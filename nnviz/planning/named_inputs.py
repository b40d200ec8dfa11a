"""Which inputs does a network take, and which of an instance's arrays are these?

The parameters of its ``forward`` say the first; the first instances say the second,
with the shapes. What is as long as the tokens of each instance runs over tokens, and
may be of another length in the next one.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.items import INPUT_KEYS, LABEL_KEYS
from nnviz.inputs.datasets.opening import Dataset
from nnviz.inputs.preparation.named_inputs import COUNTED, MASK, SPECIAL, n_tokens_of
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.network.arguments import Parameters
from nnviz.runs.config import DatasetConfig, PreprocessingConfig
from nnviz.runs.network_inputs import InputPart, NetworkInputs

__all__ = ["network_inputs", "planned_inputs", "with_input_columns"]

INSTANCES_TRIED = 64
"""How many of the first instances say what the inputs are."""
INSTANCES_MEASURED = 1_000_000
"""How many are read for their length, at most."""

_OVER_TOKENS = ("input_ids", MASK, SPECIAL, "token_type_ids", "position_ids")

Dtype = Literal["float32", "int64", "bool"]


@runtime_checkable
class _HasKeys(Protocol):
    def keys(self) -> Sequence[str]: ...


def with_input_columns(
    config: DatasetConfig, dataset: Dataset, parameters: Parameters
) -> DatasetConfig:
    """Name the keys of an item that are the network's inputs, where there are several.

    Parameters
    ----------
    config
        The ``[dataset]`` table.
    dataset
        As it is listed.
    parameters
        Of the network's ``forward``.
    """
    if config.input_columns or not isinstance(dataset, _HasKeys):
        return config
    keys = dataset.keys()
    labels = {config.label_column, *LABEL_KEYS}
    found = [n for n in parameters.names if n in keys and n not in labels]
    has_usual = any(key in INPUT_KEYS or key == config.data_array for key in keys)
    if not found or (has_usual and len(found) < 2):
        return config
    return dataclasses.replace(
        config,
        input_columns=(*found, *(name for name in (MASK, SPECIAL) if name in keys)),
    )


def network_inputs(
    instances: Sequence[Mapping[str, NDArray[Any]]],
    parameters: Parameters,
    config: PreprocessingConfig,
    *,
    padding_id: int = 0,
) -> NetworkInputs:
    """Return what a network takes of instances like these.

    Parameters
    ----------
    instances
        The first ones, as the data set or the tokenizer has them.
    parameters
        Of the network's ``forward``.
    config
        Its `padding_id` and `max_length` are used.
    padding_id
        The tokenizer's.

    Raises
    ------
    DatasetError
        If none of the arrays is a parameter, or shapes differ that do not run over
        tokens.
    """
    first = instances[0]
    over_tokens = _over_tokens(instances)
    stated = config.padding_id
    padding = padding_id if stated is None else stated
    parts = []
    for key, name in _arguments(first, parameters):
        values = first[key]
        shape = (-1,) if key in over_tokens else values.shape
        if any(each[key].shape != values.shape for each in instances) and (
            key not in over_tokens
        ):
            msg = (
                f"the input {key!r} has different shapes: "
                f"{sorted({each[key].shape for each in instances})[:4]}; let the data "
                "set return one shape"
            )
            raise DatasetError(msg)
        fill = padding if key in over_tokens and key not in (MASK, SPECIAL) else 0
        if key in ("token_type_ids", "position_ids"):
            fill = 0
        parts.append(InputPart(name, shape, _dtype_of(key, values), padding=fill))
    if any(-1 in part.shape for part in parts) and (
        MASK in over_tokens
        or SPECIAL in over_tokens
        or config.max_length is not None
        or _vary(instances, over_tokens)
    ):
        parts.append(InputPart(COUNTED, (-1,), "bool", "counted"))
    return NetworkInputs(tuple(parts))


def _arguments(
    first: Mapping[str, NDArray[Any]], parameters: Parameters
) -> list[tuple[str, str | None]]:
    """Return (key, keyword) of each input, in the order of the parameters."""
    names = parameters.names
    numbered = [key for key in first if key.isdigit()]
    if numbered and len(numbered) == len(first):
        # By position: those that have a name get it, the rest of *arguments have none.
        if len(numbered) > len(names) and not parameters.takes_any_number:
            msg = (
                f"an instance has {len(numbered)} inputs, and the network's forward "
                f"takes {len(names)}: {', '.join(names)}"
            )
            raise DatasetError(msg)
        keywords: list[str | None] = [None] * len(numbered)
        if not parameters.takes_any_number:
            keywords[: len(names)] = names[: len(numbered)]
        return list(zip(numbered, keywords, strict=True))
    found: list[tuple[str, str | None]] = [(n, n) for n in names if n in first]
    if parameters.takes_any_name:
        others = [k for k in first if k not in names and k != SPECIAL]
        found += [(key, key) for key in others]
    if not found and "input_ids" in first and names:
        found = [("input_ids", names[0])]
    if not found:
        msg = (
            f"the network's forward takes {', '.join(names) or 'nothing by name'}, and "
            f"an instance has {', '.join(first)}; give them the same names"
        )
        raise DatasetError(msg)
    return found


def _over_tokens(instances: Sequence[Mapping[str, NDArray[Any]]]) -> set[str]:
    """Return which arrays run over tokens: as long as the ids of every instance."""
    candidates = [
        key
        for key, values in instances[0].items()
        if values.ndim == 1 and values.dtype.kind in "iub"
    ]
    lead = next((key for key in _OVER_TOKENS if key in candidates), None)
    if lead is None:
        vary = [k for k in candidates if len({len(i[k]) for i in instances}) > 1]
        if not vary:
            return set()
        lead = vary[0]
    return {
        key
        for key in candidates
        if all(each[key].shape == each[lead].shape for each in instances)
    }


def _vary(
    instances: Sequence[Mapping[str, NDArray[Any]]], over_tokens: set[str]
) -> bool:
    return any(len({len(each[key]) for each in instances}) > 1 for key in over_tokens)


def _dtype_of(key: str, values: NDArray[Any]) -> Dtype:
    if values.dtype.kind == "b":
        return "bool"
    is_index = values.dtype.kind in "iu" and (
        values.dtype != np.uint8 or values.ndim < 2 or "mask" in key
    )
    return "int64" if is_index else "float32"


def planned_inputs(
    dataset: Dataset, config: PreprocessingConfig, parameters: Parameters
) -> tuple[NetworkInputs | None, tuple[str, ...]]:
    """Return what the network takes, and what a reader of the plan should know of it.

    Parameters
    ----------
    dataset
        Its first instances are read; all of them, for their lengths, where these vary.
    config
        With its kind.
    parameters
        Of the network's ``forward``.

    Returns
    -------
    tuple of NetworkInputs or None, and tuple of str
        None where an instance is one plain array or picture.

    Raises
    ------
    DatasetError
        As :func:`network_inputs`.
    """
    if config.kind not in ("inputs", "array"):
        return None, ()
    preprocessing = Preprocessing(config)
    tried = [found for _, found in _arrays(dataset, preprocessing, INSTANCES_TRIED)]
    if not tried:
        return None, ()  # what they are is told where the first batch is read
    if config.kind == "array" and not _are_ragged_indices(tried):
        return None, ()
    inputs = network_inputs(tried, parameters, config)
    if not any(-1 in part.shape for part in inputs.parts):
        return inputs, ()
    n_tokens = n_tokens_of(tried[0], inputs)
    is_one_length = inputs.counted is None or not _vary(tried, _over_tokens(tried))
    if is_one_length and config.max_length is None:
        return dataclasses.replace(inputs, n_tokens=n_tokens), ()
    return _with_lengths(dataset, preprocessing, inputs)


def _with_lengths(
    dataset: Dataset, preprocessing: Preprocessing, inputs: NetworkInputs
) -> tuple[NetworkInputs, tuple[str, ...]]:
    """Look for the longest instance, and count those that are cut off."""
    limit = preprocessing.config.max_length
    longest, n_read, cut = 0, 0, []
    for index, found in _arrays(dataset, preprocessing, INSTANCES_MEASURED):
        n_read += 1
        length = n_tokens_of(found, inputs)
        longest = max(longest, length)
        if limit is not None and length > limit:
            cut.append(index)
    n_tokens = longest if limit is None else min(limit, longest)
    notes = []
    if cut:
        notes.append(
            f"{len(cut):,} of {n_read:,} instances have more than {limit:,} tokens "
            "(preprocessing.max_length) and are cut off there, first "
            f"{dataset.ids[cut[0]]!r}; the longest has {longest:,}"
        )
    if len(dataset) > INSTANCES_MEASURED:
        notes.append(
            f"lengths are those of the first {INSTANCES_MEASURED:,} instances; longer "
            "ones are " + ("cut off" if limit is not None else "left out as unreadable")
        )
    return dataclasses.replace(inputs, n_tokens=n_tokens), tuple(notes)


def _arrays(
    dataset: Dataset, preprocessing: Preprocessing, n: int
) -> Iterator[tuple[int, Mapping[str, NDArray[Any]]]]:
    """Yield the arrays of the first instances that can be read, with their numbers."""
    for index in range(min(n, len(dataset))):
        with contextlib.suppress(UnreadableInstanceError):
            yield index, preprocessing.arrays_of(dataset.read(index))


def _are_ragged_indices(instances: Sequence[Mapping[str, NDArray[Any]]]) -> bool:
    """Whether instances are lists of indices, of different lengths."""
    return _vary(instances, _over_tokens(instances))
