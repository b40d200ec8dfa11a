"""How do networks of torchvision, timm and transformers come with their preprocessing?

A zoo states how its trained weights want their images; that statement becomes a
:class:`PreprocessingConfig`, which the plan prints and the store keeps. Where it states
nothing (a network without trained weights) there is none, and the run file has to say.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from nnviz.errors import (
    MissingDependencyError,
    ModelError,
    UntrustedCodeError,
    did_you_mean,
)
from nnviz.importing import import_library
from nnviz.runs.config import PreprocessingConfig
from nnviz.text_files import parse_json, read_text

__all__ = ["ZOOS", "ZooModel", "preprocessing_of_torchvision"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

# Pillow's numbers of its filters, as the files of transformers state them.
_PILLOW_FILTERS: Mapping[int, Interpolation] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}
_WEIGHT_FILES = ("*.safetensors", "*.bin")
_N_CASES = 10


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A network, and what its zoo says about it."""

    module: nn.Module
    preprocessing: PreprocessingConfig | None = None
    class_names: tuple[str, ...] = ()


def _from_torchvision(
    name: str, arguments: dict[str, Any], *, trust: bool, has_weights: bool
) -> ZooModel:
    del trust, has_weights
    models = import_library("torchvision", extra="vision").models
    if name not in models.list_models():
        msg = (
            f"torchvision has no model {name!r}"
            f"{did_you_mean(name, models.list_models())}; see "
            f"torchvision.models.list_models()"
        )
        raise ModelError(msg)
    stated = arguments.get("weights")
    if stated is None:
        return ZooModel(models.get_model(name, **arguments))
    known = models.get_model_weights(name)
    member = str(stated).rpartition(".")[2]
    if member not in known.__members__:
        msg = (
            f"torchvision has no weights {stated!r} for {name!r}"
            f"{did_you_mean(member, known.__members__)}; it has "
            f"{', '.join(known.__members__)}"
        )
        raise ModelError(msg)
    weights = known[member]
    try:
        # torchvision itself would unpickle whatever lies in its cache.
        weights.get_state_dict(check_hash=True, weights_only=True)
    except pickle.UnpicklingError as error:
        msg = (
            f"the cached weights of {weights} hold more than tensors, and reading them "
            f"would run code; delete them from {torch.hub.get_dir()!r}"
        )
        raise UntrustedCodeError(msg) from error
    return ZooModel(
        models.get_model(name, **arguments),
        preprocessing_of_torchvision(weights.transforms()),
        tuple(weights.meta.get("categories", ())),
    )


def preprocessing_of_torchvision(transforms: Any) -> PreprocessingConfig | None:
    """Translate a preset of torchvision; None if it is not one for classification."""
    if not hasattr(transforms, "crop_size"):
        return None
    antialias = transforms.antialias
    return PreprocessingConfig(
        resize=_size(transforms.resize_size),
        crop=_size(transforms.crop_size),
        interpolation=_interpolation(transforms.interpolation.value),
        # None and "warn" mean Pillow's behaviour on Pillow images.
        antialias=antialias if isinstance(antialias, bool) else True,
        mean=tuple(map(float, transforms.mean)),
        std=tuple(map(float, transforms.std)),
    )


def _from_timm(
    name: str, arguments: dict[str, Any], *, trust: bool, has_weights: bool
) -> ZooModel:
    del trust, has_weights
    timm = import_library("timm", extra="timm")
    if not timm.is_model(name.partition(".")[0]):
        known = timm.list_models()
        msg = f"timm has no model {name!r}{did_you_mean(name, known)}"
        raise ModelError(msg)
    module = timm.create_model(name, **arguments)
    stated = timm.data.resolve_model_data_config(module)
    label_names = getattr(module, "pretrained_cfg", {}).get("label_names") or ()
    return ZooModel(module, _timm_preprocessing(stated), tuple(label_names))


def _timm_preprocessing(stated: Mapping[str, Any]) -> PreprocessingConfig | None:
    """Translate timm's data configuration as ``transforms_imagenet_eval`` reads it.

    None where timm would pad, or keep the shape of an image that is not square.
    """
    n_channels, height, width = stated["input_size"]
    fraction = stated.get("crop_pct") or 0.875
    scaled = (math.floor(height / fraction), math.floor(width / fraction))
    squash = stated.get("crop_mode") == "squash"
    if n_channels != 3 or not (
        squash or (height == width and stated.get("crop_mode") != "border")
    ):
        return None
    return PreprocessingConfig(
        resize=scaled if squash else scaled[0],
        crop=(height, width),
        interpolation=_interpolation(stated.get("interpolation", "bicubic")),
        mean=tuple(map(float, stated["mean"])),
        std=tuple(map(float, stated["std"])),
    )


def _from_transformers(
    name: str, arguments: dict[str, Any], *, trust: bool, has_weights: bool
) -> ZooModel:
    library = import_library("transformers", extra="transformers")
    try:
        return _load_transformers(
            library, name, arguments, trust=trust, has_weights=has_weights
        )
    except ImportError as error:
        # It imports its parts late, and what they need with them.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        needed = (
            "a torchvision that fits the installed torch"
            if "torchvision" in f"{cause}{error}"
            else "a library that is missing or broken"
        )
        msg = (
            f"transformers cannot import a part of itself for {name!r}, which needs "
            f"{needed}: {type(cause).__name__}: {cause}; "
            f"pip install 'nnviz[transformers,vision]'"
        )
        raise MissingDependencyError(msg) from error


