"""What does a run consist of? One TOML file, read into frozen dataclasses.

Every option is part of the result and of the run's identity; what is not (scheduler
address, verbosity, paths of output) is a flag of the command line. Relative paths in a
run file are relative to the file.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

from nnviz.argument_types import checked
from nnviz.errors import ConfigError
from nnviz.importing import IN_RUN_FOLDER, is_callable_source
from nnviz.runs.json_values import check_fields, from_json
from nnviz.runs.table_columns import ColumnConfig

__all__ = [
    "ClassesConfig",
    "DatasetConfig",
    "ExtractionConfig",
    "ModelConfig",
    "PreprocessingConfig",
    "RunConfig",
    "absolute_dataset",
    "absolute_run",
    "load_config",
    "read_config",
]

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

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """Where the instances come from."""

    kind: Literal[
        "folder",
        "table",
        "lines",
        "arrays",
        "webdataset",
        "torch",
        "huggingface",
        "memory",
    ]
    """How the data are kept; ``memory`` is what :func:`nnviz.run` was handed, which a
    run file cannot name."""
    path: str | None = None
    """Folder, file, or glob of files (tar shards)."""
    source: str | None = None
    """``package.module:callable`` of a torch data set; name of a Hugging Face one."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the callable."""
    id_column: str | None = None
    """Column of a table with the instances' names; None: paths, or row numbers."""
    path_column: str = "path"
    """Column of a table with the paths of files."""
    bytes_column: str | None = None
    """Column of a Parquet table with the files' bytes; None: the binary one, if any."""
    text_column: str | None = None
    """Column of a table with the texts that are the instances."""
    pattern: str | None = None
    r"""Form of a line of kind ``lines``: a regular expression with a group ``text``
    and others that become columns, as ``(?P<label>\w+) (?P<text>.*)``."""
    input_columns: tuple[str, ...] = ()
    """Keys of an item that are the inputs, where there are several: the names of the
    parameters of the network's ``forward``. Empty: found by them, or the columns that
    the preprocessing of a table names."""
    label_column: str = "label"
    """Where labels stand; "" for data without labels, of every kind, of which a column
    ``label`` becomes ``target``."""
    metadata_columns: tuple[str, ...] = ("*",)
    """Columns to keep, as glob patterns; a pattern that starts with ``!`` removes."""
    delimiter: str | None = None
    """What separates the values of a table of text; None: it is found. Of kind
    ``lines`` what separates label and text."""
    encoding: str | None = None
    """Encoding of a table of text, such as ``cp1252``; None: it is found."""
    missing_values: tuple[str, ...] = ()
    """Texts in a table that say that a value is missing, beside an empty one: ``NA``,
    ``?``."""
    root: str | None = None
    """Folder to which the paths of a table are relative; None: the table's folder."""
    data_array: str = "data"
    """Name of the array of inputs in an ``.npz`` file or a Zarr group."""
    label_array: str | None = "label"
    """Name of the array of labels there."""
    allow_outside_root: bool = False
    """Whether a path of a table or a link may lead out of the root."""
    limit: int | None = None
    """Number of instances to keep, from the first on; None keeps all."""
    fingerprint_contents: Literal["none", "sampled", "full"] | None = None
    """Of how many instances the contents are hashed, beside names and sizes; None: of a
    sample, but of none for kind ``torch``, whose items may be made anew each time."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class ClassesConfig:
    """How the data set's labels are joined with the network's outputs."""

    map: str | None = None
    """CSV with a column ``index`` (the network's output) and any columns of names."""
    match: str | None = None
    """Column of the map that holds the data set's labels; None: the one that fits."""
    name: str | None = None
    """Column of the map with the names to show; None: ``name``, else `match`."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class PreprocessingConfig:
    """From a stored instance to the network's input; hashed into the run's identity."""

    kind: Literal["auto", "image", "array", "inputs", "text", "table"] = "auto"
    """auto: what the data set returns says it. Files and arrays of uint8 with the axes
    of a picture are images; other arrays are what the network receives, and so are
    several of them by name (``inputs``); texts go through the tokenizer. Rows of a
    ``table`` become numbers as `columns` say."""
    resize: int | tuple[int, int] | None = None
    """Length of the shorter side, or (height, width), in pixels; None: as it is."""
    crop: int | tuple[int, int] | None = None
    """Centre crop, (height, width) in pixels; None: no crop."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    """Filter of the resizing, as Pillow calls it."""
    antialias: bool = True
    """Whether a smaller image is made with a widened filter, as Pillow does."""
    channel_order: Literal["rgb", "bgr", "grey"] = "rgb"
    """Channels that the network receives, in their order."""
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
    that is at least this many times the resized one: faster, and other pixels. None: in
    full."""
    layout: Literal["CHW", "HWC", "HW", "as-is", "packed"] = "as-is"
    """Axes of a stored array; the network receives channels first. ``packed``: several
    inputs one after the other, as nnviz pack writes them."""
    dtype: Literal["float32", "int64"] | None = None
    """What an array becomes; None: float32, but whole numbers other than uint8 stay so
    with layout ``as-is`` (indices of words)."""
    tokenizer: str | None = None
    """What turns texts into indices: a ``tokenizer.json``, a folder with one, or
    ``package.module:callable``."""
    max_length: int | None = None
    """Tokens that are kept of an instance; None: the tokenizer's limit, or as many as
    the longest one has."""
    special_tokens_count: bool = False
    """Whether maxima and influences at special tokens ([CLS], [SEP]) count."""
    padding_id: int | None = None
    """Index with which shorter instances are filled up; None: the tokenizer's, or 0."""
    columns: tuple[ColumnConfig, ...] = ()
    """Columns of a table that the network receives, in its order; with layout
    ``packed`` those that were, for their names."""
    measured_on: str | None = None
    """Table on which means, standard deviations and categories are measured that
    `columns` do not state: the one of the training. None: on the run's own rows."""

    def __post_init__(self) -> None:
        check_fields(self)

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
    instances_per_chunk: int | None = None
    """Instances of one task; what is lost when a worker dies. None: 1,024, and less in
    runs of fewer than 16,384 instances, so that all cores have something to do."""
    batch_size: int = 64
    """Instances of one forward pass."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the forward pass; float32 unless asked for."""
    memory_format: Literal["channels_last", "contiguous"] = "channels_last"
    """Order of images in memory; convolutions are fastest with channels last."""
    fold_batch_norm: bool = True
    """Whether batch normalisations become a part of the convolutions before them."""
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
    targets_minimum: int = 8
    """At least so many targets of a layer, the strongest by activation, where `targets`
    are the top channels: in narrow layers the share rule takes a single one, and what
    rests on all others would be lost on the way down. 1: the top channels alone."""
    ranks: int = 5
    """Strongest sources kept for each target (K)."""
    extremum: Literal["max", "min"] = "max"
    """Whether the sources that excite a target most are kept, or inhibit it most."""
    signal: Literal["max", "peak"] = "peak"
    """Where a contribution is read: at its own maximum over all positions, as SUMMIT
    does, or at the one position of the target's maximum, where contributions add up."""
    relevance: Literal["none", "label", "prediction", "output"] = "none"
    """Of which output the relevance of the shown layers' channels is kept, from one
    backward pass: that of the true class (of the predicted one where there is no
    label), of the predicted class, or of `relevance_outputs`. A network with a single
    output has only that."""
    relevance_outputs: tuple[str, ...] = ()
    """Class whose output is explained with ``relevance = "output"``, or two: the first
    less the second."""
    relevance_signal: str | None = None
    """``module:callable`` or ``file.py:callable`` that makes one number of a channel's
    activation and gradient, in place of the sum of their product; None: that sum."""
    max_unreadable_fraction: float = 0.01
    """The run fails when more than this fraction of the instances cannot be read."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One run: the network, its data, and what to record."""

    model: ModelConfig
    dataset: DatasetConfig
    preprocessing: PreprocessingConfig | None = None
    """None: the one that the model's source brings along, else images as they are."""
    classes: ClassesConfig = field(default_factory=ClassesConfig)
    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)

    def __post_init__(self) -> None:
        check_fields(self)


