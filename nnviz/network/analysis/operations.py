"""Which operations does one forward pass run, and how do tensors flow between them?

Every torch function that the network calls is recorded while it runs, whatever Python
control flow leads there. A tensor that is written in place becomes a new *value*, and
so do all views of it; so the graph of values has no cycles and no hidden writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nnviz.errors import ModelError
from nnviz.network.analysis.compiled_parts import compiled_parts_wrapped
from nnviz.network.analysis.composites import taken_apart
from nnviz.network.analysis.module_calls import ModuleCall, ModuleCalls, function_name
from nnviz.network.analysis.outputs import iter_tensors, main_output
from nnviz.network.arguments import calling_with, inputs_of
from nnviz.user_code import telling_user_errors

__all__ = [
    "Operation",
    "OperationGraph",
    "Reference",
    "Value",
    "argument",
    "layout_of",
    "leaves_of",
    "overlap",
    "record_operations",
    "references",
    "view_write",
]

_FACTORIES_FROM_TENSOR = frozenset(
    [f"{kind}_like" for kind in ("zeros", "ones", "empty", "full", "rand", "randn")]
    + [f"new_{kind}" for kind in ("zeros", "ones", "empty", "full", "tensor")]
)


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands for a value in an operation's recorded arguments."""

    value: int


@dataclass(slots=True)
class Value:
    """One tensor between two writes."""

    index: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    producer: int | None
    """Index of the operation that made it; None for the network's input."""
    depends: bool
    """Whether it depends on the network's input."""
    constant: Tensor | None = None
    """The tensor itself, kept only where it does not depend on the input."""
    consumers: list[int] = field(default_factory=list)
    """Operations that read it and on which the output depends, in order."""
    is_output: bool = False


@dataclass(slots=True)
class Operation:
    """One call of a torch function."""

    index: int
    name: str
    """As :func:`nnviz.network.analysis.module_calls.function_name` has it."""
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    """Positional arguments, with a :class:`Reference` in place of each known tensor."""
    options: dict[str, Any]
    """Keyword arguments, likewise."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    call: ModuleCall
    """The innermost module call in which it happened."""
    place: str
    written: tuple[int, ...] = ()
    """The inputs that were written in place; their new values are the last outputs."""
    live: bool = False
    """Whether the network's main output depends on it."""


@dataclass(slots=True)
class OperationGraph:
    """The operations of one forward pass, in the order in which they ran."""

    values: list[Value]
    operations: list[Operation]
    outputs_of_calls: list[tuple[ModuleCall, nn.Module, int]]
    """(call, module, value): the first tensor that a module call returned."""
    received: dict[int, Tensor]
    """What the network received, by value; the first is its main input."""
    output: object
    """What the network returned."""
    time_first: frozenset[int] = frozenset()
    """Values with the instance on axis 1; of others it is axis 0."""

    @property
    def n_instances(self) -> int:
        """Instances of the batch."""
        return self.values[self.input_value].shape[0]

    def instance_shape(self, value: int) -> tuple[int, ...]:
        """Return a value's shape with the instance in front."""
        shape = self.values[value].shape
        turned = (shape[1], shape[0], *shape[2:]) if value in self.time_first else shape
        return tuple(turned)

    def turned(self, value: int, tensor: Tensor) -> Tensor:
        """Bring the instance of a value's tensor to the front, or from there back."""
        return tensor.transpose(0, 1) if value in self.time_first else tensor

    @property
    def input_value(self) -> int:
        """The network's first input."""
        return next(iter(self.received))

    def producer(self, value: int) -> Operation | None:
        """Return the operation that made a value; None for the network's input."""
        index = self.values[value].producer
        return None if index is None else self.operations[index]

    def activation_inputs(self, operation: Operation) -> tuple[int, ...]:
        """Return the inputs of an operation that depend on the network's input."""
        return tuple(i for i in operation.inputs if self.values[i].depends)

    def constant_of(self, item: Any) -> Tensor | None:
        """Return a recorded argument as a tensor; None if it depends on the input."""
        if isinstance(item, Reference):
            return self.values[item.value].constant
        return item.detach() if isinstance(item, Tensor) else None