def _load_transformers(
    library: Any,
    name: str,
    arguments: dict[str, Any],
    *,
    trust: bool,
    has_weights: bool,
) -> ZooModel:
    folder = Path(name).expanduser()
    if not folder.is_dir() and name.isidentifier():
        return ZooModel(_from_class(library, name, arguments))
    stated = _read_json(folder / "config.json") if folder.is_dir() else {}
    if "auto_map" in stated and not trust:
        msg = (
            f"the model in {name!r} brings Python code of its own (auto_map in its "
            f"config.json), which would be run; pass --trust if you have read it"
        )
        raise UntrustedCodeError(msg)
    kind = next(iter(stated.get("architectures") or ()), "")
    builder = getattr(library, kind, library.AutoModelForImageClassification)
    preprocessing = None
    if (folder / "preprocessor_config.json").is_file():
        processor = _read_json(folder / "preprocessor_config.json")
        preprocessing = _transformers_preprocessing(processor)
    if stated and not any(list(folder.glob(each)) for each in _WEIGHT_FILES):
        if not has_weights:
            msg = (
                f"the folder {name!r} has a config.json and no weights "
                f"({', '.join(_WEIGHT_FILES)}); add them, or name a file of weights as "
                f"model.weights"
            )
            raise ModelError(msg)
        settings = library.AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust, **arguments
        )
        if builder is library.AutoModelForImageClassification:
            module = builder.from_config(settings, trust_remote_code=trust)
        else:
            module = builder(settings)
        return ZooModel(module, preprocessing, _transformers_names(settings))
    try:
        # Never a download: what is named has to be a folder or in the local cache.
        module, report = builder.from_pretrained(
            str(folder) if folder.is_dir() else name,
            local_files_only=True,
            trust_remote_code=trust,
            weights_only=True,
            output_loading_info=True,
            **arguments,
        )
    except OSError as error:
        msg = (
            f"transformers cannot load {name!r}: {error}; it should be a folder with "
            f"config.json and the weights (nnviz downloads nothing)"
        )
        raise ModelError(msg) from error
    _refuse_unfit(name, report)
    return ZooModel(module, preprocessing, _transformers_names(module.config))


def _from_class(library: Any, name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build an untrained network from a model's or configuration's class."""
    found = getattr(library, name, None)
    if found is None:
        msg = (
            f"transformers has no class {name!r}{did_you_mean(name, dir(library))}, "
            f"and there is no folder of this name"
        )
        raise ModelError(msg)
    if issubclass(found, library.PreTrainedConfig):
        builder = library.AutoModelForImageClassification
        return cast("nn.Module", builder.from_config(found(**arguments)))
    return cast("nn.Module", found(found.config_class(**arguments)))


def _refuse_unfit(name: str, report: Mapping[str, Any]) -> None:
    # transformers fills what is missing with random numbers, and only warns.
    problems = []
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        names = sorted(map(str, report.get(what) or ()))
        if names:
            shown = ", ".join(names[:_N_CASES])
            problems.append(f"{len(names)} {what.replace('_keys', '')}: {shown}")
    if problems:
        msg = f"the weights in {name!r} do not fit the model: {'; '.join(problems)}"
        raise ModelError(msg)


def _transformers_names(config: Any) -> tuple[str, ...]:
    names = getattr(config, "id2label", None) or {}
    in_order = tuple(str(names[index]) for index in sorted(names))
    unnamed = tuple(f"LABEL_{index}" for index in range(len(in_order)))
    return () if in_order == unnamed else in_order


def _transformers_preprocessing(stated: Mapping[str, Any]) -> PreprocessingConfig:
    """Translate ``preprocessor_config.json`` of an image processor."""
    size, crop = stated.get("size"), stated.get("crop_size")
    resize = _transformers_size(size) if stated.get("do_resize", True) else None
    cropped = _transformers_size(crop) if stated.get("do_center_crop", False) else None
    kind = str(
        stated.get("image_processor_type") or stated.get("feature_extractor_type")
    )
    if kind.startswith("ConvNext") and isinstance(resize, int):
        # Its processor reads a shorter side below 384 as the size of the crop.
        cropped = (resize, resize)
        if resize < 384:
            resize = int(resize / (stated.get("crop_pct") or 224 / 256))
        else:
            resize = cropped
    normalized = stated.get("do_normalize", True)
    rescaled = stated.get("do_rescale", True)
    return PreprocessingConfig(
        resize=resize,
        crop=cropped,
        interpolation=_interpolation(stated.get("resample", 2)),
        scale=_optional(stated.get("rescale_factor")) if rescaled else 1.0,
        mean=tuple(map(float, stated["image_mean"])) if normalized else (0.0,),
        std=tuple(map(float, stated["image_std"])) if normalized else (1.0,),
    )


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _transformers_size(value: Any) -> int | tuple[int, int] | None:
    if isinstance(value, Mapping):
        if "shortest_edge" in value:
            return int(value["shortest_edge"])
        return int(value["height"]), int(value["width"])
    return (int(value), int(value)) if value is not None else None


def _size(value: Any) -> int | tuple[int, int] | None:
    """Translate a size of torchvision: a number, or a list of one or two."""
    if value is None or isinstance(value, int):
        return value
    sizes = tuple(int(item) for item in value)
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def _interpolation(value: Any) -> Interpolation:
    if isinstance(value, int):
        return _PILLOW_FILTERS.get(value, "bilinear")
    known = [name for name in _PILLOW_FILTERS.values() if name == str(value)]
    return known[0] if known else "bilinear"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", parse_json(read_text(path)))
    except (OSError, ValueError) as error:
        msg = f"cannot read {str(path)!r}: {error}"
        raise ModelError(msg) from error


ZOOS: Mapping[str, Callable[..., ZooModel]] = {
    "torchvision": _from_torchvision,
    "timm": _from_timm,
    "transformers": _from_transformers,
}
"""How each prefix of a model's source is built."""
