"""What does each torch function do to channels?

Functions are known by the one name that
:func:`nnviz.network.analysis.module_calls.function_name` gives them. Anything else is
``unknown``: activations are recorded around it, and it is named where influence would
have to pass through it.
"""

from __future__ import annotations

from typing import Literal

__all__ = [
    "CONVOLUTIONS",
    "SELECTIONS",
    "TRANSPOSED_CONVOLUTIONS",
    "Category",
    "category_of",
]

Category = Literal[
    "convolution",
    "attention",
    "contraction",
    "elementwise",
    "embedding",
    "fused_attention",
    "linear",
    "mixing",
    "movement",
    "normalization",
    "pointwise",
    "pooling",
    "reduction",
    "unknown",
]

TRANSPOSED_CONVOLUTIONS = frozenset(f"conv_transpose{n}d" for n in (1, 2, 3))
CONVOLUTIONS = TRANSPOSED_CONVOLUTIONS | {f"conv{n}d" for n in (1, 2, 3)}

SELECTIONS = frozenset({"masked_fill", "where"})
"""Functions that take some positions of a value and fill the others."""

_CATEGORIES: dict[Category, str] = {
    # y = W x + b over the last axis, with the weight as second argument
    "linear": "linear",
    # channels are mixed in a way that is not one weight for each pair
    "mixing": """bilinear lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell
        rnn_relu_cell""",
    # rows of a table, chosen by the input: channels are made, and come from none
    "embedding": "embedding embedding_bag",
    # attention with its projections in one call, where it cannot be taken apart
    "fused_attention": "multi_head_attention_forward",
    # a convex combination of positions: channels are those of the third argument
    "attention": "scaled_dot_product_attention",
    # matrix products: linear if one factor is constant
    "contraction": "matmul mm bmm addmm baddbmm einsum tensordot",
    # several activations: a residual sum or a gate; one and constants: pointwise
    "elementwise": """add sub mul div maximum minimum where addcmul addcdiv lerp
        floor_divide remainder fmod atan2 logaddexp""",
    # channels stay, every position by itself
    "pointwise": """relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh
        hardswish hardsigmoid sigmoid tanh softplus softsign logsigmoid threshold prelu
        rrelu clamp clamp_min clamp_max clip abs neg exp expm1 log log1p log2 log10
        sqrt rsqrt pow square reciprocal erf sin cos tan atan sinc sign round floor ceil
        trunc hardshrink softshrink tanhshrink nan_to_num masked_fill dropout dropout1d
        dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout
        contiguous clone detach to float half bfloat16 double type type_as cpu cuda data
        requires_grad positive expit special_expit real imag angle conj resolve_conj
        resolve_neg""",
    # channels stay, but are scaled by statistics of others
    "normalization": """batch_norm layer_norm group_norm instance_norm rms_norm
        local_response_norm normalize softmax log_softmax softmin""",
    # channels stay, positions are combined
    "pooling": """max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d
        adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d adaptive_avg_pool3d lp_pool1d lp_pool2d lp_pool3d
        fractional_max_pool2d fractional_max_pool3d max_unpool1d max_unpool2d
        max_unpool3d interpolate upsample upsample_nearest upsample_bilinear
        grid_sample""",
    # axes given by the arguments are combined
    "reduction": """mean sum amax amin max min median std var norm logsumexp prod
        nanmean nansum vector_norm linalg_norm linalg_vector_norm cumsum cumprod""",
    # elements are only copied, repeated, permuted, padded or left out
    "movement": """view reshape flatten unflatten permute transpose t T mT H mH swapaxes
        swapdims movedim moveaxis squeeze unsqueeze expand expand_as repeat tile
        repeat_interleave chunk split tensor_split split_with_sizes vsplit hsplit dsplit
        unsafe_chunk unsafe_split unbind getitem select narrow index_select gather
        take_along_dim cat stack hstack vstack dstack column_stack row_stack roll flip
        fliplr flipud rot90 pad pixel_shuffle pixel_unshuffle channel_shuffle
        native_channel_shuffle unfold fold setitem copy slice_scatter select_scatter
        index_copy index_fill scatter view_as reshape_as diagonal as_strided
        broadcast_to broadcast_tensors atleast_1d atleast_2d atleast_3d zero fill
        view_write masked_select index_put""",
}
_CATEGORY_OF: dict[str, Category] = {
    name: category for category, names in _CATEGORIES.items() for name in names.split()
}


def category_of(name: str) -> Category:
    """Return what a function does to channels.

    Examples
    --------
    >>> category_of("conv_transpose2d"), category_of("hardswish"), category_of("fft")
    ('convolution', 'pointwise', 'unknown')
    """
    if name in CONVOLUTIONS:
        return "convolution"
    return _CATEGORY_OF.get(name, "unknown")
