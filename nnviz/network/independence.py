"""Are the values of an instance its own? It is run alone, in company, and again.

What a store holds of an instance must depend neither on its neighbours in a batch nor
on chance: chunks and batches are cut as it suits. Kernels for batches of other sizes
add up in other orders, so values may differ by rounding; what differs by more is run
once more in float64, where rounding is far below any dependence that matters.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnviz.errors import ModelError, TaskMemoryError
from nnviz.network.analysis.outputs import main_output
from nnviz.network.arguments import counted_of, inputs_of
from nnviz.network.recording.recorder import NotByInstanceError, Recorder
from nnviz.network.recording.runtime import telling_faults
from nnviz.runs.architecture import Architecture, Layer
from nnviz.runs.network_inputs import NetworkInputs

__all__ = [
    "LARGEST_ERROR",
    "LARGEST_ERROR_FLOAT64",
    "SURE_ERROR",
    "LayerRunner",
    "LayerValues",
    "check_independence",
    "relative_difference",
]

SURE_ERROR = 1e-6
"""Relative to a layer's largest value: float32 rounding of one operation. Below it
values are taken as equal without a second look."""
LARGEST_ERROR = 1e-4
"""The same where float64 cannot be run: rounding over many layers."""
LARGEST_ERROR_FLOAT64 = 1e-9
"""The same in float64, whose rounding is 1e-16 for one operation."""


@dataclass(frozen=True, slots=True)
class _Difference:
    layer: str
    """Name of the layer; empty for the network's output."""
    size: float | None
    """Relative to the largest value there; None where rows are not the instances."""

    @property
    def where(self) -> str:
        return f"layer {self.layer!r}" if self.layer else "the network's output"


LayerValues = dict[str, Tensor]
"""What one run gave, by layer; the network's own output has no name."""


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
    runner = LayerRunner(model, layers)
    first = batch[:1]
    alone = runner.run(first)
    _check_again(runner.differences(first, alone))
    other, *made_up = _companions(batch, inputs_of(model))
    pair = torch.cat([first, other])
    found = runner.differences(pair, alone)
    turned = _differing_rows(runner, found, alone, pair)
    companies = [(other, found), *_made_up_companies(runner, alone, first, made_up)]
    suspects = [
        company
        for company, found in companies
        if _first_beyond(found, SURE_ERROR, turned) is not None
    ]
    if suspects:
        _check_company(model, layers, first, suspects, turned)
    return turned


def _companions(batch: Tensor, inputs: NetworkInputs | None) -> list[Tensor]:
    """Return instances that differ from the first in content, mean and size."""
    first, other = batch[:1], batch[-1:]
    if inputs is not None:
        n_tokens = inputs.tokens_of(batch.shape[1])
        example = torch.from_numpy(inputs.example(1, n_tokens)).to(batch.device)
        other = example if torch.equal(first, other) else other
        is_real = torch.from_numpy(inputs.are_real(n_tokens)).to(batch.device)
        larger = torch.where(is_real, 8 * other - 4, other)
        return [other, example, *([larger] if is_real.any() else [])]
    if torch.equal(first, other):
        other = first.flip(-1)
    if not batch.is_floating_point():
        return [other, torch.zeros_like(first)]
    return [other, torch.zeros_like(first), 8 * other - 4]


def _made_up_companies(
    runner: LayerRunner, alone: LayerValues, first: Tensor, made_up: list[Tensor]
) -> list[tuple[Tensor, list[_Difference]]]:
    """Compare the first instance in the company of instances that were made up."""
    try:
        company = torch.cat(made_up)
        found = runner.differences(torch.cat([first, company]), alone)
    except ModelError:
        # One that is no input of the network says nothing of it; the others do.
        return [
            (one, runner.differences(torch.cat([first, one]), alone))
            for one in made_up
            if runner.takes(one)
        ]
    return [(company, found)]


