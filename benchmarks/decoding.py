"""How long does decoding take, beside the network, and what makes it shorter?

Photographs (real ones where there are some) become 224 x 224 pixels: the shorter side
to 256 pixels, bilinear, and the inner part. Timed is a core's time for each,
interleaved, the median of several rounds:

- Pillow for everything, as a researcher's script has it: the reference for the pixels;
- simplejpeg to decode, Pillow to resize and to crop;
- nnviz, which decodes with simplejpeg and computes the pixels of the crop only;
- nnviz with ``preprocessing.jpeg_reduction``, which has other pixels: how much they,
  the maxima of a real network and its predictions change is measured, too.

The same for photographs as cameras make them: there are none at hand, so these are the
others, enlarged fourfold and packed again. Then images a second of nnviz's reader with
one and two threads, and the forward pass of SqueezeNet on one core.

Usage::

    python -m benchmarks.decoding [--photographs 200] [--repeat 5]

Results are printed and kept in ``benchmarks/results/decoding.json``.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.environment import describe_machine
from benchmarks.pictures import make_like_shared, shared_folder
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.inputs.preparation.batches import BatchReader
from nnviz.inputs.preparation.decoding import decode_image
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.runs.config import DatasetConfig, PreprocessingConfig

RESULTS = Path(__file__).resolve().parent / "results"
CONFIG = PreprocessingConfig(
    resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
REDUCTIONS = (1.0, 2.0)
BATCH = 32

Pixels = NDArray[np.uint8]


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--photographs", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument(
        "--forward-per-s", type=float, default=3000.0, help="of a GPU, assumed"
    )
    arguments = parser.parse_args()
    shared = shared_folder()
    with tempfile.TemporaryDirectory() as name:
        folder = shared or make_like_shared(Path(name), arguments.photographs)
        result = {
            "command": " ".join(["python -m benchmarks.decoding", *sys.argv[1:]]),
            "machine": describe_machine(),
            "pictures": "real" if shared else "generated",
            **measure(
                folder,
                arguments.photographs,
                arguments.repeat,
                arguments.forward_per_s,
            ),
        }
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "decoding.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path)


def measure(shared: Path, n: int, repeat: int, forward_per_s: float) -> dict[str, Any]:
    """Return times of all ways, what reduction changes, and what a GPU needs."""
    import torch

    torch.set_num_threads(1)
    folder = shared / "data" / "imagenet-sample"
    files = [path.read_bytes() for path in sorted(folder.glob("*/*"))[:n]]
    large = [enlarged(data) for data in files[: -(-n // 4)]]
    found = {
        name: {
            "photographs": len(some),
            "bytes_of_a_file": sum(map(len, some)) / len(some),
            "core_ms": time_ways(some, repeat),
            "changes": changes(shared, some),
        }
        for name, some in (("as they are", files), ("enlarged fourfold", large))
    }
    of = found["as they are"]["core_ms"]
    forward_ms = 1000 * outputs(shared, prepared(CONFIG, files))[2]
    return {
        "files": found,
        "forward_ms": forward_ms,
        "share_of_forward": of["nnviz"] / forward_ms,
        "reader_per_s": {
            str(threads): rate_of_reader(folder, n, threads) for threads in (1, 2)
        },
        "assumed_forward_per_s": forward_per_s,
        "cores_for_a_gpu": {
            name: forward_per_s * of[name] / 1000 for name in ("Pillow", "nnviz")
        },
    }


def enlarged(data: bytes) -> bytes:
    """Return a photograph with four times the width and height, as JPEG."""
    image = decode_image(data)
    size = (4 * image.width, 4 * image.height)
    stream = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def prepared(config: PreprocessingConfig, files: Sequence[bytes]) -> Pixels:
    """Return all photographs, ready."""
    return np.stack([Preprocessing(config).prepare(data) for data in files])


def with_reduction(reduction: float) -> PreprocessingConfig:
    """Return the preprocessing with scaled decoding."""
    return PreprocessingConfig(
        resize=CONFIG.resize,
        crop=CONFIG.crop,
        mean=CONFIG.mean,
        std=CONFIG.std,
        jpeg_reduction=reduction,
    )


def by_pillow(data: bytes) -> Pixels:
    """Return what torchvision's transforms make of a file."""
    return _cut(Image.open(io.BytesIO(data)).convert("RGB"))


