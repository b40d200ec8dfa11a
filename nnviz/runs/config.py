"""What does a run consist of? One TOML file, read into frozen dataclasses.

Every option is part of the result and of the run's identity; what is not (scheduler
address, verbosity, paths of output) is a flag of the command line. Relative paths in a
run file are relative to the file.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from nnviz.errors import ConfigError, did_you_mean

__all__ = [
    "ClassesConfig",
    "DatasetConfig",
    "ExtractionConfig",
    "ModelConfig",
    "PreprocessingConfig",
    "RunConfig",
    "from_json",
    "load_config",
    "to_json",
]

T = TypeVar("T")

_MODEL_FILES = (
    ".pt2",
    ".pt",
    ".pth",
    ".pkl",
    ".pickle",
    ".bin",
    ".ckpt",
    ".safetensors",
)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Where the network comes from."""

    source: str
    """``package.module:callable``, ``path/to/file.py:callable``, ``torchvision:NAME``,
    ``timm:NAME``, ``transformers:FOLDER-or-CONFIG-CLASS``, or a file."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the callable."""
    weights: str | None = None
    """A safetensors file, or a state_dict saved by torch; None keeps the callable's."""
    weights_key: str | None = None
    """Where in the file the weights lie, such as ``ema.state_dict``; None: found."""
    weights_prefix: str | None = None
    """Beginning of the weights' names that the network's do not have, such as
    ``encoder.``; other tensors are left out. None: found where it fits all names."""
    class_names: tuple[str, ...] = ()
    """Names of the network's outputs in their order; empty if a class map says it."""


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """Where the instances come from."""

    kind: Literal["folder", "table", "arrays", "webdataset", "torch", "huggingface"]
    path: str | None = None
    """Folder, file, or glob of files (tar shards)."""
    source: str | None = None
    """``package.module:callable`` of a torch data set; name of a Hugging Face one."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the callable."""
    id_column: str | None = None
    path_column: str = "path"
    bytes_column: str | None = None
    label_column: str = "label"
    """Where labels stand; "" for data without labels, of every kind."""
    metadata_columns: tuple[str, ...] = ("*",)
    """Columns to keep, as glob patterns; a pattern that starts with ``!`` removes."""
    delimiter: str | None = None
    """What separates the values of a table of text; None: it is found."""
    encoding: str | None = None
    """Encoding of a table of text, such as ``cp1252``; None: it is found."""
    root: str | None = None
    """Folder to which the paths of a table are relative; None: the table's folder."""
    data_array: str = "data"
    """Name of the array of inputs in an ``.npz`` file or a Zarr group."""
    label_array: str | None = "label"
    allow_outside_root: bool = False
    """Whether a path of a table or a link may lead out of the root."""
    limit: int | None = None
    """Keep the first so many instances; None keeps all."""
    fingerprint_contents: Literal["none", "sampled", "full"] | None = None
    """Of how many instances the contents are hashed, beside names and sizes; None: of a
    sample, but of none for kind ``torch``, whose items may be made anew each time."""


@dataclass(frozen=True, slots=True)
class ClassesConfig:
    """How the data set's labels are joined with the network's outputs."""

    map: str | None = None
    """CSV with a column ``index`` (the network's output) and any columns of names."""
    match: str | None = None
    """Column of the map that holds the data set's labels; None: the one that fits."""
    name: str | None = None
    """Column of the map with the names to show; None: ``name``, else `match`."""


