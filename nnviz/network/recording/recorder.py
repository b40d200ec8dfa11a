"""What did the layers of a network put out for a batch?

Each layer is read at the moment at which its output exists, and only its maxima are
kept: no activation map lives longer than the network itself needs it.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnviz.errors import ModelError
from nnviz.network.analysis.module_calls import ModuleCall, ModuleCalls
from nnviz.network.analysis.outputs import iter_tensors, logits_of
from nnviz.network.influence.inputs import EdgeInput
from nnviz.network.recording.cheap_maxima import LayerPart
from nnviz.network.recording.function_mode import FunctionMode, Switch, is_function
from nnviz.network.recording.gradients import (
    Explained,
    GradientPass,
    LayerGradients,
    output_weights,
)
from nnviz.network.recording.maxima import (
    FoundMaxima,
    found_maxima,
    joined,
    relu_activations,
)
from nnviz.network.recording.padding_masks import CountedTokens
from nnviz.network.recording.received import hook_received
from nnviz.network.recording.taps import EdgeTaps, Tap
from nnviz.runs.architecture import Architecture, Layer
from nnviz.user_code import telling_user_errors

__all__ = ["NotByInstanceError", "RecordedBatch", "Recorder"]

OnLayer = Callable[[Layer, Tensor, Tensor, Tensor | None], None]
"""Called with a layer, its output, its maxima, and which of its positions count: bool
(instance, *positions), or None for all."""
OnTarget = Callable[[Layer, Tensor, list[EdgeInput]], None]


_CALLED: dict[type[nn.Module], str] = {
    nn.BatchNorm1d: "batch_norm",
    nn.BatchNorm2d: "batch_norm",
    nn.BatchNorm3d: "batch_norm",
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    nn.Identity: "",
    nn.Linear: "linear",
}
"""Modules that call one function only, beside padding."""


@dataclass(frozen=True, slots=True)
class RecordedBatch:
    """What is kept of one batch."""

    logits: Tensor | None
    """Shape (instance, class), float32; None if the network is no classifier."""
    activations: Mapping[str, Tensor]
    """Maxima of each layer, shape (instance, channel), float32, by the layer's name."""
    gradients: Mapping[str, LayerGradients] = field(default_factory=dict)
    """Of each shown layer, by its name, where they were asked for."""
    reached: Collection[str] = ()
    """Layers at which a gradient arrived; it is zero in other ones."""


class NotByInstanceError(ModelError):
    """A layer's rows are no instances: an expert that gets some of all tokens."""

    def __init__(self, layer: str, n_rows: int, n_instances: int) -> None:
        super().__init__(
            f"layer {layer!r} has {n_rows} rows for {n_instances} instances, so its "
            "first axis is not the instance; leave it out: [extraction] "
            f"layers = ['*', '!{layer}']"
        )
        self.layer = layer


def _telling_errors(batch: Tensor) -> contextlib.AbstractContextManager[None]:
    """Make what the network raises one message, but for faults of memory and device."""
    return telling_user_errors(
        f"the network, run on a batch of shape {tuple(batch.shape)},",
        advice="check preprocessing and the model's source",
        error_type=ModelError,
    )


