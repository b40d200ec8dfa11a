"""Which software made a store?"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from pathlib import Path

__all__ = ["package_version", "software_versions"]

PACKAGES = ("nnviz", "torch", "numpy", "pillow", "zarr", "distributed")


def software_versions() -> dict[str, str]:
    """Return the machine, and the versions of all that can change a stored number."""
    versions = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
    }
    for name in PACKAGES:
        try:
            versions[name] = package_version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


@functools.cache  # each time, all that a package says of itself is parsed
def package_version(name: str) -> str:
    """Return the version of a package.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        If it is not installed.
    """
    return importlib.metadata.version(name)


@functools.cache
def _processor() -> str:
    """Return the processor's name: kernels, and so rounding, differ between them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return named[0] if named else platform.processor()