@dataclass(frozen=True, slots=True)
class PreprocessingConfig:
    """From a stored instance to the network's input; hashed into the run's identity."""

    kind: Literal["image", "array"] = "image"
    resize: int | tuple[int, int] | None = None
    """Length of the shorter side, or (height, width), in pixels; None: as it is."""
    crop: int | tuple[int, int] | None = None
    """Centre crop, (height, width) in pixels; None: no crop."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    antialias: bool = True
    """Whether a smaller image is made with a widened filter, as Pillow does."""
    channel_order: Literal["rgb", "bgr", "grey"] = "rgb"
    scale: float | None = None
    """Factor from stored values to the unit in which `mean` and `std` are given; None:
    1/255 for images and 1 for arrays."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted after scaling; one value, or one for each channel."""
    std: tuple[float, ...] = (1.0,)
    """Divides after the subtraction; one value, or one for each channel."""
    exif_rotation: bool = False
    """Whether the camera's orientation mark turns the image."""
    jpeg_reduction: float | None = None
    """A JPEG is decoded at the smallest of an eighth, a quarter and a half of its size
    that is at least so many times the resized one: faster, and other pixels. None: in
    full."""
    layout: Literal["CHW", "HWC", "HW", "as-is"] = "as-is"
    """Axes of a stored array; the network receives channels first."""
    dtype: Literal["float32", "int64"] | None = None
    """What an array becomes; None: float32, but whole numbers other than uint8 stay so
    with layout ``as-is`` (indices of words)."""

    @property
    def factor(self) -> float:
        """The `scale`, or the default of the kind."""
        if self.scale is not None:
            return self.scale
        return 1.0 if self.kind == "array" else 1.0 / 255.0


@dataclass(frozen=True, slots=True)
class ExtractionConfig:
    """What is recorded for every instance, and how the network is run."""

    layers: tuple[str, ...] = ("*",)
    """Glob patterns of the layers to record; ``!`` removes."""
    shown: tuple[str, ...] | None = None
    """Glob patterns of the layers to show; None: block outputs."""
    instances_per_chunk: int = 1024
    batch_size: int = 64
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the forward pass; float32 unless asked for."""
    memory_format: Literal["channels_last", "contiguous"] = "channels_last"
    fold_batch_norm: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a worker runs the network; auto: CUDA where the worker has it."""
    threads_per_worker: int = 1
    """Torch threads inside one operation."""
    reader_threads: int = 2
    """Threads that read and decode ahead of the forward pass."""
    share: float = 0.03
    """Share rule of the top channels: fraction of the layer's total activation."""
    top_count: int | None = None
    """Count rule of the top channels; None: the share rule."""
    excluded_channels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Channels that count nowhere, by layer."""
    examples_per_channel: int = 10
    """How many of a chunk's strongest instances keep the position of the maximum."""
    targets: Literal["top", "all", "none"] = "top"
    """Target channels for which influences are kept."""
    ranks: int = 5
    """Strongest sources kept for each target (K)."""
    extremum: Literal["max", "min"] = "max"
    signal: Literal["max", "peak"] = "max"
    max_unreadable_fraction: float = 0.01
    """The run fails when more than this fraction of the instances cannot be read."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One run: the network, its data, and what to record."""

    model: ModelConfig
    dataset: DatasetConfig
    preprocessing: PreprocessingConfig | None = None
    """None: the one that the model's source brings along, else images as they are."""
    classes: ClassesConfig = field(default_factory=ClassesConfig)
    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)


def load_config(path: str | Path) -> RunConfig:
    """Read a run file.

    Parameters
    ----------
    path
        A TOML file with the tables ``[model]``, ``[dataset]`` and, optionally,
        ``[preprocessing]``, ``[classes]`` and ``[extraction]``.

    Returns
    -------
    RunConfig
        With paths made absolute.

    Raises
    ------
    ConfigError
        If the file cannot be read, has an unknown option or a value of another type.
    """
    path = Path(path)
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"cannot read the run file {str(path)!r}: {error.strerror or error}"
        raise ConfigError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{str(path)!r} is not a TOML file: {error}"
        raise ConfigError(msg) from error
    config = from_json(RunConfig, value)
    return _with_absolute_paths(config, path.resolve().parent)


def to_json(value: Any) -> dict[str, Any]:
    """Return a configuration as JSON values.

    Examples
    --------
    >>> to_json(ClassesConfig(map="classes.csv"))
    {'map': 'classes.csv', 'match': None, 'name': None}
    """
    return json.loads(json.dumps(dataclasses.asdict(value)))  # type: ignore[no-any-return]


