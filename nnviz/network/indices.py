"""Does a network know every index that its data have?

An embedding that is smaller than the vocabulary, or has fewer rows than there are
categories, fails somewhere inside of the network, with a message that names neither
token nor instance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nnviz.errors import ModelError
from nnviz.runs.network_inputs import NetworkInputs

__all__ = ["check_indices"]


def check_indices(
    module: nn.Module,
    inputs: NetworkInputs,
    packed: NDArray[Any],
    *,
    largest: int,
    said: str,
    advice: str,
) -> None:
    """Run a network on the instance with the largest index.

    Parameters
    ----------
    module
        The network, to which `inputs` are bound.
    inputs
        What is packed.
    packed
        The instance, shape (length,).
    largest
        Its largest index.
    said
        Which token of which instance, or which category, that is, for the message.
    advice
        What to do.

    Raises
    ------
    ModelError
        If the network fails on it, and not on indices of 0; or on any instance of this
        length.
    """
    failure = _failure(module, packed[np.newaxis])
    if failure is None:
        return
    n_tokens = inputs.tokens_of(len(packed))
    if _failure(module, inputs.example(1, n_tokens)) is not None:
        if not inputs.has_tokens:
            return  # told where the network is traced
        msg = (
            f"the network cannot be run on {n_tokens} tokens ({failure}); state how "
            "many it takes as preprocessing.max_length"
        )
        raise ModelError(msg) from failure
    sizes = {
        name: each.num_embeddings
        for name, each in module.named_modules()
        if isinstance(each, nn.Embedding) and each.num_embeddings <= largest
    }
    shown = ", ".join(f"{name!r} has {n:,} rows" for name, n in sizes.items())
    msg = (
        f"{said} has the index {largest:,}, which the network does not know "
        f"({shown or failure}); {advice}"
    )
    raise ModelError(msg) from failure


def _failure(module: nn.Module, packed: NDArray[Any]) -> IndexError | None:
    """Return the error of a lookup; others are told where the network is traced."""
    try:
        with torch.inference_mode():
            module(torch.from_numpy(packed))
    except IndexError as error:
        return error
    except Exception:  # noqa: BLE001  the user's code may raise anything
        return None
    return None
