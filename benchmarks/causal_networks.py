"""Which trained networks does the causal benchmark ask, and how are they taken apart?

A network is a chain of stages, one for each layer that graphs show: all that follows a
layer depends on its output alone. So a layer's channels are replaced in its output, and
only what follows is computed. Nothing of this is nnviz: how it takes channels away is
another way to do what `nnviz.ablate` does.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import networks
from nnviz.demo import DigitsNetwork, write_demo

__all__ = ["QUICK", "STUDIES", "Chain", "Sample", "Study", "chain_of", "sample_of"]

Stage = Callable[[Tensor], Tensor]
ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("NNVIZ_SHARED", ROOT.parent / "shared"))
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@dataclass(frozen=True, slots=True)
class Study:
    """What is asked of one network, of images drawn by one seed."""

    network: str
    data: str
    n_drawn: int
    """Classes that are drawn."""
    n_classes: int
    """Those of them that are looked at: of which most ranked images are recognised."""
    n_ranked: int
    """Images of a class that graphs are made of."""
    n_tested: int
    """Other images of it, from which channels are taken."""
    n_single: int
    """Of the ranked images, those from which channels are taken one by one."""
    every: int = 1
    """Every so many layers of the chain are asked one by one."""
    side: int = 32
    """Pixels."""
    has_pairs: bool = True
    """Whether classes are alike enough to be compared with another one."""


STUDIES = {
    "resnet20": Study("resnet20", "CIFAR-10", 10, 10, 100, 20, 12),
    "squeezenet": Study(
        "squeezenet1_0", "ImageNet", 40, 10, 35, 8, 2, side=128, has_pairs=False
    ),
    "resnet32": Study("resnet32", "CIFAR-10", 10, 10, 100, 14, 8, every=2),
    "digits": Study("digits", "scikit-learn's digits", 10, 10, 90, 40, 20, side=8),
}


QUICK = {
    "resnet20": replace(
        STUDIES["resnet20"], n_ranked=60, n_tested=8, n_single=4, every=2
    ),
    "squeezenet": replace(
        STUDIES["squeezenet"], n_drawn=24, n_ranked=20, n_tested=4, every=3
    ),
    "resnet32": replace(
        STUDIES["resnet32"], n_ranked=60, n_tested=6, n_single=4, every=3
    ),
    "digits": replace(STUDIES["digits"], n_tested=20, n_single=8),
}
"""Fewer images and layers: a quarter of the time."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A network as the stages that end at its shown layers."""

    layers: tuple[str, ...]
    stages: tuple[Stage, ...]
    """Each from the output of the stage before it, the first from images."""
    head: Stage
    """From the last layer to the logits."""

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Return the output of every layer."""
        found = []
        for stage in self.stages:
            images = stage(images)
            found.append(images)
        return found

    def logits_after(self, number: int, output: Tensor) -> Tensor:
        """Return the logits, from the output of one layer."""
        for stage in self.stages[number + 1 :]:
            output = stage(output)
        return self.head(output)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Images of some classes, those of a class one after the other."""

    images: NDArray[np.float32]
    """As the network receives them, shape (class, n, C, H, W)."""
    classes: NDArray[np.int64]
    """Number of each class's output, shape (class,)."""
    names: tuple[str, ...]


def chain_of(network: nn.Module) -> Chain:
    """Return the stages of one of the networks here."""
    if isinstance(network, DigitsNetwork):
        parts: list[tuple[str, Stage]] = [
            ("stem", network.stem),
            ("residual", network.residual),
            ("mixed", network.mixed),
            ("top", _after(network.pool, network.top)),
        ]
        head = _after(lambda x: x.mean((2, 3)), network.classifier)
    elif isinstance(network, networks.CifarResNet):
        parts = [("conv1", _after(network.conv1, network.bn1, functional.relu))]
        parts += [
            (f"{name}.{number}", block)
            for name in ("layer1", "layer2", "layer3")
            for number, block in getattr(network, name).named_children()
        ]
        head = _after(lambda x: x.mean((2, 3)), network.linear)
    elif isinstance(network, networks.SqueezeNet):
        parts, head = list(_fires(network.features)), _after(network.classifier, _flat)
    else:
        msg = f"there is no chain of a {type(network).__name__}"
        raise TypeError(msg)
    return Chain(tuple(x for x, _ in parts), tuple(x for _, x in parts), head)


