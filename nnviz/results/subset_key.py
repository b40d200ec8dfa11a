"""How is a set of instances a key? Equal for equal instances, whatever its name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnviz.subsets.subsets import Subset

__all__ = ["SubsetKey"]

N_HASHED = 64
"""Instances that the hash is of; equality compares all."""


@dataclass(frozen=True, slots=True, eq=False)
class SubsetKey:
    """A subset as a key of what is counted in it."""

    subset: Subset

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SubsetKey):
            return NotImplemented
        return np.array_equal(self.subset.instances, other.subset.instances)

    def __hash__(self) -> int:
        instances = self.subset.instances
        return hash((len(instances), instances[:N_HASHED].tobytes()))
