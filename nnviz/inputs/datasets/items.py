"""What is the input, and what the label, in an item of somebody else's data set?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nnviz.errors import UnreadableInstanceError

__all__ = [
    "INPUT_KEYS",
    "LABEL_KEYS",
    "as_input",
    "as_label",
    "columns_of",
    "split_item",
]

INPUT_KEYS = ("image", "img", "input", "inputs", "pixel_values", "x", "X", "data")
"""Names under which an item keeps its input, in order of preference."""

LABEL_KEYS = ("label", "labels", "target", "y", "fine_label")
"""Names under which an item keeps its label, in order of preference."""


def split_item(item: Any, *, input_key: str, label_key: str) -> tuple[Any, Any]:
    """Return the input and the label of an item.

    Parameters
    ----------
    item
        ``(input, label, ...)``, a dictionary, or the input alone.
    input_key, label_key
        Keys of a dictionary to look for before the usual ones.

    Raises
    ------
    UnreadableInstanceError
        If a dictionary has none of the usual keys.
    """
    if isinstance(item, Mapping):
        found = [key for key in (input_key, *INPUT_KEYS) if key in item]
        if not found:
            msg = f"no input among the item's keys {list(item)}; known are {INPUT_KEYS}"
            raise UnreadableInstanceError(msg)
        labels = [key for key in (label_key, *LABEL_KEYS) if key in item]
        return item[found[0]], item[labels[0]] if labels else None
    if isinstance(item, (tuple, list)) and item:
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def columns_of(
    item: Any, *, input_key: str = "data", label_key: str = "label"
) -> dict[str, Any]:
    """Return the single values that an item has beside input and label, by name.

    Parameters
    ----------
    item, input_key, label_key
        As for :func:`split_item`; the columns are the third part of a tuple.
    """
    taken: set[Any] = set()
    if isinstance(item, (tuple, list)):
        item = item[2] if len(item) > 2 else None
    elif isinstance(item, Mapping):
        inputs = [key for key in (input_key, *INPUT_KEYS) if key in item]
        labels = [key for key in (label_key, *LABEL_KEYS) if key in item]
        taken = {*inputs[:1], *labels[:1]}
    if not isinstance(item, Mapping):
        return {}
    values = {str(k): as_label(v) for k, v in item.items() if k not in taken}
    return {
        name: value
        for name, value in values.items()
        if value is None or isinstance(value, (str, bool, int, float, np.generic))
    }


def as_label(value: Any) -> Any:
    """Return a tensor or array of one value as a number, and others as they are."""
    if not hasattr(value, "item"):
        return value
    return value.item() if math.prod(getattr(value, "shape", ())) == 1 else value


def as_input(value: Any) -> bytes | NDArray[Any]:
    """Return an input as a data set's ``read`` does.

    Parameters
    ----------
    value
        Bytes of a file, a Pillow image, a tensor, an array, or lists of numbers.

    Raises
    ------
    UnreadableInstanceError
        If it is something else.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Image.Image):
        return np.asarray(value if value.mode in ("L", "RGB") else value.convert("RGB"))
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise UnreadableInstanceError(str(error)) from error
    if array.dtype.kind not in "iufb":
        msg = f"the input is {type(value).__name__}, not an image or array of numbers"
        raise UnreadableInstanceError(msg)
    return array
