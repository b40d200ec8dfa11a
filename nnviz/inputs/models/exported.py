"""How does an exported program become a network into whose layers nnviz can look?

``torch.export`` writes a network down as calls of ATen operators, which run below the
functions of torch that nnviz listens to. Each call is given back to the function of
torch that means the same: by name where the arguments are the same, by an adapter of
this module where they are not. What is not known stays as it is; its values pass
through, and the plan names it where influence would have to.

If the program brings example inputs, each function has to give the operator's result on
them, and the whole network its output; a function that does not is not used.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

__all__ = ["fixed_batch_of", "network_of_program"]


def fixed_batch_of(program: torch.export.ExportedProgram) -> int | None:
    """Return the only number of instances that a program takes; None if it takes any.

    Parameters
    ----------
    program
        As loaded by ``torch.export.load``.
    """
    given = set(program.graph_signature.user_inputs)
    values = [
        node.meta.get("val") for node in program.graph.nodes if node.name in given
    ]
    tensors = [value for value in values if isinstance(value, Tensor) and value.ndim]
    # A number that may vary is a torch.SymInt.
    fixed = [int(x.shape[0]) for x in tensors if not _varies(x.shape[0])]
    return fixed[0] if fixed and len(fixed) == len(tensors) else None


def _varies(size: object) -> bool:
    return isinstance(size, torch.SymInt)


def network_of_program(program: torch.export.ExportedProgram) -> nn.Module:
    """Return the program's network, in functions of torch.

    Parameters
    ----------
    program
        As loaded by ``torch.export.load``.

    Returns
    -------
    Module
        With the program's names of parameters; it computes the same.
    """
    network = program.module()
    calls = {
        node: call
        for node in network.graph.nodes
        if node.op == "call_function" and (call := _call_of(node)) is not None
    }
    examples = program.example_inputs
    if examples is not None:
        args, kwargs = examples
        with torch.inference_mode():
            trial = _Trial(network, calls)
            wanted = trial.run(*pytree.tree_leaves((_copy(args), _copy(kwargs))))
            calls = trial.accepted
    before = {node: (node.target, node.args, node.kwargs) for node in calls}
    for node, (target, node_args, node_kwargs) in calls.items():
        node.target, node.args, node.kwargs = target, node_args, node_kwargs
    network.recompile()
    if examples is not None:
        with torch.inference_mode():
            found = network(*_copy(args), **_copy(kwargs))
        if not _same(pytree.tree_leaves(found), pytree.tree_leaves(wanted)):
            for node, (target, node_args, node_kwargs) in before.items():
                node.target, node.args, node.kwargs = target, node_args, node_kwargs
            network.recompile()
    return network


_Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class _Trial(fx.Interpreter):
    """Runs a graph, and tries for each operator the function that may replace it."""

    def __init__(self, network: fx.GraphModule, calls: Mapping[fx.Node, _Call]) -> None:
        super().__init__(network)
        self._calls = calls
        self.accepted: dict[fx.Node, _Call] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n not in self._calls:
            return super().run_node(n)
        target, args, kwargs = self._calls[n]
        # Copies, since operators may work in place.
        args, kwargs = _copy(
            (self.map_nodes_to_values(args, n), self.map_nodes_to_values(kwargs, n))
        )
        try:
            found = target(*args, **kwargs)
        except Exception:  # noqa: BLE001 - whatever a wrong call raises, it is not used
            return super().run_node(n)
        wanted = super().run_node(n)
        if isinstance(wanted, tuple):
            # Adapters leave out what no one reads.
            read = [
                cast("int", user.args[1])
                for user in n.users
                if user.target is operator.getitem
            ]
            found, wanted_here = ([value[i] for i in read] for value in (found, wanted))
        else:
            wanted_here = wanted
        if _same(pytree.tree_leaves(found), pytree.tree_leaves(wanted_here)):
            self.accepted[n] = self._calls[n]
        return wanted


def _call_of(node: fx.Node) -> _Call | None:
    """Return the function of torch that does what an operator does; None if unknown."""
    overload = node.target
    if not isinstance(overload, torch._ops.OpOverload):
        return None
    namespace, _, name = overload._schema.name.partition("::")
    if namespace != "aten":
        return None
    function = _ADAPTERS.get(name) or _function_named(name)
    if function is None:
        return None
    args, kwargs = list(node.args), dict(node.kwargs)
    # Keywords of operators are not always those of functions; positions are.
    for argument in overload._schema.arguments[len(args) :]:
        if argument.kwarg_only or not set(kwargs) - _KEYWORDS:
            break
        default = argument.default_value if argument.has_default_value() else None
        args.append(kwargs.pop(argument.name, default))
    return function, tuple(args), kwargs


_KEYWORDS = {"dtype", "device", "layout", "pin_memory", "alpha", "value"}


def _function_named(name: str) -> Callable[..., Any] | None:
    """Return the function of torch with an operator's name and arguments."""
    for place in (torch, torch._C._nn, Tensor):
        found = getattr(place, name, None)
        # Functions that are written in Python have arguments of their own.
        mark = "__objclass__" if place is Tensor else "__self__"
        if callable(found) and hasattr(found, mark):
            return found  # type: ignore[no-any-return] # narrowed from Any
    return None


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,  # noqa: FBT001 - the operator's order
    momentum: float,
    eps: float,
    cudnn: bool = True,  # noqa: FBT001, FBT002
) -> Tensor:
    del cudnn
    return functional.batch_norm(
        x, mean, variance, weight, bias, training, momentum, eps
    )


