"""How long does exact influence take, against the convolutions and three other ways?

Prints a table and writes ``benchmarks/results/influence.json``::

    python -m benchmarks.influence --threads 1 2 --repetitions 7

For every edge of SqueezeNet and ResNet-20 (trained weights on real images where
``NNVIZ_SHARED`` or ``../shared`` has them, else random ones on noise) it times, one
after the other in each repetition, on the same batch:

- forward: the convolutions of these edges, normalisation folded, channels last;
- all, top: all targets and top targets (share 3 %), with the recorded maxima;
- direct: grouped convolution of every pair, then the maximum, at its best tile size;
- untiled: the same with all pairs of a layer at once, as one would first write it;
- summit: the tiled one with stride 3, one position in nine, as its published code does.

The first convolution of each network reads the picture, which is not a layer: it has no
edge, and is left out of the forward time too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from benchmarks.environment import describe_machine
from benchmarks.networks import resnet20, squeezenet1_0
from nnviz.network.influence.channel_operations import Convolution, Identity
from nnviz.network.influence.inputs import EdgeInput
from nnviz.network.influence.strongest_sources import strongest_sources
from nnviz.network.top_channels import top_channels

RESULTS = Path(__file__).parent / "results"
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
Timer = Callable[[], float]
TILES = (2**20, 4 * 2**20, 16 * 2**20, 2**30)


@dataclass
class Target:
    """A target layer: what enters it, and the top channels of each instance."""

    name: str
    edges: list[EdgeInput]
    top: tuple[np.ndarray, np.ndarray]


def shared() -> Path | None:
    """Return the folder of trained weights and real images, if there is one."""
    place = os.environ.get("NNVIZ_SHARED")
    folder = Path(place) if place else Path(__file__).parents[2] / "shared"
    return folder if folder.is_dir() else None


def folded(convolution, norm=None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a convolution with its batch normalisation folded into it."""
    weight, bias = convolution.weight.detach(), convolution.bias
    if norm is None:
        return weight, bias.detach()
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (
        (weight * factor[:, None, None, None]).detach(),
        (norm.bias - norm.running_mean * factor).detach(),
    )


