"""What does one batch tell about a run? Open the data, load and trace the network.

These are the steps before :func:`nnviz.runs.planning_rules.make_plan`, each visible:

1. open the data set and read its first instances;
2. load the network and trace it: layers, edges;
3. join the data set's labels with the network's outputs;
4. run the first batch as a worker will, for the largest values and the time it takes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import (
    DatasetError,
    ModelError,
    PlanError,
    UnreadableInstanceError,
)
from nnviz.inputs.datasets.contents_check import contents_of, mode_of
from nnviz.inputs.datasets.opening import Dataset, open_dataset
from nnviz.inputs.datasets.torch_datasets import TorchDataset
from nnviz.inputs.models.loading import load_model
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.network.arguments import bind_inputs, parameters_of
from nnviz.network.class_scores import are_probabilities
from nnviz.network.recording.explaining import explained_outputs
from nnviz.network.recording.gradient_checks import check_gradients
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace_network
from nnviz.network.two_outputs import find_two_outputs, with_two_outputs
from nnviz.planning.input_kinds import resolved_preprocessing
from nnviz.planning.labels import JoinedClasses, join_labels
from nnviz.planning.matched_inputs import (
    check_largest_index,
    planned_inputs,
    with_input_columns,
)
from nnviz.planning.measured_columns import measured_columns, rows_asked_for
from nnviz.planning.plain_labels import (
    n_classes_of,
    target_column_of,
    with_plain_labels,
)
from nnviz.planning.two_classes import (
    NOT_SPLIT,
    has_one_output,
    means_two_classes,
    notes_on_one_output,
)
from nnviz.runs.config import RunConfig
from nnviz.runs.plan import Measurements, Plan
from nnviz.runs.planning_rules import Findings, make_plan

__all__ = ["Probe", "plan_run"]

INSTANCES_TRIED = 1_024
"""How many of the first instances are tried for a readable batch."""
INSTANCES_WARMED_UP = 4
"""How many instances are run before a batch is timed."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found while planning, and what the store's creation needs of it."""

    dataset: Dataset
    classes: JoinedClasses
    hashes: NDArray[np.uint64] | None = None
    """Of the contents of every instance, if the plan wants them."""


def plan_run(
    config: RunConfig, *, trust: bool = False, timed: bool = False
) -> tuple[Plan, Probe]:
    """Open data and network, run one batch, and make the plan.

    Parameters
    ----------
    config
        As read from a run file.
    trust
        Whether files that run code when read may be read.
    timed
        Whether to time the batch, for an estimate of the whole run.

    Returns
    -------
    tuple of Plan and Probe
        What to do, and the opened data set with its joined labels.

    Raises
    ------
    DatasetError
        If the data cannot be listed, none of the first instances can be read, or the
        labels cannot be joined with the network's outputs.
    ModelError
        If the network cannot be built.
    PlanError
        If what is asked for cannot work.
    """
    stated = rows_asked_for(config)
    dataset = open_dataset(stated, trust=trust)
    if isinstance(dataset, TorchDataset):
        dataset.check_labels()
    loaded = load_model(config.model, trust=trust)
    parameters = parameters_of(loaded.module)
    dataset_config = with_input_columns(stated, dataset, parameters)
    if dataset_config is not stated:
        dataset = open_dataset(dataset_config, trust=trust)
    preprocessing_config = resolved_preprocessing(
        config.preprocessing, loaded.preprocessing, dataset
    )
    column_notes: tuple[str, ...] = ()
    if preprocessing_config.columns and preprocessing_config.layout != "packed":
        measured = measured_columns(
            dataset, preprocessing_config, dataset_config, parameters
        )
        preprocessing_config, column_notes = measured.config, measured.notes
    planned = planned_inputs(dataset, preprocessing_config, parameters)
    preprocessing_config = planned.config
    bind_inputs(loaded.module, planned.inputs)
    check_largest_index(loaded, dataset, planned)
    preprocessing = Preprocessing(preprocessing_config, planned.inputs)
    extraction = config.extraction
    values, read_seconds = _first_batch(dataset, preprocessing, extraction.batch_size)
    try:
        architecture = trace_network(loaded.module, values, preprocessing_config)
    except ModelError as error:
        if preprocessing_config.kind != "array":
            raise
        msg = (
            f"{error} (the arrays become {values.dtype}; preprocessing.dtype can be "
            "'float32' or 'int64', as the network wants it)"
        )
        raise ModelError(msg) from error
    module, two_outputs, network_notes = loaded.module, None, loaded.notes
    if has_one_output(architecture):
        if means_two_classes(dataset, config.classes, loaded.class_names):
            two_outputs = find_two_outputs(module, values, preprocessing_config)
            network_notes += () if two_outputs else (NOT_SPLIT,)
        else:
            network_notes += notes_on_one_output(dataset)
    if two_outputs is not None:
        module = with_two_outputs(module, two_outputs)
        architecture = trace_network(module, values, preprocessing_config)
    n_classes = n_classes_of(architecture)
    dataset = with_plain_labels(
        dataset, config.dataset, config.classes, n_classes, loaded.class_names
    )
    classes = join_labels(
        dataset.labels,
        config=config.classes,
        n_outputs=n_classes,
        class_names=loaded.class_names,
        label_names=dataset.class_names,
        n_instances=len(dataset),
        has_one_output=two_outputs is not None,
    )
    runtime = NetworkRuntime(
        module,
        architecture.selected(recorded=extraction.layers, shown=extraction.shown),
        preprocessing=preprocessing_config,
        extraction=extraction,
        explained=explained_outputs(extraction, classes.class_names),
    )
    gradient_notes = check_gradients(runtime, values)
    measurements, outputs = _measure(runtime, values, read_seconds, timed=timed)
    contents, hashes = contents_of(dataset, mode_of(dataset_config))
    findings = Findings(
        preprocessing=preprocessing_config,
        architecture=architecture,
        class_names=classes.class_names,
        n_instances=len(dataset),
        n_labelled=int((classes.labels >= 0).sum()),
        metadata_dtypes={
            name: _dtype_name(values) for name, values in dataset.metadata.items()
        },
        fingerprints={
            "model": loaded.fingerprint,
            "dataset": dataset.fingerprint,
            **planned.fingerprints,
        },
        measurements=measurements,
        labels_joined_by=classes.joined_by,
        class_of_label=classes.class_of_label,
        notes=(
            *dataset.notes,
            *column_notes,
            *planned.notes,
            *classes.notes,
            *network_notes,
            *gradient_notes,
        ),
        two_outputs_of=None if two_outputs is None else two_outputs.module,
        two_outputs_are_direct=two_outputs is not None and two_outputs.are_direct,
        gives_probabilities=are_probabilities(outputs),
        gives_one_value=has_one_output(architecture),
        target_column=target_column_of(dataset),
        contents=contents,
    )
    config = replace(config, dataset=dataset_config)
    return make_plan(config, findings), Probe(dataset, classes, hashes)


