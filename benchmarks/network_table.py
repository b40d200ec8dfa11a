"""Which networks does nnviz take apart? One table of all that were tried.

Run as ``python -m benchmarks.network_table``; writes ``docs/networks.md``. Networks
have random weights (nothing is downloaded) and small inputs. A library that is not
installed leaves its rows out.

Beside a torch for CPUs the only torchvision may be one for CUDA, whose compiled part
cannot be loaded; the tests' conftest declares what it takes to import it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.networks import resnet20, resnet32, squeezenet1_0
from nnviz.network.tracing import trace
from nnviz.runs.architecture import Architecture

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Network:
    library: str
    name: str
    make: Callable[[], nn.Module]
    input: Tensor


def main() -> None:
    """Trace every network and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "networks.md")
    parser.add_argument("--only", default="", help="part of the names to trace")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    rows = []
    for network in networks():
        if options.only in f"{network.library} {network.name}":
            rows.append(row(network))
            print(rows[-1], flush=True)
    if not options.only:
        options.output.parent.mkdir(exist_ok=True)
        options.output.write_text(page(rows), encoding="utf-8")


def row(network: Network) -> str:
    model = randomized(network.make())
    start = time.process_time()
    architecture = trace(model, network.input)
    seconds = time.process_time() - start
    shape = "×".join(str(n) for n in network.input.shape[1:])
    error = architecture.validation_error
    cells = [
        network.library,
        network.name,
        shape,
        str(len(architecture.layers)),
        str(len(architecture.shown)),
        str(len(architecture.edges)),
        operations(architecture),
        "–" if error is None else f"{error:.1e}",
        f"{seconds:.1f}",
        problems(architecture),
    ]
    return f"| {' | '.join(cells)} |"


def operations(architecture: Architecture) -> str:
    kinds = [edge.operation for edge in architecture.edges]
    counts = [(kinds.count(kind), kind) for kind in sorted(set(kinds))]
    return ", ".join(f"{n} {kind}" for n, kind in counts)


def randomized(model: nn.Module) -> nn.Module:
    """Give statistics and zero weights values that would show a mistake."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.1, 0.1)
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
    return model.eval()


def problems(architecture: Architecture) -> str:
    """Return the first problem and how many there are."""
    found = architecture.problems
    if not found:
        return "none"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return found[0].replace("|", "/") + more


HEAD = """\
# Networks that nnviz takes apart

Written by `python -m benchmarks.network_table`: random weights, one instance. *Error*
is the largest difference between the network and its replay from the layers and edges
that were found (of every pre-activation and of the output), relative to the largest
value: float32 rounding where everything is right. *Problems* names what influence is
not available for; activations are recorded all the same. *Seconds* are processor time
of tracing, validation included.

{versions}.

{texts}