def _batch_norm_of_three(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Without the statistics, which nothing reads in evaluation."""
    found = functional.batch_norm(
        x, mean, variance, weight, bias, training=False, momentum=momentum, eps=eps
    )
    return found, x.new_empty(0), x.new_empty(0)


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,  # noqa: FBT001 - the operator's order
    output_padding: list[int],
    groups: int,
) -> Tensor:
    n_axes = weight.ndim - 2
    kind = f"conv{'_transpose' if transposed else ''}{n_axes}d"
    function: Callable[..., Tensor] = getattr(functional, kind)
    if transposed:
        return function(
            x, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return function(x, weight, bias, stride, padding, dilation, groups)


def _layer_norm(
    x: Tensor,
    shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn: bool = True,  # noqa: FBT001, FBT002 - the operator's order
) -> Tensor:
    del cudnn
    return functional.layer_norm(x, shape, weight, bias, eps)


def _group_norm(
    x: Tensor,
    n_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn: bool = True,  # noqa: FBT001, FBT002 - the operator's order
) -> Tensor:
    del cudnn
    return functional.group_norm(x, n_groups, weight, bias, eps)


def _instance_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    use_input: bool,  # noqa: FBT001 - the operator's order
    momentum: float,
    eps: float,
    cudnn: bool,  # noqa: FBT001
) -> Tensor:
    del cudnn
    return functional.instance_norm(
        x, mean, variance, weight, bias, use_input, momentum, eps
    )


def _embedding(weight: Tensor, indices: Tensor, *rest: Any) -> Tensor:
    del rest  # which index is padding, and how gradients are kept
    return functional.embedding(indices, weight)


def _slice(
    x: Tensor,
    axis: int = 0,
    start: int | None = None,
    stop: int | None = None,
    step: int = 1,
) -> Tensor:
    before = (slice(None),) * (axis % x.ndim)
    return x[(*before, slice(start, stop, step))]


def _max_pool_with_indices(x: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    """Without the positions, which nothing reads but unpooling."""
    return functional.max_pool2d(x, *args), x.new_empty(0, dtype=torch.int64)


def _nearest(x: Tensor, size: Any, factors: Any) -> Tensor:
    return functional.interpolate(x, size, factors, mode="nearest")


def _bilinear(x: Tensor, size: Any, align: bool, factors: Any) -> Tensor:  # noqa: FBT001
    return functional.interpolate(
        x, size, factors, mode="bilinear", align_corners=align
    )


def _bicubic(x: Tensor, size: Any, align: bool, factors: Any) -> Tensor:  # noqa: FBT001
    return functional.interpolate(x, size, factors, mode="bicubic", align_corners=align)


_ADAPTERS: Mapping[str, Callable[..., Any]] = {
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm_of_three,
    "convolution": _convolution,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "embedding": _embedding,
    "max_pool2d_with_indices": _max_pool_with_indices,
    "slice": _slice,
    "upsample_nearest2d": _nearest,
    "upsample_bilinear2d": _bilinear,
    "upsample_bicubic2d": _bicubic,
    # the same arguments, but written in Python
    "adaptive_avg_pool1d": functional.adaptive_avg_pool1d,
    "adaptive_avg_pool2d": functional.adaptive_avg_pool2d,
    "adaptive_avg_pool3d": functional.adaptive_avg_pool3d,
    "dropout": functional.dropout,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "hardtanh": functional.hardtanh,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "mish": functional.mish,
    "pad": functional.pad,
    "relu6": functional.relu6,
    "silu": functional.silu,
    "split": torch.split,
}


def _copy(value: Any) -> Any:
    return pytree.tree_map(
        lambda item: item.clone() if isinstance(item, Tensor) else item, value
    )


def _same(found: list[Any], wanted: list[Any]) -> bool:
    if len(found) != len(wanted):
        return False
    for one, other in zip(found, wanted, strict=True):
        if not isinstance(one, Tensor) or not isinstance(other, Tensor):
            if type(one) is not type(other) or one != other:
                return False
        elif (
            one.shape != other.shape
            or one.dtype != other.dtype
            or not torch.allclose(
                one.double(), other.double(), rtol=1e-5, atol=1e-6, equal_nan=True
            )
        ):
            return False
    return True
