"""What does each channel alone add to a layer? By plain isolation in float64.

``step(source)`` is a layer's value, affine in one source tensor, everything else held.
A channel's contribution is what the layer gains when that channel alone is there.
Shares no code with nnviz.
"""

import torch


def contributions(step, source):
    """Return (instance, target, source channel, position), channels on axis 1."""
    nothing = step(torch.zeros_like(source))
    parts = []
    for channel in range(source.shape[1]):
        alone = torch.zeros_like(source)
        alone[:, channel] = source[:, channel]
        parts.append((step(alone) - nothing).flatten(2))
    return torch.stack(parts, 2)


def largest(step, source):
    """Return the largest contribution over all positions, (instance, target, source).

    What is never positive counts as 0.
    """
    return contributions(step, source).amax(3).clamp(min=0)


def smallest(step, source):
    """Return the most negative contribution over all positions, at most 0."""
    return contributions(step, source).amin(3).clamp(max=0)
