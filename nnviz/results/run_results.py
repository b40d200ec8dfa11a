"""What do the views read? The numbers of one run, read once and shared by visitors.

Everything here is read-only and small: per class, per channel, per layer. What a stage
has written is read through ``nnviz.aggregation.aggregates``; nothing runs over all
instances on a click.

Symbols: S classes, C channels of a layer, K ranks of examples.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.aggregates import (
    aggregates_of,
    class_collection,
    usual_collection,
)
from nnviz.aggregation.channel_use import ChannelUse
from nnviz.derivation.class_table import make_class_table, read_class_table
from nnviz.derivation.embedding import read_embedding, read_similarity
from nnviz.derivation.instance_map import InstanceMaps, PlacedInstances
from nnviz.derivation.text_pictures import TextExample, picture_of, text_of
from nnviz.errors import MissingDataError, StoreNotFoundError
from nnviz.results.class_similarity import (
    Alike,
    alike_order,
    kept_neighbours,
    mean_similarity,
    telling_measure,
)
from nnviz.results.diverse_examples import DiverseExamples
from nnviz.results.explained_instances import ExplainedInstances
from nnviz.results.feature_pictures import FeaturePictures
from nnviz.results.graph_results import GraphResults
from nnviz.results.graphs_beside import GraphsBeside
from nnviz.results.instance_pictures import InstancePictures
from nnviz.results.instances import Instances
from nnviz.results.map_windows import MapCells, MapWindow, cells_of, middles_of
from nnviz.results.missing import Missing
from nnviz.results.neuron_matrix import NeuronMatrix
from nnviz.results.query_pool import QueryPool
from nnviz.results.subset_pairs import SubsetPairs
from nnviz.results.subset_results import SubsetResults
from nnviz.runs.architecture import Layer
from nnviz.store.pieces import DENSE_CHUNK_BYTES
from nnviz.store.store import Store
from nnviz.subsets.subsets import display_names

__all__ = [
    "ChannelExamples",
    "ListedClasses",
    "RunResults",
    "first_layer",
    "stage_state",
]

T = TypeVar("T")

PIECE_BYTES = DENSE_CHUNK_BYTES
"""So much of a layer's pictures is read at once: what is compressed together."""

N_CELLS = 4
"""Windows of maps of which is kept where points are: 5 MB for a million of them."""

N_PIECES_OF_PICTURES = 32
"""Pieces that are kept, of all layers."""


@dataclass(frozen=True, slots=True, eq=False)
class ListedClasses:
    """The classes of the run; a subset's row is its class's index."""

    names: tuple[str, ...]
    marks: tuple[str, ...]
    """What tells classes of the same name apart; empty where the name is enough."""
    n_instances: NDArray[np.int64]
    """Usable instances of each class, shape (S,)."""
    accuracy: NDArray[np.float64]
    """Fraction that is predicted right, shape (S,); NaN where it is not known."""
    confidence: NDArray[np.int64]
    """Histogram of the confidence of the predictions, shape (S, 20)."""

    @property
    def present(self) -> NDArray[np.int64]:
        """Indices of the classes that have instances, ascending."""
        return np.flatnonzero(self.n_instances)


@dataclass(frozen=True, slots=True, eq=False)
class ChannelExamples:
    """The instances that excite the channels of one layer most, without pictures."""

    instance: NDArray[np.int64]
    """Shape (C, K), strongest first; -1 for none."""
    value: NDArray[np.float32]
    offsets: NDArray[np.int64]
    """Where each picture begins, shape (C * K + 1,)."""

    def has_picture(self, channel: int, rank: int) -> bool:
        """Whether a picture was stored."""
        first = channel * self.instance.shape[1] + rank
        return bool(self.offsets[first + 1] > self.offsets[first])


