"""What has the reader chosen? The only state that the views share.

A :class:`Selection` keeps its invariants itself: a layer is one of the shown layers, a
class one of the classes that have instances, a channel belongs to the chosen layer.
Whatever an address or a click asks for, an impossible value becomes the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlencode

import param

__all__ = ["RANKINGS", "SORTS", "Selection"]

SORTS = ("similarity", "accuracy", "errors", "name")
"""Orders of the list of classes; ``errors`` puts the least accurate first."""

RANKINGS = ("count", "lift")
"""Orders of the channels of a class: most frequent, or most specific."""

MAX_SEARCH_CHARACTERS = 200

NONE = -1


class Selection(param.Parameterized):
    """What one visitor looks at.

    Parameters
    ----------
    layers
        Number of channels of every shown layer, by name, in order of computation.
    subsets
        Indices of the classes that can be chosen.
    layer, subset
        What is chosen at first.
    """

    layer = param.String(doc="Name of a shown layer.")
    subset = param.Integer(default=NONE, doc="Index of a class; -1 for none.")
    channel = param.Integer(default=NONE, doc="Channel of the layer; -1 for none.")
    sort = param.String(SORTS[0], doc="One of `SORTS`.")
    search = param.String(doc="What the names of the listed classes contain.")
    ranking = param.String(RANKINGS[0], doc="One of `RANKINGS`.")

    def __init__(
        self,
        layers: Mapping[str, int],
        subsets: Sequence[int],
        *,
        layer: str,
        subset: int,
    ) -> None:
        self._layers = dict(layers)
        self._subsets = frozenset(subsets)
        self._defaults: dict[str, str | int] = {
            "layer": layer,
            "subset": subset,
            "channel": NONE,
            "sort": SORTS[0],
            "search": "",
            "ranking": RANKINGS[0],
        }
        super().__init__(layer=layer, subset=subset)

    @classmethod
    def choices(cls) -> list[str]:
        """Return the names of everything that can be chosen."""
        return list(_ADDRESS)

    def choose(self, **values: str | int) -> None:
        """Change several choices as one event.

        Parameters
        ----------
        **values
            New values by the name of the parameter; one that is impossible becomes the
            default. Another layer clears the channel unless one is given.
        """
        wanted = {name: value for name, value in values.items() if name in _ADDRESS}
        if wanted.get("layer", self.layer) != self.layer:
            wanted.setdefault("channel", NONE)
        layer = str(wanted.get("layer", self.layer))
        if layer not in self._layers:
            layer = str(self._defaults["layer"])
        for name, value in wanted.items():
            if not self._is_possible(name, value, layer):
                wanted[name] = self._defaults[name]
        self.param.update(**wanted)

    def address(self) -> str:
        """Return the choices that differ from the defaults as a query string.

        Returns
        -------
        str
            ``?layer=...&class=...``; layer and class are always there.
        """
        pairs = {
            key: getattr(self, name)
            for name, key in _ADDRESS.items()
            if name in ("layer", "subset")
            or getattr(self, name) != self._defaults[name]
        }
        return "?" + urlencode(pairs)

    def restore(self, address: str) -> None:
        """Take the choices from a query string; the others become the defaults."""
        given = {key: values[-1] for key, values in parse_qs(address[1:]).items()}
        values: dict[str, str | int] = dict(self._defaults)
        for name, key in _ADDRESS.items():
            if key in given:
                values[name] = _parse(given[key], self._defaults[name])
        self.choose(**values)

    def _is_possible(self, name: str, value: object, layer: str) -> bool:
        if name == "layer":
            return value in self._layers
        if name == "subset":
            return value in self._subsets
        if name == "channel":
            n_channels = self._layers.get(layer, 0)
            return isinstance(value, int) and 0 <= value < n_channels
        if name == "sort":
            return value in SORTS
        if name == "ranking":
            return value in RANKINGS
        return isinstance(value, str) and len(value) <= MAX_SEARCH_CHARACTERS


_ADDRESS = {
    "layer": "layer",
    "subset": "class",
    "channel": "channel",
    "sort": "sort",
    "search": "find",
    "ranking": "channels",
}
"""Name of each choice in the address."""


def _parse(text: str, default: str | int) -> str | int:
    if isinstance(default, str):
        return text
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 12 else default
