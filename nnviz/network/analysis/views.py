"""Which tensors share memory, and what does a write into one do to another?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["layout_of", "overlap", "view_write"]


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
