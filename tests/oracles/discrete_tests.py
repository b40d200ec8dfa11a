"""Fisher's test, mid-p, of tables that are written out, and of many of them at once."""

from math import comb


def probabilities(both, n, m):
    """Return the probability of each count of the first, given both counts' sum."""
    whole = comb(n + m, both)
    low, high = max(0, both - m), min(n, both)
    return {k: comb(n, k) * comb(m, both - k) / whole for k in range(low, high + 1)}


def mid_p(a, n, b, m):
    p = probabilities(a + b, n, m)
    above = sum(value for k, value in p.items() if k > a) + p[a] / 2
    below = sum(value for k, value in p.items() if k < a) + p[a] / 2
    return min(1.0, 2 * min(above, below))


def least_p(both, n, m):
    return min(mid_p(k, n, both - k, m) for k in probabilities(both, n, m))


def adjusted(p_values, least, rate=0.05):
    """Adjust as Benjamini and Hochberg do, over those that can be significant."""
    chosen = [i for i, one in enumerate(least) if one <= rate]
    found = [1.0] * len(p_values)
    smallest = 1.0
    order = sorted(chosen, key=lambda i: p_values[i])
    for rank, i in reversed(list(enumerate(order, start=1))):
        smallest = min(smallest, p_values[i] * len(chosen) / rank)
        found[i] = smallest
    return found
