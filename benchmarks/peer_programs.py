"""The maxima of all layers as others would have them, each by its own documentation.

What a user of a library would write, no less and no more: batches of the same pictures,
read by two processes where the library takes batches, the same network and layers, the
maxima over positions in files at the end. Each is a process of its own::

    python -m benchmarks.peer_programs torchvision CASE.json

References
----------
.. [1] ``torchvision.models.feature_extraction.create_feature_extractor``.
.. [2] Kokhlikyan et al., "Captum", arXiv:2009.07896, 2020: ``LayerActivation``.
.. [3] ``torchlens.extract_dataset``: shards on the disk, checksums, resumable.
.. [4] Achtibat et al., "From attribution maps to human-understandable explanations
       through concept relevance propagation", Nature Machine Intelligence 5, 2023:
       ``crp``, its collection of the strongest instances of every channel, by
       activation and by relevance.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.baseline import (
    loaded_network,
    loader_of,
    maxima_of,
    pictures_of,
    save_layers,
)
from tests.torchvision_operators import define_missing_operators

__all__ = ["PROGRAMS"]


def by_torchvision(case: dict[str, Any]) -> None:
    """As in [1]."""
    from torchvision.models.feature_extraction import create_feature_extractor

    modules = {name: name for name in case["modules"]}
    extractor = create_feature_extractor(loaded_network(case), return_nodes=modules)
    recorded: dict[str, list[Tensor]] = {name: [] for name in modules}
    with torch.no_grad():
        for batch, _ in loader_of(case):
            for name, output in extractor(batch).items():
                recorded[name].append(maxima_of(output))
    save_layers(case, recorded)


def by_captum(case: dict[str, Any]) -> None:
    """As in [2], all layers in one pass."""
    from captum.attr import LayerActivation

    model = loaded_network(case)
    layers = [model.get_submodule(name) for name in case["modules"]]
    activation = LayerActivation(model, layers)
    recorded: dict[str, list[Tensor]] = {name: [] for name in case["modules"]}
    with torch.no_grad():
        for batch, _ in loader_of(case):
            outputs = activation.attribute(batch)
            for values, output in zip(recorded.values(), outputs, strict=True):
                values.append(maxima_of(output))
    save_layers(case, recorded)


def by_torchlens(case: dict[str, Any]) -> None:
    """As in [3]; without the output layer, which 2.36.1 does not find by its name."""
    import torchlens

    torchlens.extract_dataset(
        loaded_network(case),
        (picture for picture, _ in pictures_of(case)),
        case["modules"][:-1],
        batch_size=case["batch_size"],
        output_dir=Path(case["folder"]) / "torchlens",
        transform=maxima_of,
        progress=False,
    )


class LabelledPictures:
    """Pictures with a class each, whose relevance is asked for: any takes as long.

    Parameters
    ----------
    case
        As ``benchmarks.extraction`` writes it.
    """

    def __init__(self, case: dict[str, Any]) -> None:
        self.pictures = pictures_of(case)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pictures[int(index)][0], int(index) % 10


def by_crp(case: dict[str, Any]) -> None:
    """As in [4]; relevance by epsilon-plus-flat, as its introduction has it."""
    from crp.attribution import CondAttribution
    from crp.concepts import ChannelConcept
    from crp.visualization import FeatureVisualization
    from zennit.composites import EpsilonPlusFlat

    model = loaded_network(case)
    convolutions = [
        name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)
    ]
    concept = ChannelConcept()
    FeatureVisualization(
        CondAttribution(model),
        LabelledPictures(case),
        dict.fromkeys(convolutions, concept),
        preprocess_fn=lambda batch: batch,
        path=str(Path(case["folder"]) / "crp"),
    ).run(EpsilonPlusFlat(), 0, len(case["paths"]), case["batch_size"])


PROGRAMS: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "torchvision": ("torchvision", by_torchvision),
    "captum": ("captum", by_captum),
    "torchlens": ("torchlens", by_torchlens),
    "zennit-crp": ("crp", by_crp),
}
"""What must be installed, and what is run, by name."""


def main(name: str, case_file: str) -> None:
    """Run one of them; print its seconds from the loading of the network on."""
    case = json.loads(Path(case_file).read_text(encoding="utf-8"))
    define_missing_operators()
    started = time.perf_counter()
    PROGRAMS[name][1](case)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "instances": len(case["paths"])}))


if __name__ == "__main__":
    main(*sys.argv[1:])