class RunResults:
    """One run's numbers, each read when it is first asked for.

    Parameters
    ----------
    store
        Opened read-only.
    beside
        What stands beside its graphs: another network's, or published ones; None for
        nothing.
    """

    def __init__(self, store: Store, beside: GraphsBeside | None = None) -> None:
        self.store = store
        classes = class_collection(store)
        self.has_classes = classes is not None
        """Whether instances have labels, or are predicted as something; true as well
        while that is not known."""
        self.kind = usual_collection(store) if classes is None else classes
        """Collection of subsets that is shown: ``label`` or ``prediction``; where a
        network has no classes, the one that is meant where none is named."""
        self.layers: tuple[Layer, ...] = store.shown_layers
        self.pairs = SubsetPairs(store, self.kind)
        self.class_table = self._once(self._read_class_table)
        """Return the table of classes; MissingDataError before extraction is done."""
        self.aggregates = self._once(lambda: aggregates_of(store, self.kind))
        """Return the classes' aggregates; MissingDataError if there are none."""
        self.confusions = self._once(self._read_confusions)
        """Return wrong predictions by (true, predicted) class, CSR of shape (S, S)."""
        self.labels = self._once(lambda: self.pairs.finder.columns.classes("label"))
        """Return the true class of every instance, shape (N,)."""
        self.similarity = lru_cache(16)(self._read_similarity)
        self.mean_similarity = lru_cache(16)(self._read_mean_similarity)
        self.telling_measure = lru_cache(64)(self._telling_measure)
        self.kept_neighbours = lru_cache(64)(self._kept_neighbours)
        self.alike_order = lru_cache(64)(self._alike_order)
        self.embedding = lru_cache(64)(self._read_embedding)
        self.examples = lru_cache(64)(self._read_examples)
        self.graphs = GraphResults(store, beside)
        self.reads = QueryPool(n_threads=1)
        """Answers what only has to be read, so that it does not wait for what visitors,
        some of whom have left, let be counted."""
        self.looks = QueryPool(n_threads=1)
        """Answers what is asked by looking at something, so that no click waits."""
        self.neurons = NeuronMatrix(store, self.aggregates)
        self.instances = Instances(store, self.pairs.finder.columns)
        self.maps = InstanceMaps(
            store,
            self.aggregates if self.has_classes else None,
            self.pairs.channels,
        )
        self.map_cells = lru_cache(N_CELLS)(_cells_of)
        """Return in which cells of a window instances are, from where they are placed;
        whatever their colours are."""
        self.map_middles = lru_cache(8)(self._map_middles)
        """Return where the classes are on the map of a layer, shape (S, 2)."""
        self.is_wrong = self._once(self._read_is_wrong)
        """Return which instances are predicted wrong, shape (N,)."""
        self.instance_pictures = InstancePictures(store)
        self.features = FeaturePictures(store)
        self.diverse = DiverseExamples(
            store, self.pairs.channels, self.instance_pictures, self._example_of
        )
        self.explained = ExplainedInstances(
            store, self.kind, self.graphs, self.instance_pictures
        )
        self._bytes = lru_cache(N_PIECES_OF_PICTURES)(self._read_bytes)

    def close(self) -> None:
        """Drop what visitors still wait for."""
        self.graphs.queries.close()
        self.reads.close()
        self.looks.close()

    def missing_classes(self) -> Missing | None:
        """Return what is said in place of the classes, or None if there are some."""
        if self.has_classes:
            return None
        text = "This network predicts none, and the data have no labels. Write a query"
        if self.pairs.parts:
            text = "This network predicts a value. Choose a part of the target"
        return Missing(
            "There are no classes",
            f"{text} as A: the views show what tells it from all others, or from B.",
        )

    @staticmethod
    def _once(read: Callable[[], T]) -> Callable[[], T]:
        """Return a reader that keeps its value; other threads wait for the first."""
        kept, lock = lru_cache(1)(read), threading.Lock()

        def value() -> T:
            with lock:
                return kept()

        return value

    def _read_class_table(self) -> ListedClasses:
        store, names = self.store, self.store.class_names
        if store.plan.has_label_sets:
            table = make_class_table((), (), (), display_names(names))
            sets = self.pairs.finder.columns
            counts = [
                int(sets.usable[self.pairs.finder.of_class(index)].sum())
                for index in range(len(names))
            ]
            table = dataclasses.replace(table, n_instances=np.array(counts))
        elif self.kind == "label" and store.groups.is_complete("artifacts/classes"):
            table = read_class_table(store)
        else:
            columns = self.pairs.finder.columns
            label, prediction = (columns.classes(x) for x in ("label", "prediction"))
            confidence, usable = columns.column("confidence").values, columns.usable
            of = label if self.kind == "label" else prediction
            table = make_class_table(
                of[usable], prediction[usable], confidence[usable], display_names(names)
            )
        is_known = self.kind == "label" and bool(table.n_predicted.any())
        accuracy = table.accuracy if is_known else np.full(len(names), np.nan)
        times = Counter(names)
        marks = tuple(
            f"({index})" if times[name] > 1 or not name.strip() else ""
            for index, name in enumerate(names)
        )
        return ListedClasses(
            names, marks, table.n_instances, accuracy, table.confidence_histogram
        )

    def _read_confusions(self) -> sparse.csr_array:
        classes = self.pairs.finder.columns.classes
        label, prediction = classes("label"), classes("prediction")
        is_wrong = self.is_wrong()
        pairs = (label[is_wrong], prediction[is_wrong])
        ones = np.ones(len(pairs[0]), np.int64)
        n = len(self.store.class_names)
        return sparse.csr_array(sparse.coo_array((ones, pairs), shape=(n, n)))

    def _read_is_wrong(self) -> NDArray[np.bool_]:
        classes = self.pairs.finder.columns.classes
        label, prediction = classes("label"), classes("prediction")
        is_known = (label >= 0) & (prediction >= 0)
        return np.asarray(is_known & (label != prediction), dtype=np.bool_)

    def _map_middles(self, layer: str) -> NDArray[np.float64]:
        kind = "label" if self.kind == "label" else "prediction"
        classes = self.pairs.finder.columns.classes(kind)
        return middles_of(self.maps.placed(layer), classes)

    def channels(self, layer: str, subset: int) -> ChannelUse:
        """Return how much a class uses every channel of a layer."""
        aggregates = self.aggregates()
        return aggregates.channels(layer, aggregates.all_names[subset])

    def channels_of(self, found: SubsetResults, layer: str) -> ChannelUse:
        """Return how much any subset A uses every channel of a layer."""
        share, n = found.shares(layer)[0], found.n_instances
        base_rate = self.aggregates().base_rate(layer)
        is_used = base_rate > 0
        lift = np.where(is_used, share / np.where(is_used, base_rate, 1.0), np.nan)
        count = np.round(np.nan_to_num(share) * n).astype(np.int64)
        names = self.store.layer(layer).channel_names
        return ChannelUse(
            found.subset.name,
            layer,
            n,
            np.arange(len(count)),
            count,
            share,
            base_rate,
            lift,
            found.mean(layer),
            np.array(names, object) if names else None,
        )

    def share_by_subset(self, layer: str, channel: int) -> NDArray[np.float64]:
        """Return in which share of each class's instances a channel is on top, (S,)."""
        aggregates = self.aggregates()
        counts = aggregates.counts(layer)[:, [channel]].toarray().ravel()
        share = np.zeros(len(aggregates.all_names))
        share[aggregates.index] = counts / np.maximum(aggregates.n_instances, 1)
        return share

    def _read_similarity(self, layer: str) -> NDArray[np.float32]:
        """Return cosines between classes, shape (S, S); NaN for an empty one."""
        found = read_similarity(self.store, self.kind, layer)
        rows = self._rows_of_artifacts(len(found))
        n = len(self.store.class_names)
        similarity = np.full((n, n), np.nan, dtype=np.float32)
        similarity[np.ix_(rows, rows)] = found
        return similarity

    def _read_mean_similarity(self, layer: str) -> NDArray[np.float32]:
        """Return cosines of mean activations, shape (S, S); NaN for an empty class."""
        aggregates = self.aggregates()
        found = mean_similarity(aggregates.mean(layer), aggregates.n_instances)
        n = len(self.store.class_names)
        similarity = np.full((n, n), np.nan, dtype=np.float32)
        similarity[np.ix_(aggregates.index, aggregates.index)] = found
        return similarity

    def _telling_measure(self, layer: str) -> Alike:
        """Return by what the classes of a layer can be told apart."""
        present = self.class_table().present
        return telling_measure(self.similarity(layer)[np.ix_(present, present)])

    def _alike_order(self, layer: str, alike: Alike) -> NDArray[np.int64]:
        """Return the classes that have instances, those that are alike together."""
        present = self.class_table().present
        read = self.mean_similarity if alike == "mean" else self.similarity
        return present[alike_order(read(layer)[np.ix_(present, present)])]

    def _kept_neighbours(self, layer: str, n: int) -> float:
        """Return which share of each class's n most similar ones the map puts near."""
        return kept_neighbours(self.embedding(layer), self.similarity(layer), n)

    def _read_embedding(self, layer: str) -> NDArray[np.float32]:
        """Return the classes' places, (S, 2), in the square from -1 to 1; NaN: none."""
        found = read_embedding(self.store, self.kind, layer).astype(np.float32)
        places = np.full((len(self.store.class_names), 2), np.nan, dtype=np.float32)
        places[self._rows_of_artifacts(len(found))] = found
        is_known = np.isfinite(places).all(axis=1)
        is_known &= self.class_table().n_instances > 0
        places[~is_known] = np.nan
        if not is_known.any():
            return places
        low, high = places[is_known].min(axis=0), places[is_known].max(axis=0)
        half = max(float((high - low).max()) / 2, 1e-12)
        return np.asarray((places - (low + high) / 2) / half, dtype=np.float32)

    def _rows_of_artifacts(self, n: int) -> NDArray[np.int64]:
        """Return the class of each row that derivation wrote, shape (n,)."""
        if not self.has_classes:
            msg = "there are no classes that could be alike"
            raise MissingDataError(msg)
        attributes = self.store.groups.attributes(f"artifacts/{self.kind}")
        return np.array(attributes.get("index", range(n)), dtype=np.int64)

    def embedding_method(self, layer: str) -> str:
        """Return how the classes were placed: ``umap`` or ``classical scaling``."""
        attributes = self.store.groups.attributes(f"artifacts/{self.kind}")
        return str(attributes.get("embedding_methods", {}).get(layer, ""))

    def _read_examples(self, layer: str) -> ChannelExamples:
        # Not `read_examples`, which reads the pictures of all channels as well.
        path = f"artifacts/examples/{layer}"
        self.store.groups.attributes("artifacts/examples")
        if not self.store.groups.has_array(path):
            msg = f"layer {layer!r} has no examples; derive wrote none for it"
            raise MissingDataError(msg)
        parts = ("instance", "value", "picture_offsets")
        return ChannelExamples(
            *(self.store.groups.read(f"{path}/{part}") for part in parts)
        )

    def picture(self, layer: str, channel: int, rank: int) -> bytes:
        """Return one stored picture as a file; empty where there is none.

        Raises
        ------
        MissingDataError
            If there are no examples.
        """
        return picture_of(self._stored_example(layer, channel, rank))

    def _example_of(self, layer: str, channel: int, instance: int) -> bytes:
        """Return the picture of an instance if it is an example of a channel."""
        try:
            ranks = np.flatnonzero(self.examples(layer).instance[channel] == instance)
            return self.picture(layer, channel, int(ranks[0])) if len(ranks) else b""
        except MissingDataError:
            return b""

    def example_text(self, layer: str, channel: int, rank: int) -> TextExample | None:
        """Return the text of one example with its token; None if it is no text.

        Raises
        ------
        MissingDataError
            If there are no examples.
        """
        return text_of(self._stored_example(layer, channel, rank))

    def _stored_example(self, layer: str, channel: int, rank: int) -> bytes:
        examples = self.examples(layer)
        n_channels, n_ranks = examples.instance.shape
        if not (0 <= channel < n_channels and 0 <= rank < n_ranks):
            return b""
        start, stop = examples.offsets[channel * n_ranks + rank :][:2]
        if start == stop:
            return b""
        first, last = int(start) // PIECE_BYTES, (int(stop) - 1) // PIECE_BYTES
        whole = b"".join(self._bytes(layer, k) for k in range(first, last + 1))
        return whole[int(start) - first * PIECE_BYTES :][: int(stop - start)]

    def _read_bytes(self, layer: str, piece: int) -> bytes:
        """Return one piece of a layer's pictures: a whole layer may have gigabytes."""
        start = piece * PIECE_BYTES
        path = f"artifacts/examples/{layer}/picture_bytes"
        return self.store.groups.read(path, start, start + PIECE_BYTES).tobytes()

    def missing_stage(self, *, derived: bool = False) -> Missing | None:
        """Return which stage has to run first, or None if all is there.

        Parameters
        ----------
        derived
            Whether the output of ``nnviz derive`` is needed as well.
        """
        missing = self._missing_stage(is_derived=derived)
        return missing and (self.gone() or missing)

    def gone(self) -> Missing | None:
        """Return what to say where the store is not there any more, else None."""
        try:
            Store.open(self.store.url)
        except StoreNotFoundError as error:
            return Missing("The store is gone", f"{error}. Put it back, or reload.")
        return None

    def _missing_stage(self, *, is_derived: bool) -> Missing | None:
        n_missing, n_chunks = len(self.store.chunks.missing()), len(self.store.chunks)
        if n_missing:
            return Missing(
                "Extraction is not complete",
                f"{n_chunks - n_missing:,} of {n_chunks:,} chunks are done. Where "
                "nothing works on the others any more, this command does; what is done "
                "stays.",
                self._command("extract"),
            )
        if not self.store.groups.is_complete(f"aggregates/{self.kind}"):
            return Missing(
                "No aggregates yet",
                "This counts how often each channel is among the top channels of each "
                "class.",
                self._command("aggregate"),
            )
        if is_derived and not self.store.groups.is_complete(f"artifacts/{self.kind}"):
            return Missing(
                "No similarity and no embedding yet",
                "This finds which classes look alike to the network.",
                self._command("derive"),
            )
        return None

    def missing_examples(self) -> Missing | None:
        """Return why there are no examples, or None if there are some."""
        if self.store.groups.is_complete("artifacts/examples"):
            return None
        return Missing(
            "No examples yet",
            "This finds the instances that excite each channel most, and cuts out what "
            "it sees.",
            self._command("derive"),
        )

    def _command(self, stage: str) -> str:
        return f"nnviz {stage} {shlex.quote(self.store.url)}"


def first_layer(layers: tuple[Layer, ...], n_outputs: int) -> str:
    """Return the layer to open with: the last that is not the network's own answer."""
    inner = [layer.name for layer in layers if layer.n_channels != n_outputs]
    return (inner or [layer.name for layer in layers] or [""])[-1]


def stage_state(store: Store) -> tuple[object, ...]:
    """Return a value that changes when a stage has written something."""
    written = [
        (f"{part}/{name}", json.dumps(store.groups.attributes(f"{part}/{name}")))
        for part in ("aggregates", "artifacts")
        for name in store.groups.names(part)
        if store.groups.is_complete(f"{part}/{name}")
    ]
    return (store.fingerprint, int(store.chunks.done().sum()), *written)


def _cells_of(
    placed: PlacedInstances, window: MapWindow, shape: tuple[int, int]
) -> MapCells:
    return cells_of(placed.places, window, shape)
