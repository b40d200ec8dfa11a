"""Which stages of the network are folded, in the strip of layers and in the graph?

Of a folded stage its last layer stands for all. Deep networks begin folded. A stage
that holds what is looked at is open, whatever was chosen.
"""

from __future__ import annotations

import param

from nnviz.results.network_graph import stages_of
from nnviz.runs.architecture import Architecture
from nnviz_dashboards.shared.publishing import follow, publish
from nnviz_dashboards.shared.selection import BETWEEN_NAMES, NO_NAME, Selection

__all__ = ["StagesModel"]

N_UNFOLDED = 14
"""Shown layers up to which stages are open at first: their nodes can be told apart."""


class StagesModel(param.Parameterized):
    """The stages of the network, and which of them are folded.

    Parameters
    ----------
    architecture
        Of the run's network.
    selection
        What the visitor has chosen.
    """

    folded = param.Dict(
        default={}, constant=True, doc="Name of the folded stage, by layer."
    )

    def __init__(self, architecture: Architecture, selection: Selection) -> None:
        super().__init__()
        self.selection = selection
        self.stage_of = stages_of(architecture)
        """Name of the stage of each layer that is in one."""
        self.shown: dict[str, list[str]] = {}
        """The shown layers of each stage, in order of computation."""
        shown = [layer.name for layer in architecture.layers if layer.shown]
        for name in shown:
            if name in self.stage_of:
                self.shown.setdefault(self.stage_of[name], []).append(name)
        self._first = frozenset(self.shown if len(shown) <= N_UNFOLDED else ())
        follow(selection, ["stages", "layer", "channel", "node"], self._update)

    @property
    def opened(self) -> frozenset[str]:
        """Names of the stages that are open."""
        pinned = self.selection.pinned
        seen = [self.selection.layer] + ([pinned[0]] if pinned else [])
        needed = {
            self.stage_of[layer]
            for layer in seen
            if layer in self.stage_of and layer != self._last(self.stage_of[layer])
        }
        return self._chosen | needed

    def toggle(self, stage: str) -> None:
        """Open a stage that is folded, or fold one that is open.

        What is looked at in a stage that is folded is its last layer.
        """
        if stage not in self.shown:
            return
        is_open = stage in self.opened
        chosen = self._chosen - {stage} if is_open else self._chosen | {stage}
        names = [name for name in self.shown if name in chosen]
        text = BETWEEN_NAMES.join(names) or NO_NAME
        values: dict[str, str | int] = {"stages": "" if chosen == self._first else text}
        if is_open:
            pinned, last = self.selection.pinned, self._last(stage)
            if self.stage_of.get(self.selection.layer) == stage:
                values["layer"] = last
            if pinned is not None and pinned[0] != last:
                is_inside = self.stage_of.get(pinned[0]) == stage
                values |= {"node": "", "channel": -1} if is_inside else {}
        self.selection.choose(**values)

    @property
    def _chosen(self) -> frozenset[str]:
        names = self.selection.stages
        if not names:
            return self._first
        return frozenset(names.split(BETWEEN_NAMES)) & self.shown.keys()

    def _last(self, stage: str) -> str:
        return self.shown[stage][-1]

    def _update(self, _: set[str]) -> None:
        opened = self.opened
        folded = {
            layer: stage
            for layer, stage in self.stage_of.items()
            if stage not in opened
        }
        if folded != self.folded:
            publish(self, {"folded": folded})
