"""The script that a researcher would write: the honest comparison.

A DataLoader, a forward hook on every layer, ``.amax``, and ``np.save`` at the end; the
network as it comes, in evaluation mode, without gradients.

Usage: ``python -m benchmarks.baseline CASE.json``, where CASE.json is what
``benchmarks.extraction`` writes; prints seconds and instances as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import networks

__all__ = [
    "Pictures",
    "loaded_network",
    "loader_of",
    "maxima_of",
    "pictures_of",
    "save_layers",
]

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class Pictures(Dataset[tuple[Tensor, int]]):
    """A folder with one sub-folder per class."""

    def __init__(self, paths: list[Path], size: int | None) -> None:
        self.paths = paths
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.open(self.paths[index]).convert("RGB")
        if self.size is not None:
            picture = picture.resize((self.size, self.size), Image.Resampling.BILINEAR)
        values = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
        return (values - MEAN) / STD, index


def loaded_network(case: dict[str, Any]) -> nn.Module:
    """Return the case's network with its weights, in evaluation mode."""
    model: nn.Module = getattr(networks, case["network"])()
    model.load_state_dict(load_file(case["weights"]))
    return model.eval()


def pictures_of(case: dict[str, Any]) -> Pictures:
    """Return the case's pictures."""
    return Pictures([Path(case["root"]) / name for name in case["paths"]], case["size"])


def loader_of(case: dict[str, Any]) -> DataLoader[tuple[Tensor, int]]:
    """Return batches of the case's pictures, read by two processes."""
    return DataLoader(pictures_of(case), batch_size=case["batch_size"], num_workers=2)


def maxima_of(output: Tensor) -> Tensor:
    """Return the maxima over positions, (instance, channel)."""
    return output.amax((2, 3)) if output.ndim == 4 else output


def save_layers(case: dict[str, Any], layers: Mapping[str, Sequence[Tensor]]) -> None:
    """Write what each layer's batches gave, one file a layer, as float16."""
    for name, values in layers.items():
        path = Path(case["folder"]) / f"{name}.npy"
        np.save(path, torch.cat(list(values)).numpy().astype(np.float16))


def main(case_file: str) -> None:
    """Record the maxima of the named modules and save them."""
    case = json.loads(Path(case_file).read_text(encoding="utf-8"))
    started = time.perf_counter()
    model = loaded_network(case)
    recorded: dict[str, list[Tensor]] = {name: [] for name in case["modules"]}
    for name, module in model.named_modules():
        if name in recorded:

            def hook(
                _module: object, _inputs: object, output: Tensor, name: str = name
            ) -> None:
                recorded[name].append(maxima_of(output).cpu())

            module.register_forward_hook(hook)
    predictions = []
    with torch.no_grad():
        for batch, _ in loader_of(case):
            predictions.append(model(batch).argmax(1))
    save_layers(case, recorded)
    np.save(Path(case["folder"]) / "predictions.npy", torch.cat(predictions).numpy())
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "instances": len(case["paths"])}))


if __name__ == "__main__":
    main(sys.argv[1])
