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
from nnviz.runs.patch_tokens import PatchGrid, patch_grid
from nnviz.store.store import Store

if TYPE_CHECKING:
    from nnviz.derivation.gallery import GallerySource
    from nnviz.derivation.pictures import Drawing
    from nnviz.inputs.datasets.opening import Dataset
    from nnviz.inputs.preparation.preprocessing import Box
    from nnviz.inputs.preparation.tokenizing import Token, Tokenizer
    from nnviz.runs.architecture import Layer

__all__ = ["LARGE_SIDE", "InstancePictures"]

LARGE_SIDE = 320
"""Longer side of the picture of one opened instance, in pixels."""

TRIED = 5
"""Instances, until one can be read that tells whether they are pictures."""

STRIP = 4
"""How many times as wide as high a series is drawn."""

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
        self._patches = functools.lru_cache(maxsize=None)(self._find_patches)
        self._seen = functools.lru_cache(CACHED_PICTURES)(self._find_seen)
        self.picture = functools.lru_cache(CACHED_PICTURES)(self._picture)
        """Return an instance's picture by its number, and by whether it is to be large:
        a PNG or JPEG file; empty where there is none."""

    @property
    def missing(self) -> str:
        """Why there are no pictures; empty where there are. Opens the data set."""
        return self._open()[1]

    @property
    def are_written(self) -> bool:
        """Whether they are texts or rows of a table, which somebody has to read."""
        if self._store.plan.preprocessing.kind == "text":
            return "text" in self._store.columns
        return self._is_row

    def seen(self, n: int, layer: Layer, position: int) -> bytes:
        """Return what a layer sees of an instance at one of its positions, as a file.

        Parameters
        ----------
        n
            Number of the instance.
        layer
            A layer of the network.
        position
            Row-major; -1 where it is not known: the whole instance is then shown.

        Returns
        -------
        bytes
            A PNG, JPEG or SVG file; empty where there is no picture.
        """
        from nnviz.derivation import gallery  # noqa: PLC0415  as for pictures
        from nnviz.derivation.text_pictures import picture_of  # noqa: PLC0415

        missing, config = self.missing, self._store.plan.preprocessing
        if missing or position < 0 or not 0 <= n < self._store.n_instances:
            return self.picture(n)
        if self._texts is not None:
            text = str(self._texts[n])
            seen = gallery.seen_in_text(layer, text, self._tokens(text), position)
            return picture_of(seen.to_bytes())
        drawing = None if self._rows else self._drawing(n)
        if drawing is None:
            return self.picture(n)
        shape = self._store.plan.architecture.input_shape
        size = (shape[-2], shape[-1]) if len(shape) >= 2 else (1, 1)
        return gallery.seen_in_picture(
            layer, drawing, config, position, input_size=size
        )

    def _tokens(self, text: str) -> list[Token]:
        """Return the tokens of a text; none where they cannot be had."""
        tokenizer = self._tokenizer
        limit = self._store.plan.preprocessing.max_length
        try:
            return [] if tokenizer is None else tokenizer.tokens_of(text, limit)
        except UnreadableInstanceError:
            return []

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer | None:
        from nnviz.derivation.gallery import open_source  # noqa: PLC0415  as above

        return open_source(self._store, None, trust=False)[0].tokenizer

    def heat(
        self, n: int, values: NDArray[np.floating], layer: Layer, side: int
    ) -> bytes:
        """Return where in its picture a channel fired, to be laid over it.

        Parameters
        ----------
        n
            Number of the instance.
        values
            The channel's map, with one or two axes. Of tokens that are patches of the
            picture, those before them are left out.
        layer
            Its layer.
        side
            Longer side of the picture in pixels.

        Returns
        -------
        bytes
            A PNG file that is as opaque as the channel is strong; empty where positions
            are no places. Without a picture, of what the network saw.
        """
        from nnviz.derivation.heat import (  # noqa: PLC0415  as for pictures
            heat_picture,
            heat_values,
        )

        shape, field = self._store.plan.architecture.input_shape, layer.receptive_field
        grid = self.patches(layer)
        if grid is not None and values.shape == layer.positions:
            values, field = grid.by_place(values), grid.field
        if not self._are_places(values.ndim):
            return b""
        if values.ndim == 1:
            strip = side, max(1, side // STRIP)
            whole = (0.0, 0.0, float(strip[0]), float(strip[1]))
            found = heat_values(values[None], None, (1, shape[-1]), strip, whole)
            return heat_picture(found)
        extents = shape[-2], shape[-1]
        height, width = extents
        box: Box = (0.0, 0.0, float(width), float(height))
        if (seen := self._seen(n, (width, height))) is not None:
            (width, height), box = seen
        scale = side / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        x, y = size[0] / width, size[1] / height
        scaled = box[0] * x, box[1] * y, box[2] * x, box[3] * y
        return heat_picture(heat_values(values, field, extents, size, scaled))

    def has_places(self, layer: Layer) -> bool:
        """Whether the positions of a layer are places in the instances.

        Two axes are places in a picture, one in a series, or in a picture whose patches
        are tokens.
        """
        return self.patches(layer) is not None or self._are_places(len(layer.positions))

    def patches(self, layer: Layer) -> PatchGrid | None:
        """Return where the tokens of a layer lie in the picture; None where nowhere."""
        return self._patches(layer.name)

    def _are_places(self, n_axes: int) -> bool:
        of_input = len(self._store.plan.architecture.input_shape)
        return (n_axes, of_input) in ((1, 1), (1, 2), (2, 2), (2, 3))

    def crop(self, n: int) -> tuple[float, float, float, float] | None:
        """Return which part of its picture the network saw: left, top, right, bottom.

        As fractions of width and height; None where there is no picture.
        """
        shape = self._store.plan.architecture.input_shape
        seen = self._seen(n, (shape[-1], shape[-2])) if len(shape) >= 2 else None
        if seen is None:
            return None
        (width, height), (left, top, right, bottom) = seen
        return left / width, top / height, right / width, bottom / height

    def _find_patches(self, name: str) -> PatchGrid | None:
        architecture = self._store.plan.architecture
        return patch_grid(architecture, architecture.layer(name))

    def _find_seen(
        self, n: int, input_size: tuple[int, int]
    ) -> tuple[tuple[int, int], Box] | None:
        """Return a picture's width and height, and what of it the network saw."""
        drawing = self._drawing(n)
        source = self._open()[0]
        if drawing is None or source is None:
            return None
        whole = (0.0, 0.0, float(input_size[0]), float(input_size[1]))
        return drawing.size, drawing.box_of(whole, source.preprocessing)

    def _drawing(self, n: int) -> Drawing | None:
        from nnviz.derivation.pictures import draw  # noqa: PLC0415  as above
        from nnviz.inputs.datasets.files import patiently  # noqa: PLC0415

        source, _ = self._open()
        if source is None or source.dataset is None:
            return None
        try:
            return draw(patiently(source.dataset.read, n), source.preprocessing)
        except (UnreadableInstanceError, OSError):
            return None

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
        if not self._is_row:
            return {}
        of_network = (column.name for column in plan.preprocessing.columns)
        names = dict.fromkeys([*of_network, *plan.metadata_dtypes])
        return {
            name: self._store.column(name)
            for name in names
            if name in self._store.columns
        }

    @property
    def _is_row(self) -> bool:
        plan = self._store.plan
        is_flat = len(plan.architecture.input_shape) < 2
        return is_flat and plan.preprocessing.kind not in ("image", "text")

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
        if not _are_pictures(source):
            return None, "the instances are not pictures"
        return source, ""

    def _picture(self, n: int, *, is_large: bool = False) -> bytes:
        from nnviz.derivation.pictures import (  # noqa: PLC0415  as above
            PICTURE_SIDE,
            whole_picture,
        )
        from nnviz.derivation.text_pictures import (  # noqa: PLC0415
            draw_row,
            draw_text,
        )

        _, missing = self._open()
        if missing or not 0 <= n < self._store.n_instances:
            return b""
        if self._texts is not None:
            return draw_text(str(self._texts[n]), LARGE_SIDE if is_large else 0)
        if self._rows:
            values = {name: _shown(each[n]) for name, each in self._rows.items()}
            return draw_row(values, LARGE_SIDE if is_large else 0)
        drawing = self._drawing(n)
        if drawing is None:
            return b""
        return whole_picture(drawing, LARGE_SIDE if is_large else PICTURE_SIDE)


def _are_pictures(source: GallerySource) -> bool:
    """Return whether the first instance that can be read is one; true if none can."""
    from nnviz.derivation.pictures import draw  # noqa: PLC0415  as above
    from nnviz.inputs.datasets.files import patiently  # noqa: PLC0415

    dataset = source.dataset
    for n in range(min(TRIED, 0 if dataset is None else len(dataset))):
        assert dataset is not None
        try:
            return draw(patiently(dataset.read, n), source.preprocessing) is not None
        except (UnreadableInstanceError, OSError):
            continue
    return True


def _shown(value: object) -> str:
    if value == "" or value != value:
        return "missing"
    return f"{value:.4g}" if isinstance(value, np.floating) else str(value)
