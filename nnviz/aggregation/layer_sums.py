"""How is one layer summed over subsets, span by span? One job for everybody who sums.

A job reads its spans of one layer's stored facts, reduces each with the membership of
the subsets, and adds from left to right. What happens with the sums is its *ending*:
an aggregation writes them, a count hands them back.

What whole spans sum up to is kept apart from the rest after them, fewer instances than
a span: an ending may keep the former, and later go on from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from scipy import sparse

from nnviz.aggregation.facts import (
    activation_facts,
    influence_facts,
    relevance_facts,
)
from nnviz.aggregation.reductions import (
    ActivationCounts,
    ActivationMoments,
    InfluenceTotals,
    Reduction,
    RelevanceMoments,
)
from nnviz.aggregation.states import read_state
from nnviz.store.store import Store

__all__ = [
    "Ending",
    "LayerFacts",
    "LayerJob",
    "Leaf",
    "Partials",
    "Returned",
    "Source",
    "Sums",
    "layer_facts",
]

Source = Literal["activations", "influences", "relevance"]

VALUES_PER_INFLUENCE = 8
"""An influence becomes a place and a value of 8 bytes each, several times."""

Partials = tuple[Any, ...]
"""The partials of a layer's reductions, in their order."""


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """What is summed of one layer: its stored facts, and how they are reduced."""

    source: Source
    layer: str
    """Of influences: the target layer."""
    n_values: int
    """What is held of one instance, in values of 4 bytes."""
    reductions: tuple[Reduction[Any, Any], ...]

    @property
    def key(self) -> str:
        """The name under which the store keeps what is known of these sums."""
        return f"{self.source}/{self.layer}"

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the arrays that the sums become."""
        return tuple(name for part in self.reductions for name in part.stored())

    def reduce(
        self, store: Store, span: tuple[int, int], membership: sparse.csr_array
    ) -> Partials:
        """Read the facts of a span, and return its partials.

        Parameters
        ----------
        store
            With the chunks of the span complete.
        span
            First and past-last instance: n.
        membership
            Which of them is in which subset, shape (S, n).
        """
        facts: tuple[Any, ...]
        members = np.bincount(membership.indices, minlength=span[1] - span[0])
        if self.source == "activations":
            facts = activation_facts(store, self.layer, span, members > 0)
        elif self.source == "relevance":
            facts = (relevance_facts(store, self.layer, span, members > 0),)
        else:
            facts = (influence_facts(store, self.layer, span),)
        return tuple(
            reduction.chunk(membership, values)
            for reduction, values in zip(self.reductions, facts, strict=False)
        )

    def add(self, first: Partials | None, second: Partials | None) -> Partials | None:
        """Add neighbours; None is no instance."""
        if first is None or second is None:
            return first or second
        return tuple(
            reduction.combine(one, other)
            for reduction, one, other in zip(
                self.reductions, first, second, strict=True
            )
        )

    def finalize(self, partials: Partials) -> dict[str, Any]:
        """Return the sums by the names of their arrays, each with S rows."""
        return {
            name: values
            for reduction, part in zip(self.reductions, partials, strict=True)
            for name, values in reduction.finalize(part).items()
        }


def layer_facts(
    store: Store, n_subsets: int, *, moments: bool = True
) -> list[LayerFacts]:
    """Return what is summed of each recorded layer, and of each with influences.

    Parameters
    ----------
    store
        The opened store.
    n_subsets
        S.
    moments
        Whether activations and relevance are summed too, or top channels are only
        counted.
    """
    found: list[LayerFacts] = []
    for layer in store.layers:
        parts: tuple[Reduction[Any, Any], ...] = (
            ActivationCounts(n_subsets, layer.n_channels),
        )
        if moments:
            parts = (*parts, ActivationMoments(n_subsets, layer.n_channels))
        found.append(LayerFacts("activations", layer.name, layer.n_channels, parts))
    for layer in store.shown_layers if moments and store.plan.has_relevance else ():
        plan = store.plan
        parts = (
            RelevanceMoments(
                n_subsets, layer.n_channels, has_norms=plan.keeps_gradient_norms
            ),
        )
        n_values = len(plan.relevance_parts) * layer.n_channels
        found.append(LayerFacts("relevance", layer.name, n_values, parts))
    for kept in store.plan.influences:
        totals = InfluenceTotals(n_subsets, kept.n_targets, kept.n_sources)
        n_values = kept.n_kept * kept.n_ranks * VALUES_PER_INFLUENCE
        found.append(LayerFacts("influences", kept.target, n_values, (totals,)))
    return found


@dataclass(frozen=True, slots=True)
class Leaf:
    """Instances that are summed before they are added to the rest."""

    start: int
    stop: int
    state_of: tuple[str, ...] = ()
    """Collections of which their sum is stored already, as a state; none if it is
    not."""
    is_rest: bool = False
    """Whether they are fewer than a span has, as only the last can be."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Partials over whole spans, and over the rest after them; None for no instance."""

    spans: Partials | None
    rest: Partials | None


class Ending(Protocol):
    """What becomes of the sums; can be pickled."""

    def finish(self, job: LayerJob, sums: Sums) -> Any:
        """Use the sums, and return a small value; may be repeated."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The sums are handed back, with the name of their layer."""

    def finish(self, job: LayerJob, sums: Sums) -> tuple[str, dict[str, Any]]:
        """Return the layer, and the sums by the names of their arrays."""
        return job.facts.layer, job.facts.finalize(job.whole(sums))


@dataclass(frozen=True, slots=True)
class LayerJob:
    """The sums of one layer, as a reduction that any process can run."""

    url: str
    facts: LayerFacts
    leaves: Sequence[Leaf]
    """In order; at least one."""
    ending: Ending

    def __str__(self) -> str:
        return f"{self.facts.source} of {self.facts.layer}"

    @property
    def state_rows(self) -> int:
        """Rows of whole spans: over these, sums can be gone on from."""
        last = self.leaves[-1]
        return last.start if last.is_rest else last.stop

    def compute(self, leaf: Leaf, shared: sparse.csc_array) -> Sums:
        """Read and reduce a span, or take what is known of it.

        Parameters
        ----------
        leaf
            One of the job's.
        shared
            Which instance is in which subset, shape (S, N).
        """
        store = Store.open(self.url)
        if leaf.state_of:
            known = tuple(
                read_state(store, leaf.state_of, leaf.stop, self.facts.layer, reduction)
                for reduction in self.facts.reductions
            )
            return Sums(known, None)
        membership = sparse.csr_array(shared[:, leaf.start : leaf.stop])
        partials = self.facts.reduce(store, (leaf.start, leaf.stop), membership)
        return Sums(None, partials) if leaf.is_rest else Sums(partials, None)

    def combine(self, partials: Sequence[Sums]) -> Sums:
        """Add from left to right."""
        spans = partials[0].spans
        for part in partials[1:]:
            spans = self.facts.add(spans, part.spans)
        return Sums(spans, partials[-1].rest)

    def finish(self, partial: Sums) -> Any:
        """Leave the sums to the ending; return what it returns."""
        return self.ending.finish(self, partial)

    def whole(self, sums: Sums) -> Partials:
        """Return the partials over all instances."""
        found = self.facts.add(sums.spans, sums.rest)
        assert found is not None  # there is at least one leaf
        return found
