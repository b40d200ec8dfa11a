"""How are compiled parts of a network seen while it is recorded? One operation each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

__all__ = ["compiled_parts_wrapped"]


class _Compiled(nn.Module):
    """Stands in the place of compiled code, which takes no hooks."""

    def __init__(self, compiled: Callable[..., Any]) -> None:
        super().__init__()
        # Not as a module: it would be looked for hooks again.
        self._call = [compiled]

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return self._call[0](*arguments, **options)


@contextlib.contextmanager
def compiled_parts_wrapped(model: nn.Module) -> Iterator[None]:
    """Let compiled parts be seen as one operation each, while the block runs."""
    wrapped: list[tuple[nn.Module, str, nn.Module]] = []
    for module in list(model.modules()):
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for name, child in module.named_children():
            if isinstance(child, torch.jit.ScriptModule):
                wrapped.append((module, name, child))
                setattr(module, name, _Compiled(child))
    try:
        yield
    finally:
        for module, name, child in wrapped:
            setattr(module, name, child)
