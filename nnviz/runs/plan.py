"""Stage 1: what will a run record, how large is it, and what will it cost?

:func:`make_plan` is pure: opening the data, loading and tracing the network happen
before it, in :func:`nnviz.planning.planning.probe`. A plan is a value. It knows every
array, chunk and byte, it travels as JSON in the store's attributes, it carries
everything a worker needs, and what cannot work is refused here, before anything starts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nnviz.errors import PlanError
from nnviz.inputs.datasets.contents import Contents
from nnviz.runs.architecture import Architecture
from nnviz.runs.config import (
    ClassesConfig,
    DatasetConfig,
    ExtractionConfig,
    ModelConfig,
    PreprocessingConfig,
    from_json,
    to_json,
)
from nnviz.runs.plan_checks import check_columns, check_extraction
from nnviz.runs.plan_report import plan_lines
from nnviz.runs.schema import ArraySpec, InfluenceSpec, run_arrays

__all__ = ["Measurements", "Plan", "make_plan"]

FLOAT16_MAX = 65_504.0
OVERFLOW_MARGIN = 4.0
"""A layer is stored as float32 if one batch comes this close to what float16 holds."""

PROCESS_BYTES = 400_000_000
"""A process that has imported torch, Dask and Zarr, and done nothing yet: 340 MB."""

_IDENTITY_FREE = {
    "model": ("weights",),
    "dataset": ("path", "root", "fingerprint_contents"),
    "classes": ("map",),
    "extraction": ("reader_threads", "max_unreadable_fraction"),
}
"""Options that say where things are or how fast they go. What is there is told by the
fingerprints of network and data."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What one batch told about the run; no part of the plan's identity."""

    largest: Mapping[str, float] = field(default_factory=dict)
    """Largest magnitude of each layer's activations in the batch."""
    input_bytes: int = 0
    """Bytes of one instance, ready for the network."""
    model_bytes: int = 0
    largest_map_bytes: int = 0
    """Bytes of the largest activation map of one instance."""
    seconds_per_instance: float | None = None
    """Forward pass and recording, one process; None if it was not timed."""
    read_seconds_per_instance: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run will do; use :func:`make_plan`."""

    model: ModelConfig
    dataset: DatasetConfig
    preprocessing: PreprocessingConfig
    classes: ClassesConfig
    extraction: ExtractionConfig
    architecture: Architecture
    class_names: tuple[str, ...]
    """Names of the network's outputs, in their order."""
    n_instances: int
    n_labelled: int
    layer_dtypes: Mapping[str, str]
    """float16, or float32 where float16 would overflow, for each recorded layer."""
    metadata_dtypes: Mapping[str, str]
    fingerprints: Mapping[str, str]
    """SHA-256 of ``model`` (weights) and ``dataset`` (listing)."""
    measurements: Measurements = field(default_factory=Measurements)
    labels_joined_by: str = ""
    """How labels became outputs, for people; empty without labels."""
    extensions: tuple[int, ...] = ()
    """Number of instances before each extension of the store."""
    contents: Contents = field(default_factory=Contents)
    """What was read of the data set to know it by; no part of the plan's identity."""

    @property
    def n_chunks(self) -> int:
        """Number of tasks of the extraction."""
        return math.ceil(self.n_instances / self.extraction.instances_per_chunk)

    @property
    def arrays(self) -> tuple[ArraySpec, ...]:
        """Every array of the run."""
        return run_arrays(
            n_instances=self.n_instances,
            rows_per_chunk=self.extraction.instances_per_chunk,
            layers=[
                (layer.name, layer.n_channels, self.layer_dtypes[layer.name])
                for layer in self.architecture.layers
            ],
            shown=[layer.name for layer in self.architecture.shown],
            metadata=self.metadata_dtypes,
            examples_per_channel=self.extraction.examples_per_channel,
            influences=self.influences,
            is_extended=bool(self.extensions),
            has_contents=self.contents.mode == "full",
        )

    @property
    def influences(self) -> tuple[InfluenceSpec, ...]:
        """What is kept of the edges that enter each layer."""
        if self.extraction.targets == "none":
            return ()
        channels = {layer.name: layer.n_channels for layer in self.architecture.layers}
        n_sources: dict[str, int] = {}
        for edge in self.architecture.edges:
            n = n_sources.get(edge.target, 0)
            n_sources[edge.target] = n + channels[edge.source]
        return tuple(
            InfluenceSpec(
                target=name,
                n_targets=n,
                n_sources=n_sources[name],
                n_kept=_targets_kept(self.extraction, n),
                n_ranks=min(self.extraction.ranks, n_sources[name]),
            )
            for name, n in channels.items()
            if name in n_sources
        )

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays; they are stored uncompressed."""
        return sum(spec.n_bytes for spec in self.arrays)

    @property
    def task_bytes(self) -> int:
        """Memory of one worker: the process, network, batches ahead, maps, a chunk."""
        m, e = self.measurements, self.extraction
        batches_ahead = 3
        chunk = self.n_bytes * e.instances_per_chunk // max(1, self.n_instances)
        maps = 3 * m.largest_map_bytes * e.batch_size
        batch = (batches_ahead + 4) * m.input_bytes * e.batch_size
        return PROCESS_BYTES + 2 * m.model_bytes + batch + maps + 3 * chunk

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stored numbers."""
        return hashlib.sha256(
            json.dumps(self.identity(), sort_keys=True).encode()
        ).hexdigest()

    def identity(self) -> dict[str, Any]:
        """Return the plan without what changes no stored number, as JSON values."""
        value = self.to_json()
        for name in ("measurements", "labels_joined_by", "extensions", "contents"):
            del value[name]
        for part, names in _IDENTITY_FREE.items():
            for name in names:
                del value[part][name]
        for name in ("problems", "validation_error"):
            del value["architecture"][name]
        # Plans from before there was the option have the same identity as without it.
        if value["preprocessing"]["jpeg_reduction"] is None:
            del value["preprocessing"]["jpeg_reduction"]
        return value

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "model": to_json(self.model),
            "dataset": to_json(self.dataset),
            "preprocessing": to_json(self.preprocessing),
            "classes": to_json(self.classes),
            "extraction": to_json(self.extraction),
            "architecture": self.architecture.to_json(),
            "class_names": list(self.class_names),
            "n_instances": self.n_instances,
            "n_labelled": self.n_labelled,
            "layer_dtypes": dict(self.layer_dtypes),
            "metadata_dtypes": dict(self.metadata_dtypes),
            "fingerprints": dict(self.fingerprints),
            "measurements": to_json(self.measurements),
            "labels_joined_by": self.labels_joined_by,
            "extensions": list(self.extensions),
            "contents": to_json(self.contents),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Rebuild what :meth:`to_json` returned.

        Raises
        ------
        ConfigError
            If a part is missing, unknown, or has a value of another type.
        """
        return cls(
            model=from_json(ModelConfig, value["model"], place="model"),
            dataset=from_json(DatasetConfig, value["dataset"], place="dataset"),
            preprocessing=from_json(
                PreprocessingConfig, value["preprocessing"], place="preprocessing"
            ),
            classes=from_json(ClassesConfig, value["classes"], place="classes"),
            extraction=from_json(
                ExtractionConfig, value["extraction"], place="extraction"
            ),
            architecture=Architecture.from_json(value["architecture"]),
            class_names=tuple(value["class_names"]),
            n_instances=value["n_instances"],
            n_labelled=value["n_labelled"],
            layer_dtypes=value["layer_dtypes"],
            metadata_dtypes=value["metadata_dtypes"],
            fingerprints=value["fingerprints"],
            measurements=from_json(
                Measurements, value["measurements"], place="measurements"
            ),
            labels_joined_by=value.get("labels_joined_by", ""),
            extensions=tuple(value.get("extensions", ())),
            contents=from_json(Contents, value.get("contents", {}), place="contents"),
        )

    def __str__(self) -> str:
        return "\n".join(plan_lines(self))


def make_plan(
    *,
    model: ModelConfig,
    dataset: DatasetConfig,
    preprocessing: PreprocessingConfig,
    classes: ClassesConfig,
    extraction: ExtractionConfig,
    architecture: Architecture,
    class_names: tuple[str, ...],
    n_instances: int,
    n_labelled: int,
    metadata_dtypes: Mapping[str, str],
    fingerprints: Mapping[str, str],
    measurements: Measurements,
    labels_joined_by: str = "",
    contents: Contents | None = None,
) -> Plan:
    """Decide what to record; refuse what cannot work.

    Parameters
    ----------
    model, dataset, preprocessing, classes, extraction
        The run's configuration, with the preprocessing resolved.
    architecture
        As traced, all layers.
    class_names
        Names of the network's outputs, in their order.
    n_instances, n_labelled
        Size of the data set, and how many of it have a label.
    metadata_dtypes
        dtype of each metadata column.
    fingerprints
        SHA-256 of ``model`` and ``dataset``.
    measurements
        From one batch.
    labels_joined_by
        How labels became outputs, for people.
    contents
        What was read of the data set to know it by.

    Returns
    -------
    Plan
        Of the selected layers.

    Raises
    ------
    PlanError
        If there are no instances, no layers, or options contradict each other.
    UnknownNameError
        If a pattern or an excluded channel names no layer.
    """
    if n_instances == 0:
        msg = "the data set has no instances; check its path, kind and limit"
        raise PlanError(msg)
    if not architecture.layers:
        msg = (
            "no layer was found in the network: no operation in it mixes channels; "
            "check that the model's callable returns the network you mean"
        )
        raise PlanError(msg)
    check_extraction(extraction)
    check_columns(metadata_dtypes)
    selected = architecture.selected(recorded=extraction.layers, shown=extraction.shown)
    for name, channels in extraction.excluded_channels.items():
        n_channels = architecture.layer(name).n_channels
        wrong = [c for c in channels if not 0 <= c < n_channels]
        if wrong:
            msg = (
                f"extraction.excluded_channels names channel {wrong[0]} of layer "
                f"{name!r}, which has the channels 0 to {n_channels - 1}"
            )
            raise PlanError(msg)
    # A store of few instances needs no chunk larger than they are.
    rows = min(extraction.instances_per_chunk, n_instances)
    dtypes = {
        layer.name: (
            "float32"
            if measurements.largest.get(layer.name, 0.0) * OVERFLOW_MARGIN > FLOAT16_MAX
            else "float16"
        )
        for layer in selected.layers
    }
    return Plan(
        model=model,
        dataset=dataset,
        preprocessing=preprocessing,
        classes=classes,
        extraction=replace(extraction, instances_per_chunk=rows),
        architecture=selected,
        class_names=class_names,
        n_instances=n_instances,
        n_labelled=n_labelled,
        layer_dtypes=dtypes,
        metadata_dtypes=metadata_dtypes,
        fingerprints=fingerprints,
        measurements=measurements,
        labels_joined_by=labels_joined_by,
        contents=contents or Contents(),
    )


def _targets_kept(extraction: ExtractionConfig, n_channels: int) -> int:
    """Return how many target channels of a layer an instance can have."""
    if extraction.targets == "all":
        return n_channels
    if extraction.top_count is not None:
        return min(extraction.top_count, n_channels)
    # The k largest of n values hold at least k/n of their sum, so that the share rule
    # never takes more than share * n of them; one more for rounding.
    return min(math.ceil(extraction.share * n_channels) + 1, n_channels)
