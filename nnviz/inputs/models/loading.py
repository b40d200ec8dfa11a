"""How is the network loaded, and when would that run code that nobody vouched for?

The source says where the network's code comes from: the user's own callable, or a
collection of networks that is installed. Its weights are numbers, and are read as
numbers. Files that run code when they are read (a pickled module, a ``.pt2``, remote
code of a hub) are refused unless the user trusts them.
"""

from __future__ import annotations

import copy
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from nnviz.argument_types import checked
from nnviz.engine.handing_over import handed_over
from nnviz.errors import ModelError, UntrustedCodeError
from nnviz.importing import import_callable, is_callable_source
from nnviz.inputs.models.exported import fixed_batch_of, network_of_program
from nnviz.inputs.models.sources import check_source
from nnviz.inputs.models.weights import (
    fingerprint_of_module,
    is_written_by_torch,
    load_weights,
)
from nnviz.inputs.models.zoos import ZOOS, ZooModel
from nnviz.runs.config import ModelConfig, PreprocessingConfig
from nnviz.user_code import raised_text, telling_user_errors

__all__ = ["MEMORY", "LoadedModel", "load_model", "memory_source"]

MEMORY = "memory:"
"""What the source of a network begins with that a caller holds."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network that is ready to run, and what came with it."""

    module: nn.Module
    """In eval mode, on the CPU, no parameter requires a gradient."""
    fingerprint: str
    """SHA-256 of parameters and buffers."""
    preprocessing: PreprocessingConfig | None = None
    """What its source states; None if it states nothing."""
    class_names: tuple[str, ...] = ()
    """Names of its outputs in their order; empty if nobody states them."""
    notes: tuple[str, ...] = ()
    """What of the file of weights was not taken, and what of its names was removed."""


@checked
def load_model(config: ModelConfig, *, trust: bool = False) -> LoadedModel:
    """Build a network and load its weights.

    Parameters
    ----------
    config
        The ``[model]`` table of the run file.
    trust
        Whether files may be read that run code while they are read; without it they
        are refused.

    Returns
    -------
    LoadedModel
        In eval mode, on the CPU.

    Raises
    ------
    ConfigError
        If the source has an unknown form.
    ModelError
        If the network cannot be built, or its weights do not fit.
    UntrustedCodeError
        If reading the source or the weights would run code, and `trust` is false.
    MissingDependencyError
        If the source needs a library that is not installed.
    """
    built = _handed_over(config) or _build(config, trust=trust)
    module = built.module
    notes: tuple[str, ...] = ()
    if config.weights is not None:
        notes = load_weights(
            module,
            config.weights,
            key=config.weights_key,
            prefix=config.weights_prefix,
        )
    _check_values(module, config.source)
    _freeze(module)
    return LoadedModel(
        module=module,
        fingerprint=fingerprint_of_module(module),
        preprocessing=built.preprocessing,
        class_names=tuple(config.class_names) or built.class_names,
        notes=notes,
    )


def memory_source(module: nn.Module) -> str:
    """Return the source of a network that is in memory: its class and its weights.

    It is handed over under this name, which tells a plan what it was made of.

    Raises
    ------
    ModelError
        If its weights have no values, or nobody can look into it.
    """
    _check_values(module, f"the network ({type(module).__name__})")
    return f"{MEMORY}{type(module).__name__}@{fingerprint_of_module(module)[:12]}"


def _handed_over(config: ModelConfig) -> ZooModel | None:
    """Return a copy of a network in memory, which stays as it is; None if it is not."""
    if not config.source.startswith(MEMORY):
        return None
    module = handed_over(config.source)
    if module is None:
        msg = (
            "the network was in memory when the plan was made "
            f"({config.source.removeprefix(MEMORY)}), and is nowhere else; hand it "
            "over again: nnviz.extract(store, model=model, dataset=dataset), and "
            "verify and ablate alike"
        )
        raise ModelError(msg)
    try:
        return ZooModel(copy.deepcopy(module))
    except Exception as error:
        # What a module holds beside its weights may refuse to be copied.
        msg = (
            f"{type(module).__name__} cannot be copied: {raised_text(error)}; nnviz "
            "works on a copy, so that yours stays as it is"
        )
        raise ModelError(msg) from error


