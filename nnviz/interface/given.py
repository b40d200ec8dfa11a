"""What was given: a run file, a configuration, or a network and data in memory?

Nothing is guessed: what is neither is refused, with its type and what would do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from nnviz.argument_types import described
from nnviz.errors import ConfigError, PlanMismatchError
from nnviz.inputs.datasets.in_memory import hold_dataset
from nnviz.inputs.models.loading import MEMORY, memory_source
from nnviz.inputs.preparation.tokenizing import known_tokenizer, tokenizer_fingerprint
from nnviz.runs.config import (
    ClassesConfig,
    DatasetConfig,
    ExtractionConfig,
    ModelConfig,
    PreprocessingConfig,
    RunConfig,
    absolute_dataset,
    absolute_run,
    load_config,
    read_config,
)
from nnviz.runs.json_values import from_json
from nnviz.store.store import Store

__all__ = ["GivenRun", "given_dataset", "given_run", "objects_for"]

T = TypeVar("T")

_PROBES = (
    "What is the full form of .com ?",
    "In 1999 she said: 'Größe, naïve, 東京!'",
)
"""By what it makes of these, a tokenizer in memory is known."""

_KINDS: Mapping[str, Any] = {
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "table",
    ".jsonl": "table",
    ".ndjson": "table",
    ".arrow": "table",
    ".feather": "table",
    ".txt": "lines",
    ".npy": "arrays",
    ".npz": "arrays",
    ".zarr": "arrays",
    ".tar": "webdataset",
}


@dataclass(frozen=True, slots=True)
class GivenRun:
    """A run as a configuration, and what of it is in memory."""

    config: RunConfig
    objects: Mapping[str, Any] = field(default_factory=dict)
    """Network and data set by the sources that the configuration names."""


def given_run(
    model: object,
    dataset: object = None,
    *,
    classes: object = None,
    preprocessing: object = None,
    extraction: object = None,
    tokenizer: object = None,
) -> GivenRun:
    """Return the run that is meant.

    Parameters
    ----------
    model
        A run file's path, a dictionary of its tables or a RunConfig: the whole run. Or
        the network: a module, a source, a dictionary of ``[model]``, or a ModelConfig.
    dataset
        Needed with a network: a data set in memory, a path, a dictionary of
        ``[dataset]``, or a DatasetConfig.
    classes
        Names of the outputs in their order, a class map's path, or ``[classes]``.
    preprocessing, extraction
        A dictionary of the table, or its configuration.
    tokenizer
        What makes indices of texts: ``preprocessing.tokenizer``, or an object.

    Raises
    ------
    ConfigError
        If something is of another type, or missing.
    """
    whole = _whole_run(model)
    if whole is not None:
        stated = {"dataset": dataset, "classes": classes, "tokenizer": tokenizer}
        stated |= {"preprocessing": preprocessing, "extraction": extraction}
        others = [name for name, value in stated.items() if value is not None]
        if others:
            msg = f"{' and '.join(others)} beside a whole run; state it there"
            raise ConfigError(msg)
        return GivenRun(whole)
    if dataset is None:
        msg = (
            "a data set is needed beside the network: a map-style data set, a pair of "
            "arrays, a path, or a DatasetConfig"
        )
        raise ConfigError(msg)
    if isinstance(dataset, nn.Module):
        msg = (
            f"the data set is {described(dataset)}, a network, and the model is "
            f"{described(model)}; the network comes first: run(model, dataset, store)"
        )
        raise ConfigError(msg)
    network, objects = _given_model(model)
    prepared = _table(PreprocessingConfig, preprocessing, "preprocessing")
    data, held = given_dataset(dataset, prepared)
    names, joined = _given_classes(classes)
    if tokenizer is not None:
        source, held_tokenizer = _given_tokenizer(tokenizer)
        prepared = replace(prepared or PreprocessingConfig(), tokenizer=source)
        objects = objects | held_tokenizer
    config = RunConfig(
        model=replace(network, class_names=names) if names else network,
        dataset=data,
        preprocessing=prepared,
        classes=joined,
        extraction=_table(ExtractionConfig, extraction, "extraction")
        or ExtractionConfig(),
    )
    return GivenRun(absolute_run(config, Path.cwd()), objects | held)


def _whole_run(value: object) -> RunConfig | None:
    if isinstance(value, RunConfig):
        return absolute_run(value, Path.cwd())
    if isinstance(value, Mapping) and {"model", "dataset"} & set(value):
        return read_config(value, Path.cwd())
    if not isinstance(value, (str, os.PathLike)):
        return None
    path = os.fspath(value)
    return load_config(path) if path.endswith(".toml") else None


def _given_model(value: object) -> tuple[ModelConfig, dict[str, Any]]:
    if isinstance(value, nn.Module):
        # torch.compile wraps the network, whose layers are those of the original.
        module = getattr(value, "_orig_mod", value)
        source = memory_source(module)
        return ModelConfig(source), {source: module}
    if isinstance(value, (str, os.PathLike)):
        return ModelConfig(_absolute(os.fspath(value))), {}
    is_weights = isinstance(value, Mapping) and any(
        isinstance(each, Tensor) for each in value.values()
    )
    is_given = value is not None and not is_weights
    found = _table(ModelConfig, value, "model") if is_given else None
    if found is None:
        hint = " (an instance, not the class)" if isinstance(value, type) else ""
        hint = " (which has taken these weights)" if is_weights else hint
        msg = (
            f"the model is {described(value)}; it should be a torch.nn.Module{hint}, a "
            "source like 'timm:resnet18', a run file (.toml), or a ModelConfig"
        )
        raise ConfigError(msg)
    return found, {}


def given_dataset(
    value: object, preprocessing: PreprocessingConfig | None = None
) -> tuple[DatasetConfig, dict[str, Any]]:
    """Return a data set's configuration, and the data set itself if it is in memory.

    Parameters
    ----------
    value
        As given.
    preprocessing
        With `columns`, instances are the rows of a table.

    Raises
    ------
    ConfigError
        If a path names nothing that is known.
    DatasetError
        If it is no data set.
    """
    if isinstance(value, DatasetConfig):
        return absolute_dataset(value, Path.cwd()), {}
    if isinstance(value, Mapping) and isinstance(value.get("kind"), str):
        found = from_json(DatasetConfig, value, place="dataset")
        return absolute_dataset(found, Path.cwd()), {}
    if isinstance(value, (str, os.PathLike)):
        return _dataset_at(os.fspath(value)), {}
    as_rows = preprocessing is not None and (
        preprocessing.kind == "table" or bool(preprocessing.columns)
    )
    held = hold_dataset(value, as_rows=as_rows)
    return held.config, {held.key: held}


def _dataset_at(path: str) -> DatasetConfig:
    suffix = Path(path).suffix.lower()
    if suffix in _KINDS:
        return DatasetConfig(_KINDS[suffix], path=_absolute(path))
    if path and Path(path).expanduser().is_dir():
        return DatasetConfig("folder", path=_absolute(path))
    msg = (
        f"the data set {path!r} is neither a folder that exists, nor a file that ends "
        f"in {', '.join(_KINDS)}; name one, or say what it is with "
        "DatasetConfig(kind=..., path=...)"
    )
    raise ConfigError(msg)


def _given_tokenizer(value: object) -> tuple[str, dict[str, Any]]:
    """Return a tokenizer's name in a plan, and the tokenizer if it is in memory."""
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value), {}
    mark = tokenizer_fingerprint(known_tokenizer(value), _PROBES)
    name = getattr(value, "__name__", type(value).__name__)
    source = f"{MEMORY}{name}@{mark[:12]}"
    return source, {source: value}


