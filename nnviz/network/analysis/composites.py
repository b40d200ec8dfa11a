"""Which torch functions are several operations in one, and how are they taken apart?

While a network is recorded they are computed by the same steps as separate functions,
so that their products and sums are like any others. Values agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional

from nnviz.network.analysis.attention import attend, can_be_taken_apart
from nnviz.network.analysis.recurrence import RECURRENT, run_one_by_one, runs_several

__all__ = ["taken_apart"]

Steps = Callable[..., Any]


def taken_apart(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Steps | None:
    """Return what computes the same as a call by functions that nnviz knows.

    Parameters
    ----------
    function, arguments, options
        The call.

    Returns
    -------
    callable or None
        Takes the same arguments and options; None if the call is one operation, or
        writes into one of its arguments.
    """
    if function is functional.multi_head_attention_forward:
        whole = can_be_taken_apart(arguments, options)
        return _attend if whole else None
    name = getattr(function, "__name__", "")
    if name in RECURRENT:
        several = runs_several(arguments, options)
        return partial(_one_by_one, function) if several else None
    steps = _STEPS.get(name)
    return None if options.get("out") is not None else steps


def _attend(*arguments: Any, **options: Any) -> Any:
    return attend(arguments, options)


def _one_by_one(function: Callable[..., Any], *arguments: Any) -> Any:
    return run_one_by_one(function, arguments)


def _glu(input: Tensor, dim: int = -1) -> Tensor:  # noqa: A002 (torch's own name)
    values, gate = input.chunk(2, dim)
    return values * gate.sigmoid()


def _addcmul(
    input: Tensor,  # noqa: A002
    tensor1: Tensor,
    tensor2: Tensor,
    *,
    value: float = 1,
) -> Tensor:
    product = tensor1 * tensor2
    return input + (product if value == 1 else value * product)


def _addcdiv(
    input: Tensor,  # noqa: A002
    tensor1: Tensor,
    tensor2: Tensor,
    *,
    value: float = 1,
) -> Tensor:
    quotient = tensor1 / tensor2
    return input + (quotient if value == 1 else value * quotient)


def _lerp(
    input: Tensor,  # noqa: A002
    end: Tensor,
    weight: Tensor | float,
) -> Tensor:
    return input + weight * (end - input)


_STEPS: dict[str, Steps] = {
    "addcdiv": _addcdiv,
    "addcmul": _addcmul,
    "glu": _glu,
    "lerp": _lerp,
}
