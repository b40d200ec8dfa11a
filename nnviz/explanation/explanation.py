"""What did the network do with this instance? Asked of the network, and stored.

A run keeps of an instance how strong each channel was, not where, and the sources of
few channels. This runs the network once more, on the one instance:

1. which channels matter for an output of its: relevance, by one backward pass;
2. where the strongest ones fired: their maps;
3. what the most relevant ones rest on: their strongest sources, exactly, at the
   position where each is largest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnviz.aggregation.standing_out import standing_out
from nnviz.engine.tasks import run_tasks
from nnviz.errors import (
    DatasetError,
    InputError,
    MissingDataError,
    MissingDependencyError,
    NnvizError,
    ShapeError,
    TaskError,
    UnknownNameError,
    UnreadableInstanceError,
    did_you_mean,
)
from nnviz.explanation.instance_explanation import InstanceExplanation, TextToken
from nnviz.explanation.stored import (
    explanation_of,
    has_explanation,
    write_explanation,
)
from nnviz.explanation.tasks import ExplainTask, explained_layers
from nnviz.extraction.worker_tasks import Opening, check_inputs
from nnviz.graphs.from_totals import output_layer
from nnviz.inputs.preparation.tokenizing import imports_code, open_tokenizer
from nnviz.store.lock import exclusive
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["explain", "explained_output", "instance_number"]

MOST_NAMED = 12
"""Outputs that an error names."""

TEXT = "text"
"""Column of the instance table with the texts."""


IDS_COMPARED = 20_000
"""With a name that is none of them, to say which was meant: it takes long."""


def instance_number(store: Store, instance: str | int) -> int:
    """Return the number of an instance that is meant.

    Parameters
    ----------
    store
        The run.
    instance
        Its id, or its number; a text that is no id is a number.

    Raises
    ------
    UnknownNameError
        If no instance has this id.
    ShapeError
        If the run has no such number.
    """
    n = store.n_instances
    if isinstance(instance, str):
        ids = [str(name) for name in store.column("id")]
        if instance in ids:
            return ids.index(instance)
        if not instance.isascii() or not instance.isdigit():
            near = did_you_mean(instance, ids[:IDS_COMPARED])
            msg = (
                f"no instance has the id {instance!r}{near}; "
                f"name one of the run's ids, or a number from 0 to {n - 1:,}"
            )
            raise UnknownNameError(msg)
        instance = int(instance)
    if not 0 <= instance < n:
        msg = f"there is no instance {instance:,}; the run has {n:,}, from 0 on"
        raise ShapeError(msg)
    return int(instance)


def explained_output(store: Store, number: int, of: str | int | None = None) -> int:
    """Return which of the network's outputs is meant.

    Parameters
    ----------
    store
        With a complete extraction.
    number
        Of the instance.
    of
        A class by its name or number; None: the prediction, or the value of a network
        that gives one.

    Raises
    ------
    UnknownNameError
        If there is no such output.
    """
    if of is None:
        return max(0, int(store.read("instances/prediction", number, number + 1)[0]))
    shape = store.plan.architecture.output_shape
    n = shape[0] if shape else 0
    index: int | None = of if isinstance(of, int) else None
    if isinstance(of, str):
        index = store.class_index(of)
        if index is None and of.isascii() and of.isdigit():
            index = int(of)
    if index is None or not 0 <= index < n:
        near = did_you_mean(str(of), store.class_names)
        names = ", ".join(store.class_names[:MOST_NAMED])
        more = ", …" if len(store.class_names) > MOST_NAMED else ""
        known = f": {names}{more}" if names else ", from 0 on"
        msg = f"the network has no output {of!r}{near}; it has {n}{known}"
        raise UnknownNameError(msg)
    return index


def explain(
    store: Store,
    instance: str | int,
    *,
    of: str | int | None = None,
    again: bool = False,
    client: Client | None = None,
    trust: bool = False,
) -> InstanceExplanation:
    """Run the network on one instance, and store what it did; or read it.

    Parameters
    ----------
    store
        With a complete extraction. It is opened again for writing where the network
        runs.
    instance
        Its id or number.
    of
        What is explained: a class by its name or number; None: the one that the network
        predicts, or the value that it gives.
    again
        Whether the network runs even where the explanation is stored.
    client
        Client of a running cluster, whose workers can open the store, the network and
        the data; None computes in this process.
    trust
        Whether files that run code when read may be read.

    Returns
    -------
    InstanceExplanation
        As it is stored under ``artifacts/explanations/<instance>-<output>``.

    Raises
    ------
    UnknownNameError
        If there is no such instance or output.
    ShapeError
        If there is no instance of this number.
    DatasetError
        If the instance cannot be used, or cannot be read any more.
    ModelError
        If the network has no gradients.
    PlanMismatchError
        If network or data are not those of the run.
    MissingDataError
        If the instance was not extracted.
    StoreInUseError
        If another driver writes to the store.
    TaskError
        If it failed otherwise, or the cluster is lost.
    """
    number = instance_number(store, instance)
    status = str(store.read("instances/status", number, number + 1)[0])
    if status:
        msg = f"instance {instance!r} of the run cannot be used: {status}; name another"
        raise DatasetError(msg)
    index = explained_output(store, number, of)
    if not again and has_explanation(store, number, index):
        return explanation_of(store, number, index)
    return _explained(store, number, index, client, trust=trust)


@exclusive("explain")
def _explained(
    store: Store, number: int, output: int, client: Client | None, *, trust: bool
) -> InstanceExplanation:
    store = Store.open(store.url, writable=True)
    opening = Opening(store.url, store.fingerprint, trust, is_whole=True)
    task = ExplainTask(
        number, output, output_layer(store) or "", _unusual(store, number)
    )
    check_inputs(opening, client)
    value, layers = _outcome(task, opening, client)
    names, shown = store.class_names, tuple(x.name for x in store.shown_layers)
    tokens, problems = _tokens(store, number, trust=trust)
    apart = [name for name, layer in layers.items() if np.isnan(layer.product).all()]
    if apart:
        text = (
            f"no gradient arrives at {', '.join(apart)}: relevance is not known there"
        )
        problems = (*problems, text)
    explanation = InstanceExplanation(
        instance=number,
        id=str(store.read("instances/id", number, number + 1)[0]),
        output=output,
        output_name=names[output] if output < len(names) else "",
        value=value,
        layers=layers,
        shown=shown,
        tokens=tokens,
        problems=problems,
    )
    write_explanation(store, explanation)
    return explanation


def _outcome(task: ExplainTask, opening: Opening, client: Client | None) -> Any:
    if client is None:
        return explained_layers(task, opening)
    (outcome,) = run_tasks(client, explained_layers, [task], arguments=(opening,))
    if outcome.error is None:
        return outcome.value
    if isinstance(outcome.error, NnvizError):
        raise outcome.error
    msg = f"the network could not be run on {task}: {outcome.error!r}"
    raise TaskError(msg) from outcome.error


def _unusual(store: Store, number: int) -> dict[str, tuple[int, ...]]:
    """Return the channels that stand out in each shown layer, where that is known."""
    try:
        found = standing_out(store, number, [x.name for x in store.shown_layers])
    except MissingDataError:
        return {}
    return {name: tuple(one.channel for one in them) for name, them in found.items()}


def _tokens(
    store: Store, number: int, *, trust: bool
) -> tuple[tuple[TextToken, ...], tuple[str, ...]]:
    """Return the tokens of a text, and why there are none where there should be."""
    config = store.plan.preprocessing
    if config.kind != "text" or TEXT not in store.columns:
        return (), ()
    if not trust and imports_code(config.tokenizer):
        why = "it is code, which is imported only with trust (--trust)"
        return (), (f"the tokens of the text are not known: {why}",)
    try:
        text = str(store.read(f"instances/{TEXT}", number, number + 1)[0])
        found = open_tokenizer(config.tokenizer).tokens_of(text, config.max_length)
    except (
        InputError,
        MissingDependencyError,
        UnreadableInstanceError,
        OSError,
    ) as error:
        return (), (f"the tokens of the text are not known: {error}",)
    return tuple(TextToken(x.text, x.start, x.stop) for x in found), ()