def from_json(kind: type[T], value: Mapping[str, Any], *, place: str = "") -> T:
    """Build a configuration dataclass from JSON or TOML values, and check it.

    Parameters
    ----------
    kind
        The dataclass.
    value
        Its fields; fields with defaults may be missing.
    place
        Name of the table, for messages.

    Raises
    ------
    ConfigError
        If an option is unknown, missing, or has a value of another type.
    """
    known = typing.get_type_hints(kind)
    options = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    where = f"in [{place}]" if place else "at the top of the run file"
    for name in value:
        if name not in known:
            what = "option" if place else "table"
            msg = (
                f"unknown {what} {name!r} {where}{did_you_mean(name, known)}; "
                f"known: {', '.join(known)}"
            )
            raise ConfigError(msg)
    arguments: dict[str, Any] = {}
    for name, option in options.items():
        if name in value:
            arguments[name] = _convert(known[name], value[name], f"{place}.{name}")
        elif (
            option.default is dataclasses.MISSING
            and option.default_factory is dataclasses.MISSING
        ):
            msg = f"option {name!r} is missing {where}"
            raise ConfigError(msg)
    return kind(**arguments)


def _convert(kind: Any, value: Any, place: str) -> Any:
    """Return `value` as the annotated type `kind`, or raise ConfigError."""
    place = place.removeprefix(".")
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(arguments, value, place)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return from_json(typing.cast("type[Any]", kind), value, place=place)
    if origin is Literal:
        if value in arguments:
            return value
        known = ", ".join(repr(item) for item in arguments)
        msg = (
            f"{place} is {value!r}{did_you_mean(str(value), map(str, arguments))}; "
            f"it can be {known}"
        )
        raise ConfigError(msg)
    if origin is tuple and isinstance(value, (list, tuple)):
        return _convert_tuple(arguments, value, place)
    if origin is Mapping and isinstance(value, Mapping):
        return {k: _convert(arguments[1], v, f"{place}.{k}") for k, v in value.items()}
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, str) and type(value) is kind:
        return value
    if kind is bool and isinstance(value, bool):
        return value
    msg = f"{place} is {value!r}; it should be {_name_of(kind)}"
    raise ConfigError(msg)


def _convert_union(choices: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in choices:
        return None
    wanted = [choice for choice in choices if choice is not type(None)]
    for choice in wanted:
        try:
            return _convert(choice, value, place)
        except ConfigError:
            if len(wanted) == 1:
                raise
    msg = f"{place} is {value!r}; it should be {' or '.join(map(_name_of, wanted))}"
    raise ConfigError(msg)


def _convert_tuple(kinds: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        msg = f"{place} is {list(value)!r}; it should have {len(kinds)} values"
        raise ConfigError(msg)
    return tuple(
        _convert(kind, item, place) for kind, item in zip(kinds, value, strict=True)
    )


def _name_of(kind: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
    }
    if kind in names:
        return names[kind]
    if typing.get_origin(kind) is tuple:
        return "a list"
    return "a table"


def _with_absolute_paths(config: RunConfig, folder: Path) -> RunConfig:
    def absolute(path: str | None) -> str | None:
        if path is None or "://" in path:
            return path
        return str(folder / Path(path).expanduser())

    def absolute_source(source: str | None) -> str | None:
        if source is None:
            return None
        if source.endswith(_MODEL_FILES) or ".py:" in source:
            return absolute(source)
        zoo, _, name = source.partition(":")
        if zoo == "transformers" and (folder / name).is_dir():
            return f"{zoo}:{absolute(name)}"
        return source

    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model,
            source=absolute_source(config.model.source) or config.model.source,
            weights=absolute(config.model.weights),
        ),
        dataset=dataclasses.replace(
            config.dataset,
            path=absolute(config.dataset.path),
            root=absolute(config.dataset.root),
            source=absolute_source(config.dataset.source),
        ),
        classes=dataclasses.replace(config.classes, map=absolute(config.classes.map)),
    )
