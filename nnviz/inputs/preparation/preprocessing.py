"""How does a stored instance become what the network receives?

Images: decode, grey or colour, resize, centre crop, order of channels. The result has 8
bits and channels last; scaling, mean and standard deviation are applied to whole
batches by :func:`nnviz.network.recording.normalizing.normalize`. With ``antialias =
true`` every step is Pillow's, and the pixels equal those of torchvision's ``Resize``
and ``CenterCrop`` on Pillow images, bit for bit, also where only the pixels that the
crop keeps are computed (:mod:`nnviz.inputs.preparation.resizing`). With ``antialias =
false`` the resize is torch's ``interpolate``, as torchvision uses it on tensors of
floats, rounded to 8 bits (`nearest` is Pillow's in both cases: it has nothing to
smooth).

Arrays: the axes are put in the network's order, and the values in its dtype. Several
inputs, texts, and rows of tables (:mod:`nnviz.inputs.preparation.table_rows`) become
one packed array (:mod:`nnviz.inputs.preparation.packed_inputs`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nnviz.errors import ConfigError, UnreadableInstanceError
from nnviz.inputs.datasets.items import Raw
from nnviz.inputs.preparation.decoding import (
    MAX_PIXELS,
    can_scale,
    decode_image,
    decode_pixels,
)
from nnviz.inputs.preparation.packed_inputs import NamedInputs
from nnviz.inputs.preparation.table_rows import TableRows
from nnviz.inputs.preparation.tokenizing import Tokenizer, open_tokenizer
from nnviz.runs.config import PreprocessingConfig
from nnviz.runs.network_inputs import NetworkInputs

__all__ = ["Box", "Original", "Preprocessing"]

Original = Image.Image | Raw
"""An instance before its preparation: a picture, decoded, or as the data set has it."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; right and bottom are past the last pixel."""

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_AXES = {"CHW": 3, "HWC": 3, "HW": 2}


