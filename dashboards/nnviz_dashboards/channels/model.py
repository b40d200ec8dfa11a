"""Which channels does the chosen layer use for the chosen class, and what are they?

A channel's *count* is the number of the class's instances in which it is among the top
channels; its *base rate* the share of all instances, its *lift* the class's share
divided by the base rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import param

from nnviz.aggregation.channel_use import ChannelUse
from nnviz.errors import StoreError
from nnviz.results.missing import Missing
from nnviz.results.run_results import RunResults
from nnviz_dashboards.channels.examples import Example, channel_examples
from nnviz_dashboards.shared.publishing import follow, publish, published
from nnviz_dashboards.shared.selection import NONE, Selection

__all__ = ["ChannelRow", "ChannelsModel", "Use"]

N_ROWS = 30
"""So many channels are shown: a share of 3 % rarely keeps more for a class."""

N_USES = 6
"""Classes that are named for the chosen channel."""


@dataclass(frozen=True, slots=True)
class Use:
    """A class, and in which share of its instances a channel is on top."""

    subset: int
    name: str
    share: float


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """One channel of the layer for the chosen class."""

    channel: int
    count: int
    share: float
    """Fraction of the class's instances."""
    base_rate: float
    """Fraction of all instances."""
    lift: float
    """`share` divided by `base_rate`."""
    examples: tuple[Example, ...]


class ChannelsModel(param.Parameterized):
    """The top channels of the chosen class in the chosen layer.

    Parameters
    ----------
    results
        The run; its classes must be readable.
    selection
        What the visitor has chosen.
    """

    rows = param.List([], constant=True, doc="ChannelRow, best first.")
    uses = param.List([], constant=True, doc="Use of the chosen channel, most first.")
    n_channels = param.Integer(0, constant=True, doc="Channels of the layer.")
    n_used = param.Integer(0, constant=True, doc="Channels that are ever on top.")
    missing = published(Missing, "Why there are no rows.")
    missing_examples = published(Missing, "Why there are no examples.")

    def __init__(self, results: RunResults, selection: Selection) -> None:
        super().__init__()
        self.selection = selection
        self._results = results
        follow(selection, ["view", "layer", "subset", "ranking"], self._update)
        follow(selection, ["view", "layer", "channel"], self._update_uses)

    @property
    def is_seen(self) -> bool:
        """Whether the channels are looked at; nothing is read while they are not."""
        return self.selection.view == "channels"

    def choose(self, channel: int) -> None:
        """Look at this channel, or no longer if it is chosen already."""
        is_chosen = channel == self.selection.channel
        self.selection.choose(channel=NONE if is_chosen else channel)

    def choose_subset(self, subset: int) -> None:
        """Look at this class."""
        self.selection.choose(subset=subset)

    def rank(self, ranking: str) -> None:
        """Order the channels by count or by lift."""
        self.selection.choose(ranking=ranking)

    def _update(self, _changed: set[str]) -> None:
        if not self.is_seen:
            return
        try:
            updates = self._found()
        except StoreError as error:
            updates = {
                "rows": [],
                "missing": Missing("This cannot be read", str(error)),
            }
        publish(self, updates)

    def _found(self) -> dict[str, object]:
        layer, subset = self.selection.layer, self.selection.subset
        missing = self._results.missing_stage()
        updates: dict[str, object] = {"missing": missing, "rows": []}
        updates["missing_examples"] = self._results.missing_examples()
        if missing is None and layer and subset >= 0:
            used = self._results.channels(layer, subset)
            updates |= {
                "rows": self._rows(used, subset),
                "n_channels": len(used),
                "n_used": int((used.count > 0).sum()),
            }
        return updates

    def _rows(self, used: ChannelUse, subset: int) -> list[ChannelRow]:
        best = used.best(N_ROWS, by=self.selection.ranking)
        chosen = self.selection.channel
        if chosen >= 0 and chosen not in best:
            # What is chosen stays in view, so that it can be given up again.
            best = np.append(best, chosen)
        return [
            ChannelRow(
                int(c),
                int(used.count[c]),
                float(used.share[c]),
                float(used.base_rate[c]),
                float(used.lift[c]),
                channel_examples(self._results, used.layer, int(c), subset),
            )
            for c in best
        ]

    def _update_uses(self, changed: set[str]) -> None:
        if not self.is_seen:
            return
        layer, channel = self.selection.layer, self.selection.channel
        if channel >= 0 and channel not in [row.channel for row in self.rows]:
            self._update(changed)
        uses: list[Use] = []
        if channel >= 0 and self.missing is None:
            names = self._results.class_table().names
            share = self._results.share_by_subset(layer, channel)
            best = np.argsort(-share, kind="stable")[:N_USES]
            uses = [
                Use(int(i), names[i], float(share[i])) for i in best if share[i] > 0
            ]
        publish(self, {"uses": uses})
