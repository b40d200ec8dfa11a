"""Stage 4: what follows from the aggregates?

1. Of every collection of subsets: cosine similarity and an embedding for each shown
   layer.
2. Of every collection with influences: the attribution graphs of its subsets.
3. The class table: instances, accuracy and confidences of each class.
4. Of every shown layer: where each instance lies in the plane
   (``nnviz.derivation.instance_map``).
5. Of every shown layer: the instances that excite each channel most, with pictures of
   what the channel looked at (``nnviz.derivation.gallery``). Only pictures need the
   data set.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.derivation.class_table import make_class_table
from nnviz.derivation.embedding import UMAP_PARAMETERS, embed_layers
from nnviz.derivation.gallery import (
    GallerySource,
    layers_with_peaks,
    open_source,
    write_examples,
)
from nnviz.derivation.instance_map import write_places
from nnviz.derivation.similarity import cosine_similarity
from nnviz.engine.progress import (
    Listener,
    Notice,
    StageDone,
    StageStarted,
    TaskDone,
    emit,
)
from nnviz.graphs.options import PRESETS, GraphOptions
from nnviz.graphs.stored import has_influences
from nnviz.graphs.storing import store_graphs
from nnviz.runs.software import package_version
from nnviz.store.lock import exclusive
from nnviz.store.store import Store
from nnviz.subsets.subsets import display_names

if TYPE_CHECKING:
    from distributed import Client

    from nnviz.inputs.datasets.opening import Dataset

__all__ = ["DerivationSummary", "derive"]

STAGE = "derive"

STORED = tuple(GraphOptions(preset=preset) for preset in PRESETS)
"""How graphs are made that are stored; others are made when they are asked for."""

NOT_COMPARED = ("all", "outcome")
"""Collections whose subsets are compared only when asked for."""


@dataclass(slots=True)
class DerivationSummary:
    """What a derivation has written."""

    collections: dict[str, int] = field(default_factory=dict)
    """Number of subsets of each collection with similarity and embedding."""
    embedding_methods: dict[str, list[str]] = field(default_factory=dict)
    """By collection, which methods its layers have."""
    n_graphs: int = 0
    """Attribution graphs, of both presets."""
    n_layers_with_places: int = 0
    """Layers in which every instance has a place in the plane."""
    n_layers_with_examples: int = 0
    n_examples: int = 0
    n_pictures: int = 0
    notices: list[str] = field(default_factory=list)
    """What could not be made, and why."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        lines = [
            f"similarity and embedding of {n:,} subsets by {name} "
            f"({', '.join(self.embedding_methods[name])})"
            for name, n in self.collections.items()
        ]
        if self.n_graphs:
            lines.append(f"{self.n_graphs:,} attribution graphs")
        lines.append(
            f"{self.n_examples:,} examples in {self.n_layers_with_examples} layers, "
            f"{self.n_pictures:,} with a picture, {self.seconds:.1f} s"
        )
        return "\n".join([*lines, *self.notices])


@exclusive("derive")
def derive(
    store: Store,
    *,
    client: Client | None = None,
    dataset: Dataset | None = None,
    subsets: Sequence[str] | None = None,
    pictures: bool = True,
    trust: bool = False,
    listeners: Iterable[Listener] = (),
) -> DerivationSummary:
    """Write the artifacts of a store: similarity, embedding, graphs, classes, examples.

    Parameters
    ----------
    store
        With a complete extraction, and aggregates. It is opened again for writing.
    client
        Client of a running cluster, whose workers can open the store and the data; None
        computes in this process.
    dataset
        The data set of the run; None opens the one that the plan names.
    subsets
        Collections to compare; None takes all but ``all`` and ``outcome``.
    pictures
        Whether pictures are cut; they need the data set.
    trust
        Whether the plan's data set may be opened where that imports the user's code.
    listeners
        Told about the start, each part, what could not be made, and the end.

    Returns
    -------
    DerivationSummary
        Its notices say what is missing, and why.

    Raises
    ------
    MissingDataError
        If extraction is not complete, or nothing has been aggregated.
    UnknownNameError
        If a collection that was asked for has not been aggregated.
    PlanMismatchError
        If `dataset` is not the data set of the run.
    StoreInUseError
        If another driver writes to the store.
    TaskError
        If a task failed on a worker.
    """
    started, listeners = time.monotonic(), tuple(listeners)
    store = Store.open(store.url, writable=True)
    names = _collections(store, subsets)
    usable = store.usable()
    source, notice = GallerySource(), ""
    if pictures:
        source, notice = open_source(store, dataset, trust=trust)
    summary = DerivationSummary()
    if notice:
        _note(summary, listeners, notice)
    with_graphs = [name for name in names if has_influences(store, name)]
    n_parts = len(names) + len(with_graphs) + 2 + len(layers_with_peaks(store))
    emit(listeners, StageStarted(STAGE, n_parts))
    for name in names:
        for line in _compare_subsets(store, name, summary):
            _note(summary, listeners, line)
        emit(listeners, TaskDone(STAGE, f"similarity and embedding of {name}"))
    for name in with_graphs:
        summary.n_graphs += store_graphs(store, name, STORED, client)
        emit(listeners, TaskDone(STAGE, f"attribution graphs of {name}"))
    _write_class_table(store, usable)
    emit(listeners, TaskDone(STAGE, "class table"))
    summary.n_layers_with_places = len(list(write_places(store)))
    emit(listeners, TaskDone(STAGE, "places of the instances"))
    n_unreadable = 0
    for report in write_examples(store, client, source):
        summary.n_layers_with_examples += 1
        summary.n_examples += report.n_examples
        summary.n_pictures += report.n_pictures
        n_unreadable += report.n_unreadable if source.has_any else 0
        emit(listeners, TaskDone(STAGE, f"examples of {report.layer}"))
    if n_unreadable:
        line = (
            f"{n_unreadable:,} examples have no picture: their instances cannot be "
            "read any more, or are no pictures"
        )
        _note(summary, listeners, line)
    summary.seconds = time.monotonic() - started
    emit(listeners, StageDone(STAGE, n_parts, 0, 0, summary.seconds))
    return summary


