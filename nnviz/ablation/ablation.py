"""Does an attribution graph matter to the network? Ablate its channels, and others.

A stage, the only one after extraction that needs network and data:

1. Of each subset a seeded sample of its usable instances, and its graph.
2. The mean of every channel of the graph's layers over a seeded reference sample of all
   usable instances: the store has maxima only.
3. The network runs on each sample once for every treatment: without the graph's
   channels, without as many others (``artifacts.channel_sets``), in all layers at once
   and in each layer alone; and with nothing but the graph's. Replaced channels are
   constant, at their mean (``network.ablation``). The outputs are never replaced.
4. What the class's logit loses is stored, for each instance and treatment.

Graph and effect come from the same data: the check says whether the network uses these
channels, and not whether a graph of other data would be the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnviz.ablation.causal_check import CausalCheck
from nnviz.ablation.graph_channels import GraphChannels, GraphChoice, graph_channels
from nnviz.ablation.passes import (
    DRAW,
    REFERENCE,
    SAMPLE,
    STAGE,
    Passes,
    check_numbers,
    check_outputs,
    drawn,
    pieces_of,
)
from nnviz.ablation.results import write_causal_check
from nnviz.ablation.tasks import Outputs, Piece, treated_outputs
from nnviz.ablation.treatments import (
    ablated_channels,
    channel_sets,
    make_treatments,
)
from nnviz.aggregation.aggregates import aggregates_of
from nnviz.engine.progress import Listener, StageDone, StageStarted, TaskDone, emit
from nnviz.errors import DatasetError
from nnviz.extraction.worker_tasks import Opening, check_inputs
from nnviz.graphs.making import SubsetGraphs
from nnviz.store.lock import exclusive
from nnviz.store.store import Store
from nnviz.subsets.subsets import SubsetCollection

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ablate"]


@exclusive("ablate")
def ablate(
    store: Store,
    collection: SubsetCollection,
    *,
    names: Sequence[str] | None = None,
    graph: GraphChoice | None = None,
    n_instances: int = 100,
    n_reference: int = 512,
    draws: int = 10,
    by_layer: bool = True,
    seed: int = 0,
    client: Client | None = None,
    trust: bool = False,
    listeners: Iterable[Listener] = (),
) -> CausalCheck:
    """Ablate the channels of subsets' graphs, and store what the network loses.

    Parameters
    ----------
    store
        With a complete extraction, and aggregates of the collection. It is opened again
        for writing.
    collection
        Subsets that were aggregated. Of a class, its logit is looked at; of another
        subset, for each instance the logit of the class that the run predicts.
    names
        Subsets to check; None: all.
    graph
        Which graph; None: the default one.
    n_instances
        Sample of each subset; all of a smaller one.
    n_reference
        Sample of all usable instances, over which the means are taken.
    draws
        Random sets beside the graph's; 0 for none.
    by_layer
        Whether each layer is ablated alone, too.
    seed
        Seed of samples and draws.
    client
        Client of a running cluster, whose workers can open the store, the network and
        the data; None computes in this process, with the same numbers.
    trust
        Whether files that run code when read may be read.
    listeners
        Told about the start, each task, and the end.

    Returns
    -------
    CausalCheck
        As it is stored under ``artifacts/ablation/<collection>/<graph>``.

    Raises
    ------
    MissingDataError
        If the extraction is not complete, or the collection was not aggregated.
    UnknownNameError
        If there is no such subset.
    DatasetError
        If the collection has other subsets than were aggregated, or data are missing.
    ModelError
        If the network puts out no classes, or a layer's output cannot be replaced.
    PlanMismatchError
        If network or data are not those of the run.
    ConfigError
        If an option has no such value.
    StoreInUseError
        If another driver writes to the store.
    TaskError
        If a task failed otherwise, or the cluster is lost.
    """
    started, listeners = time.monotonic(), tuple(listeners)
    check_numbers(1, n_instances=n_instances, n_reference=n_reference)
    check_numbers(0, draws=draws)
    graph = GraphChoice() if graph is None else graph
    store = Store.open(store.url, writable=True)
    check_outputs(store)
    graphs = SubsetGraphs(store, collection.name)
    aggregates = aggregates_of(store, collection.name)
    _check_names(collection, aggregates.all_names)
    usable = store.usable()
    # Of a subset without instances nothing can be said.
    chosen = aggregates.names if names is None else [*map(aggregates.named, names)]
    samples = _samples(
        store, collection.restricted_to(usable), chosen, n_instances, seed
    )
    found = [
        graph_channels(store, graphs, aggregates, graph, name) for name in samples.names
    ]
    layers = {name: len(scores) for name, scores in found[0].scores.items()}
    treatments = make_treatments(layers, draws=draws, by_layer=by_layer)
    sets = [
        channel_sets(
            item.kept,
            item.scores,
            item.counts,
            draws=draws,
            seed=(seed, DRAW, int(aggregates.index[aggregates.row(name)])),
        )
        for name, item in zip(samples.names, found, strict=True)
    ]
    batch = store.plan.extraction.batch_size
    reference = drawn(np.flatnonzero(usable), n_reference, (seed, REFERENCE))
    of_means = pieces_of(0, reference, np.zeros_like(reference), (), batch)
    of_outputs = [
        piece
        for row, (instances, classes) in enumerate(samples.rows)
        for ablated in [[ablated_channels(x, sets[row], layers) for x in treatments]]
        for piece in pieces_of(row, instances, classes, tuple(ablated), batch)
    ]
    opening = Opening(store.url, store.fingerprint, trust, layers=tuple(layers))
    run = Passes(client, opening)
    n_tasks = len(of_means) + len(of_outputs)
    n_passes = len(reference) + len(treatments) * samples.size
    emit(listeners, StageStarted(STAGE, n_tasks, 0, n_passes))
    check_inputs(opening, client)
    means = run.means(
        of_means,
        lambda x: emit(listeners, TaskDone(STAGE, "means", len(x.instances))),
    )
    check = CausalCheck(
        subsets=collection.name,
        names=samples.names,
        graph=graph.to_json(),
        options={
            "instances": n_instances,
            "reference": len(reference),
            "draws": draws,
            "seed": seed,
        },
        n_channels=layers,
        n_kept=np.array([[len(item.kept[x]) for x in layers] for item in found]),
        treatments=treatments,
        problems=_problems(samples, found),
        **_outputs(run, of_outputs, means, samples, len(treatments), listeners),
    )
    write_causal_check(store, graph.name, check, sets)
    seconds = time.monotonic() - started
    emit(listeners, StageDone(STAGE, n_tasks, 0, n_passes, seconds))
    return check


@dataclass(frozen=True, slots=True)
class _Samples:
    names: tuple[str, ...]
    rows: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]
    """Instances of each subset, and the classes whose logits are looked at."""
    wanted: NDArray[np.int32]
    """Class that is right for every instance of the run: label, else prediction."""

    @property
    def size(self) -> int:
        """Instances of all samples."""
        return sum(len(instances) for instances, _ in self.rows)


def _samples(
    store: Store,
    collection: SubsetCollection,
    names: Sequence[str],
    n_instances: int,
    seed: int,
) -> _Samples:
    labels, predictions = store.column("label"), store.column("prediction")
    chosen = tuple(dict.fromkeys(names))
    rows = []
    for name in chosen:
        members = collection.subset(name).instances
        row = collection.names.index(name)
        instances = drawn(members, n_instances, (seed, SAMPLE, row))
        is_class = collection.kind in ("label", "prediction")
        classes = np.full(len(instances), row) if is_class else predictions[instances]
        rows.append((instances, classes.astype(np.int64)))
    wanted = np.where(labels >= 0, labels, predictions).astype(np.int32)
    return _Samples(chosen, tuple(rows), wanted)


def _outputs(
    run: Passes,
    pieces: Sequence[Piece],
    means: Mapping[str, NDArray[np.float64]],
    samples: _Samples,
    n_treatments: int,
    listeners: Sequence[Listener],
) -> dict[str, NDArray[Any]]:
    """Return samples and outputs as fields of a check."""
    n_subsets = len(samples.names)
    n = max((len(instances) for instances, _ in samples.rows), default=0)
    shape = (n_subsets, n_treatments, n)
    arrays: dict[str, NDArray[Any]] = {
        "instance": np.full((n_subsets, n), -1, np.int64),
        "wanted": np.full((n_subsets, n), -1, np.int32),
        "logit": np.full(shape, np.nan, np.float32),
        "probability": np.full(shape, np.nan, np.float32),
        "prediction": np.full(shape, -1, np.int32),
    }
    for row, (instances, _) in enumerate(samples.rows):
        arrays["instance"][row, : len(instances)] = instances
        arrays["wanted"][row, : len(instances)] = samples.wanted[instances]
    value: Outputs
    for piece, value in run.outcomes(treated_outputs, pieces, means):
        part = slice(piece.start, piece.start + len(piece.instances))
        for name in ("logit", "probability", "prediction"):
            arrays[name][piece.subset, :, part] = getattr(value, name)
        passes = n_treatments * len(piece.instances)
        emit(listeners, TaskDone(STAGE, samples.names[piece.subset], passes))
    return arrays


def _problems(samples: _Samples, found: Sequence[GraphChannels]) -> tuple[str, ...]:
    empty = [
        f"subset {name!r} has no usable instance: nothing was ablated"
        for name, (instances, _) in zip(samples.names, samples.rows, strict=True)
        if not len(instances)
    ]
    return (*empty, *(sentence for item in found for sentence in item.problems))


def _check_names(collection: SubsetCollection, aggregated: Sequence[str]) -> None:
    if tuple(aggregated) != collection.names:
        msg = (
            f"the collection {collection.name!r} has {len(collection):,} subsets, and "
            f"others were aggregated under this name ({len(aggregated):,}); aggregate "
            "again with these"
        )
        raise DatasetError(msg)
