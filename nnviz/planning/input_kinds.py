"""Are the instances pictures to prepare, or numbers for the network as they are?

Where the run file does not say it, the data set does: files and 8-bit images are
pictures; all other arrays (floats that the data set has transformed, indices of words,
rows of numbers) are what the network receives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from nnviz.errors import ConfigError, UnreadableInstanceError
from nnviz.inputs.datasets.items import Raw
from nnviz.inputs.datasets.opening import Dataset
from nnviz.runs.config import PreprocessingConfig

__all__ = ["resolved_preprocessing"]

TRIED = 1_024
"""So many of the first instances are tried for one that can be read."""

_OF_IMAGES = ("resize", "crop", "jpeg_reduction")


def resolved_preprocessing(
    stated: PreprocessingConfig | None,
    of_model: PreprocessingConfig | None,
    dataset: Dataset,
) -> PreprocessingConfig:
    """Return the preprocessing of a run, with its kind.

    Parameters
    ----------
    stated
        In the run file; None if it has no such table.
    of_model
        What the network's source states for pictures; None if it states nothing.
    dataset
        Whose first readable instance decides, where nothing else does.

    Raises
    ------
    ConfigError
        If options of images are stated, and the data set returns other arrays.
    """
    if stated is not None and stated.columns:
        return dataclasses.replace(stated, kind="table")
    if stated is not None and stated.kind != "auto":
        return stated
    found = _first(dataset)
    if found is None or isinstance(found, bytes) or _is_image(found):
        config = stated or of_model or PreprocessingConfig()
        return dataclasses.replace(config, kind="image")
    kind: Literal["array", "inputs", "text"] = "array"
    if isinstance(found, Mapping):
        kind, what = "inputs", f"several inputs, {', '.join(found)}"
    elif isinstance(found, str):
        kind, what = "text", "texts"
    else:
        what = f"arrays of {found.dtype}, shape {found.shape}"
    # What a network's source says of pictures has been done to these, or is moot.
    config = stated or PreprocessingConfig()
    for name in _OF_IMAGES:
        if getattr(config, name) is not None:
            msg = (
                f"preprocessing.{name} is for images, but the data set returns {what}; "
                f"leave it out, or let the data set return images of uint8"
            )
            raise ConfigError(msg)
    return dataclasses.replace(config, kind=kind)


def _first(dataset: Dataset) -> Raw | None:
    for index in range(min(len(dataset), TRIED)):
        try:
            return dataset.read(index)
        except UnreadableInstanceError:
            continue
    return None


def _is_image(found: Raw) -> bool:
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8:
        return False
    channels = {found.shape[0], found.shape[-1]} if found.ndim == 3 else set()
    return found.ndim == 2 or bool(channels & {1, 3, 4})
