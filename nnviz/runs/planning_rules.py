"""Stage 1: how is a plan made, and what cannot work?

:func:`make_plan` is pure: opening the data, loading and tracing the network happen
before it, in :func:`nnviz.planning.planning.plan_run`. What cannot work is refused
here, before anything starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nnviz.errors import PlanError, PlanMismatchError
from nnviz.runs.architecture import Architecture
from nnviz.runs.chunk_sizes import chunk_rows
from nnviz.runs.config import (
    ExtractionConfig,
    PreprocessingConfig,
    RunConfig,
)
from nnviz.runs.contents import Contents
from nnviz.runs.declarations import FLOAT16_MAX, OUTCOME_COLUMNS, VALUE_COLUMNS
from nnviz.runs.plan import Measurements, Plan
from nnviz.runs.stored_names import check_columns, check_layers

__all__ = ["Findings", "check_extraction", "check_signal", "make_plan"]

OVERFLOW_MARGIN = 4.0
"""A layer is stored as float32 if one batch comes this close to what float16 holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What network and data turned out to be, before it is decided what to record."""

    preprocessing: PreprocessingConfig
    """The run file's, or what the model's source and the data ask for."""
    architecture: Architecture
    """As traced, all layers."""
    class_names: tuple[str, ...]
    """Names of the network's outputs, in their order."""
    n_instances: int
    """Size of the data set."""
    n_labelled: int
    """How many of them have a label."""
    metadata_dtypes: Mapping[str, str]
    """dtype of each metadata column."""
    fingerprints: Mapping[str, str]
    """SHA-256 of ``model`` and ``dataset``."""
    measurements: Measurements
    """From one batch."""
    labels_joined_by: str = ""
    """How labels became outputs, for people."""
    class_of_label: Mapping[str, int] = field(default_factory=dict)
    """Class of every label that is a name, but not the class's own."""
    notes: tuple[str, ...] = ()
    """What the reader should know of data, labels and weights."""
    contents: Contents = field(default_factory=Contents)
    """What was read of the data set to know it by."""
    two_outputs_of: str | None = None
    """Module that made the only output, the logit of two classes."""
    two_outputs_are_direct: bool = False
    """Whether the outputs are what this module makes, not what follows it."""
    gives_probabilities: bool = False
    """Whether the outputs are probabilities of the classes."""
    gives_one_value: bool = False
    """Whether the output is a single value, and no class's logit."""
    target_column: str | None = None
    """Column of the measured values that are the labels."""


def make_plan(config: RunConfig, findings: Findings) -> Plan:
    """Decide what to record; refuse what cannot work.

    Parameters
    ----------
    config
        The run's configuration.
    findings
        What its network and its data are.

    Returns
    -------
    Plan
        Plan that records the selected layers.

    Raises
    ------
    PlanError
        If there are no instances, no layers, or options contradict each other.
    UnknownNameError
        If a pattern or an excluded channel names no layer.
    """
    extraction, architecture = config.extraction, findings.architecture
    if findings.n_instances == 0:
        msg = "the data set has no instances; check its path, kind and limit"
        raise PlanError(msg)
    if not architecture.layers:
        msg = (
            "no layer was found in the network: no operation in it mixes channels; "
            "check that the model's callable returns the network you mean"
        )
        raise PlanError(msg)
    check_extraction(extraction)
    check_columns(findings.metadata_dtypes)
    selected = architecture.selected(recorded=extraction.layers, shown=extraction.shown)
    check_layers(layer.name for layer in selected.layers)
    for name, channels in extraction.excluded_channels.items():
        n_channels = architecture.layer(name).n_channels
        wrong = [c for c in channels if not 0 <= c < n_channels]
        if wrong:
            msg = (
                f"extraction.excluded_channels names channel {wrong[0]} of layer "
                f"{name!r}, which has the channels 0 to {n_channels - 1}"
            )
            raise PlanError(msg)
    rows = extraction.instances_per_chunk
    if rows is None:
        padding = architecture.padding
        rows = chunk_rows(
            findings.n_instances,
            batch_size=extraction.batch_size,
            is_sorted=padding is not None and padding.mode == "buckets",
        )
    # A store of few instances needs no chunk larger than they are.
    rows = min(rows, findings.n_instances)
    largest = findings.measurements.largest
    return Plan(
        model=config.model,
        dataset=config.dataset,
        preprocessing=findings.preprocessing,
        classes=config.classes,
        extraction=replace(extraction, instances_per_chunk=rows),
        architecture=selected,
        chooses_chunks=extraction.instances_per_chunk is None,
        class_names=findings.class_names,
        n_instances=findings.n_instances,
        n_labelled=findings.n_labelled,
        layer_dtypes={
            layer.name: (
                "float32"
                if largest.get(layer.name, 0.0) * OVERFLOW_MARGIN > FLOAT16_MAX
                else "float16"
            )
            for layer in selected.layers
        },
        metadata_dtypes=findings.metadata_dtypes,
        fingerprints=findings.fingerprints,
        measurements=findings.measurements,
        labels_joined_by=findings.labels_joined_by,
        class_of_label=findings.class_of_label,
        outcome_columns=_outcome_columns(findings),
        notes=findings.notes,
        contents=findings.contents,
        keeps_remainders=extraction.signal == "peak" and extraction.targets != "none",
        keeps_gradient_norms=extraction.relevance != "none",
        two_outputs_of=findings.two_outputs_of,
        two_outputs_are_direct=findings.two_outputs_are_direct,
        gives_probabilities=findings.gives_probabilities,
        target_column=findings.target_column,
    )