def record_operations(model: nn.Module, batch: Tensor) -> OperationGraph:
    """Run the network once and record every operation.

    Parameters
    ----------
    model
        The network, in evaluation mode.
    batch
        Network input (instance, ...), packed where the network takes packed batches;
        a few instances are enough.

    Returns
    -------
    OperationGraph
        Operations on which the main output does not depend are marked as not live.

    Raises
    ------
    ModelError
        With whatever the network raises.
    """
    with torch.no_grad(), compiled_parts_wrapped(model):
        what = (
            f"the network cannot be run on a batch of shape {tuple(batch.shape)} and "
            f"type {batch.dtype}: it"
        )
        advice = "check preprocessing and the model's source"
        kinds = {p.dtype for p in model.parameters() if p.dtype.is_floating_point}
        if (
            inputs_of(model) is None
            and batch.dtype.is_floating_point
            and kinds
            and batch.dtype not in kinds
        ):
            advice = (
                f"its weights are {', '.join(sorted(map(str, kinds)))}; give it in "
                f"float32 (model.float()), in which nnviz runs it unless "
                "extraction.precision says otherwise"
            )
        with calling_with(model, batch) as (arguments, options):
            received = [*arguments, *options.values()]
            recording = _Recording([tensor.clone() for tensor in received])
            n, inputs = len(arguments), recording.inputs
            named = dict(zip(options, inputs[n:], strict=True))
            calls = ModuleCalls(model, recording.leave_module)
            with (
                telling_user_errors(what, advice=advice, error_type=ModelError),
                calls,
                recording.mode(calls),
            ):
                output = model(*inputs[:n], **named)
    graph = OperationGraph(
        values=recording.values,
        operations=recording.operations,
        outputs_of_calls=recording.outputs_of_calls,
        received=dict(enumerate(received)),
        output=output,
    )
    main = main_output(output)
    _mark_live(graph, recording.known(main) if main is not None else None)
    return graph


class _Mode(TorchFunctionMode):
    """Pass every torch function call to a recording."""

    def __init__(self, recording: _Recording, calls: ModuleCalls) -> None:
        super().__init__()
        self._recording = recording
        self._calls = calls

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        options = options or {}
        steps = taken_apart(function, arguments, options)
        if steps is not None:
            with self:
                return steps(*arguments, **options)
        return self._recording.run(self._calls.current, function, arguments, options)


