"""What are two classes taken for, without the channels that only one's graph has?

Symbols: T removals, n instances of the larger sample.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnviz.formatting import html_table, text_table

__all__ = ["DifferenceCheck", "PartName", "Removal"]

PartName = Literal["nothing", "first", "second", "shared"]

PARTS: tuple[PartName, ...] = ("first", "second", "shared")


@dataclass(frozen=True, slots=True)
class Removal:
    """Which channels are ablated in one run of the network."""

    part: PartName
    """What only the first graph has, only the second has, or both have."""
    draw: int = 0
    """Number of the draw of as many channels at random, from 1; 0: the part itself."""


@dataclass(frozen=True, slots=True, eq=False)
class DifferenceCheck:
    """What the instances of two classes are predicted as, under every removal."""

    names: tuple[str, str]
    """Of the two classes."""
    classes: tuple[int, int]
    """Numbers of their outputs."""
    preset: str
    """How the graphs were made."""
    layers: tuple[str, ...]
    """In which channels were ablated, in order of computation."""
    removals: tuple[Removal, ...]
    """(T,)."""
    n_channels: NDArray[np.int64]
    """How many channels each ablates, in all layers, shape (T,)."""
    n_instances: tuple[int, int]
    """Size of each sample."""
    prediction: NDArray[np.int32]
    """Shape (2, T, n); -1 behind a smaller sample."""
    logit: NDArray[np.float64]
    """Of the instance's own class, shape (2, T, n); NaN behind a smaller sample."""
    problems: tuple[str, ...] = ()
    """What is not as one would expect; one sentence each."""

    def taken_for(self, part: PartName, *, random: bool = False) -> NDArray[np.float64]:
        """Return what part of each sample is predicted as either class.

        Parameters
        ----------
        part
            What is ablated.
        random
            Whether as many channels at random are, in place of it.

        Returns
        -------
        numpy.ndarray
            Shape (draw, 2, 2): of the sample of each class, the part that is predicted
            as the first and as the second class. NaN for a class without instances.
        """
        rows = self._rows(part, random=random)
        found = np.full((len(rows), 2, 2), np.nan)
        for sample, n in enumerate(self.n_instances):
            for place, index in enumerate(self.classes):
                is_one = self.prediction[sample][rows][:, :n] == index
                if n:
                    found[:, sample, place] = is_one.mean(axis=1)
        return found

    def drop(self, part: PartName, *, random: bool = False) -> NDArray[np.float64]:
        """Return how far the own logit of each sample drops, shape (draw, 2)."""
        values = np.full((len(self.removals), 2), np.nan)
        for sample, n in enumerate(self.n_instances):
            if n:
                values[:, sample] = self.logit[sample, :, :n].mean(axis=1)
        return np.asarray(values[0] - values[self._rows(part, random=random)])

    def beaten(self, part: PartName) -> NDArray[np.float64]:
        """Return in which part of the random draws fewer are taken for the other.

        One half where the part does no more than chance; shape (2,), for the first
        class taken for the second, and the reverse. NaN without draws.
        """
        mine = self.taken_for(part)[0][[0, 1], [1, 0]]
        drawn = self.taken_for(part, random=True)[:, [0, 1], [1, 0]]
        if not len(drawn):
            return np.full(2, np.nan)
        return np.asarray(((mine > drawn) + 0.5 * (mine == drawn)).mean(axis=0))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each kind of removal: means over the draws."""
        found = []
        parts: tuple[PartName, ...] = ("nothing", *PARTS)
        for part in parts:
            for random in (False, True):
                taken = self.taken_for(part, random=random)
                if not len(taken):
                    continue
                mean, drop = taken.mean(axis=0), self.drop(part, random=random)
                beaten = np.full(2, np.nan)
                if part != "nothing" and not random:
                    beaten = self.beaten(part)
                found.append(
                    {
                        "ablated": self._text(part, random=random),
                        "channels": self._size(part),
                        "first_as_first": float(mean[0, 0]),
                        "first_as_second": float(mean[0, 1]),
                        "second_as_first": float(mean[1, 0]),
                        "second_as_second": float(mean[1, 1]),
                        "first_drop": float(drop.mean(axis=0)[0]),
                        "second_drop": float(drop.mean(axis=0)[1]),
                        "first_beaten": float(beaten[0]),
                        "second_beaten": float(beaten[1]),
                    }
                )
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values; what is not known is None."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "preset": self.preset,
            "layers": list(self.layers),
            "instances": list(self.n_instances),
            "rows": [
                {name: None if _is_nan(x) else x for name, x in row.items()}
                for row in self.rows()
            ],
            "problems": list(self.problems),
        }

    def _rows(self, part: PartName, *, random: bool) -> list[int]:
        return [
            number
            for number, one in enumerate(self.removals)
            if one.part == part and (one.draw > 0) == random
        ]

    def _text(self, part: PartName, *, random: bool) -> str:
        if random:
            return "as many at random"
        first, second = self.names
        return {
            "nothing": "nothing",
            "first": f"only in {first!r}",
            "second": f"only in {second!r}",
            "shared": "in both",
        }[part]

    def _size(self, part: PartName) -> int:
        return int(self.n_channels[self.removals.index(Removal(part))])

    def _title(self) -> str:
        first, second = self.names
        n, m = self.n_instances
        return (
            f"<nnviz.DifferenceCheck {first!r} {second!r}> {self.preset}: {n:,} and "
            f"{m:,} instances, mean ablation in {len(self.layers)} layers at once"
        )

    def _columns(self) -> list[tuple[str, list[object]]]:
        first, second = self.names
        headings = {
            "ablated": "ablated",
            "channels": "channels",
            "first_as_first": f"{first} as {first}",
            "first_as_second": f"as {second}",
            "first_beaten": "beaten",
            "first_drop": "logit lost",
            "second_as_second": f"{second} as {second}",
            "second_as_first": f"as {first}",
            "second_beaten": "beaten",
            "second_drop": "logit lost",
        }
        rows = self.rows()
        return [
            (text, [_shown(name, row[name]) for row in rows])
            for name, text in headings.items()
        ]

    def __repr__(self) -> str:
        return "\n".join([text_table(self._title(), self._columns()), *self.problems])

    def _repr_html_(self) -> str:
        problems = "".join(f"<div>{html.escape(x)}</div>" for x in self.problems)
        return html_table(self._title(), self._columns()) + problems


def _shown(name: str, value: Any) -> object:
    if _is_nan(value):
        return "–"
    if name in ("ablated", "channels"):
        return value
    return f"{value:.2f}" if name.endswith("drop") else f"{100 * value:.0f} %"


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
