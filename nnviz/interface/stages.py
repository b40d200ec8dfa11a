"""How does a run go, from Python? Every stage by itself, and all of them in one call.

Each stage takes a store or its path. Where network or data set were in memory when the
plan was made, they are handed over to each stage that needs them. Without a client, a
stage finds its own workers (:mod:`nnviz.interface.local_workers`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nnviz.aggregation.aggregation import aggregate as aggregate_store
from nnviz.aggregation.aggregation import default_subsets
from nnviz.aggregation.index import make_index
from nnviz.argument_types import checked
from nnviz.derivation.derivation import DerivationSummary
from nnviz.derivation.derivation import derive as derive_store
from nnviz.engine.handing_over import holding
from nnviz.engine.progress import Listener
from nnviz.engine.tasks import RunLimits
from nnviz.errors import ConfigError, MissingDataError, TaskError
from nnviz.extraction.extraction import ExtractionSummary
from nnviz.extraction.extraction import extract as extract_store
from nnviz.interface.given import given_run, objects_for
from nnviz.interface.local_workers import local_workers, n_workers_for, reaching
from nnviz.interface.notebook_bar import bars
from nnviz.interface.run_store import Store as RunStore
from nnviz.planning.planning import Probe
from nnviz.planning.planning import plan_run as plan_given
from nnviz.planning.store_creation import prepare_store
from nnviz.runs.plan import Plan
from nnviz.store.places import absolute_url
from nnviz.store.store import Store, opened
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import SubsetCollection

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["aggregate", "derive", "extract", "index", "plan_run", "run", "session"]


@checked
def run(
    model: object,
    dataset: object = None,
    store: str | os.PathLike[str] | None = None,
    *,
    classes: object = None,
    preprocessing: object = None,
    extraction: object = None,
    tokenizer: object = None,
    subsets: str | Sequence[str] = (),
    pictures: bool = True,
    client: Client | None = None,
    workers: int | None = None,
    progress: bool = True,
    trust: bool = False,
) -> RunStore:
    """Plan, extract, aggregate, index and derive; what is done already stays done.

    Parameters
    ----------
    model
        A ``torch.nn.Module``, or a source like ``"timm:resnet18"``; or a whole run: a
        run file's path, a dictionary of its tables, a RunConfig.
    dataset
        A map-style data set with items ``(input, label)``, ``(input, label, columns)``,
        an input, or a dictionary; a pair of arrays ``(inputs, labels)``; a dictionary
        of arrays; or a path. None with a whole run.
    store
        Folder, or any URL that Zarr opens.
    classes
        Names of the network's outputs in their order, or the path of a class map.
    preprocessing, extraction
        Options as in the run file's tables, as dictionaries or configurations.
    tokenizer
        Of texts: a folder, a ``tokenizer.json``, an object of the libraries tokenizers
        or transformers, or a function from a text to the indices of its tokens.
    subsets
        Further collections to aggregate: columns of the instance table, or files.
    pictures
        Whether examples get pictures.
    client
        Client of a running cluster; None finds workers on this machine.
    workers
        Local processes; 0 for none, None for as many as pay.
    progress
        Whether to show how far it is.
    trust
        Whether files that run code when read may be read.

    Returns
    -------
    Store
        Complete.

    Raises
    ------
    NnvizError
        What it is depends on the stage; what is complete stays in the store.
    """
    if store is None:
        msg = "a store is needed: the path of a folder for the results, 'run.zarr'"
        raise ConfigError(msg)
    given = given_run(
        model,
        dataset,
        classes=classes,
        preprocessing=preprocessing,
        extraction=extraction,
        tokenizer=tokenizer,
    )
    url = absolute_url(store)
    listeners = bars(progress=progress)
    with holding(given.objects):
        plan, probe = plan_given(given.config, trust=trust, timed=True)
        made = prepare_store(plan, url, probe=probe)
        with contextlib.ExitStack() as stack:
            if missing := made.chunks.missing():
                seconds = _seconds(plan, len(missing))
                client = stack.enter_context(
                    _workers(given.objects, client, workers, plan, seconds, listeners)
                )
                _extract(made, client, listeners, trust=trust)
            names = _subset_names(made, subsets)
            lacking = [n for n in names if not _is_current(made, f"aggregates/{n}")]
            if lacking or not _is_current(made, "aggregates/all"):
                found = [named_subsets(made, name) for name in names]
                aggregate_store(made, found, client=client, listeners=listeners)
            make_index(made, client=client, listeners=listeners)
            if lacking or not _is_current(made, "artifacts/examples"):
                derive_store(
                    made,
                    client=client,
                    pictures=pictures,
                    trust=trust,
                    listeners=listeners,
                )
    return RunStore.open(url)


@checked
def plan_run(
    model: object,
    dataset: object = None,
    *,
    classes: object = None,
    preprocessing: object = None,
    extraction: object = None,
    tokenizer: object = None,
    timed: bool = True,
    trust: bool = False,
) -> tuple[Plan, Probe]:
    """Say what a run would do and cost; nothing is written.

    Parameters
    ----------
    model, dataset, classes, preprocessing, extraction, tokenizer, trust
        As in :func:`run`.
    timed
        Whether to time a batch, for an estimate of the whole run.

    Returns
    -------
    tuple of Plan and Probe
        The plan, and what :func:`prepare_store` needs beside it.

    Raises
    ------
    ConfigError
        If something is of another type, or missing.
    DatasetError
        If the data cannot be listed or read.
    ModelError
        If the network cannot be built.
    PlanError
        If what is asked for cannot work.
    """
    given = given_run(
        model,
        dataset,
        classes=classes,
        preprocessing=preprocessing,
        extraction=extraction,
        tokenizer=tokenizer,
    )
    with holding(given.objects):
        return plan_given(given.config, trust=trust, timed=timed)


@checked
def extract(
    store: Store | str | os.PathLike[str],
    *,
    model: object = None,
    dataset: object = None,
    tokenizer: object = None,
    client: Client | None = None,
    workers: int | None = None,
    listeners: Sequence[Listener] | None = None,
    progress: bool = True,
    trust: bool = False,
    max_unreadable_fraction: float | None = None,
    limits: RunLimits | None = None,
) -> ExtractionSummary:
    """Run the network over what a store lacks.

    Parameters
    ----------
    store
        The store, or its path.
    model, dataset, tokenizer
        Those that the plan was made of, where they were in memory.
    client, workers, progress, trust
        As in :func:`run`.
    listeners
        Receive the events of the run, in place of a bar.
    max_unreadable_fraction
        Fraction of the instances in [0, 1]; None takes the plan's.
    limits
        How long a chunk may take, the whole run, and the absence of workers.

    Returns
    -------
    ExtractionSummary
        With the chunks that failed; the others are complete.

    Raises
    ------
    PlanMismatchError
        If network or data are not those of the plan.
    DatasetError
        If more instances are unreadable than allowed.
    TaskError
        If the cluster is lost, or objects cannot be sent to it.
    """
    with session(
        store,
        model=model,
        dataset=dataset,
        tokenizer=tokenizer,
        client=client,
        workers=workers,
        listeners=listeners,
        progress=progress,
    ) as (made, connected, shown):
        return extract_store(
            made,
            client=connected,
            listeners=shown,
            trust=trust,
            max_unreadable_fraction=max_unreadable_fraction,
            limits=limits,
        )


@checked
def aggregate(
    store: Store | str | os.PathLike[str],
    subsets: str | SubsetCollection | Sequence[str | SubsetCollection] = (),
    *,
    index: bool = True,
    empty_subsets: bool = False,
    client: Client | None = None,
    listeners: Sequence[Listener] | None = None,
    progress: bool = True,
) -> None:
    """Sum what was extracted over collections of subsets, and index it.

    Parameters
    ----------
    store
        The store, or its path; its extraction is complete.
    subsets
        Collections, or their names: ``label``, ``prediction``, ``outcome``, a column of
        the instance table, a file. Without any: those that the run has instances for.
    index
        Whether to make the index as well, by which any subset is answered at once.
    empty_subsets
        Whether subsets without instances get rows too: zeros, as large as the others.
    client
        Client of a running cluster; None computes in this process.
    listeners, progress
        As in :func:`extract`.

    Raises
    ------
    MissingDataError
        If extraction is not complete.
    DatasetError
        If there is no such collection.
    """
    made = opened(store, writable=True)
    if isinstance(subsets, (str, SubsetCollection)):
        subsets = [subsets]
    found = [_collection(made, each) for each in subsets or default_subsets(made)]
    shown = bars(progress=progress) if listeners is None else listeners
    aggregate_store(
        made, found, client=client, empty_subsets=empty_subsets, listeners=shown
    )
    if index:
        make_index(made, client=client, listeners=shown)


@checked
def index(
    store: Store | str | os.PathLike[str],
    *,
    client: Client | None = None,
    listeners: Sequence[Listener] | None = None,
    progress: bool = True,
) -> None:
    """Make what is lacking of the index, by which any subset is answered at once.

    It is never needed for a correct answer; :func:`run` and :func:`aggregate` make it
    as well. Where the store was extended, or chunks were extracted again, only what
    concerns these is made.

    Parameters
    ----------
    store, client, listeners, progress
        As in :func:`aggregate`.

    Raises
    ------
    MissingDataError
        If extraction is not complete.
    StoreFormatError
        If stored data are damaged.
    StoreInUseError
        If another process writes to the store.
    """
    made = opened(store, writable=True)
    shown = bars(progress=progress) if listeners is None else listeners
    make_index(made, client=client, listeners=shown)


@checked
def derive(
    store: Store | str | os.PathLike[str],
    *,
    dataset: object = None,
    tokenizer: object = None,
    subsets: Sequence[str] | None = None,
    pictures: bool = True,
    client: Client | None = None,
    listeners: Sequence[Listener] | None = None,
    progress: bool = True,
    trust: bool = False,
) -> DerivationSummary:
    """Make graphs, similarities, embeddings and examples from what was aggregated.

    Parameters
    ----------
    store, dataset, tokenizer, listeners, progress, trust
        As in :func:`extract`.
    subsets
        Collections to compare; None takes all but ``all`` and ``outcome``.
    pictures
        Whether examples get pictures.
    client
        Client of a running cluster; None computes in this process.

    Raises
    ------
    MissingDataError
        If nothing has been aggregated.
    PlanMismatchError
        If `dataset` is not the data set of the run.
    """
    made = opened(store, writable=True)
    objects = objects_for(made, model=None, dataset=dataset, tokenizer=tokenizer)
    shown = bars(progress=progress) if listeners is None else listeners
    with reaching(objects, client):
        return derive_store(
            made,
            client=client,
            subsets=subsets,
            pictures=pictures,
            trust=trust,
            listeners=shown,
        )


@contextlib.contextmanager
def session(
    store: Store | str | os.PathLike[str],
    *,
    model: object = None,
    dataset: object = None,
    tokenizer: object = None,
    client: Client | None = None,
    workers: int | None = None,
    listeners: Sequence[Listener] | None = None,
    progress: bool = True,
) -> Iterator[tuple[Store, Client, Sequence[Listener]]]:
    """Open a store for writing, with workers that have what was handed over."""
    made = opened(store, writable=True)
    plan = made.plan
    objects = objects_for(made, model=model, dataset=dataset, tokenizer=tokenizer)
    shown = bars(progress=progress) if listeners is None else list(listeners)
    seconds = _seconds(plan, len(made.chunks.missing()))
    with (
        holding(objects),
        _workers(objects, client, workers, plan, seconds, shown) as connected,
    ):
        yield made, connected, shown


@contextlib.contextmanager
def _workers(
    objects: Any,
    client: Client | None,
    workers: int | None,
    plan: Plan,
    seconds: float | None,
    listeners: Sequence[Listener],
) -> Iterator[Client]:
    with contextlib.ExitStack() as stack:
        if client is None:
            n = n_workers_for(seconds, objects, workers, list(listeners))
            threads = plan.extraction.threads_per_worker
            client = stack.enter_context(local_workers(n, threads=threads))
        stack.enter_context(reaching(objects, client))
        yield client


def _extract(
    store: Store,
    client: Client,
    listeners: Sequence[Listener],
    *,
    trust: bool,
) -> None:
    summary = extract_store(store, client=client, listeners=listeners, trust=trust)
    if summary.failed:
        chunk, why = next(iter(summary.failed.items()))
        msg = (
            f"{len(summary.failed)} of {summary.n_chunks} chunks failed, the first is "
            f"chunk {chunk}: {why}; repeat the call to try them again"
        )
        raise TaskError(msg)


def _collection(store: Store, given: object) -> SubsetCollection:
    if isinstance(given, SubsetCollection):
        return given
    if isinstance(given, str):
        return named_subsets(store, given)
    msg = (
        f"subsets has a {type(given).__name__}; it should have names of collections, "
        "or collections"
    )
    raise ConfigError(msg)


def _subset_names(store: Store, subsets: str | Sequence[str]) -> list[str]:
    more = [subsets] if isinstance(subsets, str) else list(subsets)
    return list(dict.fromkeys([*default_subsets(store), *more]))


def _is_current(store: Store, path: str) -> bool:
    """Whether a later stage has written a group, and the store has not grown since."""
    try:
        attributes = store.groups.attributes(path)
    except MissingDataError:
        return False
    return attributes.get("n_rows") == store.n_instances


def _seconds(plan: Plan, n_chunks: int) -> float | None:
    """Return about how long chunks take in one process; None if nobody knows."""
    m, e = plan.measurements, plan.extraction
    if m.seconds_per_instance is None:
        return None
    read = (m.read_seconds_per_instance or 0.0) / e.reader_threads
    each = max(m.seconds_per_instance, read)
    return each * min(plan.n_instances, n_chunks * plan.rows_per_chunk)