class _Recording:
    """The tensors, values and operations that were seen so far."""

    def __init__(self, inputs: list[Tensor]) -> None:
        self.inputs = inputs
        self.values: list[Value] = []
        self.operations: list[Operation] = []
        self.outputs_of_calls: list[tuple[ModuleCall, nn.Module, int]] = []
        # Tensors are kept until the end: an id is unique only while its object lives.
        self._tensors: dict[int, tuple[Tensor, int]] = {}
        self._by_storage: defaultdict[int, list[Tensor]] = defaultdict(list)
        for tensor in inputs:
            self._bind(tensor, self._new_value(tensor, producer=None, depends=True))

    def mode(self, calls: ModuleCalls) -> _Mode:
        return _Mode(self, calls)

    def known(self, tensor: Tensor) -> int | None:
        entry = self._tensors.get(id(tensor))
        return None if entry is None else entry[1]

    def run(
        self,
        call: ModuleCall,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        options: dict[str, Any],
    ) -> Any:
        """Call a function and record it if it makes or writes tensors."""
        name = function_name(function)
        place = call.next_function(name)
        tensors = list(iter_tensors((arguments, options)))
        versions = [_version(tensor) for tensor in tensors]
        recorded = _with_references((arguments, options), self.known)
        inputs = tuple(
            dict.fromkeys(
                known for t in tensors if (known := self.known(t)) is not None
            )
        )
        result = function(*arguments, **options)

        written = [
            tensor
            for tensor, version in zip(tensors, versions, strict=True)
            if _version(tensor) != version
        ]
        made = [t for t in iter_tensors(result) if not _is_among(t, written)]
        if made or written:
            self._add(
                Operation(
                    len(self.operations), name, function, recorded[0], recorded[1],
                    inputs, (), call,
                    place,
                ),
                made,
                written,
            )  # fmt: skip
        return result

    def leave_module(
        self, call: ModuleCall, module: nn.Module, arguments: Any, output: Any
    ) -> None:
        tensors = list(iter_tensors(output))
        unknown = [t for t in tensors if self.known(t) is None]
        if unknown and not call.has_children:
            # Compiled code or an extension made these; the module is one operation.
            name = type(module).__name__.strip("_")
            inputs = tuple(
                dict.fromkeys(
                    known
                    for t in iter_tensors(arguments)
                    if (known := self.known(t)) is not None
                )
            )
            recorded = _with_references((arguments, {}), self.known)
            self._add(
                Operation(
                    len(self.operations), name, module, recorded[0], {}, inputs, (),
                    call, call.place,
                ),
                unknown,
                [],
            )  # fmt: skip
        if tensors and (value := self.known(tensors[0])) is not None:
            self.outputs_of_calls.append((call, module, value))

    def _add(
        self, operation: Operation, made: Sequence[Tensor], written: Sequence[Tensor]
    ) -> None:
        depends = operation.name not in _FACTORIES_FROM_TENSOR and any(
            self.values[i].depends for i in operation.inputs
        )
        for tensor in written:
            if self.known(tensor) is None:
                # A constant or a buffer that the network writes into.
                self._bind(tensor, self._new_value(tensor, None, depends=False))
        operation.written = tuple(self._tensors[id(t)][1] for t in written)
        outputs = []
        for tensor in (*made, *written):
            value = self._new_value(tensor, operation.index, depends=depends)
            outputs.append(value)
        operation.outputs = tuple(outputs)
        self.operations.append(operation)
        for tensor, value in zip((*made, *written), outputs, strict=True):
            self._bind(tensor, value)
        for tensor in written:
            self._write_through(tensor, operation)

    def _new_value(self, tensor: Tensor, producer: int | None, *, depends: bool) -> int:
        index = len(self.values)
        constant = None if depends else tensor.detach().clone()
        self.values.append(
            Value(index, tuple(tensor.shape), tensor.dtype, producer, depends, constant)
        )
        return index

    def _bind(self, tensor: Tensor, value: int) -> None:
        is_new = id(tensor) not in self._tensors
        self._tensors[id(tensor)] = (tensor, value)
        if is_new and tensor.layout == torch.strided:
            self._by_storage[tensor.untyped_storage().data_ptr()].append(tensor)

    def _write_through(self, source: Tensor, operation: Operation) -> None:
        """Give new values to the other views of a tensor that was written in place."""
        if source.layout != torch.strided:
            return
        value = self._tensors[id(source)][1]
        for view in self._by_storage[source.untyped_storage().data_ptr()]:
            if view is source or not overlap(view, source):
                continue
            if layout_of(view) == layout_of(source):
                self._tensors[id(view)] = (view, value)
                continue
            old = self._tensors[id(view)][1]
            depends = self.values[old].depends or self.values[value].depends
            index = len(self.operations)
            new = self._new_value(view, index, depends=depends)
            self.operations.append(
                Operation(
                    index, "view_write", view_write(view, source),
                    (Reference(old), Reference(value)), {}, (old, value), (new,),
                    operation.call, f"{operation.place}@view_write",
                )
            )  # fmt: skip
            self._tensors[id(view)] = (view, new)