class Recorder:
    """Run a network and record the channel activations of its layers.

    It puts hooks on the network; :meth:`close` removes them, as does leaving a ``with``
    block. A network can be run by one thread at a time.

    Parameters
    ----------
    model
        The network, in evaluation mode; folded or not.
    architecture
        Layers to record.
    taps
        What influences need; None: only activations are recorded.
    cheap_maxima
        From :func:`nnviz.network.recording.cheap_maxima.find_cheap_maxima`; None: the
        maxima of every layer are taken where it is put out. The values are the same.

    Raises
    ------
    ModelError
        If the network has no module where a layer is to be read.
    """

    def __init__(
        self,
        model: nn.Module,
        architecture: Architecture,
        *,
        taps: EdgeTaps | None = None,
        cheap_maxima: Mapping[str, tuple[LayerPart, ...]] | None = None,
    ) -> None:
        self._model = model
        self._layers: dict[str, list[Layer]] = defaultdict(list)
        for layer in architecture.layers:
            self._layers[layer.node].append(layer)
        self._names = [layer.name for layer in architecture.layers]
        self._found: dict[str, Tensor] = {}
        self._taps = taps
        self._taken: dict[Tap, Tensor] = {}
        self._cheap_maxima = cheap_maxima or {}
        self._parts = {
            part.place: (part, architecture.layer(name))
            for name, parts in self._cheap_maxima.items()
            for part in parts
        }
        self._maxima: dict[str, FoundMaxima] = {}
        self.since: Tensor | None = None
        """As in `FoundMaxima`, of the layer that is being handed over."""
        self._on_layer: OnLayer | None = None
        self._on_target: OnTarget | None = None
        self._n_instances = 0
        self._counted: CountedTokens | None = None
        self._gradients: GradientPass | None = None
        self._copied: frozenset[str] = frozenset()
        self._switch = Switch()
        self._counts: Counter[str] = Counter()
        self._handles = hook_received(model, self._layers, self._record)
        self._calls: ModuleCalls | None = None
        self._mode: FunctionMode | None = None
        if (
            self._parts
            or taps is not None
            or any(is_function(node) for node in self._layers)
        ):
            functions = self._wanted_functions()
            self._calls = ModuleCalls(
                model, self._leave_call, self._needs_no_hooks(functions)
            ).__enter__()
            self._mode = FunctionMode(
                self._calls, self._switch, functions, self._take, self._run_function
            )
        else:
            self._hook_modules()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take all hooks from the network."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self._calls is not None:
            self._calls.__exit__(None, None, None)

    def run(
        self,
        batch: Tensor,
        counted: Tensor | None = None,
        *,
        on_layer: OnLayer | None = None,
        on_target: OnTarget | None = None,
        explained: Explained | None = None,
        labels: NDArray[np.integer] | None = None,
    ) -> RecordedBatch:
        """Run the network on a batch and return what its layers put out.

        Parameters
        ----------
        batch
            Network input (instance, ...), on the network's device.
        counted
            Which tokens of each instance count, bool (instance, token), on the same
            device; None: all positions of all layers count. An instance of which none
            counts has NaN as the maxima of every layer with tokens.
        on_layer
            Called with each layer, its output, its maxima and which positions count
            while the output exists; it must not keep the output. What it writes into
            the output is what the network goes on with.
        on_target
            Called after it, with each layer into which influence is available, its
            maxima and the inputs of all operations that enter it.
        explained
            Of which outputs the gradients in the shown layers are wanted, after
            :meth:`prepare_gradients`; None: there is no backward pass.
        labels
            True classes, shape (instance,), -1 where there is none, if they are
            explained.

        Raises
        ------
        ModelError
            If the network took a way on which a layer is not reached, or has no
            gradients where they are wanted.
        NotByInstanceError
            If a layer's rows cannot be the instances.
        """
        if explained is None:
            with torch.inference_mode():
                output, found = self._pass(batch, counted, on_layer, on_target)
            return _recorded(output, found)
        gradients = GradientPass(
            len(batch), signal=explained.signal, copied=self._copied
        )
        self._gradients = gradients
        try:
            with torch.inference_mode(mode=False), torch.enable_grad():
                output, found = self._pass(batch, counted, on_layer, on_target)
                recorded = _recorded(output, found)
                if recorded.logits is not None:
                    weights = output_weights(recorded.logits, explained, labels)
                    with _telling_errors(batch):
                        gradients.run(recorded.logits, weights)
        finally:
            self._gradients = None
        return replace(
            recorded,
            logits=None if recorded.logits is None else recorded.logits.detach(),
            gradients=gradients.found,
            reached=gradients.reached,
        )

    def prepare_gradients(self, batch: Tensor) -> None:
        """Let the network's weights have none, and find what has to be copied.

        Outputs of layers that the network overwrites are copied from now on, where
        gradients are wanted.

        Parameters
        ----------
        batch
            Any input of the network.
        """
        self._model.requires_grad_(requires_grad=False)
        self._gradients = GradientPass(len(batch))
        try:
            with torch.inference_mode(mode=False), torch.enable_grad():
                self._pass(batch, None, None, None)
            self._copied = frozenset(self._gradients.overwritten())
        finally:
            self._gradients = None

    def _pass(
        self,
        batch: Tensor,
        counted: Tensor | None,
        on_layer: OnLayer | None,
        on_target: OnTarget | None,
    ) -> tuple[Any, dict[str, Tensor]]:
        """Run the network; return its output, and the maxima of each layer."""
        self._found, self._on_layer, self._on_target = {}, on_layer, on_target
        self._taken.clear()
        self._n_instances = len(batch)
        self._counted = None if counted is None else CountedTokens(counted)
        self._counts.clear()
        if self._calls is not None:
            self._calls.reset()
        self._switch.on = True
        try:
            with _telling_errors(batch):
                if self._mode is None:
                    output = self._model(batch)
                else:
                    with self._mode:
                        output = self._model(batch)
        finally:
            self._switch.on = False
            self._on_layer = self._on_target = self._counted = None
            self._taken.clear()
            self._maxima.clear()
        found, self._found = self._found, {}
        missing = [name for name in self._names if name not in found]
        if missing:
            msg = (
                f"the network took a way on which {len(missing)} of {len(self._names)} "
                f"layers are not reached, first {missing[0]!r}; its control flow "
                "depends on the data, so leave these layers out of [extraction] layers"
            )
            raise ModelError(msg)
        return output, {name: found[name] for name in self._names}

    def _wanted_functions(self) -> set[str]:
        places = [node for node in self._layers if is_function(node)]
        places += [] if self._taps is None else list(self._taps.taps)
        places += self._parts
        functions = [place.split("@")[-1] for place in places]
        return {function.split(".")[0] for function in functions}

    def _needs_no_hooks(self, functions: set[str]) -> Callable[[str, nn.Module], bool]:
        """Return which modules can be passed by: hooks cost time in small networks."""
        nodes = {node.split("@")[0] for node in self._layers}

        def left_out(path: str, module: nn.Module) -> bool:
            called = _CALLED.get(type(module))
            return (
                called is not None
                and path not in nodes
                and not functions & {called, "pad"}
            )

        return left_out

    def _hook_modules(self) -> None:
        modules = dict(self._model.named_modules())
        for path in dict.fromkeys(node.split("@")[0] for node in self._layers):
            if path not in modules:
                msg = (
                    f"the network has no module {path!r}, where a layer of the plan is "
                    "read; the plan was made from another network"
                )
                raise ModelError(msg)
            self._handles.append(
                modules[path].register_forward_hook(self._leave_module(path))
            )

    def _leave_module(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def leave(module: nn.Module, arguments: Any, output: Any) -> None:
            if self._switch.on:
                self._counts[path] += 1
                n = self._counts[path]
                self._record(path if n == 1 else f"{path}@{n}", output)

        return leave

    def _leave_call(
        self, call: ModuleCall, module: nn.Module, arguments: Any, output: Any
    ) -> None:
        if self._switch.on:
            self._record(call.place, output)

    def _take(self, place: str, arguments: Any, options: Any, result: Any) -> None:
        """Keep what the operations of edges read, before or after a call."""
        if not self._switch.on or self._taps is None or self._on_target is None:
            return
        of_result = result is not None
        taps = self._taps.taps.get(place, ())
        taps = [tap for tap in taps if (tap.argument is None) == of_result]
        if taps:
            with self._switch.paused():
                for tap in taps:
                    self._taken[tap] = tap.take(arguments, options, result)

    def _run_function(
        self,
        place: str,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        options: dict[str, Any],
    ) -> Any:
        """Call a function, and read its output if it is a layer's or a part of one."""
        part, layer = self._parts.get(place, (None, None))
        result = None
        if part is not None and part.fuses and torch.get_num_threads() == 1:
            values = next(iter_tensors((arguments, options)))
            maxima = None
            if not values.requires_grad:  # what is fused has no gradient
                with self._switch.paused():
                    maxima = relu_activations(
                        values,
                        channel_axis=part.channel_axis,
                        counted=self._counted_in(layer, values, part.channel_axis),
                    )
            if maxima is not None:
                self._maxima[place] = maxima
                result = values
        if result is None:
            result = function(*arguments, **options)
            if part is not None:
                with self._switch.paused():
                    axis = part.channel_axis
                    counted = self._counted_in(layer, result, axis)
                    self._maxima[place] = found_maxima(result.detach(), axis, counted)
        # Functions that only write in place return nothing.
        output = arguments[0] if result is None else result
        self._take(place, arguments, options, output)
        self._record(place, output)
        return result

    def _record(self, place: str, output: Any) -> None:
        layers = self._layers.get(place) if self._switch.on else None
        values = None if layers is None else next(iter_tensors(output), None)
        if layers is None or values is None:
            return
        with self._switch.paused():
            for layer in layers:
                self._reach_layer(layer, values.detach())
        if self._gradients is None:
            return
        with self._switch.off():
            for layer in layers:
                if layer.shown:
                    by_instance, axis = self._by_instance(layer, values.detach())
                    counted = self._counted_in(layer, by_instance, axis)
                    self._gradients.watch(layer, values, counted=counted)

    def _counted_in(
        self, layer: Layer | None, values: Tensor, axis: int
    ) -> Tensor | None:
        """Return which positions of a layer's values, with all instances, count."""
        if self._counted is None or layer is None:
            return None
        return self._counted.of_layer(layer, _extents(values, axis))

    def _by_instance(self, layer: Layer, values: Tensor) -> tuple[Tensor, int]:
        """Return an output with an axis for all instances, and its channel axis."""
        axis = layer.channel_axis
        values = values.movedim(layer.instance_axis, 0)
        if len(values) % self._n_instances or not len(values):
            raise NotByInstanceError(layer.name, len(values), self._n_instances)
        if len(values) != self._n_instances:
            # Windows or heads of an instance follow each other on the first axis.
            values = values.unflatten(0, (self._n_instances, -1))
            axis += 1
        return values, axis

    def _reach_layer(self, layer: Layer, values: Tensor) -> None:
        values, axis = self._by_instance(layer, values)
        counted = self._counted_in(layer, values, axis)
        parts = self._cheap_maxima.get(layer.name, ())
        found = joined([self._maxima.get(part.place) for part in parts])
        activations, self.since = found or found_maxima(values, axis, counted)
        if values.ndim == 2:  # its own maximum, and may be written in place later on
            activations = activations.clone()
        if self._on_layer is not None:
            output = values.movedim(axis, layer.channel_axis)
            self._on_layer(layer, output, activations, counted)
        self._found[layer.name] = activations
        self._reach_target(layer, _extents(values, axis), counted)

    def _reach_target(
        self, layer: Layer, extents: tuple[int, ...], counted: Tensor | None
    ) -> None:
        taps, on_target = self._taps, self._on_target
        if taps is None or on_target is None or layer.name not in taps.targets:
            return
        inputs = taps.inputs(
            layer.name, self._taken, self._n_instances, self._found.get,
            extents=extents, counted=counted,
        )  # fmt: skip
        on_target(layer, self._found[layer.name], inputs)
        for tap in taps.last_taps(layer.name):
            self._taken.pop(tap, None)


def _extents(values: Tensor, axis: int) -> tuple[int, ...]:
    """Return the extents of all position axes of values with channels on an axis."""
    return tuple(n for i, n in enumerate(values.shape) if i not in (0, axis))


def _recorded(output: Any, found: Mapping[str, Tensor]) -> RecordedBatch:
    logits = logits_of(output)
    return RecordedBatch(None if logits is None else logits.float(), found)
