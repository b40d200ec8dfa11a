"""How are the instances of a batch padded to one number of tokens?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PaddingCheck"]


@dataclass(frozen=True, slots=True)
class PaddingCheck:
    """Whether padding an instance further changes what is computed of it."""

    mode: Literal["buckets", "one length"]
    """``buckets``: nothing that counts depends on padding, so that each batch is padded
    to its own longest instance, rounded up. ``one length``: something does, and all
    instances are padded to the same number of tokens."""
    difference: float | None = None
    """The largest that was found, relative to the largest value there; None where the
    network takes one number of tokens only."""
    where: str = ""
    """The first place at which they differ, or why there is one length."""
    longest: int = 0
    """The largest number of tokens with which the network was run."""

    def __str__(self) -> str:
        if self.mode == "buckets":
            return (
                "each batch is padded to its longest instance: padding changes nothing "
                f"that counts (largest difference {self.difference or 0.0:.1e})"
            )
        if self.difference is None:
            return f"all instances are padded to one number of tokens: {self.where}"
        return (
            "all instances are padded to one number of tokens: padding changes "
            f"{self.where} by {self.difference:.2g} of its largest value"
        )
