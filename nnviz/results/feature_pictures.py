"""What was a channel made to see? Pictures of features, from a folder beside the store.

nnviz makes none: methods that draw what excites a channel most (feature visualisation)
are programs of their own. Where their pictures lie beside a store, they are shown with
its channels::

    run.zarr
    run.zarr.features/LAYER/CHANNEL.png      or .jpg, .jpeg, .webp

``LAYER`` is the name of a shown layer, ``CHANNEL`` a number from 0 on.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from nnviz.store.store import Store

__all__ = ["ENDINGS", "SUFFIX", "FeaturePictures"]

SUFFIX = ".features"
"""What the name of the folder has more than that of the store."""

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")

MAX_BYTES = 1 << 20
"""Of a picture; a larger one is not shown: a page has hundreds."""

STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
"""Of a file that is one of these pictures, whatever its name says."""


class FeaturePictures:
    """The pictures of one run's channels; may be shared by threads.

    Parameters
    ----------
    store
        The run; where it is no folder of this machine, there are none.
    """

    def __init__(self, store: Store) -> None:
        self._folder = Path(store.url.rstrip("/") + SUFFIX)
        self._layers = frozenset(layer.name for layer in store.shown_layers)
        self.of_layer = functools.lru_cache(None)(self._of_layer)
        """Return the files of a layer by their channels; looked up once."""

    def _of_layer(self, layer: str) -> Mapping[int, Path]:
        # A name is a folder's own, and leads nowhere else.
        if layer not in self._layers or Path(layer).name != layer:
            return {}
        try:
            files = sorted((self._folder / layer).iterdir())
        except OSError:
            return {}
        return {
            int(file.stem): file
            for file in files
            if file.suffix.lower() in ENDINGS
            and file.stem.isascii()
            and file.stem.isdecimal()
        }

    def picture(self, layer: str, channel: int) -> bytes:
        """Return a picture as a file; empty where there is none that can be shown."""
        file = self.of_layer(layer).get(channel)
        if file is None:
            return b""
        try:
            if not file.is_file() or file.stat().st_size > MAX_BYTES:
                return b""
            content = file.read_bytes()
        except OSError:
            return b""
        return content if content.startswith(STARTS) else b""
