"""What else is there to see of a channel? Its feature, and diverse examples.

Diverse examples are looked for when a channel is looked at, on a thread of their own:
in a large run that takes longer than a click may.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnviz.engine.wanted import NotWantedError
from nnviz.errors import NnvizError
from nnviz.results.diverse_examples import LEAST, N_CANDIDATES, DiverseExample
from nnviz.results.missing import Missing
from nnviz.results.run_results import RunResults

__all__ = ["RULE", "ChannelFaces"]

Found = tuple[DiverseExample, ...]
RunLater = Callable[[Callable[[], Any], Callable[[Any], None]], None]

RULE = (
    f"Candidates are the {N_CANDIDATES} strongest instances, of those in which the "
    f"channel is at least {LEAST:.0%} as strong as in the strongest one. The strongest "
    "is first; then always the one that is least alike to those before it, by the "
    "cosine of all channels of the layer"
)


class ChannelFaces:
    """What one visitor sees of channels beside their strongest examples.

    Parameters
    ----------
    results
        The run.
    run_later
        Makes what takes long; None makes everything at once.
    """

    def __init__(
        self, results: RunResults, *, run_later: RunLater | None = None
    ) -> None:
        self._results = results
        self._run_later = run_later or (lambda work, done: done(work()))
        self._asked: tuple[str, int] | None = None

    @property
    def are_written(self) -> bool:
        """Whether examples are texts or rows of a table, which somebody has to read."""
        return self._results.instance_pictures.are_written

    def has_feature(self, layer: str, channel: int) -> bool:
        """Whether there is a picture of what the channel was made to see."""
        return channel in self._results.features.of_layer(layer)

    def label(self, instance: int) -> int:
        """Return the index of an instance's true class; -1 where there is none."""
        return int(self._results.labels()[instance])

    def name(self, label: int) -> str:
        """Return the name of a class; empty for none."""
        return self._results.class_table().names[label] if label >= 0 else ""

    def find(
        self, layer: str, channel: int, done: Callable[[Found | None], None]
    ) -> None:
        """Look for diverse examples of a channel.

        Parameters
        ----------
        layer, channel
            Name of a shown layer, and a channel of it.
        done
            Called with them; with None where something else was asked for before, or
            too many wait: they may be asked for again.
        """
        asked = self._asked = (layer, channel)

        def work() -> Found:
            if asked != self._asked:
                raise NotWantedError
            try:
                return self._results.diverse.of(layer, channel)
            except NnvizError:
                return ()

        self._run_later(
            work, lambda found: done(None if isinstance(found, Missing) else found)
        )
