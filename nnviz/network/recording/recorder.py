"""What did the layers of a network put out for a batch?

Each layer is read at the moment at which its output exists, and only its maxima are
kept: no activation map lives longer than the network itself needs it.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from nnviz.errors import ModelError
from nnviz.network.analysis.composites import taken_apart
from nnviz.network.analysis.module_calls import ModuleCall, ModuleCalls, function_name
from nnviz.network.analysis.outputs import iter_tensors, logits_of
from nnviz.network.influence.inputs import EdgeInput
from nnviz.network.recording.cheap_maxima import LayerPart
from nnviz.network.recording.counted import CountedTokens
from nnviz.network.recording.maxima import channel_activations, relu_activations
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
        self._maxima: dict[str, Tensor] = {}
        self._on_layer: OnLayer | None = None
        self._on_target: OnTarget | None = None
        self._n_instances = 0
        self._counted: CountedTokens | None = None
        self._switch = _Switch()
        self._counts: Counter[str] = Counter()
        self._handles: list[RemovableHandle] = []
        self._calls: ModuleCalls | None = None
        self._mode: _Mode | None = None
        if (
            self._parts
            or taps is not None
            or any(_is_function(node) for node in self._layers)
        ):
            functions = self._wanted_functions()
            self._calls = ModuleCalls(
                model, self._leave_call, self._needs_no_hooks(functions)
            ).__enter__()
            self._mode = _Mode(
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

        Raises
        ------
        ModelError
            If the network took a way on which a layer is not reached.
        NotByInstanceError
            If a layer's rows cannot be the instances.
        """
        self._found, self._on_layer, self._on_target = {}, on_layer, on_target
        self._taken.clear()
        self._n_instances = len(batch)
        self._counted = None if counted is None else CountedTokens(counted)
        self._counts.clear()
        if self._calls is not None:
            self._calls.reset()
        self._switch.on = True
        try:
            with _telling_errors(batch), torch.inference_mode():
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
        logits = logits_of(output)
        return RecordedBatch(
            logits=None if logits is None else logits.float(),
            activations={name: found[name] for name in self._names},
        )

    def _wanted_functions(self) -> set[str]:
        places = [node for node in self._layers if _is_function(node)]
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
        with self._switch.paused():
            for tap in self._taps.taps.get(place, ()):
                if (tap.argument is None) == (result is not None):
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
                    self._maxima[place] = channel_activations(
                        result,
                        channel_axis=part.channel_axis,
                        counted=self._counted_in(layer, result, part.channel_axis),
                    )
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
        # What happens here is no part of the network, and must not count as such.
        with self._switch.paused():
            for layer in layers:
                self._reach_layer(layer, values)

    def _counted_in(
        self, layer: Layer | None, values: Tensor, axis: int
    ) -> Tensor | None:
        """Return which positions of a layer's values, with all instances, count."""
        if self._counted is None or layer is None:
            return None
        extents = (n for i, n in enumerate(values.shape) if i not in (0, axis))
        return self._counted.of_layer(layer, tuple(extents))

    def _reach_layer(self, layer: Layer, values: Tensor) -> None:
        axis = layer.channel_axis
        if len(values) % self._n_instances or not len(values):
            raise NotByInstanceError(layer.name, len(values), self._n_instances)
        if len(values) != self._n_instances:
            # Windows or heads of an instance follow each other on the first axis.
            values = values.unflatten(0, (self._n_instances, -1))
            axis += 1
        parts = [
            self._maxima.get(p.place) for p in self._cheap_maxima.get(layer.name, ())
        ]
        known = [maxima for maxima in parts if maxima is not None]
        counted = self._counted_in(layer, values, axis)
        if known and len(known) == len(parts):
            activations = torch.cat(known, 1) if len(known) > 1 else known[0]
        else:
            activations = channel_activations(
                values, channel_axis=axis, counted=counted
            )
        if values.ndim == 2:
            # It is its own maximum, and may be written in place later on.
            activations = activations.clone()
        if self._on_layer is not None:
            output = values.movedim(axis, layer.channel_axis)
            self._on_layer(layer, output, activations, counted)
        self._found[layer.name] = activations
        extents = [n for i, n in enumerate(values.shape) if i not in (0, axis)]
        self._reach_target(layer, tuple(extents), counted)

    def _reach_target(
        self, layer: Layer, extents: tuple[int, ...], counted: Tensor | None
    ) -> None:
        taps, on_target = self._taps, self._on_target
        if taps is None or on_target is None or layer.name not in taps.targets:
            return
        inputs = taps.inputs(
            layer.name,
            self._taken,
            self._n_instances,
            self._found.get,
            extents=extents,
            counted=counted,
        )
        on_target(layer, self._found[layer.name], inputs)
        for tap in taps.last_taps(layer.name):
            self._taken.pop(tap, None)


@dataclass(slots=True)
class _Switch:
    """Whether what happens is part of the network, or of its recording."""

    on: bool = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Run a block that must not be taken for a part of the network."""
        self.on = False
        try:
            yield
        finally:
            self.on = True


class _Mode(TorchFunctionMode):
    """Read the outputs of functions that no module returns."""

    def __init__(
        self,
        calls: ModuleCalls,
        switch: _Switch,
        wanted: set[str],
        take: Callable[[str, Any, Any, Any], None],
        run: Callable[[str, Callable[..., Any], Sequence[Any], dict[str, Any]], Any],
    ) -> None:
        super().__init__()
        self._calls = calls
        self._switch = switch
        self._wanted = wanted
        self._take = take
        self._run = run

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        arguments: Sequence[Any] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        options = options or {}
        if self._switch.on:
            steps = taken_apart(function, tuple(arguments), options)
            if steps is not None:
                with self:
                    return steps(*arguments, **options)
        name = function_name(function)
        if name not in self._wanted or not self._switch.on:
            return function(*arguments, **options)
        place = self._calls.current.next_function(name)
        self._take(place, arguments, options, None)
        return self._run(place, function, arguments, options)


def _is_function(node: str) -> bool:
    """Return whether a node is a function's output, not a module's."""
    last = node.split("@")[-1]
    return "@" in node and not last.isdigit()
