"""What is done with a store that is there? It grows, is verified, and is put to a test.

Network and data set that were in memory are handed over again, as in
:mod:`nnviz.interface.stages`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from nnviz.ablation.ablation import ablate as ablate_store
from nnviz.ablation.asked_subsets import asked_subsets
from nnviz.ablation.causal_check import CausalCheck
from nnviz.ablation.difference import ablate_difference as ablate_classes
from nnviz.ablation.difference_check import DifferenceCheck
from nnviz.ablation.graph_channels import GraphChoice
from nnviz.argument_types import checked
from nnviz.engine.handing_over import holding
from nnviz.explanation.explanation import explain as explain_instance
from nnviz.explanation.instance_explanation import InstanceExplanation
from nnviz.graphs.options import GraphChoices, GraphOptions
from nnviz.interface.given import given_dataset, objects_for
from nnviz.interface.local_workers import reaching
from nnviz.interface.notebook_bar import bars
from nnviz.interface.stages import session
from nnviz.store.store import Store, opened
from nnviz.subsets.subsets import SubsetCollection
from nnviz.upkeep.extension import ExtensionSummary
from nnviz.upkeep.extension import extend as extend_store
from nnviz.upkeep.recomputation import Recomputation
from nnviz.upkeep.recomputation import recompute as recompute_store
from nnviz.upkeep.verification import VerificationReport
from nnviz.upkeep.verification import verify as verify_store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ablate", "ablate_difference", "explain", "extend", "recompute", "verify"]


@checked
def extend(
    store: Store | str | os.PathLike[str],
    *,
    dataset: object = None,
    trust: bool = False,
) -> ExtensionSummary:
    """Take the new instances of a data set into its store.

    Parameters
    ----------
    store
        The store, or its path.
    dataset
        The larger one, in memory or as a configuration; None: where the plan has it.
    trust
        Whether a data set that is code may be imported.

    Raises
    ------
    PlanMismatchError
        If instances of the store are gone or have changed.
    DatasetError
        If the data set cannot be listed, or its labels cannot be joined.
    """
    url = store.url if isinstance(store, Store) else os.fspath(store)
    if dataset is None:
        return extend_store(url, trust=trust)
    config, objects = given_dataset(dataset, opened(store).plan.preprocessing)
    with holding(objects):
        return extend_store(url, dataset=config, trust=trust)


@checked
def verify(
    store: Store | str | os.PathLike[str],
    *,
    dataset: object = None,
    repair: bool = True,
    contents: bool = True,
    client: Client | None = None,
    progress: bool = True,
    trust: bool = False,
) -> VerificationReport:
    """Read everything in a store again, and compare it with its checksums.

    Parameters
    ----------
    store, dataset, progress, trust
        As in :func:`nnviz.extract`.
    repair
        Whether to restore what can be, and to take the marks of damaged parts away.
    contents
        Whether to compare the data set's contents with the plan's hashes.
    client
        Client of a running cluster; None checks in threads.

    Raises
    ------
    PlanMismatchError
        If `dataset` is not the one that the store was made of.
    StoreError
        If the store cannot be read, or is in use.
    """
    opened_store = opened(store)
    objects = objects_for(opened_store, model=None, dataset=dataset)
    with reaching(objects, client):
        return verify_store(
            opened_store.url,
            client=client,
            repair=repair,
            contents=contents,
            trust=trust,
            listeners=bars(progress=progress),
        )


@checked
def recompute(
    store: Store | str | os.PathLike[str],
    fraction: float,
    *,
    model: object = None,
    dataset: object = None,
    tokenizer: object = None,
    client: Client | None = None,
    seed: int = 0,
    trust: bool = False,
) -> Recomputation:
    """Compute a random sample of instances again, and compare with what is stored.

    Parameters
    ----------
    store, model, dataset, tokenizer, trust
        As in :func:`nnviz.extract`.
    fraction
        Fraction of the instances, in (0, 1].
    client
        Client of a running cluster; None computes in this process.
    seed
        Seed of the sample.

    Raises
    ------
    PlanMismatchError
        If network or data set are not those of the plan.
    """
    opened_store = opened(store)
    objects = objects_for(
        opened_store, model=model, dataset=dataset, tokenizer=tokenizer
    )
    with reaching(objects, client):
        return recompute_store(
            opened_store, fraction, client=client, seed=seed, trust=trust
        )


@checked
def ablate(
    store: Store | str | os.PathLike[str],
    names: str | Sequence[str] | None = None,
    *,
    subsets: str | SubsetCollection | None = None,
    fraction: float | None = None,
    n_instances: int = 100,
    draws: int = 10,
    by_layer: bool = True,
    seed: int = 0,
    model: object = None,
    dataset: object = None,
    tokenizer: object = None,
    client: Client | None = None,
    workers: int | None = 0,
    progress: bool = True,
    trust: bool = False,
    **options: Unpack[GraphChoices],
) -> CausalCheck:
    """Take a graph's channels from the network, and others: what does it lose?

    Parameters
    ----------
    store
        The store, or its path; it is aggregated.
    names
        Subsets to check, or queries; None: all.
    subsets
        Collection that they are in; None: the labels, or without labels the next that
        was aggregated; queries are counted first.
    fraction
        Not the graph's channels, but this fraction of each layer by the same scores.
    n_instances
        Sample of each subset.
    draws
        Random sets of as many channels.
    by_layer
        Whether each layer is ablated alone, too.
    seed
        Seed of samples and draws.
    model, dataset, tokenizer, client, workers, progress, trust
        As in :func:`nnviz.extract`.
    **options
        Of the graph: ``preset``, ``share``, ``inner``, ``weight``, ``scoring``.

    Raises
    ------
    MissingDataError
        If nothing has been aggregated.
    PlanMismatchError
        If network or data set are not those of the plan.
    """
    with session(
        store,
        model=model,
        dataset=dataset,
        tokenizer=tokenizer,
        client=client,
        workers=workers,
        progress=progress,
    ) as (made, connected, listeners):
        wanted = [names] if isinstance(names, str) else list(names or ())
        if isinstance(subsets, SubsetCollection):
            collection, chosen = subsets, wanted or None
        else:
            collection, chosen = asked_subsets(
                made, wanted, subsets, client=connected, listeners=listeners
            )
        return ablate_store(
            made,
            collection,
            names=chosen,
            graph=GraphChoice(GraphOptions(**options), fraction),
            n_instances=n_instances,
            draws=draws,
            by_layer=by_layer,
            seed=seed,
            client=connected,
            trust=trust,
            listeners=listeners,
        )


@checked
def ablate_difference(
    store: Store | str | os.PathLike[str],
    first: str,
    second: str,
    *,
    subsets: str | None = None,
    n_instances: int = 100,
    draws: int = 10,
    seed: int = 0,
    model: object = None,
    dataset: object = None,
    tokenizer: object = None,
    client: Client | None = None,
    workers: int | None = 0,
    progress: bool = True,
    trust: bool = False,
    **options: Unpack[GraphChoices],
) -> DifferenceCheck:
    """Take from the network what only one of two classes' graphs has: what are they?

    Parameters
    ----------
    store
        The store, or its path; it is aggregated.
    first, second
        Names of two classes.
    subsets
        Collection that they are in; None: the labels, or without labels the next that
        was aggregated.
    n_instances
        Sample of each class.
    draws
        Random sets of as many channels, beside each.
    seed
        Seed of samples and draws.
    model, dataset, tokenizer, client, workers, progress, trust
        As in :func:`nnviz.extract`.
    **options
        Of the graph: ``preset``, ``share``, ``inner``, ``weight``, ``scoring``.

    Raises
    ------
    UnknownNameError
        If there is no such class.
    ConfigError
        If the subsets are no two classes.
    PlanMismatchError
        If network or data set are not those of the plan.
    """
    with session(
        store,
        model=model,
        dataset=dataset,
        tokenizer=tokenizer,
        client=client,
        workers=workers,
        progress=progress,
    ) as (made, connected, listeners):
        return ablate_classes(
            made,
            first,
            second,
            subsets=subsets,
            options=GraphOptions(**options),
            n_instances=n_instances,
            draws=draws,
            seed=seed,
            client=connected,
            trust=trust,
            listeners=listeners,
        )


@checked
def explain(
    store: Store | str | os.PathLike[str],
    instance: str | int,
    *,
    of: str | int | None = None,
    again: bool = False,
    model: object = None,
    dataset: object = None,
    tokenizer: object = None,
    client: Client | None = None,
    trust: bool = False,
) -> InstanceExplanation:
    """Run the network on one instance: which channels matter, and where they fired.

    What it did is stored, and read where it is there already. ``store.graph`` makes the
    instance's own attribution graph of it.

    Parameters
    ----------
    store
        The store, or its path; its extraction is complete.
    instance
        Id or number of the instance.
    of
        What is explained: a class by its name or number; None: the one that the network
        predicts, or the value that it gives.
    again
        Whether the network runs even where the explanation is stored.
    client
        Client of a running cluster; None computes in this process.
    model, dataset, tokenizer, trust
        As in :func:`nnviz.extract`.

    Raises
    ------
    UnknownNameError
        If there is no such instance or output.
    DatasetError
        If the instance cannot be used.
    ModelError
        If the network has no gradients.
    PlanMismatchError
        If network or data set are not those of the plan.
    """
    made = opened(store)
    objects = objects_for(made, model=model, dataset=dataset, tokenizer=tokenizer)
    with reaching(objects, client):
        return explain_instance(
            made, instance, of=of, again=again, client=client, trust=trust
        )
