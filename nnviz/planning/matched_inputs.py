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

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.arrays import ArrayDataset
from nnviz.inputs.datasets.items import INPUT_KEYS, LABEL_KEYS
from nnviz.inputs.datasets.listings import input_columns
from nnviz.inputs.datasets.opening import Dataset
from nnviz.inputs.models.loading import LoadedModel
from nnviz.inputs.preparation.packed_inputs import (
    COUNTED,
    IDS,
    MASK,
    SPECIAL,
    n_tokens_of,
)
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.inputs.preparation.tokenizing import sampled_texts, tokenizer_fingerprint
from nnviz.network.arguments import Parameters
from nnviz.network.indices import check_indices
from nnviz.runs.config import DatasetConfig, PreprocessingConfig
from nnviz.runs.network_inputs import InputPart, NetworkInputs
from nnviz.runs.table_columns import ColumnConfig

__all__ = [
    "PlannedInputs",
    "check_largest_index",
    "network_inputs",
    "planned_inputs",
    "with_input_columns",
]

INSTANCES_TRIED = 64
"""How many of the first instances say what the inputs are."""
INSTANCES_MEASURED = 1_000_000
"""How many are read for their length, at most."""

_OVER_TOKENS = (IDS, MASK, SPECIAL, "token_type_ids", "position_ids")

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

    Raises
    ------
    ConfigError
        If keys are stated that are not there.
    """
    if not isinstance(dataset, _HasKeys):
        return config
    keys, stated = dataset.keys(), config.input_columns
    labels = {config.label_column, *LABEL_KEYS}
    if stated and keys and not set(stated) <= set(keys):
        names = [key for key in keys if key not in labels]
        found = input_columns(names, stated, place="an item of the data set")
        return dataclasses.replace(config, input_columns=tuple(found))
    if stated:
        return config
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
        or config.kind == "text"
        or _vary(instances, over_tokens)
    ):
        parts.append(InputPart(COUNTED, (-1,), "bool", "counted"))
    return NetworkInputs(tuple(parts))


def _arguments(
    first: Mapping[str, NDArray[Any]], parameters: Parameters
) -> list[tuple[str, str | None]]:
    """Return (key, keyword) of each input, in the order of the parameters."""
    names = parameters.names
    takes_all = parameters.takes_any_name or not any(name in first for name in names)
    texts = [
        key
        for key, values in first.items()
        if values.dtype.kind not in "iufb" and (takes_all or key in names)
    ]
    if texts:
        msg = (
            f"an instance has {_shortened(texts)}, which are no numbers; if it is the "
            "row of a table, dataset.input_columns name those that the network takes, "
            "and preprocessing.columns say what columns become"
        )
        raise DatasetError(msg)
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
    if not found and IDS in first and names:
        found = [(IDS, names[0])]
    if not found:
        msg = (
            f"the network's forward takes {', '.join(names) or 'nothing by name'}, and "
            f"an instance has {_shortened(list(first))}; give them the same names, or, "
            "if they are the numbers of one input, hand them over as one array: kind "
            "'arrays', or from Python nnviz.run(network, (frame, labels), ...)"
        )
        raise DatasetError(msg)
    return found


def _shortened(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


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


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedInputs:
    """What is known of the inputs of a run before its network is traced."""

    config: PreprocessingConfig
    """With what the tokenizer says of itself."""
    inputs: NetworkInputs | None = None
    """None where an instance is one plain array or picture."""
    notes: tuple[str, ...] = ()
    """What a reader of the plan should know."""
    largest: tuple[int, int] = (-1, -1)
    """Largest index of a token, and the instance that has it."""
    fingerprints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of the tokenizer, where there is one."""


