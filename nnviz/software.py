"""Which software made a store?"""

from __future__ import annotations

import importlib.metadata
import platform

__all__ = ["software_versions"]

PACKAGES = ("nnviz", "torch", "numpy", "pillow", "zarr", "distributed")


def software_versions() -> dict[str, str]:
    """Return the versions of all that can change a stored number."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
