"""What is looked at? One protocol, and a reader for each way in which data are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nnviz.argument_types import checked
from nnviz.errors import ConfigError
from nnviz.inputs.datasets.archives import ArchiveDataset
from nnviz.inputs.datasets.arrays import ArrayDataset
from nnviz.inputs.datasets.folders import FolderDataset
from nnviz.inputs.datasets.hugging_face import HuggingFaceDataset
from nnviz.inputs.datasets.in_memory import MemoryDataset
from nnviz.inputs.datasets.items import Raw
from nnviz.inputs.datasets.lines import LineDataset
from nnviz.inputs.datasets.tables import TableDataset
from nnviz.inputs.datasets.torch_datasets import TorchDataset
from nnviz.runs.config import DatasetConfig

__all__ = ["Dataset", "open_dataset", "open_known"]


@runtime_checkable
class Dataset(Protocol):
    """Instances in one order, which is the same on every machine.

    A data set can be pickled and is cheap to reopen in a worker process; neither ships
    the instances. Reading is safe from several threads at once.
    """

    @property
    def ids(self) -> Sequence[str]:
        """One identifier for each instance, unique and stable.

        For files the path relative to the root, with slashes.
        """

    @property
    def labels(self) -> NDArray[np.object_] | None:
        """Raw labels as the data have them, (instance,): str, int, or None if missing.

        None where the data are unlabelled.
        """

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes that the data set knows, in order; empty where it knows none.

        Whole-number labels index them. Classes without instances belong to them.
        """

    @property
    def metadata(self) -> Mapping[str, NDArray[Any]]:
        """Columns (instance,) of numbers, truth values or texts (dtype object)."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of the plan should know: what was left out, and why."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the listing: identifiers, labels, columns, sizes; not of times."""

    def __len__(self) -> int:
        """Return the number of instances."""

    def read(self, index: int) -> Raw:
        """Return one instance: an image file's bytes, a text, or arrays.

        Raises
        ------
        UnreadableInstanceError
            Whatever happens to this one instance; the message is the reason.
        """


_READERS: Mapping[str, Callable[[DatasetConfig], Dataset]] = {
    "folder": FolderDataset,
    "table": TableDataset,
    "lines": LineDataset,
    "arrays": ArrayDataset,
    "webdataset": ArchiveDataset,
    "torch": TorchDataset,
    "huggingface": HuggingFaceDataset,
    "memory": MemoryDataset,
}


@checked
def open_dataset(config: DatasetConfig, *, trust: bool = False) -> Dataset:
    """List the instances of a data set; reads none of them.

    Parameters
    ----------
    config
        The ``[dataset]`` table of the run file.
    trust
        As for :func:`nnviz.inputs.models.loading.load_model`; no reader needs it (see
        Notes).

    Returns
    -------
    Dataset
        The reader of the given kind.

    Raises
    ------
    ConfigError
        If an option that this kind needs is missing.
    DatasetError
        If the data cannot be listed, are empty, or identifiers are not unique.
    MissingDependencyError
        If the kind needs a library that is not installed.

    Notes
    -----
    No reader runs code that is stored in data: arrays of pickled objects are refused,
    and members of archives that are not images, arrays or text are not read. A
    ``torch`` data set is the user's own code, named in the run file.
    """
    del trust
    if config.limit is not None and config.limit < 1:
        msg = f"dataset.limit is {config.limit}; it should be 1 or more, or left out"
        raise ConfigError(msg)
    return _READERS[config.kind](config)


def open_known(
    config: DatasetConfig, ids: Sequence[str], *, trust: bool = False
) -> Dataset | None:
    """Open a data set whose instances are known, without asking a disk for them.

    Parameters
    ----------
    config
        The ``[dataset]`` table of the run file.
    ids
        Ids of the instances, in any order; they come in this order.
    trust
        As for :func:`open_dataset`.

    Returns
    -------
    Dataset or None
        None where ids do not say where the instances are, so that it must be listed.
    """
    del trust
    # A name that is no Unicode has an escaped id, which is not its path.
    if config.kind != "folder" or any("\\" in name for name in ids):
        return None
    return FolderDataset(config, ids)
