"""What is kept of the contents of a data set? Hashes of all instances, or a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Contents", "Mode"]

Mode = Literal["none", "sampled", "full"]


@dataclass(frozen=True, slots=True)
class Contents:
    """What is known of the insides of a data set; a part of the plan."""

    mode: Mode = "none"
    fingerprint: str = ""
    """SHA-256 of the hashes of all instances that were read."""
    n_read: int = 0
    sample: Mapping[str, str] = field(default_factory=dict)
    """Hash of each sampled instance, by its row in the store."""
    n_duplicates: int = 0
    """Instances that have the same contents as one before them; with ``full``."""
    duplicates: tuple[tuple[str, ...], ...] = ()
    """The first few of the groups of equal ones, a few ids of each."""