| library | network | input | layers | shown | edges | operations | error | seconds \
| problems |
|---|---|---|--:|--:|--:|---|--:|--:|---|
"""


def page(rows: list[str]) -> str:
    versions = [f"torch {torch.__version__}"]
    versions += [f"{name} {version(name)}" for name in LIBRARIES]
    head = HEAD.format(versions=", ".join(versions), texts=said_of_texts(rows))
    return head + "\n".join([*rows, ""])


N_TOKENS = 8
"""Of every text in the table."""


def said_of_texts(rows: list[str]) -> str:
    """Say how many networks of the table read texts, in lines of a document."""
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    texts = [row for row in cells if row[3] == str(N_TOKENS)]
    whole = sum(row[-2] == "none" for row in texts)
    return (
        f"{len(texts)} of the networks read {N_TOKENS} tokens; {whole} of these are "
        "taken apart without a\nproblem: encoders, decoders and convolutions over "
        "words. In the others influence ends at\nrecurrent layers, experts, state "
        "spaces and the attention of XLNet."
    )


LIBRARIES = ("torchvision", "timm", "transformers")


def version(name: str) -> str:
    try:
        return str(importlib.import_module(name).__version__)
    except (ImportError, RuntimeError):
        return "not installed"


def networks() -> Iterator[Network]:
    declare_missing_operators()
    image = torch.randn(1, 3, 32, 32)
    yield Network("benchmarks", "resnet20 (option A)", resnet20, image)
    yield Network("benchmarks", "resnet32 (option A)", resnet32, image)
    yield Network(
        "benchmarks", "squeezenet1_0", squeezenet1_0, torch.randn(1, 3, 128, 128)
    )
    with contextlib.suppress(ImportError, RuntimeError):
        yield from torchvision_networks()
    with contextlib.suppress(ImportError, RuntimeError):
        yield from timm_networks()
    with contextlib.suppress(ImportError, RuntimeError):
        yield from transformers_networks()
    with contextlib.suppress(ImportError):
        yield from language_networks()
        yield from odd_networks()


WIDE_INPUT = ("alexnet", "maxvit", "swin", "vgg", "vit")


def torchvision_networks() -> Iterator[Network]:
    models = importlib.import_module("torchvision.models")
    for name in models.list_models(module=models):
        options = {"weights": None}
        if name in ("googlenet", "inception_v3"):
            options["init_weights"] = False
        size = 224 if name.startswith(WIDE_INPUT) else 64
        size = 107 if name == "inception_v3" else size
        yield Network(
            "torchvision",
            name,
            lambda name=name, options=options: models.get_model(name, **options),
            torch.randn(1, 3, size, size),
        )


TIMM = {
    "resnet18": 64, "resnet26d": 64, "seresnext26d_32x4d": 64, "resnetv2_50": 64,
    "resnest14d": 64, "skresnet18": 64, "res2net50_26w_4s": 64, "ecaresnet50t": 64,
    "densenet121": 64, "dla34": 64, "dpn48b": 64, "vgg11": 224, "vovnet39a": 64,
    "tf_efficientnet_b0": 64, "tf_efficientnetv2_b0": 64, "mobilenetv2_100": 64,
    "mobilenetv3_small_100": 64, "mobilenetv4_conv_small": 64, "mnasnet_small": 64,
    "ghostnet_100": 64, "regnetx_002": 64, "regnety_002": 64, "repvgg_a0": 64,
    "xception41": 64, "inception_v3": 107, "inception_resnet_v2": 107,
    "convnext_atto": 64, "convnextv2_atto": 64, "hrnet_w18_small": 64,
    "nf_resnet50": 64, "cspresnet50": 64,
    "vit_tiny_patch16_224": 224, "deit_tiny_patch16_224": 224,
    "swin_tiny_patch4_window7_224": 224, "mixer_s32_224": 224, "resmlp_12_224": 224,
    "convmixer_768_32": 64, "poolformer_s12": 64, "visformer_tiny": 224,
    "xcit_nano_12_p16_224": 224, "cait_xxs24_224": 224,
}  # fmt: skip


def timm_networks() -> Iterator[Network]:
    timm = importlib.import_module("timm")
    for name, size in TIMM.items():
        yield Network(
            "timm",
            name,
            lambda name=name: timm.create_model(name, pretrained=False),
            torch.randn(1, 3, size, size),
        )


def transformers_networks() -> Iterator[Network]:
    library = importlib.import_module("transformers")
    small = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}
    configs: dict[str, dict[str, object]] = {
        "ResNet": {"embedding_size": 16, **small},
        "ConvNext": small,
        "ConvNextV2": small,
        "RegNet": {"embedding_size": 16, "groups_width": 8, **small},
        "MobileNetV1": {},
        "MobileNetV2": {},
        "EfficientNet": {},
        "Swin": {"image_size": 64, "embed_dim": 16, "depths": [2, 2], "window_size": 4,
                 "num_heads": [2, 4]},
        "PoolFormer": {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]},
        "Segformer": {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1],
                      "num_attention_heads": [1, 2, 4, 8]},
    }  # fmt: skip
    for family, options in configs.items():
        if not hasattr(library, f"{family}Config"):
            continue
        config = getattr(library, f"{family}Config")(**options)
        size = int(getattr(config, "image_size", 64) or 64)
        size = size if size <= 64 else 64
        yield Network(
            "transformers",
            family,
            lambda family=family, config=config: getattr(
                library, f"{family}ForImageClassification"
            )(config),
            torch.randn(1, 3, size, size),
        )


def language_networks() -> Iterator[Network]:
    """Yield toy networks of text, sound and images in patches."""
    toys = importlib.import_module("tests.network.language_networks")
    for library, names in (("transformers", toys.LIBRARY), ("torch", toys.OWN)):
        for name in names:
            with contextlib.suppress(ImportError):
                network, x = toys.make(name)
                yield Network(library, name, lambda network=network: network, x[:1])


def odd_networks() -> Iterator[Network]:
    odd = importlib.import_module("tests.network.odd_networks")
    for name in odd.NETWORKS:
        network, x = odd.make(name)
        yield Network("tests", name, lambda network=network: network, x[:1])


def declare_missing_operators() -> None:
    """Make a torchvision for CUDA importable; importing the tests' conftest does it."""
    importlib.import_module("tests.conftest")


if __name__ == "__main__":
    main()
