"""How is one layer summed over subsets, span by span?

A job adds its spans from left to right. What the whole spans sum up to is kept as a
state; the rest after them, fewer instances than a span, is added to that for the
aggregates, and not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from nnviz.aggregation.facts import activation_facts, influence_facts
from nnviz.aggregation.reductions import Reduction
from nnviz.aggregation.states import read_state, state_path
from nnviz.store.store import Store

__all__ = ["LayerJob", "leaves_of"]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """Instances that are summed before they are added to the rest."""

    start: int
    stop: int
    is_stored: bool = False
    """Whether their sum is a state of an earlier aggregation."""
    is_rest: bool = False
    """Whether they are fewer than a span has, as only the last can be."""


@dataclass(frozen=True, slots=True)
class _Sums:
    """Partials of all reductions: over whole spans, and over the rest after them."""

    spans: tuple[Any, ...] | None
    rest: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class LayerJob:
    """Everything that is computed for one layer from one kind of stored facts."""

    url: str
    layer: str
    source: str
    """``activations`` or ``influences``; the latter by target layer."""
    rows_per_span: int
    leaves: tuple[_Leaf, ...]
    reductions: tuple[Reduction[Any, Any], ...]
    layout: Mapping[str, tuple[int, int]]
    """Rows of each collection in the stacked membership."""

    def __str__(self) -> str:
        return f"{self.source} of {self.layer}"

    @property
    def state_rows(self) -> int:
        """Rows of whole spans, after which the state is kept."""
        last = self.leaves[-1]
        return last.start if last.is_rest else last.stop

    def compute(self, leaf: _Leaf, shared: sparse.csc_array) -> _Sums:
        """Read a span and reduce it, or read the state."""
        store = Store.open(self.url)
        if leaf.is_stored:
            names = list(self.layout)
            state = (
                read_state(store, names, leaf.stop, self.layer, reduction)
                for reduction in self.reductions
            )
            return _Sums(tuple(state), None)
        span = (leaf.start, leaf.stop)
        membership = sparse.csr_array(shared[:, leaf.start : leaf.stop])
        facts: tuple[Any, ...]
        if self.source == "activations":
            members = np.bincount(membership.indices, minlength=leaf.stop - leaf.start)
            facts = activation_facts(store, self.layer, span, members > 0)
        else:
            facts = (influence_facts(store, self.layer, span),)
        partial = tuple(
            reduction.chunk(membership, values)
            for reduction, values in zip(self.reductions, facts, strict=True)
        )
        return _Sums(None, partial) if leaf.is_rest else _Sums(partial, None)

    def combine(self, partials: Sequence[_Sums]) -> _Sums:
        """Add from left to right."""
        spans = partials[0].spans
        for part in partials[1:]:
            spans = self._added(spans, part.spans)
        return _Sums(spans, partials[-1].rest)

    def _added(
        self, first: tuple[Any, ...] | None, second: tuple[Any, ...] | None
    ) -> tuple[Any, ...] | None:
        if first is None or second is None:
            return first or second
        return tuple(
            reduction.combine(one, other)
            for reduction, one, other in zip(
                self.reductions, first, second, strict=True
            )
        )

    def finish(self, partial: _Sums) -> int:
        """Write the layer's aggregates, and the state; return the aggregates' bytes."""
        store = Store.open(self.url, writable=True)
        whole = self._added(partial.spans, partial.rest)
        assert whole is not None
        n_bytes = self._write(store, whole, {c: f"aggregates/{c}" for c in self.layout})
        is_known = self.leaves[0].is_stored and self.leaves[0].stop == self.state_rows
        if partial.spans is not None and not is_known:
            places = {c: state_path(c, self.state_rows) for c in self.layout}
            self._write(store, partial.spans, places)
        return n_bytes

    def _write(
        self, store: Store, partials: tuple[Any, ...], places: Mapping[str, str]
    ) -> int:
        n_bytes = 0
        for reduction, part in zip(self.reductions, partials, strict=True):
            for name, values in reduction.finalize(part).items():
                for collection, (start, stop) in self.layout.items():
                    rows = values[start:stop]
                    path = f"{places[collection]}/{name}/{self.layer}"
                    store.groups.write_member(
                        path, rows, dimensions=("subset", "channel")
                    )
                    n_bytes += rows.data.nbytes
        return n_bytes


def leaves_of(n: int, rows: int, n_stored: int) -> tuple[_Leaf, ...]:
    """Cut the instances after the stored ones into spans; the last may be shorter."""
    stored = [_Leaf(0, n_stored, is_stored=True)] if n_stored else []
    spans = [
        _Leaf(start, min(n, start + rows), is_rest=start + rows > n)
        for start in range(n_stored, n, rows)
    ]
    return (*stored, *spans) or (_Leaf(0, 0, is_rest=True),)
