"""How is torch's attention function taken apart into operations that nnviz knows?

``torch.nn.functional.multi_head_attention_forward`` is one call that projects, attends
and projects again. While a network is recorded, it is computed by the same steps as
separate functions, so that its projections are layers like any other. Values agree with
torch's to rounding.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

from torch import Tensor
from torch.nn import functional

__all__ = ["attend", "can_be_taken_apart"]

_SIGNATURE = inspect.signature(functional.multi_head_attention_forward)


def can_be_taken_apart(arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Return whether a call uses only what :func:`attend` computes."""
    call = _bound(arguments, options)
    return (
        not call["training"]
        and not call["add_zero_attn"]
        and not call["use_separate_proj_weight"]
        and call["query"].ndim == 3
        and call["out_proj_weight"] is not None
        and all(call[name] is None for name in ("bias_k", "bias_v", "static_k"))
    )


def attend(
    arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Tensor, Tensor | None]:
    """Compute what ``multi_head_attention_forward`` would return.

    Parameters
    ----------
    arguments, options
        Of the call; tensors have axes (token, instance, channel).

    Returns
    -------
    tuple
        Output (token, instance, channel), and the attention weights if they are asked
        for.
    """
    call = _bound(arguments, options)
    n_heads = int(call["num_heads"])
    query, key, value = (call[n].transpose(0, 1) for n in ("query", "key", "value"))
    weight, bias = call["in_proj_weight"], call["in_proj_bias"]
    if call["query"] is call["key"] and call["key"] is call["value"]:
        q, k, v = functional.linear(query, weight, bias).chunk(3, dim=-1)
    else:
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        parts = zip((query, key, value), weight.chunk(3), biases, strict=True)
        q, k, v = (functional.linear(*part) for part in parts)
    q, k, v = (x.unflatten(-1, (n_heads, -1)).transpose(1, 2) for x in (q, k, v))
    mask = _mask(call, n_instances=len(query), n_heads=n_heads)
    weights = None
    if call["need_weights"]:
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        scores = scores if mask is None else scores + mask
        weights = functional.softmax(scores, dim=-1)
        attended = weights @ v
        weights = weights.mean(1) if call["average_attn_weights"] else weights
    else:
        attended = functional.scaled_dot_product_attention(q, k, v, mask)
    joined = attended.transpose(1, 2).flatten(2)
    output = functional.linear(joined, call["out_proj_weight"], call["out_proj_bias"])
    return output.transpose(0, 1), weights


def _bound(arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    bound = _SIGNATURE.bind(*arguments, **options)
    bound.apply_defaults()
    return bound.arguments


def _mask(call: dict[str, Any], *, n_instances: int, n_heads: int) -> Tensor | None:
    """Return what is added to the scores, broadcast to (N, heads, queries, keys)."""
    mask = call["attn_mask"]
    if mask is not None:
        mask = _as_scores(mask, call["query"])
        if mask.ndim == 3:
            mask = mask.view(n_instances, n_heads, *mask.shape[1:])
    padding = call["key_padding_mask"]
    if padding is None:
        return mask if isinstance(mask, Tensor) else None
    hidden = _as_scores(padding, call["query"])[:, None, None]
    return hidden if mask is None else hidden + mask


def _as_scores(mask: Tensor, like: Tensor) -> Tensor:
    """Return a mask as summands; a bool mask is true where nothing is attended to."""
    if mask.is_floating_point():
        return mask
    return like.new_zeros(mask.shape).masked_fill(mask, -math.inf)