class Preprocessing:
    """From a stored instance to the network's input; safe to use from several threads.

    Parameters
    ----------
    config
        The ``[preprocessing]`` table of the run file.
    inputs
        What the network takes, where an instance has several inputs.

    Raises
    ------
    ConfigError
        If values contradict each other or are out of range.
    """

    def __init__(
        self, config: PreprocessingConfig, inputs: NetworkInputs | None = None
    ) -> None:
        _check(config)
        self.config = config
        self._rows = TableRows(config.columns) if config.columns else None
        self._packing = None
        if inputs is not None:
            self._packing = NamedInputs(
                inputs,
                special_tokens_count=config.special_tokens_count,
                may_cut=config.max_length is not None,
            )

    def prepare(self, raw: Raw) -> NDArray[np.generic]:
        """Prepare one instance.

        Parameters
        ----------
        raw
            What a data set's ``read`` returned.

        Returns
        -------
        ndarray
            For images uint8 (H, W, C), channels last, C = 1 for grey and 3 otherwise.
            For arrays float32 or int64, as the option `dtype` says, in the network's
            order of axes. For several inputs one packed array.

        Raises
        ------
        UnreadableInstanceError
            If the instance cannot be decoded or has other axes than stated.
        """
        if self._packing is not None:
            if self.config.layout == "packed" and isinstance(raw, np.ndarray):
                return raw
            return self._packing.pack(self.arrays_of(raw))
        if isinstance(raw, (str, Mapping)):
            what = "a text" if isinstance(raw, str) else f"with {', '.join(raw)}"
            msg = f"it is {what}, where one picture or array was expected"
            raise UnreadableInstanceError(msg)
        if self.config.kind == "array":
            return self._prepare_array(raw)
        if not isinstance(raw, bytes):
            if self._is_prepared(raw):
                return self._in_order(np.asarray(raw, dtype=np.uint8))
            image = self._image_from_array(raw)
            return self._prepare_image(image, self._resized(*image.size))
        reduced = self.config.jpeg_reduction is not None
        pixels, size = decode_pixels(
            raw,
            exif_rotation=self.config.exif_rotation,
            at_least=self._least_size if reduced else None,
        )
        resized = self._resized(*size)
        is_ready = (resized[1], resized[0]) == pixels.shape[:2]
        if is_ready and self.config.crop is None and not self._is_grey:
            return self._in_order(pixels)
        if self._can_resize_inside(pixels, resized):
            return self._in_order(self._resize_inside(pixels, resized))
        return self._prepare_image(Image.fromarray(pixels), resized)

    def _is_prepared(self, array: NDArray[np.generic]) -> bool:
        """Whether nothing is left to do, as with pictures that are packed."""
        config = self.config
        return (
            config.layout == "HWC"
            and config.resize is None
            and config.crop is None
            and array.dtype == np.uint8
            and array.ndim == 3
            and array.shape[2] == (1 if self._is_grey else 3)
        )

    def arrays_of(self, raw: Raw) -> Mapping[str, NDArray[Any]]:
        """Return the inputs of an instance of several, by name or number.

        Parameters
        ----------
        raw
            What a data set's ``read`` returned.

        Raises
        ------
        UnreadableInstanceError
            If it is nothing of which several inputs can be made.
        """
        if isinstance(raw, str) and self.config.kind == "text":
            return self.tokenizer.arrays_of(raw, self.config.max_length)
        if isinstance(raw, Mapping):
            return raw if self._rows is None else self._rows.arrays_of(raw)
        if isinstance(raw, np.ndarray):
            return {"0": raw}
        msg = "it is a file or text, where arrays were expected"
        raise UnreadableInstanceError(msg)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """What makes indices of texts, opened when it is asked for."""
        return open_tokenizer(self.config.tokenizer)

    def original(self, raw: Raw) -> Original:
        """Return an instance before any preparation: a picture, or an array.

        Parameters
        ----------
        raw
            What a data set's ``read`` returned.

        Returns
        -------
        Image, str, ndarray, bytes or dict
            Of images a Pillow image in RGB and in its own size, turned as its EXIF says
            where the plan asks for that; everything else as the data set has it.

        Raises
        ------
        UnreadableInstanceError
            If the instance cannot be decoded.
        """
        if self.config.kind in ("array", "inputs") or isinstance(raw, (str, Mapping)):
            return raw
        if isinstance(raw, bytes):
            return decode_image(raw, exif_rotation=self.config.exif_rotation)
        return self._image_from_array(raw)

    def crop_of(self, box: Box, original_size: tuple[int, int]) -> Box:
        """Map a box in pixels of the network's input back to the original image.

        Parameters
        ----------
        box
            Left, top, right, bottom in pixels of the prepared image.
        original_size
            Width and height of the decoded image in pixels (Pillow's ``size``), after
            its EXIF rotation where that is asked for.

        Returns
        -------
        tuple of float
            Left, top, right, bottom in pixels of the original image, cut off at its
            borders (padding has no original).

        Examples
        --------
        >>> config = PreprocessingConfig(resize=256, crop=224)
        >>> Preprocessing(config).crop_of((0, 0, 224, 224), (512, 512))
        (32.0, 32.0, 480.0, 480.0)
        """
        width, height = original_size
        new_width, new_height = self._resized(width, height)
        left, top = self._crop_start(new_width, new_height)
        across, down = width / new_width, height / new_height
        return (
            _clip((box[0] + left) * across, width),
            _clip((box[1] + top) * down, height),
            _clip((box[2] + left) * across, width),
            _clip((box[3] + top) * down, height),
        )

    def _prepare_image(
        self, image: Image.Image, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Resize to this width and height, and crop."""
        if self._is_grey and image.mode != "L":
            image = image.convert("L")
        image = self._crop(self._resize(image, size))
        return self._in_order(np.asarray(image, dtype=np.uint8))

    @property
    def _is_grey(self) -> bool:
        return self.config.channel_order == "grey"

    def _in_order(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if pixels.ndim == 2:
            return pixels[:, :, np.newaxis]
        if self.config.channel_order == "bgr":
            return np.ascontiguousarray(pixels[:, :, ::-1])
        return pixels

    def _can_resize_inside(
        self, pixels: NDArray[np.uint8], size: tuple[int, int]
    ) -> bool:
        """Whether a part of the resized image can be had without the rest."""
        height, width = pixels.shape[:2]
        (new_width, new_height), config = size, self.config
        crop_height, crop_width = _pair(config.crop or (new_height, new_width))
        return (
            size != (width, height)
            and config.antialias
            and not self._is_grey
            and config.interpolation in ("bilinear", "bicubic")
            and new_width * new_height <= MAX_PIXELS
            and (crop_width <= new_width and crop_height <= new_height)
            # There Pillow goes down before it goes across, which rounds otherwise.
            and not height - new_height > max(0, 2 * (width - new_width))
        )

    def _resize_inside(
        self, pixels: NDArray[np.uint8], size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        # Late, so that stages which read no images do not wait for numba.
        from nnviz.inputs.preparation.resizing import resized_inside  # noqa: PLC0415

        crop_height, crop_width = _pair(self.config.crop or (size[1], size[0]))
        left, top = self._crop_start(*size)
        box = (left, top, left + crop_width, top + crop_height)
        return resized_inside(pixels, size, box, self.config.interpolation)

    def _least_size(self, size: tuple[int, int]) -> tuple[int, int]:
        factor = self.config.jpeg_reduction or 1.0
        width, height = self._resized(*size)
        return math.ceil(factor * width), math.ceil(factor * height)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the resize, with torchvision's rounding."""
        resize = self.config.resize
        if resize is None:
            return width, height
        if not isinstance(resize, int):
            return resize[1], resize[0]
        shorter, longer = min(width, height), max(width, height)
        other = max(1, int(resize * longer / shorter))
        return (resize, other) if width <= height else (other, resize)

    def _resize(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        if size == image.size:
            return image
        if size[0] * size[1] > MAX_PIXELS:
            msg = f"too long: {image.width} x {image.height} pixels become {size}"
            raise UnreadableInstanceError(msg)
        if self.config.antialias or self.config.interpolation == "nearest":
            return image.resize(size, _FILTERS[self.config.interpolation])
        return _resize_without_antialias(image, size, self.config.interpolation)

    def _crop_start(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the crop in the resized image; negative where padded."""
        if self.config.crop is None:
            return 0, 0
        crop_height, crop_width = _pair(self.config.crop)
        return _start(width, crop_width), _start(height, crop_height)

    def _crop(self, image: Image.Image) -> Image.Image:
        if self.config.crop is None:
            return image
        crop_height, crop_width = _pair(self.config.crop)
        if (crop_width, crop_height) == image.size:
            return image
        left, top = self._crop_start(*image.size)
        # Pillow fills what lies outside of the image with zeros, as torchvision pads.
        return image.crop((left, top, left + crop_width, top + crop_height))

    def _image_from_array(self, array: NDArray[np.generic]) -> Image.Image:
        if array.dtype != np.uint8:
            msg = (
                f"array of {array.dtype} where an image of uint8 was expected; set "
                f'preprocessing.kind to "array" for other data'
            )
            raise UnreadableInstanceError(msg)
        layout, shape = self.config.layout, array.shape
        if layout == "CHW" or (
            layout == "as-is"
            and array.ndim == 3
            and shape[0] in (1, 3)
            and shape[2] not in (1, 3, 4)
        ):
            array = np.moveaxis(array, 0, -1)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
            msg = f"array of shape {shape} is not an image of 1, 3 or 4 channels"
            raise UnreadableInstanceError(msg)
        return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")

    def _prepare_array(self, raw: bytes | NDArray[np.generic]) -> NDArray[np.generic]:
        if isinstance(raw, bytes):
            msg = (
                "a file of bytes where an array was expected; set preprocessing.kind "
                'to "image" for pictures'
            )
            raise UnreadableInstanceError(msg)
        layout = self.config.layout
        dtype = self.config.dtype
        if layout == "as-is":
            if dtype is None:
                whole = raw.dtype.kind in "iu" and raw.dtype != np.uint8
                dtype = "int64" if whole else "float32"
            return _as_dtype(raw, dtype)
        if raw.ndim != _AXES[layout]:
            msg = f"array of shape {raw.shape} has not the axes {layout}"
            raise UnreadableInstanceError(msg)
        if layout == "HWC":
            raw = np.moveaxis(raw, -1, 0)
        elif layout == "HW":
            raw = raw[np.newaxis]
        return np.ascontiguousarray(_as_dtype(raw, dtype or "float32"))


def _as_dtype(array: NDArray[np.generic], dtype: str) -> NDArray[np.generic]:
    """Convert an array; what is not a whole number does not become one silently."""
    if dtype == "int64" and array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.floor(array))
        if not whole.all():
            msg = (
                f"{array[~whole].flat[0]!s} is not a whole number, but "
                "preprocessing.dtype is 'int64'"
            )
            raise UnreadableInstanceError(msg)
    return array.astype(np.dtype(dtype))


def _check(config: PreprocessingConfig) -> None:
    for name in ("resize", "crop"):
        value = getattr(config, name)
        if value is not None and min(_pair(value)) < 1:
            msg = f"preprocessing.{name} is {value!r}; it should be 1 pixel or more"
            raise ConfigError(msg)
    if not config.antialias and config.interpolation == "lanczos":
        msg = (
            "preprocessing.interpolation 'lanczos' exists only with antialias = true; "
            "set antialias to true or take 'bicubic'"
        )
        raise ConfigError(msg)
    if config.jpeg_reduction is not None:
        _check_reduction(config)
    if not all(config.std):
        msg = f"preprocessing.std is {config.std!r}; zero cannot divide"
        raise ConfigError(msg)
    if config.kind != "array":
        n_channels = 1 if config.channel_order == "grey" else 3
        for name in ("mean", "std"):
            value = getattr(config, name)
            if len(value) not in (1, n_channels):
                msg = (
                    f"preprocessing.{name} has {len(value)} values for "
                    f"{n_channels} channel(s); give one value, or one for each channel"
                )
                raise ConfigError(msg)


def _check_reduction(config: PreprocessingConfig) -> None:
    reduction = config.jpeg_reduction
    if reduction is None or not 1.0 <= reduction < math.inf:
        msg = (
            f"preprocessing.jpeg_reduction is {reduction}; it should be 1 or more: how "
            "many times the resized size a JPEG has at the least when it is decoded"
        )
        raise ConfigError(msg)
    if config.resize is None:
        msg = (
            f"preprocessing.jpeg_reduction is {reduction}, but there is no "
            "preprocessing.resize that it could refer to; state one, or leave it out"
        )
        raise ConfigError(msg)
    if not can_scale():
        msg = (
            f"preprocessing.jpeg_reduction is {reduction}, which needs the library "
            "'simplejpeg', which is not installed; pip install simplejpeg"
        )
        raise ConfigError(msg)


def _resize_without_antialias(
    image: Image.Image, size: tuple[int, int], interpolation: str
) -> Image.Image:
    # Late, so that stages which never resize this way do not wait for torch.
    import torch  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    pixels = np.array(image, dtype=np.float32)
    planes = torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)[None]
    resized = functional.interpolate(
        planes, size=(size[1], size[0]), mode=interpolation, align_corners=False
    )
    rounded = resized[0].round_().clamp_(0, 255).to(torch.uint8)
    array = rounded.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _start(length: int, cropped: int) -> int:
    """Where a centre crop starts, with torchvision's rounding; negative if padded."""
    if cropped > length:
        return -((cropped - length) // 2)
    return round((length - cropped) / 2.0)


def _clip(value: float, highest: float) -> float:
    return min(max(float(value), 0.0), float(highest))
