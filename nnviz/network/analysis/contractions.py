"""How does a sum of products over axes (einsum, tensordot, matmul) mix channels?

Each is written with one letter an axis, as for ``einsum``. With one constant factor it
is a linear map where it sums over the channels and makes one new axis of them; where it
sums over positions alone, channels stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_letters
from typing import Any

from torch import Tensor

from nnviz.network.analysis.operations import (
    Operation,
    OperationGraph,
    Reference,
    argument,
)

__all__ = ["Contraction", "bias_of", "contraction_of"]


@dataclass(frozen=True, slots=True)
class Contraction:
    """One activation times one constant, summed over axes."""

    value: int
    """The activation."""
    weight: Tensor
    """The constant."""
    of_value: str
    """Letters of the activation's axes."""
    of_weight: str
    result: str
    """Letters of the result's axes."""

    @property
    def summed(self) -> str:
        """Letters over which products are summed."""
        both = set(self.of_value) & set(self.of_weight)
        return "".join(k for k in self.of_value if k in both - set(self.result))

    @property
    def made(self) -> str:
        """Letters of the axes that only the constant has."""
        return "".join(k for k in self.result if k not in self.of_value)

    @property
    def is_plain(self) -> bool:
        """Whether each position has the same weights, and nothing else is summed."""
        return (
            len(self.made) == 1
            and set(self.of_weight) == set(self.summed) | set(self.made)
            and set(self.of_value)
            == set(self.result) - set(self.made) | set(self.summed)
            and self.of_value[:1] == self.result[:1]
        )

    @property
    def keeps_order(self) -> bool:
        """Whether positions of the result stand in the order of the activation's."""
        left = [k for k in self.of_value if k not in self.summed]
        return left == [k for k in self.result if k not in self.made]

    def kernel(self, channel: int) -> Tensor:
        """Return the weight as (made, channel, *other axes of the activation).

        Axes that are not summed over have an extent of 1; the instances' is left out.

        Parameters
        ----------
        channel
            Axis of the activation's channels.
        """
        letter = self.of_value[channel]
        others = [k for i, k in enumerate(self.of_value) if i not in (0, channel)]
        order = [self.made, letter, *(k for k in others if k in self.summed)]
        weight = self.weight.permute([self.of_weight.index(k) for k in order])
        sizes = iter(weight.shape[2:])
        shape = [next(sizes) if k in self.summed else 1 for k in others]
        return weight.reshape(*weight.shape[:2], *shape)


def contraction_of(graph: OperationGraph, operation: Operation) -> Contraction | None:
    """Return an operation as a contraction; None if it is not one with one constant.

    Parameters
    ----------
    graph, operation
        A recorded operation and its graph.
    """
    name = operation.name
    if name == "einsum":
        parts = _of_einsum(operation)
    elif name == "tensordot":
        parts = _of_tensordot(graph, operation)
    elif name in ("matmul", "mm", "bmm"):
        parts = _of_product(graph, operation)
    else:
        parts = None
    if parts is None:
        return None
    (first, second), letters, result = parts
    for (value, weight), (own, other) in (
        ((first, second), letters),
        ((second, first), letters[::-1]),
    ):
        if not isinstance(value, Reference) or not graph.values[value.value].depends:
            continue
        constant = graph.constant_of(weight)
        repeats = len(set(own)) < len(own) or len(set(other)) < len(other)
        if constant is not None and not repeats:
            return Contraction(value.value, constant, own, other, result)
    return None


def bias_of(graph: OperationGraph, operation: Operation) -> Tensor | None:
    """Return what a convolution or a linear map adds to its sums, if it does.

    Parameters
    ----------
    graph, operation
        A recorded operation and its graph.
    """
    if operation.name == "addmm":
        bias = graph.constant_of(argument(operation, 0, "input", None))
        return None if bias is None else bias * operation.options.get("beta", 1)
    if operation.name in ("matmul", "mm", "bmm", "einsum", "tensordot"):
        return None
    return graph.constant_of(argument(operation, 2, "bias", None))


_Parts = tuple[tuple[Any, Any], tuple[str, str], str]


def _of_einsum(operation: Operation) -> _Parts | None:
    equation = argument(operation, 0, "equation", None)
    rest = operation.arguments[1:]
    operands = list(rest[0]) if len(rest) == 1 and _is_list(rest[0]) else list(rest)
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        return None
    left, result = equation.replace(" ", "").split("->")
    letters = left.split(",")
    if len(operands) != 2 or len(letters) != 2:
        return None
    return (operands[0], operands[1]), (letters[0], letters[1]), result


def _is_list(item: Any) -> bool:
    return isinstance(item, (list, tuple))


def _shape(graph: OperationGraph, item: Any) -> tuple[int, ...]:
    if isinstance(item, Reference):
        return graph.values[item.value].shape
    return tuple(item.shape)


def _of_tensordot(graph: OperationGraph, operation: Operation) -> _Parts | None:
    first, second = operation.arguments[:2]
    dims = argument(operation, 2, "dims", 2)
    n, m = len(_shape(graph, first)), len(_shape(graph, second))
    if isinstance(dims, int):
        pairs = list(zip(range(n - dims, n), range(dims), strict=True))
    elif _is_list(dims) and all(_is_list(part) for part in dims):
        pairs = [(a % n, b % m) for a, b in zip(*dims, strict=True)]
    else:
        return None
    own = ascii_letters[:n]
    other = list(ascii_letters[n : n + m])
    for a, b in pairs:
        other[b] = own[a]
    summed = {own[a] for a, _ in pairs}
    result = [k for k in (*own, *other) if k not in summed]
    return (first, second), (own, "".join(other)), "".join(result)


def _of_product(graph: OperationGraph, operation: Operation) -> _Parts | None:
    """Write a matrix product whose one factor is a single matrix."""
    if len(operation.arguments) < 2:
        return None
    first, second = operation.arguments[:2]
    if operation.function.__name__ == "__rmatmul__":
        first, second = second, first
    n, m = len(_shape(graph, first)), len(_shape(graph, second))
    if m == 2 and n >= 2:
        own = ascii_letters[:n]
        return (first, second), (own, own[-1] + "Z"), own[:-1] + "Z"
    if n == 2 and m > 2:
        own = ascii_letters[:m]
        return (first, second), ("Z" + own[-2], own), own[:-2] + "Z" + own[-1]
    return None