def known(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what extraction has recorded of a rectified layer: its maxima."""
    maxima = x.amax((2, 3))
    return maxima, torch.zeros_like(maxima)


def squeezenet_targets(model, batch: Tensor) -> list[Target]:
    """Run SqueezeNet and keep what enters every layer."""
    targets = []
    x = batch
    for number, module in enumerate(model.features):
        if not hasattr(module, "squeeze"):
            # The windows of the poolings cover their input, so maxima survive them.
            x = module(x)
            continue
        parts = [module.squeeze, module.expand1x1, module.expand3x3]
        squeeze, narrow, wide = (
            Convolution(*folded(part), padding=part.padding) for part in parts
        )
        squeezed = module.squeeze_activation(module.squeeze(x))
        entering = [EdgeInput(x, squeeze, extremes=known(x))]
        targets.append(target(f"features.{number}.squeeze", entering, squeezed))
        size = len(narrow.weight)
        extremes = known(squeezed)
        entering = [
            EdgeInput(squeezed, narrow, extremes=extremes),
            EdgeInput(
                squeezed,
                wide,
                sources=np.arange(len(squeeze.weight), dtype=np.int32)
                + len(squeeze.weight),
                targets=np.arange(size, 2 * size, dtype=np.int32),
                extremes=extremes,
            ),
        ]
        x = module(x)
        targets.append(target(f"features.{number}", entering, x))
    last = Convolution(*folded(model.classifier[1]))
    out = functional.relu(model.classifier[1](x))
    entering = [EdgeInput(x, last, extremes=known(x))]
    return [*targets, target("classifier.1", entering, out)]


def resnet_targets(model, batch: Tensor) -> list[Target]:
    """Run a CIFAR ResNet and keep what enters every layer."""
    targets = []
    x = functional.relu(model.bn1(model.conv1(batch)))
    for stage in (model.layer1, model.layer2, model.layer3):
        for block in stage:
            first = Convolution(
                *folded(block.conv1, block.bn1), stride=block.stride, padding=1
            )
            second = Convolution(*folded(block.conv2, block.bn2), padding=1)
            inner = functional.relu(block.bn1(block.conv1(x)))
            name = f"layer.{len(targets) // 2}"
            extremes = known(x)
            edge = EdgeInput(x, first, extremes=extremes)
            targets.append(target(f"{name}.conv1", [edge], inner))
            shortcut = x[:, :, :: block.stride, :: block.stride]
            pad = block.n_padded
            n_inputs = x.shape[1]
            x = block(x)
            residual = EdgeInput(
                shortcut,
                Identity(),
                sources=np.arange(n_inputs, dtype=np.int32) + inner.shape[1],
                targets=np.arange(pad, pad + n_inputs, dtype=np.int32),
                extremes=extremes if block.stride == 1 else None,
            )
            conv = EdgeInput(inner, second, extremes=known(inner))
            targets.append(target(name, [conv, residual], x))
    return targets


def target(name: str, edges: list[EdgeInput], out: Tensor) -> Target:
    """Keep a layer's inputs, and its top channels by what extraction stores."""
    stored = out.amax((2, 3)).half().numpy()
    return Target(name, edges, top_channels(stored, share=0.03).nonzero())


def convolutions(targets: Sequence[Target]) -> list[tuple[Tensor, Convolution]]:
    """Return every convolution with its input."""
    return [
        (edge.x, edge.operation)
        for layer in targets
        for edge in layer.edges
        if isinstance(edge.operation, Convolution)
    ]


def run_forward(targets: Sequence[Target]) -> None:
    """Run the convolutions themselves."""
    for x, operation in convolutions(targets):
        functional.conv2d(
            x, operation.weight, operation.bias, operation.stride, operation.padding
        )


def run_all(targets: Sequence[Target], threads: int) -> None:
    """Find the strongest sources of all targets."""
    for layer in targets:
        strongest_sources(layer.edges, threads=threads)


def run_top(targets: Sequence[Target], threads: int) -> None:
    """Find the strongest sources of each instance's top channels."""
    for layer in targets:
        strongest_sources(layer.edges, layer.top, threads=threads)


def direct(x: Tensor, operation: Convolution, tile: int, stride: int | None) -> Tensor:
    """Convolve every pair by itself, some sources at a time, and take the maxima."""
    n_targets, n_sources, *kernel = operation.weight.shape
    own = operation.stride if stride is None else stride
    weight = operation.weight.transpose(0, 1).reshape(-1, 1, *kernel)
    first = functional.conv2d(x[:1, :1], weight[:1], None, own, operation.padding)
    at_once = max(1, min(n_sources, tile // (4 * n_targets * first[0, 0].numel())))
    parts = []
    for low in range(0, n_sources, at_once):
        high = min(low + at_once, n_sources)
        part = functional.conv2d(
            x[:, low:high],
            weight[low * n_targets : high * n_targets],
            None,
            own,
            operation.padding,
            1,
            high - low,
        )
        parts.append(part.amax((2, 3)))
    return torch.cat(parts, 1).unflatten(1, (n_sources, n_targets))


def best_tiles(targets: Sequence[Target]) -> list[int]:
    """Find the fastest tile of the direct formulation for each convolution."""
    return [best_tile(x[:1], operation) for x, operation in convolutions(targets)]


def best_tile(x: Tensor, operation: Convolution) -> int:
    """Find the fastest tile of the direct formulation for one convolution."""
    seconds = {
        tile: clock(lambda tile=tile: direct(x, operation, tile, None))
        for tile in TILES
    }
    return min(TILES, key=lambda tile: seconds[tile])


def run_direct(targets: Sequence[Target], tiles: list[int], stride: int | None) -> None:
    """Run the direct formulation on the first instance."""
    for (x, operation), tile in zip(convolutions(targets), tiles, strict=True):
        direct(x[:1], operation, tile, stride)


def clock(work: Callable[[], object], timer: Timer = time.perf_counter) -> float:
    """Seconds that a call takes."""
    start = timer()
    work()
    return timer() - start


def check(targets: Sequence[Target]) -> None:
    """Refuse to time what does not agree with the direct formulation."""
    for layer in targets:
        found = strongest_sources(layer.edges)
        for edge in layer.edges:
            if not isinstance(edge.operation, Convolution):
                continue
            full = direct(edge.x[:1], edge.operation, TILES[-1], None)[0].numpy()
            best = full.max(0).clip(min=0)
            own = edge.target_channels
            error = (best - found.influence[own, 0]).max()
            assert error <= 1e-5 * best.max(), layer.name


def images(folder: Path | None, network: str, n: int) -> Tensor:
    """Return `n` normalised pictures, or noise."""
    size = 224 if network == "squeezenet" else 32
    if folder is None:
        return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))
    name = "imagenet-sample" if size == 224 else "cifar10-test"
    files = sorted((folder / "data" / name).glob("*/*"))
    pictures = []
    for file in files[:: len(files) // n][:n]:
        image = Image.open(file).convert("RGB")
        if size == 224:
            short = min(image.size)
            image = image.resize([round(side * 256 / short) for side in image.size])
            left, top = (image.width - size) // 2, (image.height - size) // 2
            image = image.crop((left, top, left + size, top + size))
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
        pictures.append((pixels / 255.0 - MEAN) / STD)
    return torch.stack(pictures)


def prepared(network: str, n: int) -> tuple[list[Target], bool]:
    """Return a network's targets for `n` instances, and whether they are real."""
    folder = shared()
    torch.manual_seed(0)
    model = (squeezenet1_0() if network == "squeezenet" else resnet20()).eval()
    names = {"squeezenet": "squeezenet1_0-imagenet", "resnet20": "resnet20-cifar10"}
    if folder is not None:
        model.load_state_dict(
            load_file(folder / "models" / f"{names[network]}.safetensors")
        )
    model = model.to(memory_format=torch.channels_last)
    batch = images(folder, network, n).contiguous(memory_format=torch.channels_last)
    find = squeezenet_targets if network == "squeezenet" else resnet_targets
    return find(model, batch), folder is not None


def measure(
    network: str, n: int, threads: int, repetitions: int, *, slow: bool
) -> dict:
    """Time every way on one network, interleaved; milliseconds per instance.

    On one thread the processor's time is measured, which other processes on the machine
    disturb less; on several, the time that passes.
    """
    torch.set_num_threads(threads)
    targets, real = prepared(network, n)
    check(targets)
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "forward": (n, lambda: run_forward(targets)),
        "all": (n, lambda: run_all(targets, threads)),
        "top": (n, lambda: run_top(targets, threads)),
    }
    if slow:
        tiles = best_tiles(targets)
        ways["direct"] = (1, lambda: run_direct(targets, tiles, None))
        whole = [TILES[-1]] * len(tiles)
        ways["untiled"] = (1, lambda: run_direct(targets, whole, None))
        ways["summit"] = (1, lambda: run_direct(targets, tiles, 3))
    for _, work in ways.values():
        work()
    timer = time.thread_time if threads == 1 else time.perf_counter
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repetitions):
        for way, (size, work) in ways.items():
            times[way].append(1e3 * clock(work, timer) / size)
    medians = {way: statistics.median(values) for way, values in times.items()}
    return {
        "network": network,
        "trained weights and real images": real,
        "instances": n,
        "threads": threads,
        "clock": "processor" if threads == 1 else "wall",
        "load": os.getloadavg()[0],
        "milliseconds per instance": medians,
        "spread": {way: [min(values), max(values)] for way, values in times.items()},
        "ratio to forward": {way: medians[way] / medians["forward"] for way in medians},
        "times faster": {
            f"{way} than {other}": medians[other] / medians[way]
            for way in ("all", "top")
            for other in ("direct", "untiled", "summit")
            if slow
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["squeezenet", "resnet20"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--fast", action="store_true", help="only forward, all and top")
    arguments = parser.parse_args()
    rows = []
    with torch.inference_mode():
        for network in arguments.networks:
            n = 32 if network == "squeezenet" else 128
            for threads in arguments.threads:
                row = measure(
                    network, n, threads, arguments.repetitions, slow=not arguments.fast
                )
                rows.append(row)
                report(row)
    if arguments.fast:
        return
    result = {
        "command": " ".join(["python -m benchmarks.influence", *sys.argv[1:]]),
        "machine": describe_machine(),
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "influence.json").write_text(
        json.dumps(result, indent=1) + "\n", encoding="utf-8"
    )


def report(row: dict) -> None:
    """Print one row of the table."""
    print(
        f"{row['network']}, {row['threads']} threads, {row['instances']} instances, "
        f"{row['clock']} time, load {row['load']:.1f}"
    )
    for way, value in row["milliseconds per instance"].items():
        low, high = row["spread"][way]
        ratio = row["ratio to forward"][way]
        print(
            f"  {way:8} {value:9.3f} ms ({low:.3f} to {high:.3f}) "
            f"{ratio:8.3f} of forward"
        )
    for ways, factor in row["times faster"].items():
        print(f"  {ways}: {factor:.0f} times faster")


if __name__ == "__main__":
    main()
