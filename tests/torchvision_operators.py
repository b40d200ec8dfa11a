"""What a torchvision for CUDA needs to be imported beside a torch for CPUs."""

import ctypes
import importlib.util
from pathlib import Path

import torch

__all__ = ["define_missing_operators"]

# The operators vanish with the object that defined them.
_KEPT: list[torch.library.Library] = []


def define_missing_operators() -> None:
    """Make a torchvision for CUDA importable beside a torch for CPUs.

    Its compiled part needs CUDA libraries and then cannot register its operators, at
    which importing torchvision fails, and timm and transformers with it. Declared
    operators are enough: no test computes a non-maximum suppression.
    """
    spec = importlib.util.find_spec("torchvision")
    if _KEPT or spec is None or not spec.submodule_search_locations:
        return
    folder = Path(spec.submodule_search_locations[0])
    try:
        for library in folder.glob("_C*.so"):
            ctypes.CDLL(str(library))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            library.define(operator + signature)
        _KEPT.append(library)
