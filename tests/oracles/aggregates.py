"""Aggregates again, in plain loops over instances, subsets and channels."""

from __future__ import annotations

import math


def top_channels(row, *, share):
    """Return the top channels of one instance by the share rule, design of SUMMIT."""
    values = [max(float(value), 0.0) for value in row]
    total = math.fsum(values)
    if not total > 0:
        return []
    order = sorted(range(len(values)), key=lambda channel: (-values[channel], channel))
    taken, reached = [], 0.0
    for channel in order:
        if values[channel] <= 0:
            break
        taken.append(channel)
        reached += values[channel]
        if reached >= share * total:
            break
    return sorted(taken)


def counts(rows, members, *, share):
    """Return in how many of the members' rows each channel is a top channel."""
    found = [0] * len(rows[0])
    for instance in members:
        for channel in top_channels(rows[instance], share=share):
            found[channel] += 1
    return found


def moments(rows, members):
    """Return mean, population variance and maximum of each channel over the members."""
    n = len(members)
    if n == 0:
        nothing = [math.nan] * len(rows[0])
        return nothing, nothing, nothing
    means, variances, maxima = [], [], []
    for channel in range(len(rows[0])):
        values = [float(rows[instance][channel]) for instance in members]
        mean = math.fsum(values) / n
        means.append(mean)
        variances.append(math.fsum((value - mean) ** 2 for value in values) / n)
        maxima.append(max(values))
    return means, variances, maxima


def influences(targets, sources, values, members, *, n_targets, n_sources):
    """Return counts and sums of the kept influences, as (targets, sources) lists."""
    found = [[0] * n_sources for _ in range(n_targets)]
    sums = [[0.0] * n_sources for _ in range(n_targets)]
    for instance in members:
        for kept, target in enumerate(targets[instance]):
            if target < 0:
                continue
            for rank, source in enumerate(sources[instance][kept]):
                if source < 0:
                    continue
                found[target][source] += 1
                sums[target][source] += float(values[instance][kept][rank])
    return found, sums


def cosine(first, second):
    """Return the cosine of two lists of counts; NaN if one has none."""
    norms = math.sqrt(sum(a * a for a in first)) * math.sqrt(sum(b * b for b in second))
    product = sum(a * b for a, b in zip(first, second, strict=True))
    return product / norms if norms else math.nan
