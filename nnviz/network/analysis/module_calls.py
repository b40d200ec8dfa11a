"""Where in a forward pass is the network right now?

A place is the output of a module call or of a function that a module calls itself.
Its name is the same in every forward pass that takes the same way, whether or not
batch normalisation has been folded:

* ``layer1.0``: the output of the module's first call; ``layer1.0@2``: of its second;
* ``layer1.0@relu``: the first call of ``relu`` inside of that module's own forward
  method; ``layer1.0@relu.2`` the second; ``layer1.0@2@relu`` in its second call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

__all__ = ["ModuleCall", "ModuleCalls", "function_name", "function_place"]

_ALIASES = {
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "iadd": "add",
    "idiv": "div",
    "imul": "mul",
    "isub": "sub",
    "itruediv": "div",
    "multiply": "mul",
    "negative": "neg",
    "radd": "add",
    "rdiv": "div",
    "rmatmul": "matmul",
    "rmul": "mul",
    "rpow": "pow",
    "rsub": "sub",
    "rtruediv": "div",
    "subtract": "sub",
    "true_divide": "div",
    "truediv": "div",
}


@dataclass(slots=True)
class ModuleCall:
    """One call of one module during a forward pass."""

    index: int
    """Position among all calls, in the order in which they began."""
    path: str
    """Torch module path; empty for the network itself."""
    number: int
    """1 for the module's first call, 2 for its second."""
    parent: ModuleCall | None
    has_children: bool = False
    """Whether the module called another one."""
    functions: dict[str, int] = field(default_factory=dict)
    """How often each function was called by the module itself."""

    @property
    def place(self) -> str:
        """Name of the place that is this call's output."""
        return self.path if self.number == 1 else f"{self.path}@{self.number}"

    def next_function(self, name: str) -> str:
        """Count one more call of a function and return the name of its place."""
        ordinal = self.functions.get(name, 0) + 1
        self.functions[name] = ordinal
        return function_place(self, name, ordinal)

    def is_within(self, other: ModuleCall) -> bool:
        """Return whether this call is `other` or happened inside of it."""
        call: ModuleCall | None = self
        while call is not None and call.index >= other.index:
            if call.index == other.index:
                return True
            call = call.parent
        return False


class ModuleCalls:
    """Follow the module calls of the forward passes in a ``with`` block, by hooks.

    Parameters
    ----------
    model
        The network; a module that is used under two names is known by the first.
    on_output
        Called with each module call and what it returned, when it returns.
    left_out
        Says of a path and a module whether it needs no hooks: neither its output nor
        the functions that it calls matter.
    """

    def __init__(
        self,
        model: nn.Module,
        on_output: Callable[[ModuleCall, nn.Module, Any, Any], None] | None = None,
        left_out: Callable[[str, nn.Module], bool] = lambda path, module: False,
    ) -> None:
        self._model = model
        self._on_output = on_output
        self._left_out = left_out
        self._handles: list[RemovableHandle] = []
        self._stack: list[ModuleCall] = []
        self._numbers: Counter[str] = Counter()
        self._n_calls = 0
        self._root = ModuleCall(-1, "", 1, None)

    @property
    def current(self) -> ModuleCall:
        """The innermost module call that has not returned."""
        return self._stack[-1] if self._stack else self._root

    def reset(self) -> None:
        """Forget all calls, before another forward pass."""
        self._stack.clear()
        self._numbers.clear()
        self._n_calls = 0
        self._root = ModuleCall(-1, "", 1, None)

    def __enter__(self) -> Self:
        for path, module in self._model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # compiled code takes no hooks
            if self._left_out(path, module):
                continue
            self._handles += [
                module.register_forward_pre_hook(self._enter(path), prepend=True),
                module.register_forward_hook(self._leave(path)),
            ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.reset()

    def _enter(self, path: str) -> Callable[[nn.Module, Any], None]:
        def enter(module: nn.Module, arguments: Any) -> None:
            parent = self._stack[-1] if self._stack else None
            if parent is not None:
                parent.has_children = True
            self._numbers[path] += 1
            self._stack.append(
                ModuleCall(self._n_calls, path, self._numbers[path], parent)
            )
            self._n_calls += 1

        return enter

    def _leave(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def leave(module: nn.Module, arguments: Any, output: Any) -> None:
            call = self._stack.pop()
            # Calls that an exception has ended, and the network has caught, are left.
            while call.path != path:
                call = self._stack.pop()
            if self._on_output is not None:
                self._on_output(call, module, arguments, output)

        return leave


def function_place(call: ModuleCall, name: str, ordinal: int) -> str:
    """Return the name of the place that is a function's output."""
    suffix = "" if ordinal == 1 else f".{ordinal}"
    return f"{call.place}@{name}{suffix}"


def function_name(function: Callable[..., Any]) -> str:
    """Return the one name under which nnviz knows a torch function.

    In-place forms and operators have the name of the function: ``add`` for
    ``torch.add``, ``Tensor.add_``, ``+`` and ``+=``.

    Examples
    --------
    >>> import torch
    >>> function_name(torch.Tensor.relu_), function_name(torch.Tensor.__radd__)
    ('relu', 'add')
    """
    name = getattr(function, "__name__", "") or type(function).__name__
    if name == "__get__":
        name = getattr(getattr(function, "__self__", None), "__name__", name)
    name = name.strip("_")
    return _ALIASES.get(name, name)
