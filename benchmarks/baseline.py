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
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks import networks

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


def main(case_file: str) -> None:
    """Record the maxima of the named modules and save them."""
    case = json.loads(Path(case_file).read_text(encoding="utf-8"))
    root = Path(case["root"])
    paths = [root / name for name in case["paths"]]
    started = time.perf_counter()
    model = getattr(networks, case["network"])()
    model.load_state_dict(load_file(case["weights"]))
    model.eval()
    recorded: dict[str, list[Tensor]] = {name: [] for name in case["modules"]}
    for name, module in model.named_modules():
        if name in recorded:

            def hook(
                _module: object, _inputs: object, output: Tensor, name: str = name
            ) -> None:
                values = output.amax((2, 3)) if output.ndim == 4 else output
                recorded[name].append(values.cpu())

            module.register_forward_hook(hook)
    loader = DataLoader(
        Pictures(paths, case["size"]), batch_size=case["batch_size"], num_workers=2
    )
    predictions = []
    with torch.no_grad():
        for batch, _ in loader:
            predictions.append(model(batch).argmax(1))
    folder = Path(case["folder"])
    for name, values in recorded.items():
        np.save(folder / f"{name}.npy", torch.cat(values).numpy().astype(np.float16))
    np.save(folder / "predictions.npy", torch.cat(predictions).numpy())
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "instances": len(paths)}))


if __name__ == "__main__":
    main(sys.argv[1])
