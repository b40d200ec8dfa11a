"""Where are A and B among all instances, and what is chosen by drawing around them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import param
from numpy.typing import NDArray

from nnviz.errors import MissingDataError, NnvizError
from nnviz.results.instance_map import InstanceMap
from nnviz.results.missing import Missing
from nnviz.results.neuron_matrix import shading
from nnviz.results.run_results import RunResults
from nnviz.results.subset_pairs import SubsetPair
from nnviz_dashboards.shared.publishing import follow, publish, published
from nnviz_dashboards.shared.selection import Selection
from nnviz_dashboards.subsets.model import SIDES, RunLater, Side, SubsetPairModel

__all__ = ["InstanceMapModel", "ShownMap"]

SATURATED = 98
"""Percentile of the targets from which on a point is as dark as can be."""

N_ADDED = 500
"""Instances of A, and of B, that are shown besides the sample."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownMap:
    """All points, and where the classes are."""

    map: InstanceMap
    names: tuple[str, str]
    """Of A and B; empty where none are chosen."""
    instances: NDArray[np.int64]
    """Numbers, ascending, shape (n,)."""
    places: NDArray[np.float64]
    """Shape (n, 2)."""
    labels: NDArray[np.int64]
    """Class of each, -1 for none, shape (n,)."""
    is_wrong: NDArray[np.bool_]
    side: NDArray[np.uint8]
    """1 in A, 2 in B, 3 in both, 0 in neither, shape (n,)."""
    n_usable: int
    has_pictures: bool
    shades: NDArray[np.uint8] | None
    """Target of each, from 0 for the smallest to 254, 255 for none, shape (n,); None
    where no target was measured."""
    bounds: tuple[float, float]
    """Targets that are drawn lightest and darkest."""


class InstanceMapModel(param.Parameterized):
    """The map of the instances in the chosen layer.

    Parameters
    ----------
    results
        The run.
    pairs
        A and B.
    run_later
        Makes what takes long; None makes everything at once.
    """

    shown = published(ShownMap, "What is shown.")
    missing = published(Missing, "Why nothing is shown.")
    is_loading = param.Boolean(
        default=False, constant=True, doc="Whether a layer is laid out."
    )

    def __init__(
        self,
        results: RunResults,
        pairs: SubsetPairModel,
        *,
        run_later: RunLater | None = None,
    ) -> None:
        super().__init__()
        self.selection: Selection = pairs.selection
        self.results = results
        self._pairs = pairs
        self._run_later = run_later or (lambda work, done: done(work()))
        self._wanted: tuple[str, str, tuple[str, str]] | None = None
        follow(self.selection, ["view", "layer"], self._renew)
        pairs.param.watch(self._renew, "pair")

    def color(self, by: str) -> None:
        """Colour by A and B, by right and wrong, by class, or by target."""
        self.selection.choose(color=by)

    def use(self, side: Side, numbers: Sequence[int]) -> None:
        """Make what was drawn around to A or B."""
        n = self.results.store.n_instances
        chosen = np.asarray(numbers, dtype=np.int64)
        chosen = chosen[(chosen >= 0) & (chosen < n)]
        if side in SIDES and len(chosen):
            self._pairs.write(side, self.results.pairs.finder.text_for(chosen))

    def open(self, number: int) -> None:
        """Look at an instance."""
        self.selection.choose(view="instances", instance=int(number))

    def _renew(self, *_: object) -> None:
        pair, layer = self._pairs.pair, self.selection.layer
        if self.selection.view != "map":
            return
        missing = self._pairs.missing
        if missing is not None:
            self._wanted = None
            publish(self, {"shown": None, "missing": missing, "is_loading": False})
            return
        wanted = (layer, "", ("", ""))
        if pair is not None:
            wanted = (layer, pair.key, pair.names)
        if wanted == self._wanted:
            return
        self._wanted = wanted

        def work() -> ShownMap | Missing:
            try:
                return self._made(layer, pair)
            except MissingDataError as error:
                return self.results.missing_stage() or Missing(
                    "There is no map of the instances", str(error)
                )
            except NnvizError as error:
                return Missing("The map cannot be shown", str(error))

        def show(found: Any) -> None:
            if self._wanted != wanted:
                return
            is_missing = isinstance(found, Missing)
            publish(
                self,
                {
                    "shown": None if is_missing else found,
                    "missing": found if is_missing else None,
                    "is_loading": False,
                },
            )

        publish(self, {"is_loading": True})
        self._run_later(work, show)

    def _made(self, layer: str, pair: SubsetPair | None) -> ShownMap:
        maps, columns = self.results.maps, self.results.pairs.finder.columns
        laid = maps.of(layer)
        a = b = np.zeros(0, np.int64)
        if pair is not None:
            a, b = pair.found.subset.instances, pair.found.against.instances
        added = [self._some(one) for one in (a, b)]
        instances = np.unique(np.concatenate([laid.instances, *added]))
        places = np.empty((len(instances), 2))
        is_laid = np.isin(instances, laid.instances, assume_unique=True)
        places[is_laid] = laid.places
        others = instances[~is_laid]
        if len(others):
            places[~is_laid] = laid.place(maps.rows(layer, others))
        side = np.isin(instances, a).astype(np.uint8)
        side += 2 * np.isin(instances, b).astype(np.uint8)
        label = columns.store.column("label")[instances]
        prediction = columns.store.column("prediction")[instances]
        is_wrong = (label >= 0) & (prediction >= 0) & (label != prediction)
        shown = label if self.results.kind == "label" else prediction
        shades, bounds = self._shades(instances)
        return ShownMap(
            laid,
            ("", "") if pair is None else pair.names,
            instances,
            places,
            shown.astype(np.int64),
            is_wrong,
            side,
            int(columns.usable.sum()),
            not self.results.instance_pictures.missing,
            shades,
            bounds,
        )

    def _shades(
        self, instances: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8] | None, tuple[float, float]]:
        """Return how dark instances are by their target, and what is drawn how."""
        targets = self.results.pairs.targets
        if targets is None or not np.isfinite(targets).any():
            return None, (0.0, 0.0)
        # A few that are far off do not make all others alike.
        low, high = np.nanpercentile(targets, [100 - SATURATED, SATURATED])
        high = max(float(high), float(low) + 1e-12 * max(1.0, abs(float(low))))
        return shading(targets[instances], float(low), high), (float(low), high)

    @staticmethod
    def _some(instances: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return all of few instances, or as many as are added, evenly spaced."""
        if len(instances) <= N_ADDED:
            return instances
        at = np.linspace(0, len(instances) - 1, N_ADDED).round().astype(np.int64)
        return instances[at]
