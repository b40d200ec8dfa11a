"""Which mistakes of a run file are found at once, before torch is imported?"""

from __future__ import annotations

from pathlib import Path

from nnviz.inputs.datasets.opening import open_dataset
from nnviz.inputs.models.sources import check_source, check_weights
from nnviz.runs.config import RunConfig

__all__ = ["check_early"]

_KEPT_AT_A_PATH = ("folder", "table", "arrays")


def check_early(config: RunConfig) -> None:
    """Refuse a network's source of another form, and weights or data that are missing.

    Parameters
    ----------
    config
        As read from a run file.

    Raises
    ------
    ConfigError
        If the source has another form, or an option is missing.
    ModelError
        If there is no such model file or weights file.
    DatasetError
        If there is nothing where the data should be.
    """
    check_source(config.model.source)
    if config.model.weights is not None:
        check_weights(config.model.weights)
    data = config.dataset
    if data.kind not in _KEPT_AT_A_PATH or "://" in (data.path or ""):
        return
    if data.path is None or not Path(data.path).exists():
        # The reader says it in its own words; there is nothing to list.
        open_dataset(data)
