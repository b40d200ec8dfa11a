"""How does a view model follow the selection, and publish what it has found?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import param

from nnviz_dashboards.shared.selection import Selection

__all__ = ["follow", "publish", "published"]

Kind = TypeVar("Kind")


def follow(
    selection: Selection, choices: Sequence[str], update: Callable[[set[str]], None]
) -> None:
    """Call a function now, and whenever one of some choices has changed.

    Parameters
    ----------
    selection
        What the visitor has chosen.
    choices
        Names of its parameters.
    update
        Called with the names of those that have changed; at first with all of them.
    """

    def changed(*events: param.parameterized.Event) -> None:
        update({event.name for event in events})

    selection.param.watch(changed, list(choices))
    update(set(choices))


def published(kind: type[Kind], doc: str) -> param.ClassSelector[Kind | None]:
    """Declare what a view model publishes: an object of one kind, or None."""
    return param.ClassSelector(class_=kind, allow_None=True, constant=True, doc=doc)


def publish(model: param.Parameterized, updates: Mapping[str, object]) -> None:
    """Set constant parameters of a view model, as one event."""
    with param.edit_constant(model):
        model.param.update(**updates)