def _cut(image: Image.Image) -> Pixels:
    width, height = image.size
    other = int(256 * max(width, height) / min(width, height))
    size = (256, other) if width <= height else (other, 256)
    whole = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((n - 224) / 2) for n in size)
    return np.asarray(whole.crop((left, top, left + 224, top + 224)))


def time_ways(files: Sequence[bytes], repeat: int) -> dict[str, float]:
    """Return milliseconds of a core for a photograph; check the pixels."""
    prepare = Preprocessing(CONFIG).prepare
    ways: dict[str, Callable[[bytes], Any]] = {
        "Pillow": by_pillow,
        "simplejpeg, then Pillow": lambda data: _cut(decode_image(data)),
        "nnviz": prepare,
        **{
            f"nnviz, jpeg_reduction = {r}": Preprocessing(with_reduction(r)).prepare
            for r in REDUCTIONS
        },
        "decode only, Pillow": lambda data: Image.open(io.BytesIO(data)).load(),
        "decode only, simplejpeg": decode_image,
    }
    for data in files:
        if not np.array_equal(prepare(data), by_pillow(data)):
            msg = "the pixels are not Pillow's"
            raise RuntimeError(msg)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, way in ways.items():
            started = time.thread_time()
            for data in files:
                way(data)
            seconds[name].append((time.thread_time() - started) / len(files))
    return {name: 1000 * statistics.median(times) for name, times in seconds.items()}


def rate_of_reader(folder: Path, n: int, threads: int) -> float:
    """Return images a second through nnviz's reader, by the clock."""
    dataset = open_dataset(DatasetConfig("folder", path=str(folder), limit=n))
    reader = BatchReader(
        dataset,
        Preprocessing(CONFIG),
        batch_size=BATCH,
        n_threads=threads,
        shape=(224, 224, 3),
        dtype="uint8",
    )
    times = []
    for _ in range(3):
        started = time.perf_counter()
        for _batch in reader.iter_batches(0, len(dataset)):
            pass
        times.append(time.perf_counter() - started)
    return len(dataset) / statistics.median(times)


def changes(shared: Path, files: Sequence[bytes]) -> dict[str, dict[str, float]]:
    """Return what reduction changes: pixels, maxima, predictions."""
    pixels = prepared(CONFIG, files)
    maxima, predictions, _ = outputs(shared, pixels)
    scale = np.abs(maxima).mean(axis=0) + 1e-12
    found = {}
    for reduction in REDUCTIONS:
        others = prepared(with_reduction(reduction), files)
        other_maxima, other_predictions, _ = outputs(shared, others)
        levels = np.abs(others.astype(int) - pixels)
        relative = np.abs(other_maxima - maxima) / scale
        found[str(reduction)] = {
            "images_with_other_pixels": float(levels.any(axis=(1, 2, 3)).mean()),
            "mean_levels": float(levels.mean()),
            "largest_levels": float(levels.max()),
            "maxima_median": float(np.median(relative)),
            "maxima_p95": float(np.quantile(relative, 0.95)),
            "same_prediction": float((other_predictions == predictions).mean()),
        }
    return found


def outputs(
    shared: Path, pixels: Pixels
) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
    """Return SqueezeNet's maxima of all Fire modules, predictions, and seconds."""
    import torch
    from safetensors.torch import load_file

    from benchmarks import networks
    from nnviz.network.recording.normalizing import normalize

    network = networks.squeezenet1_0()
    weights = shared / "models" / "squeezenet1_0-imagenet.safetensors"
    network.load_state_dict(load_file(weights))
    network.eval().to(memory_format=torch.channels_last)
    found: list[list[Any]] = []
    hooks = [
        module.register_forward_hook(
            lambda _, __, output: found[-1].append(output.amax((2, 3)))
        )
        for name, module in network.named_modules()
        if type(module).__name__.endswith("Fire")
    ]
    maxima, predictions, times = [], [], []
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH):
            part = torch.from_numpy(pixels[start : start + BATCH])
            batch = normalize(part, CONFIG, channels_last=True)
            found.append([])
            started = time.perf_counter()
            logits = network(batch)
            times.append((time.perf_counter() - started) / len(batch))
            maxima.append(torch.cat(found[-1], dim=1).numpy())
            predictions.append(logits.argmax(1).numpy())
    for hook in hooks:
        hook.remove()
    return (
        np.concatenate(maxima),
        np.concatenate(predictions),
        statistics.median(times),
    )


if __name__ == "__main__":
    main()
