"""The benchmark networks are the ones that the published weights belong to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnviz.inputs.datasets.opening import open_dataset
from nnviz.inputs.models.loading import load_model
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.network.recording.normalizing import normalize
from nnviz.planning.labels import join_labels
from nnviz.runs.config import (
    ClassesConfig,
    DatasetConfig,
    ModelConfig,
    PreprocessingConfig,
)

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def accuracy(folder, model, preprocessing, *, every, n_outputs, class_map=None):
    """Top-1 accuracy on every so-manieth instance."""
    dataset = open_dataset(DatasetConfig(kind="folder", path=str(folder)))
    network = load_model(model).module
    labels = join_labels(
        dataset.labels, config=ClassesConfig(map=class_map), n_outputs=n_outputs
    ).labels[::every]
    prepare = Preprocessing(preprocessing).prepare
    images = [prepare(dataset.read(i)) for i in range(0, len(dataset), every)]
    hits = []
    with torch.inference_mode():
        for start in range(0, len(images), 64):
            batch = torch.from_numpy(np.stack(images[start : start + 64]))
            logits = network(normalize(batch, preprocessing, channels_last=True))
            hits += (logits.argmax(1).numpy() == labels[start : start + 64]).tolist()
    return np.mean(hits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "published"), [("resnet20", 0.810), ("resnet32", 0.826)]
)
def test_cifar_resnets__have_the_published_accuracy(shared, name, published):
    found = accuracy(
        shared / "data/cifar10-test",
        ModelConfig(
            f"benchmarks.networks:{name}",
            weights=str(shared / f"models/{name}-cifar10.safetensors"),
        ),
        PreprocessingConfig(**IMAGENET),
        every=10,
        n_outputs=10,
    )

    # Three standard errors of 1,000 instances.
    assert abs(found - published) < 0.037


@pytest.mark.slow
def test_squeezenet__has_the_published_accuracy(shared):
    found = accuracy(
        shared / "data/tiny-imagenet-val",
        ModelConfig(
            "benchmarks.networks:squeezenet1_0",
            weights=str(shared / "models/squeezenet1_0-imagenet.safetensors"),
        ),
        PreprocessingConfig(resize=128, **IMAGENET),
        every=20,
        n_outputs=1000,
        class_map=str(shared / "data/imagenet-classes.csv"),
    )

    # Three standard errors of 500 instances.
    assert abs(found - 0.184) < 0.052
