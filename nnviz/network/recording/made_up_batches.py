"""On what is a network run before there are instances? Batches that it takes."""

from __future__ import annotations

import torch
from torch import Tensor

from nnviz.network.analysis.token_axes import padded_batch
from nnviz.runs.architecture import Architecture

__all__ = ["example_of", "varied_from"]


def example_of(architecture: Architecture) -> Tensor:
    """Return a made-up batch of a network's input.

    Of tokens it has two instances: what is the same at all tokens, of one instance,
    could be anything.

    Parameters
    ----------
    architecture
        Says what the network takes.
    """
    inputs = architecture.inputs
    if inputs is not None:
        example = torch.from_numpy(inputs.example(2))
        if not inputs.has_tokens or inputs.n_tokens < 2:
            return example
        return padded_batch(example, inputs, inputs.n_tokens)
    dtype = getattr(torch, architecture.input_dtype)
    return torch.zeros(1, *architecture.input_shape, dtype=dtype)


def varied_from(example: Tensor, architecture: Architecture) -> Tensor:
    """Return an input that differs from position to position, where it may.

    Parameters
    ----------
    example
        From :func:`example_of`.
    architecture
        Says what the network takes.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = architecture.inputs
    if inputs is not None and inputs.has_tokens:
        # Any table of words has an index 0 and an index 1.
        drawn = torch.randint(0, 2, example.shape, generator=generator)
        n_tokens = inputs.tokens_of(example.shape[1])
        is_index = torch.from_numpy(inputs.are_token_indices(n_tokens))
        return torch.where(is_index, drawn.to(example.dtype), example)
    if inputs is not None or not example.is_floating_point():
        return example
    return torch.randn(example.shape, generator=generator)