def _outcome_columns(findings: Findings) -> tuple[str, ...]:
    """Return the columns about the outputs; the data set's own are kept for ours."""
    names: tuple[str, ...] = OUTCOME_COLUMNS
    if findings.gives_one_value:
        names = VALUE_COLUMNS if findings.target_column else VALUE_COLUMNS[:1]
    return tuple(name for name in names if name not in findings.metadata_dtypes)


def check_extraction(extraction: ExtractionConfig) -> None:
    """Refuse options of the extraction that cannot work.

    Raises
    ------
    PlanError
        With the option, its value, and what it can be.
    """
    positive = {
        "batch_size": extraction.batch_size,
        "threads_per_worker": extraction.threads_per_worker,
        "reader_threads": extraction.reader_threads,
        "ranks": extraction.ranks,
        "targets_minimum": extraction.targets_minimum,
    }
    if extraction.instances_per_chunk is not None:
        positive["instances_per_chunk"] = extraction.instances_per_chunk
    for name, number in positive.items():
        if number < 1:
            msg = f"extraction.{name} is {number}; it must be at least 1"
            raise PlanError(msg)
    if not 0.0 < extraction.share <= 1.0:
        msg = f"extraction.share is {extraction.share}; it must be in (0, 1]"
        raise PlanError(msg)
    if extraction.top_count is not None and extraction.top_count < 1:
        msg = f"extraction.top_count is {extraction.top_count}; it must be at least 1"
        raise PlanError(msg)
    if not 0.0 <= extraction.max_unreadable_fraction <= 1.0:
        msg = (
            f"extraction.max_unreadable_fraction is "
            f"{extraction.max_unreadable_fraction}; it must be in [0, 1]"
        )
        raise PlanError(msg)
    if extraction.examples_per_channel < 0:
        msg = (
            f"extraction.examples_per_channel is {extraction.examples_per_channel}; "
            "it must be 0 or more"
        )
        raise PlanError(msg)


def check_signal(plan: Plan) -> None:
    """Refuse to compute influences that a plan from before means otherwise.

    Influences at peaks once were those above 0 alone; now they have both signs, and a
    remainder. One array cannot hold both.

    Raises
    ------
    PlanMismatchError
        If the plan keeps influences at peaks and is from before they were signed.
    """
    keeps_peaks = plan.extraction.signal == "peak" and bool(plan.influences)
    if keeps_peaks and not plan.keeps_remainders:
        msg = (
            "the store was planned when influences at peaks (extraction.signal = "
            "'peak') were the positive ones alone; this version keeps the strongest "
            "of both signs and the sum of the rest, and one store cannot hold both: "
            "what is stored can be read, and for more make a new store with 'nnviz "
            "plan RUN.toml --create STORE'"
        )
        raise PlanMismatchError(msg)
