"""Can the source of a network be read, and is its weights file there? Without torch."""

from __future__ import annotations

from pathlib import Path

from nnviz.errors import ConfigError, ModelError
from nnviz.importing import is_callable_source

__all__ = ["PICKLED", "ZOO_NAMES", "check_source", "check_weights"]

ZOO_NAMES = ("torchvision", "timm", "transformers")
"""Collections of networks that are named as ``COLLECTION:NAME``."""

PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")


def check_source(source: str) -> None:
    """Refuse a source that names neither a collection, a callable nor a file.

    Parameters
    ----------
    source
        ``model.source`` of a run file.

    Raises
    ------
    ConfigError
        If it has another form.
    ModelError
        If there is no such file, or it holds weights without the network's code.
    """
    prefix, _, name = source.partition(":")
    if (prefix in ZOO_NAMES and name) or is_callable_source(source):
        return
    path = Path(source).expanduser()
    if path.suffix == ".safetensors":
        msg = (
            f"{source!r} holds weights without the network's code; name it as "
            f"model.weights, and the callable that builds the network as model.source"
        )
        raise ModelError(msg)
    if path.suffix not in (*PICKLED, ".pt2"):
        msg = (
            f"model.source is {source!r}; it should be 'package.module:callable', "
            f"'path/to/file.py:callable', {', '.join(f'{z}:NAME' for z in ZOO_NAMES)}, "
            f"or a file (.pt2, {', '.join(PICKLED)})"
        )
        raise ConfigError(msg)
    if not path.is_file():
        msg = f"there is no model file {source!r}; model.source names it"
        raise ModelError(msg)


def check_weights(path: str | Path) -> None:
    """Refuse a weights file that is not there.

    Parameters
    ----------
    path
        ``model.weights`` of a run file.

    Raises
    ------
    ModelError
        If there is no such file.
    """
    path = Path(path)
    if path.is_file():
        return
    own = ""
    if path.suffix == "":
        own = (
            "; weights that a library brings are an argument of its networks: "
            f'model.arguments = {{ weights = "{path.name}" }} for torchvision, '
            "{ pretrained = true } for timm"
        )
    msg = f"there is no weights file {str(path)!r}; model.weights names it{own}"
    raise ModelError(msg)