class LayerRunner:
    """Runs a network and keeps what all of its layers put out.

    Parameters
    ----------
    model
        The network, in evaluation mode; it is not changed.
    layers
        Those that are read.
    """

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

    def run(self, batch: Tensor) -> LayerValues:
        """Return the values of a batch.

        Raises
        ------
        ModelError
            If the network cannot be run on it, or takes another way.
        """
        found: LayerValues = {}

        def keep(layer: str, values: Tensor, counted: Tensor | None) -> None:
            found[layer] = values.detach().clone()

        self._run(batch, keep)
        return found

    def what_counts(self, one: Tensor) -> LayerValues:
        """Return what counts of an instance, by layer, and the network's output.

        Shape (position, channel), in the precision of the network.

        Raises
        ------
        ModelError
            If the network cannot be run on it, or takes another way.
        """
        found: LayerValues = {}
        axes = {layer.name: layer.channel_axis for layer in self._layers}

        def keep(layer: str, values: Tensor, counted: Tensor | None) -> None:
            values = values.detach()[0]
            if layer:
                values = values.movedim(axes[layer] - 1, -1)
                values = values.reshape(-1, values.shape[-1])
            if counted is not None:
                values = values[counted[0].flatten()]
            found[layer] = values.clone()

        self._run(one, keep)
        return found

    def differences(self, batch: Tensor, alone: LayerValues) -> list[_Difference]:
        """Return how far the values of a batch's first instance are from known ones.

        Each is compared while it exists, in order of computation.

        Raises
        ------
        ModelError
            If the network cannot be run on it, or takes another way.
        """
        found: list[_Difference] = []

        def compare(layer: str, values: Tensor, counted: Tensor | None) -> None:
            known = alone.get(layer)
            if known is None:
                return
            size = None
            if len(batch) == 1:
                size = relative_difference(known, values.detach())
            elif len(values) == len(batch):
                size = relative_difference(known, values[:1].detach())
            found.append(_Difference(layer, size))

        self._run(batch, compare)
        return found

    def _run(
        self, batch: Tensor, on_values: Callable[[str, Tensor, Tensor | None], None]
    ) -> None:
        architecture = Architecture(self._layers, input_shape=tuple(batch.shape[1:]))

        def keep(
            layer: Layer, output: Tensor, activations: Tensor, counted: Tensor | None
        ) -> None:
            on_values(layer.name, output, counted)

        def leave(module: nn.Module, arguments: object, output: object) -> None:
            main = main_output(output)
            if main is not None and main.ndim:
                on_values("", main, None)

        handle = None
        if not isinstance(self._model, torch.jit.ScriptModule):  # takes no hooks
            handle = self._model.register_forward_hook(leave)
        try:
            with Recorder(self._model, architecture) as recorder, telling_faults():
                counted = counted_of(batch, inputs_of(self._model))
                recorder.run(batch, counted, on_layer=keep)
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


def _check_again(differences: list[_Difference]) -> None:
    found = _first_beyond(differences, SURE_ERROR)
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
    runner, limit = LayerRunner(model, layers), LARGEST_ERROR
    if first.is_floating_point():
        try:
            wide = LayerRunner(copy.deepcopy(model).double(), layers)
            alone = wide.run(first.double())
            runner, limit, first = wide, LARGEST_ERROR_FLOAT64, first.double()
        except (ModelError, TaskMemoryError, RuntimeError, TypeError, ValueError):
            alone = runner.run(first)
    else:
        alone = runner.run(first)
    for companion in companions:
        company = torch.cat([first, companion.to(first.dtype)])
        found = _first_beyond(runner.differences(company, alone), limit, turned)
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


def _first_beyond(
    differences: list[_Difference], limit: float, left_out: Sequence[str] = ()
) -> _Difference | None:
    """Return the first place at which two runs differ by more than a limit."""
    for found in differences:
        if found.size is None or found.layer in left_out:
            continue
        if not found.size <= limit:
            return found
    return None


def relative_difference(wanted: Tensor, found: Tensor) -> float:
    """Return the largest difference of two tensors over the largest value wanted.

    Infinite where their shapes differ, or where one alone is not finite.
    """
    if wanted.shape != found.shape:
        return torch.inf
    if torch.equal(wanted, found):
        return 0.0
    if wanted.is_complex():
        wanted, found = torch.view_as_real(wanted), torch.view_as_real(found)
    if wanted.dtype not in (torch.float32, torch.float64):
        wanted, found = wanted.double(), found.double()
    low, high = (wanted - found).aminmax()
    smallest, largest = wanted.aminmax()
    difference, scale = (
        max(-float(a), float(b)) for a, b in ((low, high), (smallest, largest))
    )
    if not math.isfinite(difference) or not math.isfinite(scale):
        difference, scale = _finite_difference(wanted, found)
    return difference / scale if scale else difference


def _finite_difference(wanted: Tensor, found: Tensor) -> tuple[float, float]:
    """Return difference and scale where some values are not finite.

    They may be so in both; where one alone is, the difference is infinite.
    """
    same = (wanted == found) | (wanted.isnan() & found.isnan())
    difference = torch.where(same, 0.0, (wanted - found).abs())
    finite = wanted[wanted.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 1.0
    return float(difference.nan_to_num(nan=torch.inf).max()), scale


def _differing_rows(
    runner: LayerRunner,
    differences: list[_Difference],
    alone: LayerValues,
    pair: Tensor,
) -> list[str]:
    """Return layers that hold all values of both instances, but not row by row."""
    suspects = [
        found.layer
        for found in differences
        if found.layer and (found.size is None or not found.size <= LARGEST_ERROR)
    ]
    if not suspects:
        return []
    together, other = runner.run(pair), runner.run(pair[1:])
    return [
        name
        for name in suspects
        if relative_difference(
            torch.cat([values[name].flatten() for values in (alone, other)])
            .sort()
            .values,
            together[name].flatten().sort().values,
        )
        <= LARGEST_ERROR
    ]
