"""How does a batch of prepared instances become the network's input?

Prepared images are uint8 with channels last; here they become float32 with channels
first: ``(value * scale - mean) / std``. Every element goes through the same operations,
in the same order and precision, as in torchvision's ``ToTensor`` and ``Normalize``, so
the result is equal to theirs bit for bit.

On a CPU the batch is walked in blocks that stay in the cache between the operations.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nnviz.errors import ShapeError
from nnviz.runs.config import PreprocessingConfig

__all__ = ["normalize"]

_BLOCK_ELEMENTS = 1 << 17  # 512 KiB of float32: half of a usual second-level cache


def normalize(
    batch: Tensor, config: PreprocessingConfig, *, channels_last: bool = False
) -> Tensor:
    """Scale, subtract the mean, and divide by the standard deviation.

    Parameters
    ----------
    batch
        Prepared instances: uint8 (N, H, W, C) for images; float32 (N, C, ...) in the
        network's order of axes, or int64 of any shape, for arrays. Any device.
    config
        Its `scale`, `mean` and `std` are used; mean and std have one value or C.
    channels_last
        Whether images are laid out with channels last in memory (the shape stays
        channels first), the faster format for most convolutions.

    Returns
    -------
    Tensor
        float32 (N, C, H, W), or (N, C, ...) as given; integers other than uint8 are
        returned as they are. On the device of `batch`.

    Raises
    ------
    ShapeError
        If images have not four axes, or mean or std do not fit the channels.
    """
    if batch.dtype == torch.uint8:
        return _normalize_images(batch, config, channels_last=channels_last)
    if not batch.is_floating_point():
        return batch
    out = torch.empty_like(batch, dtype=torch.float32)
    mean, std = _statistics(config, batch, axis=1)
    _normalize_into(out, batch, config.factor, mean, std)
    if channels_last and out.ndim == 4:
        return out.contiguous(memory_format=torch.channels_last)
    return out


def _normalize_images(
    batch: Tensor, config: PreprocessingConfig, *, channels_last: bool
) -> Tensor:
    if batch.ndim != 4:
        msg = f"images have shape {tuple(batch.shape)}; it should be (N, H, W, C)"
        raise ShapeError(msg)
    n_images, height, width, n_channels = batch.shape
    mean, std = _statistics(config, batch, axis=3)
    if channels_last:
        # Rows of W x C elements: an innermost axis of 3 would not be vectorised.
        out = torch.empty(batch.shape, dtype=torch.float32, device=batch.device)
        values, target = (
            images.reshape(n_images, height, width * n_channels)
            for images in (batch, out)
        )
        mean, std = (one.expand(n_channels).repeat(width) for one in (mean, std))
        result = out.permute(0, 3, 1, 2)
    else:
        values = batch.permute(0, 3, 1, 2)
        target = torch.empty(values.shape, dtype=torch.float32, device=batch.device)
        mean, std = mean.view(-1, 1, 1), std.view(-1, 1, 1)
        result = target
    block = max(1, n_images)
    if batch.device.type == "cpu":
        block = max(1, _BLOCK_ELEMENTS // max(1, height * width * n_channels))
    for start in range(0, n_images, block):
        stop = start + block
        _normalize_into(
            target[start:stop], values[start:stop], config.factor, mean, std
        )
    return result


def _normalize_into(
    out: Tensor, values: Tensor, scale: float, mean: Tensor, std: Tensor
) -> None:
    out.copy_(values)
    if math.isclose(scale * 255.0, 1.0, rel_tol=1e-12):
        # ToTensor divides by 255; times 1/255 differs in the last bit.
        out.div_(255)
    elif scale != 1.0:
        out.mul_(scale)
    out.sub_(mean).div_(std)


def _statistics(
    config: PreprocessingConfig, batch: Tensor, *, axis: int
) -> tuple[Tensor, Tensor]:
    """Mean and std, float32, shaped to broadcast along `axis` of `batch`."""
    n_channels = batch.shape[axis] if batch.ndim > axis else 1
    shaped = []
    for name, values in (("mean", config.mean), ("std", config.std)):
        if len(values) not in (1, n_channels):
            msg = (
                f"preprocessing.{name} has {len(values)} values, but instances of "
                f"shape {tuple(batch.shape[1:])} have {n_channels} channels; give one "
                f"value, or one for each channel"
            )
            raise ShapeError(msg)
        tensor = torch.tensor(values, dtype=torch.float32, device=batch.device)
        shaped.append(tensor.view(-1, *[1] * max(0, batch.ndim - axis - 1)))
    return shaped[0], shaped[1]