def _first_batch(
    dataset: Dataset, preprocessing: Preprocessing, size: int
) -> tuple[NDArray[Any], float]:
    """Return the first readable instances, stacked, and the seconds each one took.

    Those with numbers that are not finite are left out, unless all are such: what a
    network makes of them says nothing about how it is built.
    """
    values: dict[int, NDArray[Any]] = {}
    not_finite: dict[int, NDArray[Any]] = {}
    reasons: dict[str, str] = {}
    seconds = 0.0
    for index in range(min(len(dataset), INSTANCES_TRIED)):
        began = time.perf_counter()
        try:
            prepared = preprocessing.prepare(dataset.read(index))
        except UnreadableInstanceError as error:
            reasons[str(dataset.ids[index])] = str(error)
            continue
        seconds += time.perf_counter() - began
        kept = values if np.isfinite(prepared).all() else not_finite
        kept[index] = prepared
        if len(values) == size:
            break
    n_read = len(values) + len(not_finite)
    values = values or dict(list(not_finite.items())[:size])
    if not values:
        first = list(reasons.items())[:3]
        shown = "; ".join(f"{name}: {reason}" for name, reason in first)
        msg = (
            f"none of the first {len(reasons):,} instances can be read ({shown}); "
            "check dataset.path and preprocessing"
        )
        raise DatasetError(msg)
    _check_shapes(dataset, values)
    return np.stack(list(values.values())), seconds / n_read


def _check_shapes(dataset: Dataset, values: Mapping[int, NDArray[Any]]) -> None:
    """Refuse prepared instances, by number, that cannot be stacked."""
    first, *others = values
    for index in others:
        if values[index].shape != values[first].shape:
            msg = (
                f"instances have different shapes: {dataset.ids[first]!r} is "
                f"{values[first].shape}, {dataset.ids[index]!r} is "
                f"{values[index].shape}; state preprocessing.resize and "
                "preprocessing.crop"
            )
            raise DatasetError(msg)


def _measure(
    runtime: NetworkRuntime, values: NDArray[Any], read_seconds: float, *, timed: bool
) -> tuple[Measurements, NDArray[np.float32] | None]:
    """Run a batch; return what it tells, and the network's outputs."""
    batch = runtime.run(values)
    seconds = None
    few = values[:INSTANCES_WARMED_UP]
    if timed:
        # The first time compiles kernels, or loads them from the cache: a few
        # instances are enough for that.
        for tried in (few, values):
            with runtime.recording(0) as recording:
                started = time.perf_counter()
                recording.run(tried, valid=np.ones(len(tried), np.bool_))
                seconds = (time.perf_counter() - started) / len(tried)
    _check_finite(batch.activations)
    largest = {
        name: float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
        for name, a in batch.activations.items()
    }
    maps = [
        layer.n_channels * int(np.prod(layer.positions)) * 4
        for layer in runtime.architecture.layers
    ]
    measurements = Measurements(
        largest=largest,
        input_bytes=int(values[0].nbytes),
        model_bytes=runtime.model_bytes,
        largest_map_bytes=max(maps, default=0),
        seconds_per_instance=seconds,
        read_seconds_per_instance=read_seconds,
        gradient_bytes=runtime.graph_bytes(few) // len(few),
    )
    return measurements, batch.logits


def _check_finite(activations: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a run whose instances would all be excluded for what they compute."""
    for name, values in activations.items():
        if not np.isfinite(values).all(axis=1).any():
            msg = (
                f"the activations of layer {name!r} are not finite for any instance of "
                "the first batch, so that none could be used; check the weights and "
                "the preprocessing"
            )
            raise PlanError(msg)


def _dtype_name(values: NDArray[Any]) -> str:
    return "string" if values.dtype.kind in "TUO" else str(values.dtype)
