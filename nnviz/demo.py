"""The demonstration: scikit-learn's digits and a small network trained on the spot.

Everything is real and small: 1,797 handwritten digits of 8 x 8 pixels that ship inside
scikit-learn, written as PNG files with a table; a convolutional network with a residual
block and a concatenation, trained for a few seconds; a run file.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from nnviz.argument_types import checked
from nnviz.errors import ConfigError

__all__ = ["DigitsNetwork", "digits_network", "write_demo"]

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TRAINING_INSTANCES = 1_200
MEAN, STD = 0.3, 0.35

RUN_FILE = """\
# The whole run: which network, which data, what is recorded.
[model]
source = "nnviz.demo:digits_network"
weights = "digits.safetensors"
class_names = {names}

[dataset]
kind = "table"
path = "digits.csv"

[preprocessing]
channel_order = "grey"
mean = [{mean}]
std = [{std}]

[extraction]
instances_per_chunk = 256
batch_size = 64
"""


class _Convolution(nn.Module):
    """Convolution, batch normalisation, rectifier."""

    def __init__(self, n_in: int, n_out: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class _Residual(nn.Module):
    """Two convolutions, and what came in added to what they made of it."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.first = _Convolution(n_channels, n_channels, 3)
        self.conv = nn.Conv2d(n_channels, n_channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(n_channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(self.first(x))) + x)


class _Mixed(nn.Module):
    """Three kernels side by side, concatenated."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.branch1 = _Convolution(n_in, n_out, 1)
        self.branch3 = _Convolution(n_in, n_out, 3)
        self.branch5 = _Convolution(n_in, n_out, 5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch3(x), self.branch5(x)], dim=1)


class DigitsNetwork(nn.Module):
    """A small classifier of 8 x 8 grey images, with the parts of larger ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(1, 16, 3)
        self.residual = _Residual(16)
        self.mixed = _Mixed(16, 12)
        self.pool = nn.MaxPool2d(2)
        self.top = _Convolution(36, 48, 3)
        self.classifier = nn.Linear(48, len(NAMES))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, shape (N, 10), of images of shape (N, 1, 8, 8)."""
        x = self.top(self.pool(self.mixed(self.residual(self.stem(x)))))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def digits_network() -> nn.Module:
    """Return the demonstration's network, not trained."""
    return DigitsNetwork()


@checked
def write_demo(
    folder: str | os.PathLike[str], *, epochs: int = 12, seed: int = 0
) -> Path:
    """Write the demonstration: scikit-learn's digits, and a network trained on them.

    Images, a table, trained weights and a run file; in seconds, on one core.

    Parameters
    ----------
    folder
        Is created; files of an earlier demonstration are replaced.
    epochs
        Passes over the training images.
    seed
        Seed of the weights and of the order of the batches.

    Returns
    -------
    Path
        The run file.

    Raises
    ------
    ConfigError
        If no folder is named.
    """
    # Slow to import, and needed here only.
    from sklearn.datasets import load_digits  # noqa: PLC0415

    if not os.fspath(folder):
        msg = "the folder of the demonstration is ''; name one, such as 'digits'"
        raise ConfigError(msg)
    folder = Path(folder)
    digits = load_digits()
    images = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)
    labels = digits.target
    folder.mkdir(parents=True, exist_ok=True)
    _write_images(folder, images, labels)
    network = _train(images, labels, epochs=epochs, seed=seed)
    save_file(network.state_dict(), folder / "digits.safetensors")
    run_file = folder / "run.toml"
    names = "[" + ", ".join(f'"{name}"' for name in NAMES) + "]"
    text = RUN_FILE.format(names=names, mean=MEAN, std=STD)
    run_file.write_text(text, encoding="utf-8")
    return run_file


def _write_images(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    rows = []
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = Path("images") / NAMES[label] / f"{index:04d}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image, mode="L").save(folder / path)
        split = "training" if index < TRAINING_INSTANCES else "test"
        rows.append((path.as_posix(), NAMES[label], split, int(image.sum())))
    with (folder / "digits.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "split", "ink"))
        writer.writerows(rows)


def _train(
    images: np.ndarray, labels: np.ndarray, *, epochs: int, seed: int
) -> nn.Module:
    torch.manual_seed(seed)
    inputs = (torch.from_numpy(images)[:, None].float() / 255 - MEAN) / STD
    inputs = inputs[:TRAINING_INSTANCES]
    targets = torch.from_numpy(labels[:TRAINING_INSTANCES]).long()
    network = DigitsNetwork().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(inputs[rows]), targets[rows])
            loss.backward()
            optimizer.step()
    return network.eval()
