"""How is an attribution graph made? Its options, declared once.

Names, labels, defaults and explanations stand here only. The command line, the page,
Python and the documentation take them from here; that is why nothing slow is imported.

A new scoring is one function, ``nnviz.graphs.scores``, and one row of :data:`SCORINGS`.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from nnviz.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from nnviz.runs.config import ExtractionConfig

__all__ = [
    "INNER",
    "PRESETS",
    "SCORINGS",
    "SUMMIT_SHARE",
    "WEIGHTS",
    "GraphChoices",
    "GraphOption",
    "GraphOptions",
    "InnerLayers",
    "OptionValue",
    "Preset",
    "Weight",
    "graph_options",
    "keywords",
    "options_table",
]

Preset = Literal["directed", "summit"]
InnerLayers = Literal["composed", "nodes"]
Weight = Literal["auto", "count", "sum"]

SUMMIT_SHARE = 0.075
"""Of a layer's scores, where SUMMIT's published graphs are cut."""


@dataclass(frozen=True, slots=True)
class OptionValue:
    """One value that an option can have."""

    label: str
    """A few words, for a list to choose from."""
    help: str
    """A phrase that says what it does."""


PRESETS: Mapping[Preset, OptionValue] = {
    "directed": OptionValue(
        "From the output down",
        "what the class's output rests on, from the output down; for other subsets "
        "than classes, what the network's outputs for them rest on",
    ),
    "summit": OptionValue("As in SUMMIT", "as SUMMIT publishes it"),
}

INNER: Mapping[str, OptionValue] = {
    "composed": OptionValue(
        "Composed away", "arcs lead through them, from shown to shown"
    ),
    "nodes": OptionValue("As nodes", "they are layers like the others"),
}

WEIGHTS: Mapping[str, OptionValue] = {
    "auto": OptionValue(
        "As extracted",
        'sums where the run has contributions that add up (`signal = "peak"` of its '
        "extraction), else counts",
    ),
    "count": OptionValue(
        "How often", "in how many instances a source is among the strongest"
    ),
    "sum": OptionValue("How much", "the sum of what a source contributes"),
}

SCORINGS: Mapping[str, OptionValue] = {
    "evidence": OptionValue(
        "Evidence that runs through", "the share of the evidence that runs through it"
    ),
    "in_strength": OptionValue("What enters", "the sum of the arcs that enter it"),
    "out_strength": OptionValue("What leaves", "the sum of the arcs that leave it"),
    "specificity": OptionValue(
        "Specificity", "how much more often it is a top channel here than anywhere"
    ),
    "relevance": OptionValue(
        "Relevance",
        "the mean relevance for the explained output, where it is positive, against "
        "the mean of all instances, or of the other subset where two are compared; for "
        "runs that have recorded it, of shown layers",
    ),
    "gradient": OptionValue(
        "Gradient",
        "the mean gradient of the explained output, summed over positions, where it is "
        "positive; as relevance",
    ),
    "gradient_norm": OptionValue(
        "Gradient norm",
        "the mean norm of that gradient over positions; as relevance",
    ),
}
"""All but the first and the last three are functions of this name in
``nnviz.graphs.scores``."""


def _told(
    label: str, help_: str, values: Mapping[Any, OptionValue] | None = None
) -> dict[str, Any]:
    return {"label": label, "help": help_, "values": values}


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How an attribution graph is made; :func:`options_table` explains the values.

    Raises
    ------
    ConfigError
        If an option has no such value, or does not go with the preset.
    """

    preset: Preset = field(
        default="directed",
        metadata=_told("Made", "How the graph is made.", PRESETS),
    )
    scoring: str = field(
        default="evidence",
        metadata=_told(
            "Channels kept by", "By what 'directed' keeps channels.", SCORINGS
        ),
    )
    weight: Weight = field(
        default="auto",
        metadata=_told(
            "Arcs followed by",
            "By what walks of 'directed' choose their arcs. With the extraction's "
            "signal 'peak' contributions add up, and the graph is a decomposition.",
            WEIGHTS,
        ),
    )
    share: float | None = field(
        default=None,
        metadata=_told(
            "Channels kept",
            "Share of each layer's scores that is kept, above 0 and at most 1; by "
            f"default {SUMMIT_SHARE:g}, as in SUMMIT. 'directed' keeps at least five "
            "channels of a layer.",
        ),
    )
    inner: InnerLayers = field(
        default="composed",
        metadata=_told(
            "Layers not shown", "What becomes of layers that are not shown.", INNER
        ),
    )

    def __post_init__(self) -> None:
        for option in graph_options():
            value = getattr(self, option.name)
            is_text = isinstance(value, str)
            if option.values and not (is_text and value in option.values):
                near = did_you_mean(str(value), option.values)
                known = ", ".join(option.values)
                msg = f"{option.name} is {value!r}{near}; it is one of {known}"
                raise ConfigError(msg)
        is_number = isinstance(self.share, numbers.Real)
        if self.share is not None and not (is_number and 0 < self.share <= 1):
            msg = f"share is {self.share!r}; it is a fraction above 0 and at most 1"
            raise ConfigError(msg)
        has_others = self.weight == "sum" or self.scoring != "evidence"
        if self.preset == "summit" and has_others:
            msg = (
                f"the preset 'summit' has no weight {self.weight!r} with scoring "
                f"{self.scoring!r}; leave both out, or take the preset 'directed'"
            )
            raise ConfigError(msg)

    def weighs_sums(self, extraction: ExtractionConfig) -> bool:
        """Whether walks follow sums of influences, and not counts.

        Parameters
        ----------
        extraction
            Of the run.
        """
        adds_up = extraction.signal == "peak" and extraction.extremum == "max"
        return self.weight == "sum" or (self.weight == "auto" and adds_up)

    @property
    def kept_share(self) -> float:
        """Of each layer's scores that is kept."""
        return SUMMIT_SHARE if self.share is None else self.share


class GraphChoices(TypedDict, total=False):
    """The options of :class:`GraphOptions`, as keywords."""

    preset: Preset
    scoring: str
    weight: Weight
    share: float | None
    inner: InnerLayers


@dataclass(frozen=True, slots=True)
class GraphOption:
    """What is declared of one option."""

    name: str
    default: str | float | None
    label: str
    """A few words, for what is beside a list of its values."""
    help: str
    """Sentences that say what it decides."""
    values: Mapping[str, OptionValue] | None
    """All that it can be; None for a number."""


def graph_options() -> Iterator[GraphOption]:
    """Yield what is declared of every option, in order."""
    for one in fields(GraphOptions):
        default = cast("str | float | None", one.default)
        yield GraphOption(one.name, default, **one.metadata)


def keywords(options: GraphOptions) -> GraphChoices:
    """Return options as the keywords that make them."""
    chosen = {one.name: getattr(options, one.name) for one in fields(options)}
    return cast("GraphChoices", chosen)


def options_table() -> str:
    """Return a table of all options and their values, in Markdown."""
    lines = ["| option | value | what it does |", "|---|---|---|"]
    for option in graph_options():
        if option.values is None:
            lines.append(f"| `{option.name}` | a number | {option.help} |")
            continue
        lines.append(f"| `{option.name}` | | {option.help} |")
        for name, value in option.values.items():
            default = ", the default" if name == option.default else ""
            lines.append(f"| | `{name}`{default} | {value.label}: {value.help}. |")
    return "\n".join(lines)
