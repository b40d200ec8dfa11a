"""What did the network do with the opened instance? Read, or asked of the network.

The facts of a run say how strong each channel was. Where it fired and what the answer
rests on is known once ``nnviz explain`` has run for the instance: a visitor has it run
where a worker is at hand, and else gets the command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import param

from nnviz.errors import NnvizError
from nnviz.explanation.instance_explanation import InstanceExplanation
from nnviz.results.explained_instances import BesideClass, explain_words
from nnviz.results.instances import InstanceFacts
from nnviz_dashboards.instances.model import InstancesModel
from nnviz_dashboards.shared.network_run import RunNetwork
from nnviz_dashboards.shared.publishing import publish, published
from nnviz_dashboards.shared.selection import NONE

__all__ = ["Inside", "InsideModel"]

Asked = tuple[int, int]
"""Number of an instance, and which output is explained."""


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """What is known of one instance and output."""

    explanation: InstanceExplanation
    beside: BesideClass | None
    """Its graph and those of classes; None where the run has none."""
    why: str
    """Why there is none."""
    crop: tuple[float, float, float, float] | None
    """Left, top, right, bottom of what the network saw, as parts of the picture; None
    where there is no picture."""
    text: str
    """Of an instance with tokens; empty for others."""


class InsideModel(param.Parameterized):
    """What the network did with the instance that is opened.

    Parameters
    ----------
    instances
        The instances, and which one is opened.
    run
        Runs the command; None where no worker is at hand.
    run_later
        Makes what takes long; None makes everything at once.
    """

    inside = published(Inside, "What is known.")
    output = param.Integer(NONE, constant=True, doc="That is explained; -1 for none.")
    words = param.ClassSelector(
        class_=tuple, default=(), constant=True, doc="Command that asks the network."
    )
    is_running = param.Boolean(
        default=False, constant=True, doc="Whether the network is being asked."
    )
    problem = param.String(constant=True, doc="Why it could not be.")

    def __init__(
        self,
        instances: InstancesModel,
        *,
        run: RunNetwork | None = None,
        run_later: Callable[[Callable[[], Any], Callable[[Any], None]], None]
        | None = None,
    ) -> None:
        super().__init__()
        self._instances = instances
        self.results = instances.results
        self._run = run
        self._run_later = run_later or (lambda work, done: done(work()))
        self._running: set[Asked] = set()
        instances.param.watch(self._open, "opened")
        self._open()

    @property
    def can_run(self) -> bool:
        """Whether a visitor can ask the network."""
        return self._run is not None

    @property
    def outputs(self) -> tuple[int, ...]:
        """Outputs that can be explained: of the prediction, then of the label."""
        facts = self._facts
        if facts is None:
            return ()
        if not self.results.store.class_names:
            return (0,)
        known = dict.fromkeys((facts.prediction, facts.label))
        return tuple(index for index in known if index >= 0)

    def choose(self, output: int) -> None:
        """Look at what is known of another output."""
        if output in self.outputs and output != self.output:
            self._look_at(int(output))

    def begin(self) -> None:
        """Ask the network."""
        facts, asked = self._facts, self._asked
        if self._run is None or facts is None or asked in self._running:
            return
        self._running.add(asked)
        publish(self, {"is_running": True, "problem": ""})
        self._run(self.words, lambda problem: self._end(asked, problem))

    def token_values(self, layer: str, channel: int) -> list[float]:
        """Return how strong a channel is at every token, nothing where it is not known.

        Parameters
        ----------
        layer, channel
            A channel whose map is kept.
        """
        if self.inside is None:
            return []
        try:
            return self.results.explained.token_values(
                self.inside.explanation, layer, channel
            )
        except NnvizError:
            return []

    @property
    def _facts(self) -> InstanceFacts | None:
        opened = self._instances.opened
        return None if opened is None else opened.facts

    @property
    def _asked(self) -> Asked:
        facts = self._facts
        return (NONE if facts is None else facts.number, self.output)

    def _open(self, *_: param.parameterized.Event) -> None:
        outputs = self.outputs
        if outputs:
            self._look_at(outputs[0])
        else:
            publish(self, {"inside": None, "output": NONE, "words": ()})

    def _look_at(self, output: int) -> None:
        facts, store = self._facts, self.results.store
        assert facts is not None  # it has outputs
        names = store.class_names
        of = names[output] if output < len(names) else None
        publish(
            self,
            {
                "inside": None,
                "output": output,
                "words": explain_words(store, facts.id, of),
                "is_running": (facts.number, output) in self._running,
                "problem": "",
            },
        )
        self._read()

    def _read(self) -> None:
        """Show what is stored, if anything is."""
        asked = self._asked
        explanation = self.results.explained.found(*asked)
        if explanation is None:
            return
        labels = (asked[1], *self.outputs)

        def show(found: object) -> None:
            if asked == self._asked and isinstance(found, Inside):
                publish(self, {"inside": found})

        self._run_later(lambda: self._inside(explanation, labels), show)

    def _inside(
        self, explanation: InstanceExplanation, labels: tuple[int, ...]
    ) -> Inside:
        beside, why = None, ""
        try:
            beside = self.results.explained.beside(explanation, labels)
        except NnvizError as error:
            why = str(error)
        try:
            crop = self.results.instance_pictures.crop(explanation.instance)
        except NnvizError:
            crop = None
        text, n = "", explanation.instance
        if explanation.tokens:
            text = str(self.results.store.read("instances/text", n, n + 1)[0])
        return Inside(explanation, beside, why, crop, text)

    def _end(self, asked: Asked, problem: str) -> None:
        self._running.discard(asked)
        if asked == self._asked:
            publish(self, {"is_running": False, "problem": problem})
            self._read()
