"""How does the network run on samples of instances, without some of its channels?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnviz.ablation.tasks import Piece, mean_sums
from nnviz.engine.tasks import TaskOutcome, run_tasks
from nnviz.errors import ConfigError, ModelError, NnvizError, TaskError
from nnviz.extraction.worker_tasks import Opening
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "DRAW",
    "REFERENCE",
    "SAMPLE",
    "STAGE",
    "Passes",
    "check_numbers",
    "check_outputs",
    "drawn",
    "pieces_of",
]

STAGE = "ablate"

SAMPLE, REFERENCE, DRAW = range(3)
"""What a generator of random numbers is for; part of its seed."""


@dataclass(frozen=True, slots=True)
class Passes:
    """Where the network runs."""

    client: Client | None
    """None: in this process, with the same numbers."""
    opening: Opening

    def outcomes(
        self, function: Callable[..., Any], pieces: Sequence[Piece], *arguments: Any
    ) -> Iterator[tuple[Piece, Any]]:
        """Yield what a function returns for each piece, as it comes.

        Raises
        ------
        TaskError
            If it failed on a worker otherwise than with an error of nnviz.
        """
        arguments = (self.opening, *arguments)
        if self.client is None:
            yield from ((piece, function(piece, *arguments)) for piece in pieces)
            return
        for outcome in run_tasks(self.client, function, pieces, arguments=arguments):
            yield outcome.item, _value_of(outcome)

    def means(
        self, pieces: Sequence[Piece], told: Callable[[Piece], None]
    ) -> dict[str, NDArray[np.float64]]:
        """Return each channel's mean over instances, by layer, shape (C,).

        Parameters
        ----------
        pieces
            The instances.
        told
            Called with each piece, when it is done.
        """
        sums: dict[int, dict[str, NDArray[np.float64]]] = {}
        for piece, value in self.outcomes(mean_sums, pieces):
            sums[piece.start] = value
            told(piece)
        n = sum(len(piece.instances) for piece in pieces)
        # In the order of the sample, whatever came first: the same bits every time.
        ordered = [sums[start] for start in sorted(sums)]
        return {
            name: np.sum([part[name] for part in ordered], axis=0) / n
            for name in self.opening.layers or ()
        }


def pieces_of(
    row: int,
    instances: NDArray[np.int64],
    classes: NDArray[np.int64],
    ablated: tuple[Mapping[str, NDArray[np.int64]], ...],
    batch: int,
) -> list[Piece]:
    """Cut a sample into batches of nearly the same size, none above the plan's.

    Parameters
    ----------
    row
        Number of the sample.
    instances, classes, ablated
        As in :class:`nnviz.ablation.tasks.Piece`.
    batch
        Instances of a piece, at most.
    """
    parts = np.array_split(np.arange(len(instances)), -(-len(instances) // batch) or 1)
    return [
        Piece(row, int(part[0]), instances[part], classes[part], ablated)
        for part in parts
        if len(part)
    ]


def drawn(members: NDArray[np.int64], n: int, seed: Sequence[int]) -> NDArray[np.int64]:
    """Return n members without replacement, or all, ascending."""
    if len(members) <= n:
        return members
    return np.sort(np.random.default_rng(seed).choice(members, n, replace=False))


def check_outputs(store: Store) -> None:
    """Refuse a network without classes.

    Raises
    ------
    ModelError
        If it predicts none.
    """
    if not (store.column("prediction") >= 0).any():
        msg = (
            f"the network of {store.url!r} predicts no classes, so that there is no "
            "logit that could drop; the causal check needs a classifier"
        )
        raise ModelError(msg)


def check_numbers(least: int, **numbers: int) -> None:
    """Refuse numbers that are too small.

    Raises
    ------
    ConfigError
        With the first of them.
    """
    for name, number in numbers.items():
        if number < least:
            msg = f"{name} is {number}; it is {least} or more"
            raise ConfigError(msg)


def _value_of(outcome: TaskOutcome[Piece]) -> Any:
    error = outcome.error
    if error is None or isinstance(error, NnvizError):
        if error is not None:
            raise error
        return outcome.value
    msg = f"a task of the causal check failed on a worker: {error!r}"
    raise TaskError(msg) from error