def _absolute(path: str) -> str:
    found = Path(path).expanduser()
    return str(found.absolute()) if found.exists() else path


def _given_classes(value: object) -> tuple[tuple[str, ...], ClassesConfig]:
    if value is None:
        return (), ClassesConfig()
    if isinstance(value, (str, os.PathLike)):
        path = Path(value).expanduser()
        if not path.is_file():
            msg = (
                f"classes is {str(value)!r}, and there is no such file; it should be "
                "a list of the names of the network's outputs in their order, or the "
                "path of a class map (CSV)"
            )
            raise ConfigError(msg)
        return (), ClassesConfig(map=str(path.absolute()))
    if isinstance(value, Mapping) and set(value) == set(range(len(value))):
        value = [value[index] for index in range(len(value))]
    if isinstance(value, ClassesConfig) or (
        isinstance(value, Mapping)
        and all(isinstance(key, str) for key in value)
        and not any(isinstance(each, int) for each in value.values())
    ):
        return (), _table(ClassesConfig, value, "classes") or ClassesConfig()
    # Arrays of NumPy and columns of pandas have names, too, of their own type of text.
    names = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(names, Sequence) and all(isinstance(name, str) for name in names):
        return tuple(str(name) for name in names), ClassesConfig()
    msg = (
        f"classes is {described(value)}; it should be the names of the network's "
        "outputs in their order, a dictionary with the name of each output's number, "
        "or the path of a class map"
    )
    raise ConfigError(msg)


def _table(kind: type[T], value: object, name: str) -> T | None:
    if value is None or isinstance(value, kind):
        return value
    if isinstance(value, Mapping):
        return from_json(kind, value, place=name)
    if name == "model":
        return None
    msg = f"{name} is {described(value)}; it should be a dictionary or {kind.__name__}"
    raise ConfigError(msg)


def objects_for(
    store: Store, *, model: object, dataset: object, tokenizer: object = None
) -> dict[str, Any]:
    """Return what has to be handed over for a store, checked against its plan.

    Parameters
    ----------
    store
        Whose plan says what it was made of.
    model, dataset, tokenizer
        As given; None where they are not.

    Raises
    ------
    PlanMismatchError
        If they are not those that the store was made of.
    """
    objects: dict[str, Any] = {}
    plan = store.plan
    if model is not None:
        network, held = _given_model(model)
        _check("network", plan.model.source, network.source)
        objects |= held
    if dataset is not None:
        data, held = given_dataset(dataset, plan.preprocessing)
        _check("data set", plan.dataset.source, data.source)
        objects |= held
    if tokenizer is not None:
        source, held = _given_tokenizer(tokenizer)
        _check("tokenizer", plan.preprocessing.tokenizer, source)
        objects |= held
    return objects


def _check(what: str, planned: str | None, found: str | None) -> None:
    if planned == found:
        return
    if not (planned or "").startswith(MEMORY):
        msg = f"the store's {what} does not come from memory; leave it out here"
    else:
        of = (planned or "").removeprefix(MEMORY)
        given = (found or "one that is not in memory").removeprefix(MEMORY)
        msg = (
            f"the {what} is not the one that the store was made of: it is {given}, and "
            f"the store has {of} (class and fingerprint); hand over the same one, or "
            "make a new store"
        )
    raise PlanMismatchError(msg)
