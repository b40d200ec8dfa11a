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
from nnviz.inputs.models.sources import check_weights

__all__ = [
    "fingerprint_of_module",
    "is_written_by_torch",
    "load_weights",
    "read_weights",
]

_NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")
_N_CASES = 10


def read_weights(path: str | Path, *, key: str | None = None) -> dict[str, Tensor]:
    """Read named tensors from a file.

    Parameters
    ----------
    path
        A safetensors file, or a ``state_dict`` saved by ``torch.save``, which may lie
        in a dictionary under ``state_dict``, ``model`` or the like.
    key
        Where in nested dictionaries the tensors lie, with dots between the keys; None
        where that is to be found.

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
    check_weights(path)
    value = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    found = _innermost(value) if key is None else _at_key(value, key, path)
    if found is None:
        msg = (
            f"{str(path)!r} holds no named tensors but {_describe(value)}; it should "
            f"be a safetensors file or a state_dict saved by torch; model.weights_key "
            f"says where in a file of several parts the weights lie"
        )
        raise ModelError(msg)
    return found


def load_weights(
    module: nn.Module,
    path: str | Path,
    *,
    key: str | None = None,
    prefix: str | None = None,
) -> tuple[str, ...]:
    """Put the tensors of a file into a network; all of its names have to be there.

    Parameters
    ----------
    module
        The network, changed in place.
    path, key
        See :func:`read_weights`.
    prefix
        What is in front of the network's names in the file. None: where the names do
        not fit, the one is taken with which all of the network's names are there, as
        ``module.`` of DataParallel or ``model.`` of a training loop.

    Returns
    -------
    tuple of str
        For people: the prefix that was removed, and the tensors that were left out
        since they have another one (losses, metrics, counters of averages).

    Raises
    ------
    ModelError
        With the first missing, unexpected and misshapen names, and how many there are.
    UntrustedCodeError
        If reading the file would run code.
    """
    found = read_weights(path, key=key)
    needed = {name for name in module.state_dict() if not _is_counter(name)}
    removed = _prefix_of(found, needed) if prefix is None else prefix
    if prefix is not None and not any(name.startswith(prefix) for name in found):
        msg = (
            f"no name in {str(path)!r} begins with model.weights_prefix {prefix!r}; "
            f"they are {', '.join(list(found)[:_N_CASES])}"
        )
        raise ModelError(msg)
    weights = {
        name.removeprefix(removed): tensor
        for name, tensor in found.items()
        if name.startswith(removed)
    }
    left_out = [name for name in found if not name.startswith(removed)]
    wanted = module.state_dict()
    missing = [
        name
        for name in wanted
        # Older files lack this counter, which no network in eval mode uses.
        if name not in weights and not _is_counter(name)
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
            f"{'; '.join(problems)}; check model.source and model.arguments, or state "
            f"model.weights_prefix or model.weights_key"
        )
        raise ModelError(msg)
    module.load_state_dict(weights, strict=False)
    notes = []
    if removed:
        notes.append(f"weights: the prefix {removed!r} was removed from their names")
    if left_out:
        more = ", ..." if len(left_out) > _N_CASES else ""
        notes.append(
            f"weights: {len(left_out)} tensors of the file are not the network's and "
            f"were left out: {', '.join(left_out[:_N_CASES])}{more}"
        )
    return tuple(notes)


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


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
            f"{_first_sentence(error)}; --trust does not change that: save the "
            f"state_dict alone, torch.save(model.state_dict(), ...), or as safetensors"
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
            # Numbers of the training may lie beside them, such as that of the epoch.
            found = {str(n): t for n, t in value.items() if isinstance(t, Tensor)}
            return found or None
        value = value[inner[0]]
    return None


def _at_key(value: Any, key: str, path: Path) -> dict[str, Tensor] | None:
    """Return the named tensors at a key, beside which there may be other values."""
    parts = key.split(".")
    for number in range(len(parts)):
        name = ".".join(parts[: number + 1])
        if not isinstance(value, Mapping) or parts[number] not in value:
            msg = (
                f"{str(path)!r} has no {name!r} of model.weights_key {key!r}, but "
                f"{_describe(value)}"
            )
            raise ModelError(msg)
        value = value[parts[number]]
    if not isinstance(value, Mapping):
        return None
    tensors = {str(n): t for n, t in value.items() if isinstance(t, Tensor)}
    return tensors or None


def _prefix_of(weights: Mapping[str, Tensor], needed: set[str]) -> str:
    """Return the shortest prefix with which all of the network's names are there."""
    if not needed or needed <= set(weights):
        return ""
    some = min(needed)
    prefixes = {
        name.removesuffix(some) for name in weights if name.endswith(f".{some}")
    }
    fits = [
        prefix
        for prefix in prefixes
        if all(f"{prefix}{name}" in weights for name in needed)
    ]
    if len(fits) > 1:
        shown = ", ".join(map(repr, sorted(fits)))
        msg = (
            f"the network's names are in the file of weights more than once, behind "
            f"{shown}; name one as model.weights_prefix"
        )
        raise ModelError(msg)
    return fits[0] if fits else ""


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary with {', '.join(map(repr, list(value)[:_N_CASES]))}"
    return type(value).__name__
