"""What is the input, and what the label, in an item of somebody else's data set?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nnviz.errors import UnreadableInstanceError

__all__ = [
    "INPUT_KEYS",
    "LABEL_KEYS",
    "Raw",
    "as_input",
    "as_label",
    "bytes_of",
    "columns_of",
    "split_item",
]

Raw = bytes | str | NDArray[Any] | Mapping[str, NDArray[Any]]
"""What a data set's ``read`` returns: the bytes of a picture's file, a text, an array,
or several arrays by the names of the network's inputs."""

INPUT_KEYS = (
    "image",
    "img",
    "input",
    "inputs",
    "pixel_values",
    "x",
    "X",
    "data",
    "text",
    "sentence",
)
"""Names under which an item keeps its input, in order of preference."""

LABEL_KEYS = ("label", "labels", "target", "y", "fine_label")
"""Names under which an item keeps its label, in order of preference."""


def split_item(
    item: Any, *, input_key: str, label_key: str, input_keys: Sequence[str] = ()
) -> tuple[Any, Any]:
    """Return the input and the label of an item.

    Parameters
    ----------
    item
        ``(input, label, ...)``, a dictionary, or the input alone.
    input_key, label_key
        Keys of a dictionary to look for before the usual ones.
    input_keys
        Keys of a dictionary that are the inputs, if there are several.

    Returns
    -------
    tuple
        Input and label. Of a dictionary without a usual key of an input, the input is
        a dictionary of all that can be one: arrays, tensors, lists and numbers.

    Raises
    ------
    UnreadableInstanceError
        If a dictionary has nothing that can be an input.
    """
    if isinstance(item, Mapping):
        labels = [key for key in (label_key, *LABEL_KEYS) if key in item]
        label = item[labels[0]] if labels else None
        found = [key for key in (input_key, *INPUT_KEYS) if key in item]
        if found and not input_keys:
            return item[found[0]], label
        several = {
            str(key): value
            for key, value in item.items()
            if (
                key in input_keys
                if input_keys
                else key not in labels and _can_be_input(value)
            )
        }
        if not several or not set(input_keys) <= set(several):
            wanted = ", ".join(input_keys) or f"one of {', '.join(INPUT_KEYS)}"
            msg = f"no input among the item's keys {list(item)}; it should be {wanted}"
            raise UnreadableInstanceError(msg)
        return several, label
    if isinstance(item, (tuple, list)) and item:
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def columns_of(
    item: Any, *, input_key: str = "data", label_key: str = "label"
) -> dict[str, Any]:
    """Return the single values that an item has beside input and label, by name.

    An input that is a text is among them, as ``text``.

    Parameters
    ----------
    item, input_key, label_key
        As for :func:`split_item`; the columns are the third part of a tuple.
    """
    taken: set[Any] = set()
    found: Any = item
    if isinstance(item, (tuple, list)):
        found = item[0] if item else None
        item = item[2] if len(item) > 2 else None
    elif isinstance(item, Mapping):
        inputs = [key for key in (input_key, *INPUT_KEYS) if key in item]
        labels = [key for key in (label_key, *LABEL_KEYS) if key in item]
        taken = {*inputs[:1], *labels[:1]}
        found = item[inputs[0]] if inputs else None
    text = {"text": str(found)} if isinstance(found, str) else {}
    if not isinstance(item, Mapping):
        return text
    values = {str(k): as_label(v) for k, v in item.items() if k not in taken}
    return text | {
        name: value
        for name, value in values.items()
        if value is None or isinstance(value, (str, bool, int, float, np.generic))
    }


def as_label(value: Any) -> Any:
    """Return a tensor or array of one value as a number, and others as they are."""
    if not hasattr(value, "item"):
        return value
    return value.item() if math.prod(getattr(value, "shape", ())) == 1 else value


def _can_be_input(value: Any) -> bool:
    if isinstance(value, (str, bytes)) or value is None:
        return False
    if isinstance(value, (bool, int, float)) or hasattr(value, "shape"):
        return True
    return isinstance(value, (list, tuple)) and len(value) > 0


def as_input(value: Any) -> Raw:
    """Return an input as a data set's ``read`` does.

    Parameters
    ----------
    value
        Bytes of a file, a Pillow image, a text, a tensor, an array, or lists of
        numbers; a dictionary of these, or a tuple or list of tensors or arrays, is
        several inputs, of which the latter are named by their numbers. Texts and None
        in a dictionary are values of a table.

    Raises
    ------
    UnreadableInstanceError
        If it is something else.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Image.Image):
        return np.asarray(value if value.mode in ("L", "RGB") else value.convert("RGB"))
    if isinstance(value, str):
        return str(value)
    if _is_several(value):
        value = {str(index): one for index, one in enumerate(value)}
    if isinstance(value, Mapping):
        return {
            str(key): np.asarray(one or "")
            if one is None or isinstance(one, str)
            else _as_array(one)
            for key, one in value.items()
        }
    return _as_array(value)


def bytes_of(raw: Raw) -> bytes:
    """Return all that tells an instance from another, as bytes.

    Parameters
    ----------
    raw
        What a data set's ``read`` returned.
    """
    if isinstance(raw, Mapping):
        named = [f"{name} ".encode() + bytes_of(one) for name, one in raw.items()]
        return b"".join(named)
    if isinstance(raw, np.ndarray):
        kind = f"{raw.dtype.str} {raw.shape} ".encode()
        return kind + np.ascontiguousarray(raw).tobytes()
    return raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw


def _is_several(value: Any) -> bool:
    """Whether a sequence holds arrays or tensors, and not the numbers of one."""
    return (
        isinstance(value, (list, tuple))
        and len(value) > 1
        and all(getattr(one, "shape", None) is not None for one in value)
        and any(len(one.shape) for one in value)
    )


def _as_array(value: Any) -> NDArray[Any]:
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
