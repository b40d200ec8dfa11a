"""How is an attribution graph made? Its options, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from nnviz.errors import ConfigError
from nnviz.graphs.selection import SUMMIT_SHARE

__all__ = ["GraphChoices", "GraphOptions", "InnerLayers", "Preset", "Scoring", "Weight"]

Preset = Literal["directed", "summit"]


InnerLayers = Literal["composed", "nodes"]


Weight = Literal["count", "sum"]


Scoring = Literal["evidence", "in_strength", "out_strength", "specificity"]


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How an attribution graph is made.

    Raises
    ------
    ConfigError
        If an option has no such value, or does not go with the preset.
    """

    preset: Preset = "directed"
    """``directed``: what the class's output rests on, from the output down; for other
    subsets than classes, what the network's outputs for them rest on. ``summit``: as
    published by SUMMIT."""
    share: float | None = None
    """Of each layer's scores that is kept, in (0, 1]; None: 0.075, as in SUMMIT.
    ``directed`` keeps at least five nodes of a layer."""
    inner: InnerLayers = "composed"
    """Whether layers that are not shown are composed away, or are nodes too."""
    weight: Weight = "count"
    """By what walks of ``directed`` choose their arcs: in how many instances a source
    is among the strongest, or the sum of what it contributes. With the extraction's
    signal ``peak`` these contributions add up, and the graph is a decomposition."""
    scoring: Scoring = "evidence"
    """By what ``directed`` keeps nodes: the share of the evidence that runs through a
    node, the sum of the arcs that enter or leave it, or how much more often it is a top
    channel here than anywhere."""

    def __post_init__(self) -> None:
        _check("preset", self.preset, get_args(Preset))
        _check("inner", self.inner, get_args(InnerLayers))
        _check("weight", self.weight, get_args(Weight))
        _check("scoring", self.scoring, get_args(Scoring))
        if self.share is not None and not 0 < self.share <= 1:
            msg = f"share is {self.share}; it is a fraction above 0 and at most 1"
            raise ConfigError(msg)
        others = self.weight, self.scoring
        if self.preset == "summit" and others != ("count", "evidence"):
            msg = (
                f"the preset 'summit' has no weight {self.weight!r} with scoring "
                f"{self.scoring!r}; leave both out, or take the preset 'directed'"
            )
            raise ConfigError(msg)

    @property
    def kept_share(self) -> float:
        """Of each layer's scores that is kept."""
        return SUMMIT_SHARE if self.share is None else self.share


class GraphChoices(TypedDict, total=False):
    """The options of :class:`GraphOptions`, as keywords."""

    preset: Preset
    share: float | None
    inner: InnerLayers
    weight: Weight
    scoring: Scoring


def _check(name: str, value: str, known: tuple[Any, ...]) -> None:
    if value not in known:
        msg = f"{name} is {value!r}; it is one of {', '.join(known)}"
        raise ConfigError(msg)
