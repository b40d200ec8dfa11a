"""What does the card say of a node or an arc? Its numbers as texts, and what they mean.

They are many, and are sent of what is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, isnan

from nnviz.formatting import p_value_text
from nnviz.graphs.drawing import GraphDrawing
from nnviz.graphs.drawn_parts import Contrast, DrawnArc, DrawnNode, Linked
from nnviz.results.causal_effects import CausalEffect
from nnviz.results.diverse_examples import DiverseExample
from nnviz_dashboards.shared.channel_examples import Example
from nnviz_dashboards.shared.theme import (
    format_count,
    format_lift,
    format_percent,
    format_value,
)

__all__ = ["arc_numbers", "diverse_text", "effect_text", "node_numbers", "terms"]

NODE_TERMS = {
    "count": (
        "On top in",
        (
            "Instances of the subset in which the channel is among the top "
            "channels, those with the largest activations of its layer; in brackets "
            "their share"
        ),
    ),
    "base": ("Base rate", "Share of all instances of the run of which that is true"),
    "lift": (
        "Lift",
        (
            "Share in the subset divided by the base rate: 2 × is twice as often as in "
            "all instances; in brackets the 95 % interval"
        ),
    ),
    "partner": (
        "Matched with",
        (
            "Channel of the other network that the same instances excite most alike, "
            "and the correlation of the two over these instances: 1 is equal"
        ),
    ),
    "second": ("On top in {}", "The same for the subset that is compared"),
    "kept": ("Drawn for", "Whose graph keeps it: it is strong enough in that subset"),
    "difference": ("Difference", "First share minus second, in percentage points"),
    "effect": (
        "Effect (h)",
        (
            "Cohen's h, a difference of shares that counts the same near 0 % as near "
            "50 %: about 0.2 is small, 0.5 medium, 0.8 large"
        ),
    ),
    "p": (
        "Adjusted p",
        (
            "How likely so large a difference is by chance (Fisher's exact test), "
            "adjusted for everything compared; below 0.05 it is hardly chance"
        ),
    ),
    "replication": (
        "Kept again",
        (
            "In which share of graphs of resampled instances (bootstrap) it is kept: "
            "near 100 % other instances would give the same"
        ),
    ),
    "score_difference": (
        "Score, difference",
        "First minus second, ± its standard error by blocks of instances",
    ),
    "score_p": (
        "Its adjusted p",
        "Of Student's t: how likely so large a difference of scores is by chance",
    ),
    "score": (
        "Score",
        (
            "What the channel was kept by: larger is stronger; 'Options' chooses "
            "what it measures; ± its standard error by the jackknife, where 'Options' "
            "asks for errors"
        ),
    ),
}
"""What the numbers of a channel are called, and what they mean."""

ARC_TERMS = NODE_TERMS | {
    "count": (
        "Feeds in",
        (
            "Instances of the subset in which the source is among the "
            "strongest sources of the target; in brackets their share"
        ),
    ),
    "second": ("Feeds in, {}", "The same for the subset that is compared"),
    "weakest": (
        "Strongest path",
        (
            "Through layers that are folded: of all paths the strongest, and in how "
            "many instances its weakest arc is; the path is in no more"
        ),
    ),
    "weakest_second": ("Strongest path, {}", "The same for the compared subset"),
    "folded": ("Folded layers", "That the path leads through; open them to see it"),
}
"""The same for an arc."""


def terms(versus: str) -> dict[str, dict[str, list[str]]]:
    """Return what numbers of nodes and arcs are called, and what they mean.

    Parameters
    ----------
    versus
        Name of the subset that is compared; empty for none.
    """
    return {
        "node_terms": _named(NODE_TERMS, versus),
        "arc_terms": _named(ARC_TERMS, versus),
    }


def _named(terms: Mapping[str, tuple[str, str]], versus: str) -> dict[str, list[str]]:
    return {
        key: [name.format(versus), explanation]
        for key, (name, explanation) in terms.items()
    }


def effect_text(effect: CausalEffect) -> str:
    """Return what a causal check says, as one or two sentences."""
    n = format_count(effect.n_instances)
    text = (
        f"Without these {format_count(effect.n_channels)} channels "
        f"{format_count(effect.n_right_without)} of {n} instances are predicted right, "
        f"with them {format_count(effect.n_right)}"
    )
    if not isnan(effect.n_right_random):
        text += f"; without as many at random {format_value(effect.n_right_random)}"
    text += (
        f". The logit drops by {format_value(effect.drop)} "
        f"± {format_value(effect.error)}"
    )
    if isnan(effect.random_drop):
        return text + "."
    text += f" (at random {format_value(effect.random_drop)}"
    return text + f" ± {format_value(effect.random_spread)})."


def node_numbers(
    node: DrawnNode, drawing: GraphDrawing, examples: Sequence[Example]
) -> dict[str, object]:
    """Return what the card says of a node.

    Parameters
    ----------
    node, drawing
        The node, and what it is drawn in.
    examples
        Of its channel, strongest first.
    """
    indices = {name: index for index, name in enumerate(drawing.layers)}
    facts = {**_facts(node), **_partner(node), **_contrast(node.contrast, drawing)}
    if not isnan(node.score):
        facts["score"] = format_value(node.score)
        if not isnan(node.score_error) and isnan(node.score_difference):
            facts["score"] += f" ± {format_value(node.score_error)}"
    facts |= _kept_again(node.replication)
    if not isnan(node.score_difference):
        error = format_value(node.score_error)
        facts["score_difference"] = f"{_signed(node.score_difference, '')} ± {error}"
        facts["score_p"] = "–" if isnan(node.score_p) else p_value_text(node.score_p)
    return {
        "facts": facts,
        "texts": [_example(example) for example in examples],
        "sources": [_linked(link, indices) for link in node.sources],
        "targets": [_linked(link, indices) for link in node.targets],
    }


def diverse_text(one: DiverseExample, name: str) -> list[str | int]:
    """Return a short and a long text, and the number of the instance.

    Parameters
    ----------
    one
        A diverse example of a channel.
    name
        Of its class, empty for none.
    """
    number = f"#{format_count(one.instance)}"
    text = f"{name or 'instance'} {number}: activation {format_value(one.value)}"
    if not isnan(one.likeness):
        text += f", likeness to those before it at most {one.likeness:.2f}"
    return [name or number, text, one.instance]


def _example(example: Example) -> list[str | int]:
    """Return a short and a long text, and the number of the instance."""
    number = f"#{format_count(example.instance)}"
    value = format_value(example.value)
    return [
        example.label or number,
        f"{example.label or 'instance'} {number}: activation {value}",
        example.instance,
    ]


def arc_numbers(arc: DrawnArc, drawing: GraphDrawing) -> dict[str, str]:
    """Return what the card says of an arc.

    Parameters
    ----------
    arc, drawing
        The arc, and what it is drawn in.
    """
    if arc.n_folded:
        return _path_facts(arc)
    return {
        **_facts(arc),
        **_contrast(arc.contrast, drawing),
        **_kept_again(arc.replication),
    }


def _kept_again(replication: float) -> dict[str, str]:
    return {} if isnan(replication) else {"replication": format_percent(replication)}


def _path_facts(arc: DrawnArc) -> dict[str, str]:
    """Return what is known of a path through layers that are not drawn."""
    second = {}
    if arc.contrast is not None:
        count, share = arc.contrast.second_count, arc.contrast.second_share
        text = f"{format_count(count)} ({format_percent(share)})"
        second = {"weakest_second": text}
    return {
        "weakest": f"{format_count(arc.count)} ({format_percent(arc.share)})",
        **second,
        "folded": format_count(arc.n_folded),
    }


def _partner(node: DrawnNode) -> dict[str, str]:
    if node.partner is None:
        return {}
    channel, correlation = node.partner
    return {"partner": f"its channel {channel} ({correlation:.2f})"}


def _facts(part: DrawnNode | DrawnArc) -> dict[str, str]:
    interval = (
        ""
        if isnan(part.lift_low)
        else f" ({part.lift_low:.1f} to {_end(part.lift_high)})"
    )
    if isnan(part.share):  # a published graph does not say of how many
        return {"count": format_count(part.count)}
    return {
        "count": f"{format_count(part.count)} ({format_percent(part.share)})",
        "base": format_percent(part.base_rate),
        "lift": format_lift(part.lift) + interval,
    }


def _end(value: float) -> str:
    return "∞" if not isfinite(value) else f"{value:.1f}"


def _contrast(contrast: Contrast | None, drawing: GraphDrawing) -> dict[str, str]:
    if contrast is None:
        return {}
    sides = {"both": "both", "first": drawing.subset, "second": drawing.versus}
    second = format_count(contrast.second_count)
    only = "" if contrast.side == "both" else "only "
    kept = only + sides[contrast.side]
    if isnan(contrast.difference):
        return {"second": second, "kept": kept}
    return {
        "second": f"{second} ({format_percent(contrast.second_share)})",
        "kept": kept,
        "difference": _signed(100 * contrast.difference, " points"),
        "effect": _signed(contrast.effect, ""),
        "p": p_value_text(contrast.adjusted_p),
    }


def _signed(value: float, unit: str) -> str:
    return "–" if isnan(value) else f"{value:+.3g}{unit}"


def _linked(link: Linked, indices: Mapping[str, int]) -> list[int]:
    return [indices[link.layer], link.channel, link.count]
