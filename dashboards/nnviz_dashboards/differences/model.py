"""By which channels do A and B differ, and how surely?

What is compared is what the neuron matrix shows: means, shares or maxima. The surest
come first, and of these the ones that differ most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import param

from nnviz.errors import NnvizError
from nnviz.results.chart_tables import ChartTable
from nnviz.results.missing import Missing
from nnviz.results.neuron_matrix import PAIRED, Measure
from nnviz.results.run_results import RunResults
from nnviz.results.subset_results import SubsetResults
from nnviz_dashboards.shared.publishing import follow, publish, published
from nnviz_dashboards.shared.selection import Selection
from nnviz_dashboards.subsets.model import SubsetPairModel

__all__ = ["LEVEL", "Differences", "DifferencesModel", "DifferingChannel"]

N_ROWS = 60
"""Channels that are shown."""

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class DifferingChannel:
    """One channel in A and in B."""

    layer: str
    channel: int
    a: float
    b: float
    effect: float
    """As of :class:`nnviz.results.neuron_matrix.ColumnContrast`."""
    p_value: float


@dataclass(frozen=True, slots=True)
class Differences:
    """The channels of one layer or of all, in order."""

    measure: Measure
    channels: tuple[DifferingChannel, ...]
    n_different: int
    """Channels that differ at 5 %; 0 where no test is made."""


class DifferencesModel(param.Parameterized):
    """What tells A from B.

    Parameters
    ----------
    results
        The run.
    pairs
        A and B.
    """

    found = published(Differences, "What is shown.")
    missing = published(Missing, "Why nothing is shown.")

    def __init__(self, results: RunResults, pairs: SubsetPairModel) -> None:
        super().__init__()
        self.selection: Selection = pairs.selection
        self.results = results
        self.pairs = pairs
        self._shown: tuple[object, ...] = ()
        follow(self.selection, ["view", "measure", "among", "layer"], self._update)
        pairs.param.watch(self._update, ["counted", "is_loading"])

    def limit(self, among: str) -> None:
        """Show the channels of the chosen layer, or of all layers."""
        self.selection.choose(among=among)

    def measure(self, name: str) -> None:
        """Compare means, shares or maxima."""
        self.selection.choose(measure=name)

    def look_at(self, layer: str, channel: int) -> None:
        """Look at a channel."""
        self.selection.choose(layer=layer, channel=channel)

    def show_instances(self, layer: str, channel: int) -> None:
        """Show the instances of A and B by a channel."""
        self.selection.choose(
            layer=layer, channel=channel, view="instances", order="channel"
        )

    def table(self) -> ChartTable | None:
        """Return all channels that are compared."""
        if self.found is None:
            return None
        channels = self.found.channels
        names = ("layer", "channel", "a", "b", "effect", "p_value")
        return ChartTable(
            tuple(
                (
                    name.replace("p_value", "adjusted_p"),
                    [getattr(c, name) for c in channels],
                )
                for name in names
            )
        )

    @property
    def code(self) -> str:
        """Lines of Python that give the same numbers."""
        measure, layer = self.selection.measure, self.selection.layer
        if measure == "share":
            return self.pairs.code("found.channels  # of all layers, the surest first")
        read = PAIRED.get(cast("Measure", measure), "means")
        return self.pairs.code(f"a, b = found.{read}({layer!r})")

    def _update(self, *_: object) -> None:
        pairs = self.pairs
        if self.selection.view != "differences":
            return
        if pairs.is_loading:
            return  # what is there stays until A and B are counted
        selection = self.selection
        layer = selection.layer if selection.among == "layer" else ""
        shown = (pairs.counted, pairs.missing, selection.measure, layer)
        if shown == self._shown:
            return
        self._shown = shown
        missing = pairs.missing
        if missing is None and pairs.counted is None:
            text = "Choose two subsets that have instances, in the bar above."
            missing = Missing("There is nothing to compare", text)
        found = None
        if pairs.counted is not None:
            try:
                found = self._compared(pairs.counted)
            except NnvizError as error:
                missing = Missing("These cannot be compared", str(error))
        publish(self, {"found": found, "missing": missing})

    def _compared(self, counted: SubsetResults) -> Differences:
        selection, neurons = self.selection, self.results.neurons
        measure = cast("Measure", selection.measure)
        names = [layer.name for layer in self.results.layers]
        if selection.among == "layer":
            names = [selection.layer]
        channels: list[DifferingChannel] = []
        for name in names:
            contrast = neurons.contrast(counted, name, measure)
            a, b = neurons.pair(counted, name, measure).astype(np.float64).tolist()
            rows = zip(
                range(len(a)),
                a,
                b,
                contrast.effect.tolist(),
                contrast.p_value.tolist(),
                strict=True,
            )
            channels += [DifferingChannel(name, *row) for row in rows]
        channels = [one for one in channels if one.effect == one.effect]
        channels.sort(key=_rank)
        n_different = sum(one.p_value < LEVEL for one in channels)
        return Differences(measure, tuple(channels), n_different)


def _rank(one: DifferingChannel) -> tuple[bool, float]:
    """Return what sorts the sure ones first, then by how much they differ."""
    return not one.p_value < LEVEL, -abs(one.effect)
