"""Do two classes differ where their graphs do? Ablate what only one of them has.

1. Of each class a seeded sample of its usable instances, and its graph.
2. The channels that only the first graph has, that only the second has, and that both
   have; beside each, as many channels of the same layers at random.
3. The network runs on both samples without each of these, in all layers at once; means
   replace the channels, as in :mod:`nnviz.ablation.ablation`. The outputs are never
   replaced.
4. What each sample is predicted as is counted. If a class is told from another by what
   its graph has and the other's lacks, its instances are taken for the other without
   that, more than without as many others.

Nothing is stored.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nnviz.ablation.difference_check import DifferenceCheck, PartName, Removal
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
from nnviz.ablation.tasks import Outputs, Piece, treated_outputs
from nnviz.ablation.treatments import Channels
from nnviz.engine.progress import Listener, StageDone, StageStarted, TaskDone, emit
from nnviz.errors import ConfigError
from nnviz.extraction.worker_tasks import Opening, check_inputs
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.from_totals import output_layer
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.options import GraphOptions, keywords
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ablate_difference"]


def ablate_difference(
    store: Store,
    first: str,
    second: str,
    *,
    subsets: str | None = None,
    options: GraphOptions | None = None,
    n_instances: int = 100,
    n_reference: int = 512,
    draws: int = 10,
    seed: int = 0,
    client: Client | None = None,
    trust: bool = False,
    listeners: Iterable[Listener] = (),
) -> DifferenceCheck:
    """Ablate what the graph of one class has, and that of another has not.

    Parameters
    ----------
    store
        With a complete extraction, and aggregates of the collection.
    first, second
        Names of two classes.
    subsets
        Name of the collection that they are in; None: the usual one.
    options
        How the graphs are made; None: the default.
    n_instances
        Sample of each class; all of a smaller one.
    n_reference
        Sample of all usable instances, over which the means are taken.
    draws
        Random sets beside each set of channels.
    seed
        Seed of samples and draws.
    client
        Client of a running cluster, whose workers can open the store, the network and
        the data; None computes in this process, with the same numbers.
    trust
        Whether files that run code when read may be read.
    listeners
        Told about the start, each task, and the end.

    Raises
    ------
    UnknownNameError
        If there is no such class.
    ConfigError
        If the subsets are no two classes, or an option has no such value.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    ModelError
        If the network puts out no classes, or a layer's output cannot be replaced.
    PlanMismatchError
        If network or data are not those of the run.
    DatasetError
        If data are missing.
    TaskError
        If a task failed otherwise, or the cluster is lost.
    """
    started, listeners = time.monotonic(), tuple(listeners)
    check_numbers(1, n_instances=n_instances, n_reference=n_reference)
    check_numbers(0, draws=draws)
    check_outputs(store)
    options = GraphOptions() if options is None else options
    graphs = SubsetGraphs(store, subsets)
    names, classes = _classes(graphs, first, second)
    usable = np.flatnonzero(store.usable())
    samples = [
        drawn(
            np.intersect1d(graphs.instances(name).instances, usable),
            n_instances,
            (seed, SAMPLE, index),
        )
        for name, index in zip(names, classes, strict=True)
    ]
    made = [graphs.graph(name, **keywords(options)) for name in names]
    channels = [_channels(graph, output_layer(store)) for graph in made]
    sizes = {layer: store.layer(layer).n_channels for layer in channels[0]}
    sets = _sets(channels[0], channels[1], sizes, draws, seed)
    batch = store.plan.extraction.batch_size
    reference = drawn(usable, n_reference, (seed, REFERENCE))
    of_means = pieces_of(0, reference, np.zeros_like(reference), (), batch)
    pieces = [
        piece
        for row, instances in enumerate(samples)
        for piece in pieces_of(
            row,
            instances,
            np.full(len(instances), classes[row]),
            tuple(dict(one) for one in sets.values()),
            batch,
        )
    ]
    opening = Opening(store.url, store.fingerprint, trust, layers=tuple(sizes))
    run = Passes(client, opening)
    n_passes = len(reference) + len(sets) * sum(map(len, samples))
    n_tasks = len(of_means) + len(pieces)
    emit(listeners, StageStarted(STAGE, n_tasks, 0, n_passes))
    check_inputs(opening, client)

    def told(piece: Piece) -> None:
        n = len(piece.instances) * max(1, len(piece.ablated))
        what = names[piece.subset] if piece.ablated else "means"
        emit(listeners, TaskDone(STAGE, what, n))

    means = run.means(of_means, told)
    shape = 2, len(sets), max(map(len, samples))
    predictions, logits = np.full(shape, -1, np.int32), np.full(shape, np.nan)
    value: Outputs
    for piece, value in run.outcomes(treated_outputs, pieces, means):
        part = slice(piece.start, piece.start + len(piece.instances))
        predictions[piece.subset, :, part] = value.prediction
        logits[piece.subset, :, part] = value.logit
        told(piece)
    seconds = time.monotonic() - started
    emit(listeners, StageDone(STAGE, n_tasks, 0, n_passes, seconds))
    return DifferenceCheck(
        names=names,
        classes=classes,
        preset=options.preset,
        layers=tuple(sizes),
        removals=tuple(sets),
        n_channels=np.array([sum(map(len, x.values())) for x in sets.values()]),
        n_instances=(len(samples[0]), len(samples[1])),
        prediction=predictions,
        logit=logits,
        problems=tuple(dict.fromkeys(x for graph in made for x in graph.problems)),
    )


def _classes(
    graphs: SubsetGraphs, first: str, second: str
) -> tuple[tuple[str, str], tuple[int, int]]:
    """Return the names of both classes, and the numbers of their outputs."""
    totals = [graphs.totals(name) for name in (first, second)]
    one, two = (x.class_index for x in totals)
    if one is None or two is None or one == two:
        msg = (
            f"{first!r} and {second!r} are not two classes, of which one could be "
            "taken for the other; name two classes of the collection 'label' or "
            "'prediction'"
        )
        raise ConfigError(msg)
    return (totals[0].name, totals[1].name), (one, two)


def _channels(graph: AttributionGraph, output: str | None) -> Channels:
    return {
        name: np.sort(graph.channel[graph.nodes_of(name)]).astype(np.int64)
        for name in graph.layers
        if name != output
    }


def _sets(
    first: Channels, second: Channels, sizes: Mapping[str, int], draws: int, seed: int
) -> dict[Removal, Channels]:
    """Return which channels are replaced, by layer; of draws, as many at random."""
    none = {layer: np.zeros(0, np.int64) for layer in sizes}
    sets: dict[Removal, Channels] = {Removal("nothing"): none}
    parts: dict[PartName, Channels] = {
        "first": {x: np.setdiff1d(first[x], second[x]) for x in sizes},
        "second": {x: np.setdiff1d(second[x], first[x]) for x in sizes},
        "shared": {x: np.intersect1d(first[x], second[x]) for x in sizes},
    }
    for number, (part, channels) in enumerate(parts.items()):
        sets[Removal(part)] = channels
        for draw in range(1, draws + 1):
            random = np.random.default_rng((seed, DRAW, number, draw))
            sets[Removal(part, draw)] = {
                layer: _some(random, n, len(channels[layer]))
                for layer, n in sizes.items()
            }
    return sets


def _some(random: np.random.Generator, n: int, size: int) -> NDArray[np.int64]:
    return np.sort(random.permutation(n)[:size])
