"""What is stored where the network was asked again? Causal checks, and explanations.

Both run it after extraction, on some instances: without channels, or to see where they
fire.
"""

from __future__ import annotations

import math

from nnviz.runs.array_declaration import ArrayDeclaration

__all__ = ["ASKED_OF_NETWORK"]

ASKED_OF_NETWORK = (
    ArrayDeclaration(
        "artifacts/ablation/<subsets>/<graph>/instance", ("subset", "sample"), "int64",
        "instance index",
        "Sample of each subset, ascending; -1 behind a smaller one.", -1,
    ),
    ArrayDeclaration(
        "artifacts/ablation/<subsets>/<graph>/wanted", ("subset", "sample"), "int32",
        "class index", "Class that counts as right: the label, else the prediction.",
        -1,
    ),
    ArrayDeclaration(
        "artifacts/ablation/<subsets>/<graph>/logit",
        ("subset", "treatment", "sample"), "float32", "network output",
        "Output for the subset's class, or the predicted one, under each of the "
        "attribute 'treatments'; NaN behind a smaller sample.", math.nan,
    ),
    ArrayDeclaration(
        "artifacts/ablation/<subsets>/<graph>/probability",
        ("subset", "treatment", "sample"), "float32", "probability",
        "Its softmax probability.", math.nan,
    ),
    ArrayDeclaration(
        "artifacts/ablation/<subsets>/<graph>/prediction",
        ("subset", "treatment", "sample"), "int32", "class index",
        "Class with the largest output.", -1,
    ),
    ArrayDeclaration(
        "artifacts/ablation/<subsets>/<graph>/n_kept", ("subset", "layer"), "int64",
        "channels", "How many channels of each ablated layer the graph has.",
    ),
    ArrayDeclaration(
        "artifacts/ablation/<subsets>/<graph>/sets/<layer>",
        ("subset", "set", "channel"), "bool", "",
        "Channels of each of the attribute 'sets': the graph's, as many others.",
    ),
    ArrayDeclaration(
        "artifacts/explanations/<instance>-<output>/activation", ("channel",),
        "float32", "layer output",
        "Activation of every channel of every recorded layer, one layer after another; "
        "the attribute 'layers' says where each begins.",
    ),
    ArrayDeclaration(
        "artifacts/explanations/<instance>-<output>/product", ("channel",), "float32",
        "network output",
        "Sum over positions of gradient times activation, of the output that is "
        "explained; channels in the same order.",
    ),
    ArrayDeclaration(
        "artifacts/explanations/<instance>-<output>/gradient", ("channel",), "float32",
        "network output / layer output", "Sum over positions of the gradient.",
    ),
    ArrayDeclaration(
        "artifacts/explanations/<instance>-<output>/mapped", ("map",), "int64",
        "channel index", "Channels of shown layers whose maps are kept, by layer.",
    ),
    ArrayDeclaration(
        "artifacts/explanations/<instance>-<output>/maps", ("value",), "float32",
        "layer output",
        "Their maps, one after another, each of the extents that the attribute has for "
        "its layer; NaN at padding.", math.nan,
    ),
    ArrayDeclaration(
        "artifacts/explanations/<instance>-<output>/target", ("target",), "int64",
        "channel index",
        "Channels of largest relevance, by layer, the largest first.",
    ),
    ArrayDeclaration(
        "artifacts/explanations/<instance>-<output>/source", ("target", "rank"),
        "int32", "source index",
        "Their strongest sources where they are largest, numbered over all entering "
        "edges in plan order; -1 for none.", -1,
    ),
    ArrayDeclaration(
        "artifacts/explanations/<instance>-<output>/influence", ("target", "rank"),
        "float32", "layer output", "What each of these contributes there.",
    ),
    ArrayDeclaration(
        "artifacts/explanations/<instance>-<output>/remainder", ("target",), "float32",
        "layer output", "What all else contributes there.",
    ),
)  # fmt: skip
