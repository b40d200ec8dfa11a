"""Which channels does the chosen layer use for A, and what are they?

A is the chosen class, or what a query says. A channel's *count* is the number of A's
instances in which it is among the top channels; its *base rate* the share of all
instances, its *lift* A's share divided by the base rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import param
from numpy.typing import NDArray

from nnviz.aggregation.channel_use import ChannelUse
from nnviz.errors import NnvizError
from nnviz.results.chart_tables import ChartTable
from nnviz.results.missing import Missing
from nnviz.results.run_results import RunResults
from nnviz_dashboards.shared.channel_examples import Example, channel_examples
from nnviz_dashboards.shared.publishing import follow, publish, published
from nnviz_dashboards.shared.python_lines import python_lines
from nnviz_dashboards.shared.selection import NONE, Selection
from nnviz_dashboards.subsets.model import SubsetPairModel

__all__ = ["ChannelRow", "ChannelsModel", "Use"]

N_ROWS = 30
"""So many channels are shown: a share of 3 % rarely keeps more for a class."""

N_USES = 6
"""Classes that are named for the chosen channel."""


NOTHING = Missing("No subset is chosen", "Write a query above, as A.")
EMPTY = Missing(
    "There is nothing to count", "No instance is in A, or none is left to compare with."
)
COUNTING = Missing("Counting the channels of A …", "The first time takes longest.")


@dataclass(frozen=True, slots=True)
class Use:
    """A class, and in which share of its instances a channel is on top."""

    subset: int
    name: str
    share: float


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """One channel of the layer for A."""

    channel: int
    count: int
    share: float
    """Fraction of A's instances."""
    base_rate: float
    """Fraction of all instances."""
    lift: float
    """`share` divided by `base_rate`."""
    examples: tuple[Example, ...]
    has_feature: bool
    """Whether there is a picture of what it was made to see."""
    called: str
    """Its name, where it has one; else its number."""


class ChannelsModel(param.Parameterized):
    """The top channels of A in the chosen layer.

    Parameters
    ----------
    results
        The run; its classes must be readable.
    pairs
        A and B.
    """

    rows = param.List([], constant=True, doc="ChannelRow, best first.")
    uses = param.List([], constant=True, doc="Use of the chosen channel, most first.")
    n_channels = param.Integer(0, constant=True, doc="Channels of the layer.")
    n_used = param.Integer(0, constant=True, doc="Channels that are ever on top.")
    missing = published(Missing, "Why there are no rows.")
    missing_examples = published(Missing, "Why there are no examples.")

    def __init__(self, results: RunResults, pairs: SubsetPairModel) -> None:
        super().__init__()
        self.selection: Selection = pairs.selection
        self._results = results
        self._pairs = pairs
        self._used: ChannelUse | None = None
        follow(
            self.selection, ["view", "layer", "subset", "a", "ranking"], self._update
        )
        follow(self.selection, ["view", "layer", "channel"], self._update_uses)
        pairs.param.watch(self._renew, ["pair", "counted", "is_loading", "missing"])

    @property
    def are_examples_cropped(self) -> bool:
        """Whether an example shows a part: of a row of a table all is shown."""
        is_text = self._results.store.plan.preprocessing.kind == "text"
        return is_text or not self._results.instance_pictures.are_written

    @property
    def is_of_class(self) -> bool:
        """Whether A is the chosen class, and no query says what it is."""
        return self.selection.subset >= 0 and not self.selection.a

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

    def table(self) -> ChartTable | None:
        """Return all channels of the layer."""
        used = self._used
        if used is None or not self.rows:
            return None
        return ChartTable(tuple(used.columns()))

    @property
    def code(self) -> str:
        """Lines of Python that give the same numbers."""
        layer = self.selection.layer
        if not self.is_of_class:
            return self._pairs.code(f"shares, others = found.shares({layer!r})")
        results, kind = self._results, self._results.kind
        name = results.class_table().names[self.selection.subset]
        return python_lines(
            results.store.url,
            f"classes = nnviz.aggregates_of(store, {kind!r})",
            f"classes.channels({layer!r}, {name!r}).to_frame()",
        )

    def rank(self, ranking: str) -> None:
        """Order the channels by count or by lift."""
        self.selection.choose(ranking=ranking)

    def _update(self, _changed: set[str]) -> None:
        if not self.is_seen:
            return
        try:
            updates = self._found() if self.is_of_class else self._found_of_query()
        except NnvizError as error:
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
            updates |= self._listed(self._results.channels(layer, subset))
        return updates

    def _renew(self, *_: param.parameterized.Event) -> None:
        if not self.is_of_class:
            self._update(set())

    def _found_of_query(self) -> dict[str, object]:
        pairs, results = self._pairs, self._results
        missing = results.missing_stage() or pairs.missing
        updates: dict[str, object] = {"rows": []}
        updates["missing_examples"] = results.missing_examples()
        if missing is None and pairs.counted is None:
            missing = NOTHING if pairs.pair is None else EMPTY
            if pairs.is_loading:
                missing = COUNTING
        elif missing is None and pairs.counted is not None:
            used = results.channels_of(pairs.counted, self.selection.layer)
            updates |= self._listed(used, pairs.counted.subset.instances)
        return {**updates, "missing": missing}

    def _listed(
        self, used: ChannelUse, members: NDArray[np.int64] | None = None
    ) -> dict[str, object]:
        self._used = used
        return {
            "rows": self._rows(used, members),
            "n_channels": len(used),
            "n_used": int((used.count > 0).sum()),
        }

    def _rows(
        self, used: ChannelUse, members: NDArray[np.int64] | None
    ) -> list[ChannelRow]:
        best = used.best(N_ROWS, by=self.selection.ranking)
        features = self._results.features.of_layer(used.layer)
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
                channel_examples(
                    self._results, used.layer, int(c), self.selection.subset, members
                ),
                int(c) in features,
                self._results.store.layer(used.layer).called(int(c)),
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
        if channel >= 0 and self.missing is None and self._results.has_classes:
            names = self._results.class_table().names
            share = self._results.share_by_subset(layer, channel)
            best = np.argsort(-share, kind="stable")[:N_USES]
            uses = [
                Use(int(i), names[i], float(share[i])) for i in best if share[i] > 0
            ]
        publish(self, {"uses": uses})