def sample_of(study: Study) -> tuple[nn.Module, Sample]:
    """Return a trained network, and the images that are looked at."""
    if study.network == "digits":
        return _digits(study)
    network: nn.Module = getattr(networks, study.network)()
    folder, weights = {
        "CIFAR-10": ("cifar10-test", f"{study.network}-cifar10"),
        "ImageNet": ("tiny-imagenet-val", "squeezenet1_0-imagenet"),
    }[study.data]
    network.load_state_dict(load_file(SHARED / "models" / f"{weights}.safetensors"))
    folders = sorted((SHARED / "data" / folder).iterdir())
    places = {path.name: i for i, path in enumerate(folders)}
    names = {path.name: path.name for path in folders}
    if study.data == "ImageNet":
        with (SHARED / "data" / "imagenet-classes.csv").open() as lines:
            rows = list(csv.DictReader(lines))
        places = {row["wnid"]: int(row["index"]) for row in rows}
        names = {row["wnid"]: row["name"] for row in rows}
    draw = np.random.default_rng(0)
    drawn = [folders[i] for i in draw.permutation(len(folders))[: study.n_drawn]]
    images = np.array([_images(folder, study, draw) for folder in drawn])
    classes = np.array([places[folder.name] for folder in drawn])
    known = [
        _accuracy(network.eval(), *one)
        for one in zip(images[:, : study.n_ranked], classes, strict=True)
    ]
    kept = np.sort(np.argsort(known, kind="stable")[::-1][: study.n_classes])
    return network, Sample(
        images[kept], classes[kept], tuple(names[drawn[i].name] for i in kept)
    )


def _accuracy(network: nn.Module, images: NDArray[np.float32], wanted: int) -> float:
    with torch.inference_mode():
        logits = network(torch.from_numpy(images))
    return float((logits.argmax(1) == wanted).float().mean())


def _after(*parts: Stage) -> Stage:
    return nn.Sequential(*(x if isinstance(x, nn.Module) else _Call(x) for x in parts))


class _Call(nn.Module):
    def __init__(self, function: Stage) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _flat(x: Tensor) -> Tensor:
    return torch.flatten(x, 1)


def _fires(features: nn.Sequential) -> Iterator[tuple[str, Stage]]:
    """Yield a stage for the first convolution, and one up to each fire module."""
    parts = list(features.children())
    yield "features.0", _after(*parts[:2])
    waiting: list[nn.Module] = []
    for number, part in enumerate(parts[2:], start=2):
        waiting.append(part)
        if not isinstance(part, nn.MaxPool2d):
            yield f"features.{number}", _after(*waiting)
            waiting = []


def _images(
    folder: Path, study: Study, draw: np.random.Generator
) -> NDArray[np.float32]:
    paths = sorted(folder.iterdir())
    n = study.n_ranked + study.n_tested
    found = []
    for i in draw.permutation(len(paths))[:n]:
        with Image.open(paths[i]) as picture:
            size = (study.side, study.side)
            pixels = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)
        found.append((np.asarray(pixels) / 255 - MEAN) / STD)
    return np.array(found, dtype=np.float32).transpose(0, 3, 1, 2)


def _digits(study: Study) -> tuple[nn.Module, Sample]:
    network = DigitsNetwork()
    with tempfile.TemporaryDirectory() as folder:
        write_demo(folder)
        network.load_state_dict(load_file(Path(folder) / "digits.safetensors"))
    digits, draw = load_digits(), np.random.default_rng(0)
    images = (np.round(digits.images * (255 / 16)) / 255 - 0.3) / 0.35
    n = study.n_ranked + study.n_tested
    rows = [draw.permutation(np.flatnonzero(digits.target == i))[:n] for i in range(10)]
    return network.eval(), Sample(
        images[np.array(rows), None].astype(np.float32),
        np.arange(10),
        tuple(map(str, range(10))),
    )