def planned_inputs(
    dataset: Dataset, config: PreprocessingConfig, parameters: Parameters
) -> PlannedInputs:
    """Return what the network takes of a data set's instances.

    Parameters
    ----------
    dataset
        Its first instances are read; all of them, for their lengths, where these vary.
    config
        With its kind.
    parameters
        Of the network's ``forward``.

    Raises
    ------
    ConfigError
        If there are texts and no tokenizer.
    DatasetError
        As :func:`network_inputs`, or if the tokenizer cannot be read.
    """
    if config.kind not in ("inputs", "array", "text", "table"):
        return PlannedInputs(config)
    if config.layout == "packed":
        return PlannedInputs(config, _packed_inputs(dataset))
    is_text = config.kind == "text"
    # What is cut off is found here, so that nothing is before.
    whole = Preprocessing(dataclasses.replace(config, max_length=None))
    tokenizer = whole.tokenizer if is_text else None
    if tokenizer is not None and config.max_length is None:
        config = dataclasses.replace(config, max_length=tokenizer.max_length)
    tried = [found for _, found in _arrays(dataset, whole, INSTANCES_TRIED)]
    if not tried:
        return PlannedInputs(config)  # told where the first batch is read
    if config.kind == "array" and not _are_ragged_indices(tried):
        return PlannedInputs(config)
    if config.kind == "array":
        config = dataclasses.replace(config, kind="inputs")
    padding_id = 0 if tokenizer is None else tokenizer.padding_id
    inputs = network_inputs(tried, parameters, config, padding_id=padding_id)
    if not any(-1 in part.shape for part in inputs.parts):
        return PlannedInputs(config, inputs)
    is_one_length = inputs.counted is None or not _vary(tried, _over_tokens(tried))
    if is_one_length and config.max_length is None and not is_text:
        n_tokens = n_tokens_of(tried[0], inputs)
        return PlannedInputs(config, dataclasses.replace(inputs, n_tokens=n_tokens))
    found = _measured(dataset, whole, inputs, config)
    if tokenizer is None:
        return found
    mark = {"tokenizer": tokenizer_fingerprint(tokenizer, sampled_texts(dataset))}
    return dataclasses.replace(found, fingerprints=mark)


def _packed_inputs(dataset: Dataset) -> NetworkInputs:
    found = dataset.packed_inputs if isinstance(dataset, ArrayDataset) else None
    if found is None:
        msg = (
            "preprocessing.layout is 'packed', and the data set is not one that nnviz "
            "pack has written of several inputs; leave the option out"
        )
        raise ConfigError(msg)
    return found


def _measured(
    dataset: Dataset,
    preprocessing: Preprocessing,
    inputs: NetworkInputs,
    config: PreprocessingConfig,
) -> PlannedInputs:
    """Read all instances: how long is the longest, how many are cut off?"""
    limit = config.max_length
    longest, n_read, cut = 0, 0, []
    largest = (-1, -1)
    for index, found in _arrays(dataset, preprocessing, INSTANCES_MEASURED):
        n_read += 1
        length = n_tokens_of(found, inputs)
        longest = max(longest, length)
        if limit is not None and length > limit:
            cut.append(index)
        ids = next(iter(found.values()))
        largest = max(largest, (int(ids.max(initial=-1)), index))
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
    n_tokens = longest if limit is None else min(limit, longest)
    inputs = dataclasses.replace(inputs, n_tokens=n_tokens)
    return PlannedInputs(config, inputs, tuple(notes), largest)


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


def check_largest_index(
    loaded: LoadedModel, dataset: Dataset, planned: PlannedInputs
) -> None:
    """Refuse a network that does not know the largest index of the data.

    Parameters
    ----------
    loaded
        The network, to which the inputs are bound.
    dataset
        As it is listed.
    planned
        What is known of the inputs.

    Raises
    ------
    ModelError
        With the token, and the instance that has it; or with the category.
    """
    inputs, (largest, index) = planned.inputs, planned.largest
    if inputs is not None:
        _check_codes(loaded, inputs, planned.config.columns)
    if inputs is None or index < 0:
        return
    preprocessing = Preprocessing(planned.config, inputs)
    raw = dataset.read(index)
    token = "a token"
    if isinstance(raw, str):
        ids = preprocessing.arrays_of(raw)[IDS].tolist()
        if largest not in ids:
            return  # cut off
        tokens = preprocessing.tokenizer.tokens_of(raw, planned.config.max_length)
        token = f"the token {tokens[ids.index(largest)].text!r}"
    try:
        packed = preprocessing.prepare(raw)
    except UnreadableInstanceError:
        return
    check_indices(
        loaded.module,
        inputs,
        packed,
        largest=largest,
        said=f"{token} of instance {dataset.ids[index]!r}",
        advice="take the tokenizer that the network was trained with",
    )


def _check_codes(
    loaded: LoadedModel, inputs: NetworkInputs, columns: Sequence[ColumnConfig]
) -> None:
    """Run the network on the last code of each column of a table, one by one."""
    start = 0
    for name, part in zip(inputs.names, inputs.parts, strict=True):
        of_part = [column for column in columns if column.input == name]
        for place, column in enumerate(of_part if part.dtype == "int64" else ()):
            codes = {
                column.first_code + len(column.categories) - 1: "the last category"
            }
            if isinstance(column.unseen, int):
                codes[column.unseen] = "what is unseen (unseen)"
            for code, what in codes.items():
                packed = inputs.example(1)[0]
                packed[start + place] = code
                check_indices(
                    loaded.module,
                    inputs,
                    packed,
                    largest=code,
                    said=f"{what} of the column {column.name!r}",
                    advice="state the categories with which it was trained, in their "
                    "order (preprocessing.columns: categories, first_code, unseen)",
                )
        start += part.n_elements(0)
