"""What is said of an array of a store, where it is declared?"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ArrayDeclaration"]


@dataclass(frozen=True, slots=True)
class ArrayDeclaration:
    """What the arrays of one name pattern mean."""

    pattern: str
    """Path in the hierarchy; ``<...>`` stands for a name."""
    dimensions: tuple[str, ...]
    dtype: str
    unit: str
    meaning: str
    fill: float | str = 0

    @property
    def is_by_chunk(self) -> bool:
        """Whether the array has one row for each chunk, and not for each instance."""
        return self.dimensions[0] == "chunk"
