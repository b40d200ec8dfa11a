"""Which instances excite a channel most?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import MissingDataError
from nnviz.results.run_results import RunResults

__all__ = ["Example", "channel_examples"]


@dataclass(frozen=True, slots=True)
class Example:
    """An instance that excites a channel most."""

    rank: int
    instance: int
    value: float
    """Activation of the channel, in the unit of the layer's output."""
    label: str
    """Name of its true class; empty where there is none."""
    is_of_class: bool
    """Whether it belongs to the chosen class or subset."""
    has_picture: bool
    text: str = ""
    """Of a text: the token at which the channel is largest, in brackets, in it."""


def channel_examples(
    results: RunResults,
    layer: str,
    channel: int,
    subset: int,
    members: NDArray[np.int64] | None = None,
) -> tuple[Example, ...]:
    """Return the examples of a channel, strongest first; none where there are none.

    Parameters
    ----------
    results
        The run.
    layer, channel
        Name of any layer, and a channel of it.
    subset
        Index of the chosen class.
    members
        Instances that count as its own, ascending; None: those of the class.
    """
    try:
        examples = results.examples(layer)
    except MissingDataError:
        return ()
    names, labels = results.class_table().names, results.labels()
    found = []
    for rank, instance in enumerate(examples.instance[channel].tolist()):
        if instance < 0:
            continue
        label = int(labels[instance])
        found.append(
            Example(
                rank,
                instance,
                float(examples.value[channel, rank]),
                names[label] if label >= 0 else "",
                label == subset if members is None else _has(members, instance),
                examples.has_picture(channel, rank),
                _text(results, layer, channel, rank),
            )
        )
    return tuple(found)


def _has(members: NDArray[np.int64], instance: int) -> bool:
    place = int(np.searchsorted(members, instance))
    return place < len(members) and int(members[place]) == instance


def _text(results: RunResults, layer: str, channel: int, rank: int) -> str:
    if results.store.plan.preprocessing.kind != "text":
        return ""
    example = results.example_text(layer, channel, rank)
    return "" if example is None else example.text
