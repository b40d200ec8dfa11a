"""Of which layers are the neurons open, one above the other?

The chosen layer's first, then those that were opened beside it, with the same rows in
the same order. What is closed follows nothing, so that nothing of it is computed.
"""

from __future__ import annotations

import param

from nnviz.results.run_results import RunResults
from nnviz_dashboards.classes.model import SubsetsModel
from nnviz_dashboards.matrix.model import MatrixModel
from nnviz_dashboards.shared.publishing import follow, publish
from nnviz_dashboards.shared.selection import NONE
from nnviz_dashboards.subsets.model import RunLater, SubsetPairModel

__all__ = ["MatrixStack"]


class MatrixStack(param.Parameterized):
    """The open neuron matrices.

    Parameters
    ----------
    results
        The run; its classes must be aggregated.
    subsets
        The list of classes, whose order the rows follow.
    pairs
        A and B.
    run_later
        Makes what takes long; None makes everything at once.
    """

    beside = param.ClassSelector(
        class_=tuple, default=(), constant=True,
        doc="The matrices of further layers, as they lie below the chosen layer's.",
    )  # fmt: skip

    def __init__(
        self,
        results: RunResults,
        subsets: SubsetsModel,
        pairs: SubsetPairModel,
        *,
        run_later: RunLater | None = None,
    ) -> None:
        super().__init__()
        self.selection = pairs.selection
        self._made_of = (results, subsets, pairs)
        self._run_later = run_later
        self._pointed_at = NONE
        self.chosen = MatrixModel(results, subsets, pairs, run_later=run_later)
        """The matrix of the chosen layer."""
        follow(self.selection, ["beside", "matrix"], self._update)

    @property
    def matrices(self) -> tuple[MatrixModel, ...]:
        """All of them, from top to bottom."""
        return (self.chosen, *self.beside)

    @property
    def can_open(self) -> list[str]:
        """Names of the layers that are not open, in order of computation."""
        is_open = {matrix.layer for matrix in self.matrices}
        names = [layer.name for layer in self.chosen.results.layers]
        return [name for name in names if name not in is_open]

    def toggle(self, layer: str) -> None:
        """Open a layer's neurons below the others, or close them."""
        self.selection.toggle_beside(layer)

    def look_at_layer(self, layer: str) -> None:
        """Choose an open layer: it changes places with the one that was chosen."""
        self.selection.choose(layer=layer)

    def point_at(self, instance: int) -> None:
        """Show the row of an instance in all layers for the moment; -1 for none."""
        self._pointed_at = instance
        for matrix in self.matrices:
            matrix.point_at(instance)

    def _update(self, _: set[str]) -> None:
        names = self.selection.layers_beside
        known = {matrix.layer: matrix for matrix in self.beside}
        for name in known.keys() - set(names):
            known[name].close()
        beside = tuple(known.get(name) or self._opened(name) for name in names)
        publish(self, {"beside": beside})

    def _opened(self, name: str) -> MatrixModel:
        matrix = MatrixModel(*self._made_of, run_later=self._run_later, layer=name)
        matrix.point_at(self._pointed_at)
        return matrix
