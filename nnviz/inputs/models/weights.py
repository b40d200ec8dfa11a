"""How do the numbers of a weights file get into a network, without running any code?

Safetensors files hold nothing but numbers. A ``state_dict`` saved by torch is a pickle,
which can run code when it is read; it is read with ``weights_only=True`` and never
otherwise.
"""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from nnviz.errors import ModelError, UntrustedCodeError

__all__ = [
    "fingerprint_of_module",
    "is_written_by_torch",
    "load_weights",
    "read_weights",
]

_NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_N_CASES = 10


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read named tensors from a file.

    Parameters
    ----------
    path
        A safetensors file, or a ``state_dict`` saved by ``torch.save``, which may lie
        in a dictionary under ``state_dict``, ``model`` or the like.

    Returns
    -------
    dict of Tensor
        On the CPU, with the names of the file.

    Raises
    ------
    ModelError
        If it cannot be read, or holds other things than named tensors.
    UntrustedCodeError
        If reading it would run code.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"there is no weights file {str(path)!r}; model.weights names it"
        raise ModelError(msg)
    value = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    found = _innermost(value)
    if found is None:
        msg = (
            f"{str(path)!r} holds no named tensors but {_describe(value)}; it should "
            f"be a safetensors file or a state_dict saved by torch"
        )
        raise ModelError(msg)
    return found


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Put the tensors of a file into a network; all names and shapes have to fit.

    Parameters
    ----------
    module
        The network, changed in place.
    path
        See :func:`read_weights`. A prefix that all names share and the network does not
        have (``module.`` of DataParallel) is removed.

    Raises
    ------
    ModelError
        With the first missing, unexpected and misshapen names, and how many there are.
    UntrustedCodeError
        If reading the file would run code.
    """
    weights = _without_prefix(read_weights(path), module)
    wanted = module.state_dict()
    missing = [
        name
        for name in wanted
        # Older files lack this counter, which no network in eval mode uses.
        if name not in weights and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in weights if name not in wanted]
    misshapen = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:_N_CASES])}"
        + (", ..." if len(names) > _N_CASES else "")
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
        )
        if names
    ]
    if problems:
        msg = (
            f"the weights {str(path)!r} do not fit {type(module).__name__}: "
            f"{'; '.join(problems)}; check model.source and model.arguments"
        )
        raise ModelError(msg)
    module.load_state_dict(weights, strict=False)


def fingerprint_of_module(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers: names, dtypes, shapes, bytes.

    Parameters
    ----------
    module
        On any device.
    """
    digest = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def is_written_by_torch(path: Path) -> bool:
    """Whether a file is an archive or a complete pickle; runs none of its code.

    Parameters
    ----------
    path
        Path of any file; of an archive nothing is read.
    """
    if zipfile.is_zipfile(path):
        return True
    try:
        with path.open("rb") as file:
            for _ in pickletools.genops(file):
                pass
    except (ValueError, EOFError, IndexError):
        return False
    return True


def _is_safetensors(path: Path) -> bool:
    """Whether the file starts as safetensors do: a length, then a JSON object."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        msg = f"cannot read the safetensors file {str(path)!r}: {error}"
        raise ModelError(msg) from error


def _read_pickle(path: Path) -> Any:
    _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not is_written_by_torch(path):
            msg = (
                f"{str(path)!r} is not a file of weights, or is cut off; it should be "
                f"a safetensors file or a state_dict saved by torch"
            )
            raise ModelError(msg) from error
        msg = (
            f"{str(path)!r} holds more than tensors, and reading it would run code: "
            f"{_first_sentence(error)}; save the state_dict alone, or as safetensors"
        )
        raise UntrustedCodeError(msg) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        msg = f"cannot read the weights file {str(path)!r}: {error}"
        raise ModelError(msg) from error


def _check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than it is: torch stores, never packs."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError):
        return  # torch says what is wrong with it
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        msg = (
            f"{str(path)!r} is compressed inside, as torch never writes it, and may "
            f"unpack to more than fits into memory; save the weights again with torch"
        )
        raise ModelError(msg)


def _first_sentence(error: Exception) -> str:
    """Return the part of torch's long message that names what is not a tensor."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (named or lines or [type(error).__name__])[0][:200]


def _innermost(value: Any) -> dict[str, Tensor] | None:
    """Return the named tensors in `value`, or None."""
    while isinstance(value, Mapping):
        if value and all(isinstance(item, Tensor) for item in value.values()):
            return {str(name): tensor for name, tensor in value.items()}
        inner = [name for name in _NESTED if isinstance(value.get(name), Mapping)]
        if not inner:
            return None
        value = value[inner[0]]
    return None


def _without_prefix(weights: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    wanted = set(module.state_dict())
    stripped = True
    while stripped and not wanted & set(weights):
        stripped = False
        for prefix in _PREFIXES:
            if weights and all(name.startswith(prefix) for name in weights):
                weights = {name.removeprefix(prefix): t for name, t in weights.items()}
                stripped = True
                break
    return weights


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary with {', '.join(map(repr, list(value)[:_N_CASES]))}"
    return type(value).__name__
