"""Which layers can be looked at? The strip above the views."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from nnviz.results.run_results import RunResults
from nnviz_dashboards.shared.selection import Selection

__all__ = ["LayerItem", "LayersModel", "short_names"]


@dataclass(frozen=True, slots=True)
class LayerItem:
    """One layer of the strip."""

    name: str
    label: str
    """The name without what all shown layers have in common."""
    n_channels: int
    positions: tuple[int, ...]
    kind: str


class LayersModel:
    """The shown layers, and the intention to look at one.

    Parameters
    ----------
    results
        The run.
    selection
        What the visitor has chosen.
    """

    def __init__(self, results: RunResults, selection: Selection) -> None:
        self.selection = selection
        layers = results.layers
        labels = short_names([layer.name for layer in layers])
        self.labels = {x.name: label for x, label in zip(layers, labels, strict=True)}
        """Short name of each layer, by its name."""
        self.items = tuple(
            LayerItem(x.name, label, x.n_channels, x.positions, x.kind)
            for x, label in zip(layers, labels, strict=True)
        )

    def choose(self, name: str) -> None:
        """Look at this layer."""
        self.selection.choose(layer=name)

    def toggle_beside(self, name: str) -> None:
        """Open this layer's neurons below those that are open, or close them."""
        self.selection.toggle_beside(name)


def short_names(names: Sequence[str]) -> list[str]:
    """Return the names without the dotted parts that they all begin or end with.

    Examples
    --------
    >>> short_names(["features.3.concat", "features.12.concat"])
    ['features.3', 'features.12']
    >>> short_names(["net.layer1.0", "net.layer2.0"])
    ['layer1.0', 'layer2.0']
    """
    if len(names) < 2:
        return list(names)
    parts = [name.replace("@", ".@").split(".") for name in names]
    first = _n_common([p[:-1] for p in parts])
    last = _n_common([p[first + 1 :][::-1] for p in parts])
    is_telling = not all(p[first][:1].isdigit() for p in parts)
    first = first if is_telling else max(0, first - 1)
    if all(p[last * -1 :][0][:1].isdigit() for p in parts if last):
        last = 0
    shortened = [p[first : len(p) - last] for p in parts]
    return [".".join(p).replace(".@", "@") for p in shortened]


def _n_common(lists: Sequence[list[str]]) -> int:
    """Return with how many equal elements all lists begin."""
    columns = zip(*lists, strict=False)
    return sum(
        1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns)
    )
