"""What does a chunk write? Its rows of every array, filled batch by batch.

Numbers are stored as the plan says; instances that cannot be read, or whose activations
are not finite, get a reason and no numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.inputs.preparation.batches import Batch
from nnviz.network.class_scores import as_logits, outcomes, softmax
from nnviz.network.influence.inputs import Strongest
from nnviz.network.recording.runtime import BatchResult
from nnviz.runs.declarations import FLOAT16_MAX
from nnviz.runs.plan import Plan

__all__ = ["ChunkRows"]


class ChunkRows:
    """The rows of one chunk, filled batch by batch.

    Parameters
    ----------
    plan
        Says which arrays there are, and their dtypes.
    start
        First instance of the chunk.
    labels
        True class of each instance, shape (instance,); -1 where there is none.
    targets
        Measured value that the network was trained to give, shape (instance,); NaN
        where there is none. None: for no instance.
    """

    def __init__(
        self,
        plan: Plan,
        start: int,
        labels: NDArray[np.int32],
        targets: NDArray[np.float64] | None = None,
    ) -> None:
        n = len(labels)
        self._start = start
        self._targets = np.full(n, np.nan) if targets is None else targets
        self.labels = labels
        """True class of each instance, shape (instance,); -1 where there is none."""
        self._gives_probabilities = plan.gives_probabilities
        self._status = np.full(n, "", dtype=object)
        self.arrays: dict[str, NDArray[Any]] = {
            "instances/prediction": np.full(n, -1, np.int32),
            "instances/confidence": np.full(n, np.nan, np.float32),
            "instances/probability": np.full(n, np.nan, np.float32),
            "instances/status": self._status,
        }
        for name in plan.outcome_columns:
            values = (
                np.full(n, -1, np.int32)
                if name == "rank"
                else np.full(n, np.nan, np.float32)
            )
            self.arrays[f"instances/{name}"] = values
        dtypes = {spec.path: spec.dtype for spec in plan.arrays}
        for layer in plan.architecture.layers:
            path = f"activations/{layer.name}"
            self.arrays[path] = np.full((n, layer.n_channels), np.nan, dtypes[path])
        for kept in plan.influences:
            path, shape = f"influences/{kept.target}", (n, kept.n_kept, kept.n_ranks)
            target, source = f"{path}/target", f"{path}/source"
            self.arrays[target] = np.full(shape[:2], -1, dtypes[target])
            self.arrays[source] = np.full(shape, -1, dtypes[source])
            self.arrays[f"{path}/influence"] = np.zeros(shape, np.float32)
            if kept.has_remainder:
                self.arrays[f"{path}/remainder"] = np.zeros(shape[:2], np.float32)
        self._relevance_parts = plan.relevance_parts
        self._relevance = [x.name for x in plan.architecture.shown]
        if not plan.has_relevance:
            self._relevance = []
        for name in self._relevance:
            shape2 = n, plan.architecture.layer(name).n_channels
            for part in self._relevance_parts:
                path = f"relevance/{name}/{part}"
                self.arrays[path] = np.full(shape2, np.nan, dtypes[path])
        self._windows = {
            layer.name
            for layer in plan.architecture.layers
            if layer.token_field is not None
        }
        self.reasons: dict[int, str] = {}
        """Why instances cannot be used, by their number in the data set."""
        self.not_finite: dict[int, str] = {}
        """Those whose activations turned out not to be finite numbers."""
        self.n_saturated = 0

    def add(self, batch: Batch, result: BatchResult) -> None:
        """Fill in one batch."""
        for row, reason in batch.reasons.items():
            instance = int(batch.instances[row])
            self.reasons[instance] = reason
            self._status[instance - self._start] = reason
        rows = np.flatnonzero(batch.valid)
        instances = batch.instances[rows]
        at = instances - self._start
        for name, values in result.activations.items():
            kept = values[rows]
            finite = np.isfinite(kept).all(axis=1)
            for row in rows[~finite]:
                reason = f"activations of layer {name!r} are not finite numbers"
                if name in self._windows and np.isnan(values[row]).all():
                    reason = f"no position of layer {name!r} sees a token that counts"
                self.not_finite.setdefault(int(batch.instances[row]), reason)
            array = self.arrays[f"activations/{name}"]
            if array.dtype == np.float16:
                beyond = np.abs(kept[finite]) > FLOAT16_MAX
                if beyond.any():
                    self.n_saturated += int(beyond.sum())
                    kept = np.clip(kept, -FLOAT16_MAX, FLOAT16_MAX)
            array[at] = kept
        for name, strongest in result.influences.items():
            self._add_influences(batch.instances - self._start, name, strongest)
        for layer in self._relevance:
            self._add_relevance(at, instances, layer, result, rows)
        if result.logits is not None:
            self._add_outputs(at, instances, result.logits[rows])

    def _add_influences(
        self, places: NDArray[Any], layer: str, strongest: Strongest
    ) -> None:
        """Fill in the influences on one layer; pairs are sorted by instance."""
        rows = strongest.instance
        number = np.arange(len(rows)) - np.searchsorted(rows, rows)
        at = (places[rows], number)
        path = f"influences/{layer}"
        # A target with few sources has fewer ranks than were asked for.
        n_ranks = self.arrays[f"{path}/source"].shape[2]
        self.arrays[f"{path}/target"][at] = strongest.target
        self.arrays[f"{path}/source"][at] = strongest.source[:, :n_ranks]
        self.arrays[f"{path}/influence"][at] = strongest.influence[:, :n_ranks]
        if strongest.remainder is not None and f"{path}/remainder" in self.arrays:
            self.arrays[f"{path}/remainder"][at] = strongest.remainder

    def _add_relevance(
        self,
        at: NDArray[Any],
        instances: NDArray[Any],
        layer: str,
        result: BatchResult,
        rows: NDArray[Any],
    ) -> None:
        for part in self._relevance_parts:
            kept = result.relevance[layer][part][rows]
            for instance in instances[~np.isfinite(kept).all(axis=1)]:
                reason = f"gradients in layer {layer!r} are not finite numbers"
                self.not_finite.setdefault(int(instance), reason)
            self.arrays[f"relevance/{layer}/{part}"][at] = kept

    def _add_outputs(
        self, at: NDArray[Any], instances: NDArray[Any], logits: NDArray[Any]
    ) -> None:
        finite = np.isfinite(logits).all(axis=1)
        for instance in instances[~finite]:
            reason = "outputs are not finite numbers"
            self.not_finite.setdefault(int(instance), reason)
        at, logits = at[finite], logits[finite]
        if logits.shape[1] == 1:  # a value: there is no class to choose
            self._add_values(at, logits[:, 0])
        elif len(at):
            self._add_classes(at, logits)

    def _add_values(self, at: NDArray[Any], output: NDArray[Any]) -> None:
        error = output.astype(np.float64) - self._targets[at]
        found = {"output": output, "error": error, "absolute_error": np.abs(error)}
        for name, values in found.items():
            if (path := f"instances/{name}") in self.arrays:
                self.arrays[path][at] = values

    def _add_classes(self, at: NDArray[Any], logits: NDArray[Any]) -> None:
        prediction = logits.argmax(axis=1)
        values = as_logits(logits, gives_probabilities=self._gives_probabilities)
        probabilities = softmax(values)
        labels = self.labels[at]
        row = np.arange(len(at))
        self.arrays["instances/prediction"][at] = prediction
        self.arrays["instances/confidence"][at] = probabilities[row, prediction]
        true = np.where(labels >= 0, probabilities[row, labels], np.nan)
        self.arrays["instances/probability"][at] = true
        for name, found in outcomes(values, probabilities, labels).items():
            if (path := f"instances/{name}") in self.arrays:
                self.arrays[path][at] = found
