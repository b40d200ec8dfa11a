"""Are the values of an instance its own? It is run alone, in company, and again.

What a store holds of an instance must depend neither on its neighbours in a batch nor
on chance: chunks and batches are cut as it suits. Kernels for batches of other sizes
add up in other orders, so values may differ by rounding; what differs by more is run
once more in float64, where rounding is far below any dependence that matters.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nnviz.errors import ModelError, TaskMemoryError
from nnviz.network.analysis.outputs import main_output
from nnviz.network.recording.recorder import NotByInstanceError, Recorder
from nnviz.network.recording.runtime import telling_faults
from nnviz.runs.architecture import Architecture, Layer

__all__ = ["check_independence"]

SURE_ERROR = 1e-6
"""Relative to a layer's largest value: float32 rounding of one operation. Below it
values are taken as equal without a second look."""
LARGEST_ERROR = 1e-4
"""The same where float64 cannot be run: rounding over many layers."""
LARGEST_ERROR_FLOAT64 = 1e-9
"""The same in float64, whose rounding is 1e-16 for one operation."""

OUTPUT = "the network's output"


@dataclass(slots=True)
class _Values:
    """What one run gave: every layer's output and the network's, in order."""

    layers: dict[str, Tensor] = field(default_factory=dict)
    output: Tensor | None = None

    def items(self) -> Iterator[tuple[str, Tensor]]:
        for name, values in self.layers.items():
            yield f"layer {name!r}", values
        if self.output is not None:
            yield OUTPUT, self.output

    def of(self, row: int, n: int) -> _Values:
        """Return one instance of a batch; whatever has other rows is left out."""
        output = self.output
        return _Values(
            {k: v[row : row + 1] for k, v in self.layers.items() if len(v) == n},
            None if output is None or len(output) != n else output[row : row + 1],
        )


@dataclass(frozen=True, slots=True)
class _Difference:
    where: str
    size: float
    """Relative to the largest value there."""


def check_independence(
    model: nn.Module, layers: tuple[Layer, ...], batch: Tensor
) -> list[str]:
    """Refuse a network whose values depend on chance or on the batch.

    Parameters
    ----------
    model
        The network, in evaluation mode; it is not changed.
    layers
        Those of which values are recorded.
    batch
        Normalised network input, of 1 or 2 instances.

    Returns
    -------
    list of str
        Layers whose first axis is not the instance, although their values do not depend
        on other instances.

    Raises
    ------
    ModelError
        If two runs of one batch differ, or an instance alone differs from the same
        instance in a batch, with the first layer at which they do.
    NotByInstanceError
        If a layer's rows cannot be the instances.
    """
    runner = _Runner(model, layers)
    first = batch[:1]
    companions = [
        companion
        for i, companion in enumerate(_companions(batch))
        if i == 0 or runner.takes(companion)
    ]
    pair = torch.cat([first, companions[0]])
    together = runner.run(pair)
    _check_again(together, runner.run(pair))
    alone = runner.run(first)
    turned = _differing_rows(runner, together, alone, companions[0])
    suspects = [
        companion
        for i, companion in enumerate(companions)
        if _first_difference(
            alone,
            (together if i == 0 else runner.run(torch.cat([first, companion]))).of(
                0, 2
            ),
            SURE_ERROR,
            turned,
        )
    ]
    if suspects:
        _check_company(model, layers, first, suspects, turned)
    return turned


def _companions(batch: Tensor) -> list[Tensor]:
    """Return instances that differ from the first in content, mean and size."""
    first, other = batch[:1], batch[-1:]
    if torch.equal(first, other):
        other = first.flip(-1)
    if not batch.is_floating_point():
        return [other, torch.zeros_like(first)]
    return [other, torch.zeros_like(first), 8 * other - 4]


class _Runner:
    """Runs a network and keeps what all of its layers put out."""

    def __init__(self, model: nn.Module, layers: tuple[Layer, ...]) -> None:
        self._model = model
        self._layers = layers

    def takes(self, batch: Tensor) -> bool:
        """Return whether the network runs on a batch that was made up.

        One without the token that ends a sentence may be no input of it.
        """
        try:
            with torch.inference_mode():
                self._model(batch)
        except Exception:  # noqa: BLE001  the user's code may raise anything
            return False
        return True

    def run(self, batch: Tensor) -> _Values:
        """Return the values of a batch.

        Raises
        ------
        ModelError
            If the network cannot be run on it, or takes another way.
        """
        found = _Values()
        architecture = Architecture(self._layers, input_shape=tuple(batch.shape[1:]))

        def keep(layer: Layer, output: Tensor, activations: Tensor) -> None:
            found.layers[layer.name] = output.detach().clone()

        def leave(module: nn.Module, arguments: object, output: object) -> None:
            main = main_output(output)
            if main is not None and main.ndim:
                found.output = main.detach().clone()

        handle = None
        if not isinstance(self._model, torch.jit.ScriptModule):  # takes no hooks
            handle = self._model.register_forward_hook(leave)
        try:
            with Recorder(self._model, architecture) as recorder, telling_faults():
                recorder.run(batch, on_layer=keep)
        except NotByInstanceError:
            raise
        except ModelError as error:
            msg = (
                f"the way that the network takes depends on the batch: with "
                f"{len(batch)} instances {error}"
            )
            raise ModelError(msg) from error
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
            msg = (
                f"the network cannot be run on a batch of {len(batch)} instances: "
                f"{error}; nnviz runs batches of any size, and stores of an instance "
                "what does not depend on the others"
            )
            raise ModelError(msg) from error
        finally:
            if handle is not None:
                handle.remove()
        return found


def _check_again(first: _Values, second: _Values) -> None:
    found = _first_difference(first, second, SURE_ERROR)
    if found is not None:
        msg = (
            f"two runs of the same batch differ, first at {found.where} by "
            f"{found.size:.2g} of its largest value: the network is random; what is "
            "stored of an instance must not depend on chance, so switch off what draws "
            "random numbers (dropout with training=True, noise) in evaluation mode"
        )
        raise ModelError(msg)


def _check_company(
    model: nn.Module,
    layers: tuple[Layer, ...],
    first: Tensor,
    companions: list[Tensor],
    turned: list[str],
) -> None:
    """Look again in float64 at what differs by more than one rounding."""
    runner, limit = _Runner(model, layers), LARGEST_ERROR
    if first.is_floating_point():
        try:
            wide = _Runner(copy.deepcopy(model).double(), layers)
            alone = wide.run(first.double())
            runner, limit, first = wide, LARGEST_ERROR_FLOAT64, first.double()
            companions = [companion.double() for companion in companions]
        except (ModelError, TaskMemoryError, RuntimeError, TypeError, ValueError):
            alone = runner.run(first)
    else:
        alone = runner.run(first)
    for companion in companions:
        together = runner.run(torch.cat([first, companion])).of(0, 2)
        found = _first_difference(alone, together, limit, turned)
        if found is not None:
            msg = (
                f"an instance has other values in the company of another one than "
                f"alone, first at {found.where}, by {found.size:.2g} of its largest "
                "value: the network uses statistics of the batch (batch normalisation "
                "without running statistics, weights or ways that depend on the whole "
                "batch); what is stored of an instance must not depend on its "
                "neighbours, so let the network compute every instance by itself"
            )
            raise ModelError(msg)


def _first_difference(
    wanted: _Values, found: _Values, limit: float, left_out: list[str] | None = None
) -> _Difference | None:
    """Return the first place at which two runs differ by more than a limit."""
    known = dict(found.items())
    skipped = {f"layer {name!r}" for name in left_out or ()}
    for where, values in wanted.items():
        if where in skipped or where not in known:
            continue
        size = _relative_difference(values, known[where])
        if not size <= limit:
            return _Difference(where, size)
    return None


def _relative_difference(wanted: Tensor, found: Tensor) -> float:
    if wanted.shape != found.shape:
        return torch.inf
    if not wanted.numel():
        return 0.0
    wanted, found = wanted.double(), found.double()
    same = (wanted == found) | (wanted.isnan() & found.isnan())
    difference = torch.where(same, 0.0, (wanted - found).abs())
    finite = wanted[wanted.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 1.0
    largest = float(difference.nan_to_num(nan=torch.inf).max())
    return largest / scale if scale else largest


def _differing_rows(
    runner: _Runner, together: _Values, alone: _Values, companion: Tensor
) -> list[str]:
    """Return layers that hold all values of both instances, but not row by row."""
    pair = together.of(0, 2)
    suspects = [
        name
        for name, values in alone.layers.items()
        if name not in pair.layers
        or not _relative_difference(values, pair.layers[name]) <= LARGEST_ERROR
    ]
    if not suspects:
        return []
    other = runner.run(companion)
    return [
        name
        for name in suspects
        if _relative_difference(
            torch.cat([v.layers[name].flatten() for v in (alone, other)]).sort().values,
            together.layers[name].flatten().sort().values,
        )
        <= LARGEST_ERROR
    ]
