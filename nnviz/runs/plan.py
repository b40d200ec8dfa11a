"""What will a run record, how large is it, and what will it cost? A plan, and its text.

A plan is a value. It knows every array, chunk and byte, it travels as JSON in the
store's attributes, and it carries everything that a worker needs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nnviz.formatting import duration_text, printable, size_text
from nnviz.runs.architecture import LARGEST_ERROR, Architecture
from nnviz.runs.arrays import ArraySpec, InfluenceSpec, run_arrays
from nnviz.runs.chunk_sizes import chunk_rows
from nnviz.runs.config import (
    ClassesConfig,
    DatasetConfig,
    ExtractionConfig,
    ModelConfig,
    PreprocessingConfig,
)
from nnviz.runs.contents import Contents
from nnviz.runs.declarations import LABEL_SETS, RELEVANCE_PARTS
from nnviz.runs.identity import fingerprint_of, identity_of
from nnviz.runs.json_values import from_json, to_json
from nnviz.runs.preparation_text import column_lines, describe_preparation

__all__ = ["Measurements", "Plan", "plan_lines"]

_PRETRAINED = {
    "torchvision": ("weights", '"DEFAULT"'),
    "timm": ("pretrained", "true"),
}
"""The argument by which a collection of networks gives trained weights."""

PROCESS_BYTES = 400_000_000
"""A process that has imported torch, Dask and Zarr, and done nothing yet: 340 MB."""


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
    gradient_bytes: int = 0
    """Bytes that the forward pass of one instance leaves for the backward pass."""


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
    class_of_label: Mapping[str, int] = field(default_factory=dict)
    """Class of every label of the data that is a name, but not the class's own, such as
    a folder's; older plans know none."""
    extensions: tuple[int, ...] = ()
    """Number of instances before each extension of the store."""
    outcome_columns: tuple[str, ...] = ()
    """Columns about the outputs beside prediction and confidence; older plans have
    none."""
    notes: tuple[str, ...] = ()
    """What the reader should know of data, labels and weights, such as files that were
    left out; no part of the plan's identity."""
    contents: Contents = field(default_factory=Contents)
    """What was read of the data set to know it by; no part of the plan's identity."""
    keeps_remainders: bool = False
    """Whether influences at peaks are signed and their remainders kept; False in plans
    from before they were."""
    keeps_gradient_norms: bool = False
    """Whether the norm of the gradients is a part of the relevance; False in plans
    from before it was."""
    two_outputs_of: str | None = None
    """Module that made the only output, the logit of two classes, which now gives an
    output for each; modules that are added are joined by plus signs. None where the
    network is run as it is."""
    two_outputs_are_direct: bool = False
    """Whether they are what this module makes: what follows it takes one number out."""
    gives_probabilities: bool = False
    """Whether the outputs are probabilities of the classes, not logits; False in plans
    from before that was asked."""
    chooses_chunks: bool = False
    """Whether the run file left it to the plan how many instances are one task; no part
    of the plan's identity, which has the number."""
    target_column: str | None = None
    """Column of the measured values that the network was trained to give; None where
    there are none, and in plans from before it was kept."""

    @property
    def has_label_sets(self) -> bool:
        """Whether instances have any number of labels, in a column of sets."""
        return LABEL_SETS in self.metadata_dtypes and not self.n_labelled

    @property
    def has_relevance(self) -> bool:
        """Whether the relevance of the shown layers' channels is kept."""
        return self.extraction.relevance != "none"

    @property
    def relevance_parts(self) -> tuple[str, ...]:
        """What is kept of a channel's relevance, of `RELEVANCE_PARTS`; () for none."""
        if not self.has_relevance:
            return ()
        return RELEVANCE_PARTS if self.keeps_gradient_norms else RELEVANCE_PARTS[:-1]

    @property
    def rows_per_chunk(self) -> int:
        """Instances of one task."""
        rows = self.extraction.instances_per_chunk
        return chunk_rows(self.n_instances) if rows is None else rows

    @property
    def n_chunks(self) -> int:
        """Number of tasks of the extraction."""
        return math.ceil(self.n_instances / self.rows_per_chunk)

    @property
    def arrays(self) -> tuple[ArraySpec, ...]:
        """Every array of the run."""
        return run_arrays(
            n_instances=self.n_instances,
            rows_per_chunk=self.rows_per_chunk,
            layers=[
                (layer.name, layer.n_channels, self.layer_dtypes[layer.name])
                for layer in self.architecture.layers
            ],
            shown=[layer.name for layer in self.architecture.shown],
            metadata=self.metadata_dtypes,
            examples_per_channel=self.extraction.examples_per_channel,
            influences=self.influences,
            outcome_columns=self.outcome_columns,
            is_extended=bool(self.extensions),
            has_contents=self.contents.mode == "full",
            relevance_parts=self.relevance_parts,
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
                has_remainder=self.keeps_remainders,
            )
            for name, n in channels.items()
            if name in n_sources
        )

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays; they are stored uncompressed."""
        return sum(spec.n_bytes for spec in self.arrays)

    @property
    def index_bytes(self) -> int:
        """Bytes of the index at most: lists and texts may be shorter."""
        layers = self.architecture.layers
        number = 2 if sum(layer.n_channels for layer in layers) <= 1 << 16 else 4
        each = 2 * 8 + 4  # where two lists begin, and a checksum
        for layer in layers:
            each += number * _top_kept(self.extraction, layer.n_channels)
            if layer.shown:
                is_wide = self.layer_dtypes[layer.name] == "float32"
                each += layer.n_channels * (4 if is_wide else 2)
        # Four bytes of its pair of target and source, four of its value.
        each += sum(8 * kept.n_kept * kept.n_ranks for kept in self.influences)
        columns = [s for s in self.arrays if s.path.startswith("instances/")]
        # Texts have codes beside them.
        each += 4 * sum(column.dtype == "string" for column in columns)
        return self.n_instances * each + sum(column.n_bytes for column in columns)

    @property
    def task_bytes(self) -> int:
        """Memory of one worker: the process, network, batches ahead, maps, a chunk."""
        m, e = self.measurements, self.extraction
        batches_ahead = 3
        chunk = self.n_bytes * self.rows_per_chunk // max(1, self.n_instances)
        maps = (3 * m.largest_map_bytes + m.gradient_bytes) * e.batch_size
        batch = (batches_ahead + 4) * m.input_bytes * e.batch_size
        return PROCESS_BYTES + 2 * m.model_bytes + batch + maps + 3 * chunk

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stored numbers."""
        return fingerprint_of(self.to_json())

    def identity(self) -> dict[str, Any]:
        """Return the plan without what changes no stored number, as JSON values."""
        return identity_of(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Rebuild what :meth:`to_json` returned.

        Raises
        ------
        ConfigError
            If a part is missing, unknown, or has a value of another type.
        """
        extraction = value.get("extraction")
        if isinstance(extraction, Mapping) and "targets_minimum" not in extraction:
            # Plans from before had the top channels alone as targets.
            value = {**value, "extraction": {**extraction, "targets_minimum": 1}}
        return from_json(cls, value, place="plan")

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join(plan_lines(self))


def _targets_kept(extraction: ExtractionConfig, n_channels: int) -> int:
    """Return how many target channels of a layer an instance can have."""
    if extraction.targets == "all":
        return n_channels
    at_least = min(extraction.targets_minimum, n_channels)
    return max(_top_kept(extraction, n_channels), at_least)


def _top_kept(extraction: ExtractionConfig, n_channels: int) -> int:
    """Return how many top channels of a layer an instance can have."""
    if extraction.top_count is not None:
        return min(extraction.top_count, n_channels)
    # The k largest of n values hold at least k/n of their sum, so that the share rule
    # never takes more than share * n of them; one more for rounding.
    return min(math.ceil(extraction.share * n_channels) + 1, n_channels)


def plan_lines(plan: Plan) -> list[str]:
    """Return the lines that ``nnviz plan`` prints."""
    e, m, architecture = plan.extraction, plan.measurements, plan.architecture
    n_channels = sum(layer.n_channels for layer in architecture.layers)
    joined = (
        f"; labels joined by {printable(plan.labels_joined_by)}"
        if plan.labels_joined_by
        else ""
    )
    lines = [
        f"network        {plan.model.source}  ({size_text(m.model_bytes)} of weights)",
        *_random_lines(plan),
        (
            f"data           {plan.dataset.kind}, {plan.n_instances:,} instances, "
            f"{plan.n_labelled:,} with a label"
        ),
        *_duplicate_lines(plan.contents),
        (
            f"classes        {len(plan.class_names):,}: {_listing(plan.class_names)}"
            f"{joined}"
            if plan.class_names
            else "classes        none"
        ),
        *_target_lines(plan),
        *_two_class_lines(plan),
        *(f"  note: {printable(note)}" for note in plan.notes),
        f"preprocessing  {describe_preparation(plan.preprocessing, architecture)}",
        *column_lines(plan.preprocessing),
        *([] if architecture.padding is None else [f"  {architecture.padding}"]),
        (
            f"forward pass   {e.precision}, {e.memory_format}, "
            f"batch normalisation {'folded' if e.fold_batch_norm else 'as it is'}, "
            f"batches of {e.batch_size}"
        ),
        (
            f"layers         {len(architecture.layers)} recorded, "
            f"{len(architecture.shown)} shown, {n_channels:,} channels"
        ),
    ]
    width = max(len(layer.name) for layer in architecture.layers)
    for layer in architecture.layers:
        positions = " x ".join(map(str, layer.positions)) or "-"
        lines.append(
            f"  {'*' if layer.shown else ' '} {layer.name:<{width}}  "
            f"{layer.n_channels:>6,} channels  {positions:>11}  {layer.kind:<13} "
            f"{plan.layer_dtypes[layer.name]}  {', '.join(layer.aliases)}".rstrip()
        )
    lines.append("  (* shown)")
    if architecture.edges:
        lines.append(
            f"edges          {len(architecture.edges)}, {_checked(architecture)}"
        )
        lines += _gate_lines(architecture)
        lines += _held_lines(architecture)
    lines += [f"  no influence: {problem}" for problem in architecture.problems]
    lines += _influence_lines(plan)
    lines += _relevance_lines(plan)
    lines += [
        f"tasks          {plan.n_chunks:,} chunks of {plan.rows_per_chunk:,}",
        (
            f"store          {len(plan.arrays)} arrays, {size_text(plan.n_bytes)}, "
            f"{plan.n_bytes / plan.n_instances:,.0f} bytes an instance"
        ),
        f"index          at most {size_text(plan.index_bytes)}, beside the store",
        f"memory         about {size_text(plan.task_bytes)} for a worker",
    ]
    if m.seconds_per_instance is not None:
        read = m.read_seconds_per_instance or 0.0
        seconds = max(m.seconds_per_instance, read / e.reader_threads)
        lines.append(
            f"time           about {duration_text(seconds * plan.n_instances)} on one "
            f"worker of this machine: {1 / m.seconds_per_instance:,.0f} instances/s "
            f"forward, {1 / max(read, 1e-9):,.0f}/s read by one thread"
        )
    return lines


def _target_lines(plan: Plan) -> list[str]:
    if plan.target_column is None:
        return []
    text = f"target         {printable(plan.target_column)}, a measured value"
    return [f"{text}; its quarters and those of the error are subsets"]


def _two_class_lines(plan: Plan) -> list[str]:
    """Say how the only output of a network tells two classes apart."""
    if plan.two_outputs_of is None:
        return []
    first, second = map(printable, plan.class_names)
    where, how = "0", "half of the output, and minus that"
    if plan.gives_probabilities:
        where, how = "0.5, as a probability", "the output, and 1 less it"
    text = (
        f"  one output for two classes: {second} above {where}, else {first}; each of "
        f"them has an output here ({how})"
    )
    return [text]


def _random_lines(plan: Plan) -> list[str]:
    """Return a warning where nobody has said which weights the network has."""
    model, zoo = plan.model, plan.model.source.partition(":")[0]
    if model.weights is not None or zoo not in _PRETRAINED:
        return []
    argument, value = _PRETRAINED[zoo]
    if model.arguments.get(argument):
        return []
    text = (
        "  warning: the weights are random, and others each time the network is "
        "built, which extraction refuses; for trained ones, and the preprocessing that "
        f"belongs to them: model.arguments.{argument} = {value}, or name a file as "
        "model.weights"
    )
    lines = [text]
    p = plan.preprocessing
    if p.kind == "image" and (p.mean, p.std) == ((0.0,), (1.0,)):
        lines.append("  warning: no normalisation is set (preprocessing.mean and std)")
    return lines


def _duplicate_lines(contents: Contents) -> list[str]:
    n = contents.n_duplicates
    if not n:
        return []
    lines = [f"duplicates     {n:,} instances have the contents of one before them:"]
    lines += ["  " + " = ".join(map(printable, group)) for group in contents.duplicates]
    return lines


def _checked(architecture: Architecture) -> str:
    """Say whether the edges compute what the network does."""
    error = architecture.validation_error
    if error is None:
        return "not validated"
    if architecture.is_validated:
        return f"validated, largest error of any layer {error:.1e}"
    return f"not validated: the largest error is {error:.1e}, above {LARGEST_ERROR:.0e}"


def _gate_lines(architecture: Architecture) -> list[str]:
    """Name the factors of products that carry no influence."""
    heads = {x.name for x in architecture.layers if x.kind == "attention"}
    gates = [edge for edge in architecture.edges if edge.operation == "gate"]
    asking = {edge.source for edge in gates if edge.target in heads}
    lines = [
        f"  gate, carries no influence: {edge.source!r} in {edge.target!r}"
        for edge in gates
        if edge.target not in heads
    ]
    if asking:
        lines.append(
            f"  queries and keys carry no influence: {_listing(tuple(sorted(asking)))}"
        )
    return lines


_HELD = {
    "attention pattern": "attention patterns are held fixed, in {n}",
    "normalization": "normalisations are held at their statistics, in {n}; they are "
    "not folded into weights",
}


def _held_lines(architecture: Architecture) -> list[str]:
    """Say what influences hold at its value, and how much that is."""
    lines = []
    for part, words in _HELD.items():
        found = [held for held in architecture.held if held.part == part]
        if found:
            most = max(found, key=lambda held: held.size)
            n = f"{len(found)} place{'' if len(found) == 1 else 's'}"
            lines.append(
                f"  {words.format(n=n)}: a channel changes at most {most.size:.2g} "
                "times as much by way of them as beside them, before "
                f"{printable(most.layer)}"
            )
    return lines


def _influence_lines(plan: Plan) -> list[str]:
    kept = plan.influences
    if not kept:
        return []
    e = plan.extraction
    sizes = [a.n_bytes for a in plan.arrays if a.path.startswith("influences/")]
    n_bytes = sum(sizes)
    each = n_bytes / plan.n_instances
    what = f"{e.targets} targets of {len(kept)} layers, {e.ranks} ranks"
    size = f"{size_text(n_bytes)}, {each:,.0f} bytes an instance"
    lines = [f"influences     {what}: {size}"]
    if e.targets == "all":
        lines.append(
            f"  warning: all targets take {n_bytes / plan.n_bytes:.0%} of the store; "
            "targets = 'top' keeps those of an instance's own top channels"
        )
    return lines


def _relevance_lines(plan: Plan) -> list[str]:
    e = plan.extraction
    if not plan.has_relevance:
        return []
    what = {
        "label": "the true class",
        "prediction": "the predicted class",
        "output": " less ".join(map(printable, e.relevance_outputs)),
        "none": "",
    }[e.relevance]
    sizes = [a.n_bytes for a in plan.arrays if a.path.startswith("relevance/")]
    n_bytes = sum(sizes)
    by = f", by {printable(e.relevance_signal)}" if e.relevance_signal else ""
    kept = size_text(plan.measurements.gradient_bytes * e.batch_size)
    size = f"{size_text(n_bytes)}, {n_bytes / plan.n_instances:,.0f} bytes an instance"
    return [
        f"relevance      of the shown layers for {what}{by}: {size}",
        f"  one backward pass each batch, for which {kept} are kept in memory",
    ]


def _listing(names: tuple[str, ...], n: int = 5) -> str:
    more = f", … {printable(names[-1])}" if len(names) > n else ""
    return ", ".join(map(printable, names[:n])) + more
