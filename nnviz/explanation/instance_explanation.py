"""What did the network do with one instance? Channels, where they fired, what fed them.

Symbols: C channels of a layer, M of them with maps, J targets, K sources of each.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import UnknownNameError, did_you_mean
from nnviz.formatting import html_table, text_table

__all__ = ["ExplainedLayer", "InstanceExplanation", "TextToken"]

Order = Literal["activation", "relevance"]

SHOWN_CHANNELS = 3
"""Of each layer, in print."""


@dataclass(frozen=True, slots=True)
class TextToken:
    """One token of an instance that is a text."""

    text: str
    """As the tokenizer has it."""
    start: int
    stop: int
    """Its characters in the text, half open; none of a special token."""


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedLayer:
    """One layer's part in what the network put out."""

    activation: NDArray[np.float32]
    """Of every channel, shape (C,)."""
    product: NDArray[np.float32]
    """Sum over positions of gradient times activation, shape (C,): the relevance
    against zero. NaN where no gradient arrives, and nobody knows."""
    gradient: NDArray[np.float32]
    """Sum over positions of the gradient, shape (C,)."""
    mapped: NDArray[np.int64]
    """Channels whose maps are kept, ascending, shape (M,)."""
    maps: NDArray[np.float32]
    """Their maps, shape (M, *positions), in the unit of the layer's output; NaN at
    padding."""
    target: NDArray[np.int64]
    """The channels of largest relevance, largest first, shape (J,)."""
    source: NDArray[np.int32]
    """Their strongest sources, numbered over all edges that enter the layer, in the
    order of the plan, shape (J, K); -1 for none. K is 0 where nothing enters it."""
    influence: NDArray[np.float32]
    """What each contributes at the position where the target is largest, shape (J, K);
    sources are ordered by its size."""
    remainder: NDArray[np.float32]
    """What all else contributes there, shape (J,): with `influence` it adds up to the
    target's pre-activation."""

    def relevance(self, reference: NDArray[np.floating] | float = 0.0) -> Any:
        """Return what the output would lose, to first order, without each channel.

        Parameters
        ----------
        reference
            What the channel would be in place of its activation: a number, or one for
            each channel, shape (C,).

        Returns
        -------
        ndarray
            Shape (C,), float64, in the unit of the output.
        """
        reference = np.asarray(reference, dtype=np.float64)
        return self.product.astype(np.float64) - reference * self.gradient

    def strongest(self, n: int, by: Order = "relevance") -> NDArray[np.int64]:
        """Return the channels with the n largest positive values, largest first.

        Parameters
        ----------
        n
            At most so many.
        by
            ``relevance``, or ``activation``.
        """
        values = self.product if by == "relevance" else self.activation
        order = np.argsort(-np.nan_to_num(values), kind="stable")[:n]
        return order[values[order] > 0].astype(np.int64)

    def map_of(self, channel: int) -> NDArray[np.float32]:
        """Return where a channel fired: its output at every position.

        Raises
        ------
        UnknownNameError
            If its map was not kept.
        """
        place = int(np.searchsorted(self.mapped, channel))
        if place == len(self.mapped) or self.mapped[place] != channel:
            kept = ", ".join(map(str, self.mapped.tolist()))
            msg = (
                f"no map of channel {channel} was kept; the kept ones are those of the "
                f"strongest channels: {kept or 'none'}"
            )
            raise UnknownNameError(msg)
        found: NDArray[np.float32] = self.maps[place]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class InstanceExplanation:
    """What the network did with one instance for one of its outputs."""

    instance: int
    """Number of the instance in the store."""
    id: str
    output: int
    """Which of the network's outputs is explained."""
    output_name: str
    """Its class; empty where it has none."""
    value: float
    """What the network puts out there: a logit, or as it is."""
    layers: Mapping[str, ExplainedLayer]
    """Of all recorded layers, in order of computation."""
    shown: tuple[str, ...]
    """Names of those that are shown, whose maps are kept."""
    tokens: tuple[TextToken, ...] = ()
    """Of an instance that is a text, where its tokenizer is at hand."""
    problems: tuple[str, ...] = field(default=())
    """What is not as one would expect; one sentence each."""

    def layer(self, name: str) -> ExplainedLayer:
        """Return one layer.

        Raises
        ------
        UnknownNameError
            If it was not recorded.
        """
        if name not in self.layers:
            near = did_you_mean(name, self.layers)
            msg = f"unknown layer {name!r}{near}; recorded are {', '.join(self.layers)}"
            raise UnknownNameError(msg)
        return self.layers[name]

    def to_json(self) -> dict[str, Any]:
        """Return its numbers as JSON values, without maps; None for what is not known.

        Of each layer the channels whose maps are kept, else those with sources.
        """
        return {
            "instance": self.instance,
            "id": self.id,
            "output": self.output,
            "output_name": self.output_name,
            "value": _known(self.value),
            "layers": [
                {
                    "layer": name,
                    "channels": [
                        {
                            "channel": channel,
                            "activation": _known(float(layer.activation[channel])),
                            "relevance": _known(float(layer.product[channel])),
                        }
                        for channel in (layer.mapped if name in self.shown
                                        else np.sort(layer.target)).tolist()
                    ],
                }
                for name, layer in self.layers.items()
            ],
            "tokens": [token.text for token in self.tokens],
            "problems": list(self.problems),
        }  # fmt: skip

    def _title(self) -> str:
        of = self.output_name or f"output {self.output}"
        return (
            f"<nnviz.InstanceExplanation {self.id!r}> instance {self.instance:,}, "
            f"explained: {of} ({self.value:.4g})"
        )

    def _columns(self) -> list[tuple[str, list[object]]]:
        names = list(self.shown)[::-1]
        layers = [self.layers[name] for name in names]
        return [
            ("layer", list(names)),
            ("most relevant (gradient x activation)", [_most(x) for x in layers]),
            ("most active", [_most(x, "activation") for x in layers]),
        ]

    def __repr__(self) -> str:
        table = text_table(self._title(), self._columns())
        return "\n".join([table, *(f"  {text}" for text in self.problems)])

    def _repr_html_(self) -> str:
        problems = "".join(f"<div>{html.escape(text)}</div>" for text in self.problems)
        return html_table(self._title(), self._columns()) + problems


def _most(layer: ExplainedLayer, by: Order = "relevance") -> str:
    values = layer.product if by == "relevance" else layer.activation
    best = layer.strongest(SHOWN_CHANNELS, by).tolist()
    return ", ".join(f"{channel} ({values[channel]:.2g})" for channel in best)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