def argument(operation: Operation, index: int, name: str, default: Any) -> Any:
    """Return an argument of a recorded call by its position or name."""
    if name in operation.options:
        return operation.options[name]
    if len(operation.arguments) > index:
        return operation.arguments[index]
    return default


def leaves_of(operation: Operation) -> list[Tensor | Reference]:
    """Return the tensors of a recorded call, in the order in which a call has them."""
    return list(_leaves((operation.arguments, operation.options)))


def _leaves(item: Any) -> Iterator[Tensor | Reference]:
    if isinstance(item, (Tensor, Reference)):
        yield item
    elif isinstance(item, dict):
        yield from _leaves(tuple(item.values()))
    elif isinstance(item, (list, tuple)):
        for part in item:
            yield from _leaves(part)
    elif isinstance(item, slice):
        yield from _leaves((item.start, item.stop, item.step))


def references(item: Any) -> Iterator[int]:
    """Yield the value of every reference in nested arguments, as often as it stands."""
    if isinstance(item, Reference):
        yield item.value
    elif isinstance(item, dict):
        for part in item.values():
            yield from references(part)
    elif isinstance(item, (list, tuple)):
        for part in item:
            yield from references(part)


def _mark_live(graph: OperationGraph, main: int | None) -> None:
    """Mark what the main output depends on, and list the consumers of every value."""
    pending = [main] if main is not None else [v.index for v in graph.values]
    if main is not None:
        graph.values[main].is_output = True
    seen = set(pending)
    while pending:
        operation = graph.producer(pending.pop())
        if operation is None or operation.live:
            continue
        operation.live = True
        for value in operation.inputs:
            if value not in seen:
                seen.add(value)
                pending.append(value)
    for operation in graph.operations:
        if operation.live:
            for value in operation.inputs:
                graph.values[value].consumers.append(operation.index)


def _with_references(value: Any, known: Callable[[Tensor], int | None]) -> Any:
    """Copy nested arguments with a reference in place of every known tensor."""
    if isinstance(value, Tensor):
        index = known(value)
        return value if index is None else Reference(index)
    if isinstance(value, dict):
        return {key: _with_references(item, known) for key, item in value.items()}
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        return slice(*(_with_references(part, known) for part in parts))
    if type(value) in (list, tuple):
        return type(value)(_with_references(item, known) for item in value)
    return value


def _is_among(tensor: Tensor, tensors: Sequence[Tensor]) -> bool:
    return any(tensor is other for other in tensors)


def _version(tensor: Tensor) -> int:
    # Tensors made in inference mode count no writes; nobody writes into parameters.
    return -1 if tensor.is_inference() else tensor._version


def layout_of(tensor: Tensor) -> tuple[object, ...]:
    """Return which elements of its storage a tensor has, and in what order."""
    return (tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype)


def _elements(tensor: Tensor, n_elements: int) -> Tensor:
    """Return which elements of its storage a tensor covers, as a bool mask."""
    mask = torch.zeros(n_elements, dtype=torch.bool)
    mask.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).fill_(
        value=True
    )
    return mask


def overlap(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors of one storage have elements in common."""
    if layout_of(first) == layout_of(second):
        return True
    if 0 in (first.numel(), second.numel()) or first.dtype != second.dtype:
        return False
    n = first.untyped_storage().nbytes() // first.element_size()
    return bool((_elements(first, n) & _elements(second, n)).any())


def view_write(view: Tensor, source: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function (old view, new source) -> new view, as a data movement."""
    n = view.untyped_storage().nbytes() // view.element_size()
    of_view = (view.shape, view.stride(), view.storage_offset())
    of_source = (source.shape, source.stride(), source.storage_offset())

    def write(old: Tensor, new: Tensor) -> Tensor:
        storage = old.new_zeros(n)
        storage.as_strided(*of_view).copy_(old)
        storage.as_strided(*of_source).copy_(new)
        return storage.as_strided(*of_view).clone()

    return write