@checked
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
    return read_config(value, path.resolve().parent)


def read_config(tables: Mapping[str, Any], folder: Path) -> RunConfig:
    """Return the run that the tables of a run file describe.

    Parameters
    ----------
    tables
        ``model``, ``dataset`` and so on, as TOML or JSON values.
    folder
        To which relative paths are relative.

    Raises
    ------
    ConfigError
        If there is an unknown option or a value of another type.
    """
    return absolute_run(from_json(RunConfig, tables), folder)


def absolute_run(config: RunConfig, folder: Path) -> RunConfig:
    """Return a run whose paths mean the same in every folder: workers stand elsewhere.

    Parameters
    ----------
    config
        As it was written.
    folder
        To which its relative paths are relative.
    """
    source = _absolute_source(config.model.source, folder)
    weights = _absolute(config.model.weights, folder)
    preprocessing = config.preprocessing
    if preprocessing is not None and preprocessing.tokenizer is not None:
        tokenizer = _absolute_tokenizer(preprocessing.tokenizer, folder)
        preprocessing = dataclasses.replace(preprocessing, tokenizer=tokenizer)
    if preprocessing is not None:
        measured_on = _absolute(preprocessing.measured_on, folder)
        preprocessing = dataclasses.replace(preprocessing, measured_on=measured_on)
    signal = config.extraction.relevance_signal
    if signal is not None:
        signal = _absolute_source(signal, folder)
    class_map = _absolute(config.classes.map, folder)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, source=source, weights=weights),
        dataset=absolute_dataset(config.dataset, folder),
        preprocessing=preprocessing,
        classes=dataclasses.replace(config.classes, map=class_map),
        extraction=dataclasses.replace(config.extraction, relevance_signal=signal),
    )


def absolute_dataset(config: DatasetConfig, folder: Path) -> DatasetConfig:
    """Return where a data set is in paths that mean the same in every folder."""
    source = config.source
    return dataclasses.replace(
        config,
        path=_absolute(config.path, folder),
        root=_absolute(config.root, folder),
        source=None if source is None else _absolute_source(source, folder),
    )


@overload
def _absolute(path: str, folder: Path) -> str: ...
@overload
def _absolute(path: None, folder: Path) -> None: ...
def _absolute(path: str | None, folder: Path) -> str | None:
    if path is None or "://" in path:
        return path
    return str(folder / Path(path).expanduser())


def _absolute_tokenizer(source: str, folder: Path) -> str:
    if (folder / Path(source).expanduser()).exists() or not is_callable_source(source):
        return source if source.startswith("memory:") else _absolute(source, folder)
    return _absolute_source(source, folder)


def _absolute_source(source: str, folder: Path) -> str:
    if source.endswith(_MODEL_FILES) or ".py:" in source:
        return _absolute(source, folder)
    zoo, _, name = source.partition(":")
    beside = f"{zoo.replace('.', '/')}.py"
    if is_callable_source(source) and (folder / beside).is_file():
        return f"{folder}{IN_RUN_FOLDER}{beside}:{name}"
    if zoo == "transformers" and (folder / name).is_dir():
        return f"{zoo}:{_absolute(name, folder)}"
    return source