def _collections(store: Store, subsets: Sequence[str] | None) -> list[str]:
    if subsets is None:
        written = store.groups.names("aggregates")
        subsets = [name for name in written if name not in NOT_COMPARED]
        # Nothing aggregated at all is an error, which this read raises.
        store.groups.attributes(f"aggregates/{(subsets or ['all'])[0]}")
    for name in subsets:
        aggregates_of(store, name)
    return list(subsets)


def _note(
    summary: DerivationSummary, listeners: Sequence[Listener], notice: str
) -> None:
    summary.notices.append(notice)
    emit(listeners, Notice(STAGE, notice))


def _compare_subsets(
    store: Store, name: str, summary: DerivationSummary
) -> Iterable[str]:
    """Write similarity and embedding of one collection; return what is to be said."""
    aggregates = aggregates_of(store, name)
    layers = [layer.name for layer in store.shown_layers]
    embeddings = embed_layers([aggregates.counts(layer) for layer in layers])
    arrays: dict[str, NDArray[Any]] = {}
    methods: dict[str, str] = {}
    for layer, embedding in zip(layers, embeddings, strict=True):
        arrays[f"similarity/{layer}"] = cosine_similarity(aggregates.counts(layer))
        arrays[f"embedding/{layer}"] = embedding.coordinates
        methods[layer] = embedding.method
    used = sorted(set(methods.values()))
    store.groups.write(
        f"artifacts/{name}",
        arrays,
        {
            "names": list(aggregates.names),
            "index": aggregates.index.tolist(),
            "kind": aggregates.kind,
            "similarity": "cosine of activation counts",
            "embedding_methods": methods,
            "umap_parameters": UMAP_PARAMETERS if "umap" in used else None,
            "versions": _versions(),
        },
        dimensions={
            "similarity": ("subset", "subset"),
            "embedding": ("subset", "axis"),
        },
    )
    summary.collections[name] = len(aggregates)
    summary.embedding_methods[name] = used
    scaled = [layer for layer in layers if methods[layer] == "classical scaling"]
    if scaled:
        yield (
            f"{name}: too few subsets for UMAP in {len(scaled)} of {len(layers)} "
            "layers, so they are placed by classical scaling"
        )


def _write_class_table(store: Store, usable: NDArray[np.bool_]) -> None:
    table = make_class_table(
        store.column("label")[usable],
        store.column("prediction")[usable],
        store.column("confidence")[usable],
        display_names(store.class_names),
    )
    parts = {
        "n_instances": ("class",),
        "n_correct": ("class",),
        "n_predicted": ("class",),
        "confidence_histogram": ("class", "bin"),
    }
    store.groups.write(
        "artifacts/classes",
        {part: getattr(table, part) for part in parts},
        {"names": list(table.names)},
        dimensions=parts,
    )


def _versions() -> dict[str, str]:
    """Return the versions on which coordinates depend."""
    libraries = ("numpy", "scikit-learn", "scipy", "umap-learn")
    return {library: package_version(library) for library in libraries}
