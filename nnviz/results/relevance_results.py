"""Which channels matter for the output, in one subset and in another?

What is compared is the relevance of channels, their gradient or its norm. Relevance is
told against a reference (:mod:`nnviz.aggregation.references`); what the sums over A and
B need of the store is read once, for all references.

Symbols: A, B the two subsets, C channels of a layer.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.references import (
    REFERENCES,
    Reference,
    reference_values,
    relevance_sums,
)
from nnviz.aggregation.relevance import (
    RelevanceSums,
    Signal,
    check_relevance,
    signal_named,
)
from nnviz.formatting import said_p_value
from nnviz.results.contrasts import RelevanceContrast
from nnviz.significance import adjusted_p_values, mean_difference_p_values
from nnviz.statistics import mean_effect_sizes
from nnviz.store.store import Store
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.subsets import Subset

__all__ = ["SubsetRelevance", "named_reference"]

Values = NDArray[np.float64]

_WORDS: dict[Signal, str] = {
    "relevance": "relevance",
    "gradient": "gradient",
    "gradient_norm": "gradient norm",
}


def named_reference(reference: object, finder: SubsetFinder) -> Reference:
    """Return a reference as :class:`SubsetRelevance` takes it.

    Parameters
    ----------
    reference
        ``mean``, ``zero``, ``against``, or whatever the finder takes.
    finder
        Of the store.

    Raises
    ------
    QueryError
        If a text is no query of this store.
    """
    if isinstance(reference, str) and reference in (*REFERENCES, "against"):
        return reference
    return finder.find(reference)


class SubsetRelevance:
    """The relevance of channels in A and in B, against one reference.

    Parameters
    ----------
    store
        With a complete extraction that has recorded relevance.
    subset, against
        A and B, usable instances.
    reference
        ``mean`` (of all instances), ``zero``, ``against`` (B), or any subset.
    signal
        By what A and B are compared: ``relevance``, or without any reference
        ``gradient`` or ``gradient_norm``.

    Raises
    ------
    ConfigError
        If the reference is another text, or has no usable instance; if there is no
        such signal.
    MissingDataError
        If the run has recorded no relevance, or no norms where they are asked for.
    """

    def __init__(
        self,
        store: Store,
        subset: Subset,
        against: Subset,
        reference: Reference = "mean",
        *,
        signal: str = "relevance",
    ) -> None:
        self.signal = signal_named(signal)
        check_relevance(store, self.signal)
        self._store = store
        self.subset, self.against = subset, against
        self.reference: Reference = against if reference == "against" else reference
        self._values = reference_values(store, self.reference)

    @functools.cached_property
    def _sums(self) -> dict[str, RelevanceSums]:
        return relevance_sums(self._store, [self.subset, self.against])

    def _of(self, layer: str) -> tuple[RelevanceSums, Values]:
        name = self._store.layer(layer).name
        return self._sums[name], self._values[name]

    def means(self, layer: str) -> Values:
        """Return the mean relevances in A and in B, shape (2, C); NaN of nothing.

        Parameters
        ----------
        layer
            Name of a shown layer.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        sums, reference = self._of(layer)
        return sums.mean(reference)

    def variances(self, layer: str) -> Values:
        """Return population variances in A and in B, shape (2, C).

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        sums, reference = self._of(layer)
        return sums.variance(reference)

    def gradients(self, layer: str) -> Values:
        """Return the mean gradients, summed over positions, in A and in B, (2, C).

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        return self._of(layer)[0].gradient

    def gradient_norms(self, layer: str) -> Values:
        """Return the mean norms of the gradients in A and in B, shape (2, C).

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        MissingDataError
            If the run has recorded no norms.
        """
        check_relevance(self._store, "gradient_norm")
        return self._of(layer)[0].gradient_norm

    def moments_of(self, signal: Signal, layer: str) -> tuple[Values, Values]:
        """Return means and population variances of a signal, shape (2, C) each.

        Parameters
        ----------
        signal
            One that the run has recorded.
        layer
            Name of a shown layer.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        MissingDataError
            If the run has recorded no norms, and they are asked for.
        """
        check_relevance(self._store, signal)
        sums, reference = self._of(layer)
        return sums.mean_of(signal, reference), sums.variance_of(signal, reference)

    @functools.cached_property
    def channels(self) -> list[RelevanceContrast]:
        """Every channel of the shown layers, the surest differences first.

        Sorted by the p-value of the signal in question, then by the strength of its
        effect.
        """
        sizes = len(self.subset), len(self.against)
        layers = [layer.name for layer in self._store.shown_layers]
        relevances, gradients = (
            np.concatenate([read(layer) for layer in layers], axis=1)
            for read in (self.means, self.gradients)
        )
        norms = np.full_like(gradients, np.nan)
        if self._store.plan.keeps_gradient_norms:
            norms = np.concatenate([self.gradient_norms(x) for x in layers], axis=1)
        moments = [self.moments_of(self.signal, layer) for layer in layers]
        means, variances = (np.concatenate(x, 1) for x in zip(*moments, strict=True))
        effects = mean_effect_sizes(means, variances, sizes)
        p_values = adjusted_p_values(mean_difference_p_values(means, variances, sizes))
        places = [
            (layer, channel)
            for layer in self._store.shown_layers
            for channel in range(layer.n_channels)
        ]
        found = [
            RelevanceContrast(
                layer=layer.name,
                channel=channel,
                name=layer.name_of(channel),
                relevance=float(relevances[0, i]),
                other_relevance=float(relevances[1, i]),
                gradient=float(gradients[0, i]),
                other_gradient=float(gradients[1, i]),
                gradient_norm=float(norms[0, i]),
                other_gradient_norm=float(norms[1, i]),
                effect=float(effects[i]),
                p_value=float(p_values[i]),
            )
            for i, (layer, channel) in enumerate(places)
        ]
        strength = np.nan_to_num(np.abs(effects))
        return [found[i] for i in np.lexsort((-strength, p_values))]

    @property
    def reference_name(self) -> str:
        """What relevance is told against, in words."""
        if isinstance(self.reference, Subset):
            return f"the mean of {self.reference.name}"
        return {"mean": "the mean of all instances"}.get(self.reference, self.reference)

    def to_json(self) -> dict[str, Any]:
        """Return reference, signal, and the channels that differ, as JSON values."""
        return {
            "reference": self.reference_name,
            "signal": self.signal,
            "channels": [
                {name: getattr(one, name) for name in one.__slots__}
                for one in self.channels
                if one.p_value < 0.05
            ],
        }

    def lines(self, n: int = 10) -> list[str]:
        """Return the channels that differ, as lines for a terminal."""
        significant = [c for c in self.channels if c.p_value < 0.05]
        of = f"{len(significant):,} of {len(self.channels):,}"
        what = f"of {of} channels differs from {self.against.name} (p < 0.05)"
        if self.signal == "relevance":
            what += f"; against {self.reference_name}"
        lines = [f"{_WORDS[self.signal]:<14} {what}"]
        width = max((len(c.layer) for c in significant[:n]), default=0)
        lines += [
            f"  {c.layer:<{width}} {c.called:>5}  {getattr(c, self.signal):>+8.3g}, "
            f"{getattr(c, f'other_{self.signal}'):>+8.3g} there  "
            f"effect {c.effect:+.2f}  "
            f"{said_p_value(c.p_value)}"
            for c in significant[:n]
        ]
        return lines

    def __repr__(self) -> str:
        return "\n".join([f"{self.subset.name}:", *self.lines()])