def _build(config: ModelConfig, *, trust: bool) -> ZooModel:
    prefix, _, name = config.source.partition(":")
    arguments = ", ".join(f"{k}={v!r}" for k, v in config.arguments.items())
    with telling_user_errors(
        f"{config.source}({arguments})",
        advice="check model.source and model.arguments",
        error_type=ModelError,
    ):
        if prefix in ZOOS and name:
            built = ZOOS[prefix](
                name,
                dict(config.arguments),
                trust=trust,
                has_weights=config.weights is not None,
            )
        elif is_callable_source(config.source):
            build = import_callable(config.source)
            built = ZooModel(build(**config.arguments))
        else:
            built = ZooModel(_read_model_file(config.source, trust=trust))
    module: object = built.module
    if not isinstance(module, nn.Module):
        msg = (
            f"{config.source} returned {type(module).__name__}; it should "
            f"return a torch.nn.Module"
        )
        raise ModelError(msg)
    return built


def _check_values(module: nn.Module, source: str) -> None:
    """Refuse a network whose code or numbers are not there."""
    if isinstance(module, torch.jit.ScriptModule):
        msg = (
            f"{source} is a TorchScript module, into whose layers nnviz cannot "
            f"look; give the torch.nn.Module that it was made from"
        )
        raise ModelError(msg)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
            msg = (
                f"{name!r} of {source} has no values yet (lazy modules get theirs with "
                f"the first batch); run the network once first, or state its sizes"
            )
            raise ModelError(msg)
        if tensor.is_meta:
            msg = (
                f"{name!r} of {source} is on the device 'meta', without values; build "
                f"the network on the CPU, or load its weights first"
            )
            raise ModelError(msg)


def _freeze(module: nn.Module) -> None:
    try:
        module.eval()
    except NotImplementedError:
        # Exported programs have their mode built in.
        module.training = False
    module.requires_grad_(requires_grad=False)
    module.to("cpu")


def _read_model_file(source: str, *, trust: bool) -> nn.Module:
    check_source(source)
    path = Path(source).expanduser()
    if path.suffix == ".pt2":
        return _read_exported(path, trust=trust)
    return _read_pickled(path, trust=trust)


def _read_exported(path: Path, *, trust: bool) -> nn.Module:
    if not trust:
        msg = (
            f"{str(path)!r} is an exported program; torch unpickles parts of such "
            f"files, which can run any code; pass --trust if you trust its origin"
        )
        raise UntrustedCodeError(msg)
    try:
        program = torch.export.load(path)
    except Exception as error:
        # torch raises whatever its parts do on a damaged archive.
        msg = (
            f"cannot read the exported program {str(path)!r}: {error}; it should be "
            f"written by torch.export.save of about this version of torch"
        )
        raise ModelError(msg) from error
    n_instances = fixed_batch_of(program)
    if n_instances is not None:
        msg = (
            f"{str(path)!r} was exported for batches of {n_instances} instances and no "
            "others; export it for any number: torch.export.export(network, (batch,), "
            'dynamic_shapes=({0: torch.export.Dim("n")},))'
        )
        raise ModelError(msg)
    return network_of_program(program)


def _read_pickled(path: Path, *, trust: bool) -> nn.Module:
    if _is_torchscript(path):
        msg = (
            f"{str(path)!r} is a TorchScript archive, into whose layers nnviz cannot "
            f"look; name the callable that builds the network as model.source"
        )
        raise ModelError(msg)
    if not is_written_by_torch(path):
        msg = (
            f"{str(path)!r} is neither a model nor a file of weights, or is cut off; "
            f"name the network's callable as model.source"
        )
        raise ModelError(msg)
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if not trust:
            msg = (
                f"{str(path)!r} is a pickled model, and reading it runs the code that "
                f"it names; pass --trust if you know where it comes from, or save its "
                f"state_dict and name the network's callable as model.source"
            )
            raise UntrustedCodeError(msg) from error
    else:
        msg = (
            f"{str(path)!r} holds weights without the network's code; name it as "
            f"model.weights, and the callable that builds the network as model.source"
        )
        raise ModelError(msg)
    try:
        found = torch.load(path, map_location="cpu", weights_only=False)
    except (pickle.UnpicklingError, AttributeError, ImportError) as error:
        msg = f"cannot unpickle {str(path)!r}: {error}; its classes must be importable"
        raise ModelError(msg) from error
    if not isinstance(found, nn.Module):
        msg = f"{str(path)!r} holds {type(found).__name__}, not a torch.nn.Module"
        raise ModelError(msg)
    return found


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
