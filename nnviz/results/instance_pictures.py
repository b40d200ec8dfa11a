"""What does an instance look like? Its picture, read from the data set of the run.

The data set is opened when the first picture is asked for, read-only and without
running code that a store names; where it is not at hand, there are no pictures, and
`missing` says why.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import NnvizError, PlanMismatchError, UnreadableInstanceError
from nnviz.store.store import Store

if TYPE_CHECKING:
    from nnviz.derivation.gallery import GallerySource
    from nnviz.inputs.datasets.opening import Dataset

__all__ = ["LARGE_SIDE", "InstancePictures"]

LARGE_SIDE = 320
"""Longer side of the picture of one opened instance, in pixels."""

CACHED_PICTURES = 2048
"""About 6 MB of small ones."""

LOCAL_KINDS = ("folder", "table", "arrays", "webdataset")
"""Kinds of data sets that are files; others are code, or come from elsewhere."""


class InstancePictures:
    """The pictures of one run's instances; may be shared by threads.

    Parameters
    ----------
    store
        The run.
    dataset
        Its data set; None opens the one that the plan names.
    """

    def __init__(self, store: Store, dataset: Dataset | None = None) -> None:
        self._store = store
        self._dataset = dataset
        self._lock = threading.Lock()
        self._opened: tuple[GallerySource | None, str] | None = None
        self.picture = functools.lru_cache(CACHED_PICTURES)(self._picture)
        """Return an instance's picture by its number, and by whether it is to be large:
        a PNG or JPEG file; empty where there is none."""

    @property
    def missing(self) -> str:
        """Why there are no pictures; empty where there are. Opens the data set."""
        return self._open()[1]

    def _open(self) -> tuple[GallerySource | None, str]:
        with self._lock:
            if self._opened is None:
                self._opened = self._read_source()
            return self._opened

    @functools.cached_property
    def _texts(self) -> NDArray[Any] | None:
        """Return the texts of the instances, where they are texts: the store has them.

        Raises
        ------
        StoreError
            If they cannot be read.
        """
        is_text = self._store.plan.preprocessing.kind == "text"
        if not is_text or "text" not in self._store.columns:
            return None
        return self._store.column("text")

    @functools.cached_property
    def _rows(self) -> dict[str, NDArray[Any]]:
        """Return the columns of the data, where instances are rows and no pictures.

        Those that the network receives come first, in its order.

        Raises
        ------
        StoreError
            If they cannot be read.
        """
        plan = self._store.plan
        is_row = len(plan.architecture.input_shape) < 2
        if not is_row or plan.preprocessing.kind in ("image", "text"):
            return {}
        of_network = (column.name for column in plan.preprocessing.columns)
        names = dict.fromkeys([*of_network, *plan.metadata_dtypes])
        return {
            name: self._store.column(name)
            for name in names
            if name in self._store.columns
        }

    def _read_source(self) -> tuple[GallerySource | None, str]:
        # It decodes pictures, which few servers need before they answer.
        from nnviz.derivation.gallery import open_source  # noqa: PLC0415

        try:
            if self._texts is not None or self._rows:
                return None, ""
        except NnvizError as error:
            return None, str(error)
        kind = self._store.plan.dataset.kind
        if self._dataset is None and kind not in LOCAL_KINDS:
            return None, f"a data set of the kind {kind!r} is not opened by a server"
        try:
            source, _ = open_source(self._store, self._dataset, trust=False)
        except PlanMismatchError:
            return None, "the data have changed since the run was planned"
        except (NnvizError, OSError) as error:
            return None, str(error)
        if source.dataset is None:
            return None, "the data set of the run is not at hand"
        return source, ""

    def _picture(self, n: int, *, is_large: bool = False) -> bytes:
        from nnviz.derivation.pictures import (  # noqa: PLC0415  as above
            PICTURE_SIDE,
            draw,
            whole_picture,
        )
        from nnviz.derivation.text_pictures import (  # noqa: PLC0415
            draw_row,
            draw_text,
        )
        from nnviz.inputs.datasets.files import patiently  # noqa: PLC0415

        source, missing = self._open()
        if missing or not 0 <= n < self._store.n_instances:
            return b""
        if self._texts is not None:
            return draw_text(str(self._texts[n]), LARGE_SIDE if is_large else 0)
        if self._rows:
            values = {name: _shown(each[n]) for name, each in self._rows.items()}
            return draw_row(values, LARGE_SIDE if is_large else 0)
        if source is None or source.dataset is None:
            return b""
        try:
            drawing = draw(patiently(source.dataset.read, n), source.preprocessing)
        except (UnreadableInstanceError, OSError):
            return b""
        if drawing is None:
            return b""
        return whole_picture(drawing, LARGE_SIDE if is_large else PICTURE_SIDE)


def _shown(value: object) -> str:
    if value == "" or value != value:
        return "missing"
    return f"{value:.4g}" if isinstance(value, np.floating) else str(value)
