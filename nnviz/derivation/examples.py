"""Which instances excite a channel most, and what does it see there?

Extraction keeps, for each chunk, the strongest instances of every channel with the
position of the maximum. Here they become the strongest of the run, and the position
becomes a box in the network's input through the layer's receptive field.

Symbols: C channels of a layer, K ranks.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.derivation.text_pictures import TextExample, picture_of, text_of
from nnviz.errors import UnknownNameError
from nnviz.runs.architecture import Layer
from nnviz.store.store import Store

__all__ = [
    "Examples",
    "Peaks",
    "input_boxes",
    "merge_peaks",
    "pack_pictures",
    "read_examples",
]


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """The strongest instances of each channel, strongest first."""

    instance: NDArray[np.int64]
    """Instance index, shape (C, K); -1 for none."""
    position: NDArray[np.int32]
    """Row-major position of the maximum, shape (C, K); -1 for none."""
    value: NDArray[np.float32]
    """The maximum, shape (C, K); NaN for none."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """The instances that excite each channel of a layer most, with their pictures."""

    instance: NDArray[np.int64]
    """Instance index, strongest first, shape (C, K); -1 for none."""
    value: NDArray[np.float32]
    """The channel's activation, shape (C, K)."""
    position: NDArray[np.int32]
    """Row-major position of the maximum, shape (C, K)."""
    box: NDArray[np.float32]
    """What it sees, in pixels of the stored image, shape (C, K, 4): left, top, right,
    bottom; NaN where there is no picture."""
    picture_bytes: NDArray[np.uint8]
    """All pictures, or texts with their tokens, one after another, shape (bytes,)."""
    picture_offsets: NDArray[np.int64]
    """Where each begins, row-major over channels and ranks, shape (C * K + 1,)."""

    def picture(self, channel: int, rank: int) -> bytes:
        """Return one picture as a file: PNG, JPEG, or SVG of a text; empty for none.

        Raises
        ------
        UnknownNameError
            If there is no such channel or rank.
        """
        return picture_of(self.stored(channel, rank))

    def text(self, channel: int, rank: int) -> TextExample | None:
        """Return one example's text with its token; None if it is no text.

        Raises
        ------
        UnknownNameError
            If there is no such channel or rank.
        """
        return text_of(self.stored(channel, rank))

    def tokens(self, channel: int) -> list[tuple[str, int]]:
        """Return the tokens of a channel's examples with how many have each.

        The most frequent are first, and among them those of stronger examples.
        """
        texts = [self.text(channel, rank) for rank in range(self.instance.shape[1])]
        found = collections.Counter(one.token for one in texts if one and one.token)
        return found.most_common()

    def stored(self, channel: int, rank: int) -> bytes:
        """Return one example as it is stored: a picture's file, or a text's parts.

        Raises
        ------
        UnknownNameError
            If there is no such channel or rank.
        """
        n_channels, n_ranks = self.instance.shape
        if not (0 <= channel < n_channels and 0 <= rank < n_ranks):
            msg = (
                f"there is no example {rank} of channel {channel}; the layer has "
                f"{n_channels:,} channels with {n_ranks} examples each"
            )
            raise UnknownNameError(msg)
        place = channel * n_ranks + rank
        start, stop = self.picture_offsets[place : place + 2]
        return self.picture_bytes[start:stop].tobytes()


def merge_peaks(parts: Sequence[Peaks], n_ranks: int) -> Peaks:
    """Return the strongest instances among those of several parts of the data.

    Parameters
    ----------
    parts
        Peaks of disjoint instances; the same C, any number of ranks.
    n_ranks
        How many to keep, K.

    Returns
    -------
    Peaks
        Equal values by their instance, the lower first.
    """
    instance = np.concatenate([part.instance for part in parts], axis=1)
    position = np.concatenate([part.position for part in parts], axis=1)
    value = np.concatenate([part.value for part in parts], axis=1)
    strength = np.where(instance < 0, -np.inf, value.astype(np.float64))
    nobody = np.iinfo(np.int64).max
    by_instance = np.where(instance < 0, nobody, instance)
    order = np.lexsort((by_instance, -strength), axis=1)[:, :n_ranks]
    return Peaks(
        np.take_along_axis(instance, order, axis=1),
        np.take_along_axis(position, order, axis=1),
        np.take_along_axis(value, order, axis=1),
    )


def input_boxes(
    layer: Layer, position: NDArray[np.int32], input_size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return what the network sees of its input at each position.

    Parameters
    ----------
    layer
        With two position axes and a receptive field; a layer without sees everything.
    position
        Row-major positions, any shape (...).
    input_size
        Height and width of the network's input in pixels.

    Returns
    -------
    ndarray
        Left, top, right, bottom in pixels of the input, shape (..., 4), cut off at its
        borders; the whole input where the position is -1 or does not tell.
    """
    height, width = input_size
    boxes = np.broadcast_to(
        np.array([0, 0, width, height], dtype=np.float64), (*position.shape, 4)
    ).copy()
    field = layer.receptive_field
    if field is None or len(layer.positions) != 2 or len(field.size) != 2:
        return boxes
    known = position >= 0
    places = np.unravel_index(position[known], layer.positions)
    for axis, extent in enumerate((height, width)):
        first = field.start[axis] + places[axis] * field.step[axis]
        boxes[known, 1 - axis] = np.clip(first, 0, extent)
        boxes[known, 3 - axis] = np.clip(first + field.size[axis], 0, extent)
    return boxes


def pack_pictures(
    pictures: Sequence[bytes],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Put files one after another.

    Returns
    -------
    tuple of ndarray
        All bytes, and where each file begins and the last one ends, shape (n + 1,).

    Examples
    --------
    >>> pack_pictures([b"ab", b"", b"c"])
    (array([97, 98, 99], dtype=uint8), array([0, 2, 2, 3]))
    """
    offsets = np.cumsum([0, *map(len, pictures)], dtype=np.int64)
    return np.frombuffer(b"".join(pictures), dtype=np.uint8).copy(), offsets


def read_examples(store: Store, layer: str) -> Examples:
    """Return the instances that excite each channel of a shown layer most.

    Raises
    ------
    UnknownNameError
        If there is no such layer, or it is not shown.
    MissingDataError
        If 'nnviz derive' has not run.
    """
    attributes = store.groups.attributes("artifacts/examples")
    layers = attributes["layers"]
    if store.layer(layer).name not in layers:
        msg = (
            f"layer {layer!r} has no examples; those with some are {', '.join(layers)}"
        )
        raise UnknownNameError(msg)
    path = f"artifacts/examples/{layer}"
    parts = (
        "instance",
        "value",
        "position",
        "box",
        "picture_bytes",
        "picture_offsets",
    )
    return Examples(*(store.groups.read(f"{path}/{part}") for part in parts))
