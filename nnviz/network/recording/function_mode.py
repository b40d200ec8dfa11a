"""How are the outputs of functions read that no module returns? By a mode of torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from nnviz.network.analysis.composites import taken_apart
from nnviz.network.analysis.layers import RECEIVED
from nnviz.network.analysis.module_calls import ModuleCalls, function_name

__all__ = ["FunctionMode", "Switch", "is_function"]


def is_function(node: str) -> bool:
    """Return whether a node is a function's output: no module's, and no input."""
    last = node.split("@")[-1]
    is_number = last.isdigit() or node.startswith(RECEIVED)
    return "@" in node and not is_number


@dataclass(slots=True)
class Switch:
    """Whether what happens is part of the network, or of its recording."""

    on: bool = False

    def off(self) -> contextlib.AbstractContextManager[None]:
        """Run a block that must not be taken for a part of the network."""
        return _Pause(self, gradients=True)

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Run such a block, of which gradients know nothing either."""
        return _Pause(self, gradients=False)


class _Pause:
    """A block of the recording; entered for every layer, so that it has to be fast."""

    __slots__ = ("_disabled", "_gradients", "_switch")

    def __init__(self, switch: Switch, *, gradients: bool) -> None:
        self._switch = switch
        self._gradients = gradients or not torch.is_grad_enabled()
        self._disabled = torch._C.DisableTorchFunction()

    def __enter__(self) -> None:
        self._switch.on = False
        self._disabled.__enter__()
        if not self._gradients:
            torch._C._set_grad_enabled(False)  # noqa: FBT003

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._gradients:
            torch._C._set_grad_enabled(True)  # noqa: FBT003
        self._disabled.__exit__(kind, error, traceback)
        self._switch.on = True


class FunctionMode(TorchFunctionMode):
    """Read the outputs of functions that no module returns."""

    def __init__(
        self,
        calls: ModuleCalls,
        switch: Switch,
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
        if not self._switch.on:
            return function(*arguments, **options)
        steps = taken_apart(function, tuple(arguments), options)
        if steps is not None:
            with self:
                return steps(*arguments, **options)
        name = function_name(function)
        if name not in self._wanted:
            return function(*arguments, **options)
        place = self._calls.current.next_function(name)
        self._take(place, arguments, options, None)
        return self._run(place, function, arguments, options)
