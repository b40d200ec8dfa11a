"""Influence by its definition, in float64: each source goes through an operation alone.

Shares no code with nnviz: torch's own modules say which positions are evaluated. All
channels but one are set to zero, the bias is left out, and what comes out is the
contribution of that channel.
"""

import torch


def contributions(module, x):
    """Return (n, sources, targets, positions), float64, of a module without bias."""
    module = module.double()
    assert module.bias is None
    x = x.double()
    parts = []
    for i in range(x.shape[1]):
        alone = torch.zeros_like(x)
        alone[:, i] = x[:, i]
        if isinstance(module, torch.nn.Linear):
            y = module(alone.movedim(1, -1)).movedim(-1, 1)
        else:
            y = module(alone)
        parts.append(y.reshape(len(x), y.shape[1], -1))
    return torch.stack(parts, 1).detach().numpy()


def influences(parts, extremum):
    """Return (n, targets, sources) from contributions."""
    values = parts.max(3) if extremum == "max" else parts.min(3)
    return values.transpose(0, 2, 1)


def strongest(values, ranks, extremum):
    """Return the ranked (source, value) of a target; `values` maps source to value."""
    sign = 1 if extremum == "max" else -1
    counted = [(source, value) for source, value in values.items() if sign * value > 0]
    counted.sort(key=lambda item: (-sign * item[1], item[0]))
    counted = counted[:ranks]
    return counted + [(-1, 0.0)] * (ranks - len(counted))


def patch_influences(weight, x, stride, padding):
    """Return (targets, sources) for one instance x (sources, H, W), by its patches."""
    n_targets, n_sources, *kernel = weight.shape
    columns = []
    for i in range(n_sources):
        patches = torch.nn.functional.unfold(
            x[None, i : i + 1], kernel, padding=padding, stride=stride
        )[0]
        products = weight[:, i].reshape(n_targets, -1) @ patches
        columns.append(products.max(1).values)
    return torch.stack(columns, 1).numpy()
