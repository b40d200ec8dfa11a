"""Which pictures and weights do benchmarks read? Real ones, or generated ones.

The real ones lie in ``../shared`` or where ``NNVIZ_SHARED`` points. Elsewhere a folder
of the same form is made: noise of many sizes, which JPEG packs about as well as
photographs, and networks that were never trained. Speed does not depend on what is in a
picture, as far as its size and its bytes are alike.
"""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["make_like_shared", "shared_folder"]

ROOT = Path(__file__).resolve().parents[1]
N_DISTINCT = 16
"""So many pictures of a kind are made; the files repeat them."""


def shared_folder() -> Path | None:
    """Return the folder of real data and weights, if there is one."""
    folder = Path(os.environ.get("NNVIZ_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "data").is_dir() else None


def make_like_shared(folder: Path, n_files: int) -> Path:
    """Make so many files of each data set, one a class at least, and weights."""
    import torch
    from safetensors.torch import save_file

    from benchmarks import networks

    classes = [f"n{index:08d}" for index in range(10)]
    for name, size, quality in (
        ("cifar10-test", (32, 32), 90),
        ("tiny-imagenet-val", (64, 64), 75),
        ("imagenet-sample", (500, 375), 93),
    ):
        made = [jpeg(size, quality, seed) for seed in range(N_DISTINCT)]
        for index in range(max(n_files, len(classes))):
            place = folder / "data" / name / classes[index % len(classes)]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{index:06d}.jpg").write_bytes(made[index % len(made)])
    table = folder / "data" / "imagenet-classes.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["index", "wnid", "name"])
        writer.writerows((i, f"n{i:08d}", f"class {i}") for i in range(1000))
    (folder / "models").mkdir()
    torch.manual_seed(0)
    for name, published in (
        ("resnet20", "resnet20-cifar10"),
        ("squeezenet1_0", "squeezenet1_0-imagenet"),
    ):
        n_classes = len(classes) if name == "resnet20" else 1000
        state = getattr(networks, name)(n_classes).state_dict()
        save_file(state, folder / "models" / f"{published}.safetensors")
    return folder


def jpeg(size: tuple[int, int], quality: int, seed: int) -> bytes:
    """Return a picture with as much in each octave as photographs have."""
    random = np.random.default_rng(seed)
    width, height = size
    total = np.zeros((height, width, 3))
    n = 2
    while n <= max(size):
        field = random.uniform(0, 255, (n, n, 3)).astype(np.uint8)
        grown = Image.fromarray(field).resize(size, Image.Resampling.BICUBIC)
        total += (np.asarray(grown) - 127.5) * 2.0 / n**0.5
        n *= 2
    pixels = np.clip(127.5 + total / 2, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()
