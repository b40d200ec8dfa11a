"""What are a network's layers and edges? One forward pass finds them.

See, in :mod:`nnviz.network.analysis`, ``operations`` for how operations are recorded,
``channel_flow`` for how channels are followed, ``layers`` for what becomes a layer,
``summands``, ``entering`` and ``edges`` for what enters it, and ``analysis`` for the
validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnviz.errors import ModelError
from nnviz.network.analysis.analysis import Analysis, analyse, validate
from nnviz.network.analysis.operations import OperationGraph, record_operations
from nnviz.network.analysis.outputs import logits_of, main_output
from nnviz.network.recording.normalizing import normalize
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.runtime import telling_faults
from nnviz.runs.architecture import Architecture, Layer
from nnviz.runs.config import PreprocessingConfig

__all__ = ["trace", "trace_network"]


def trace(model: nn.Module, batch: Tensor) -> Architecture:
    """Find the layers and edges of a network, and check them.

    Parameters
    ----------
    model
        The network in evaluation mode; it is run and not changed.
    batch
        Normalised network input (instance, ...), real or random, of 1 or 2 instances.

    Returns
    -------
    Architecture
        Layers in order of computation, and the edges between them. What is not known of
        a layer's edges is named in `problems`; its activations are recorded all the
        same.

    Raises
    ------
    ModelError
        If the network cannot be run on the batch, returns no tensor, or has no layer.
    TaskMemoryError, DeviceLostError
        If memory or the device fails while layers are checked.
    """
    if model.training:
        msg = (
            "the network is in training mode, so its output depends on chance and on "
            "the other instances of a batch; call model.eval() first"
        )
        raise ModelError(msg)
    graph = _record(model, batch)
    output = main_output(graph.output)
    if output is None:
        msg = (
            f"the network returned {type(graph.output).__name__} without a tensor; "
            "it must return a tensor, or a tuple, dictionary or dataclass of tensors"
        )
        raise ModelError(msg)
    analysis = analyse(graph)
    largest_error = validate(analysis, batch)
    layers = [item.layer for item in analysis.layers]
    mixed = _not_by_instance(model, layers, _rows(analysis), batch)
    layers = [layer for layer in layers if layer.name not in mixed]
    if not layers:
        msg = (
            "no layer was found: the output depends on no convolution, linear map, sum "
            "or concatenation that torch functions make from the input, instance by "
            "instance"
        )
        raise ModelError(msg)
    logits = logits_of(graph.output)
    names = {layer.name for layer in layers}
    return Architecture(
        layers=tuple(layers),
        edges=tuple(
            edge
            for target in analysis.targets
            for edge in target.edges
            if edge.source in names and edge.target in names
        ),
        input_shape=tuple(batch.shape[1:]),
        input_dtype=str(batch.dtype).removeprefix("torch."),
        output_shape=tuple((output if logits is None else logits).shape[1:]),
        problems=(
            *(problem for target in analysis.targets for problem in target.problems),
            *(
                f"layer {name!r} is left out: the first axis of its output is not the "
                "instance, or its values depend on the other instances of a batch"
                for name in mixed
            ),
        ),
        validation_error=largest_error,
    )


def _record(model: nn.Module, batch: Tensor) -> OperationGraph:
    try:
        return record_operations(model, batch)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
        msg = (
            f"the network cannot be run on a batch of shape {tuple(batch.shape)} and "
            f"type {batch.dtype}: {error}; check preprocessing and the model's source"
        )
        raise ModelError(msg) from error


def _rows(analysis: Analysis) -> dict[str, int]:
    """Return the extent of the first axis of each layer's output."""
    values = analysis.flow.graph.values
    return {
        item.layer.name: values[item.site.read_value].shape[0]
        for item in analysis.layers
    }


def _not_by_instance(
    model: nn.Module, layers: Sequence[Layer], rows: dict[str, int], batch: Tensor
) -> list[str]:
    """Return the layers whose values are not those of one instance each.

    Two instances are run in either order; their activations must be exchanged.
    """
    mixed = [layer.name for layer in layers if rows[layer.name] % len(batch)]
    rest = Architecture(
        tuple(layer for layer in layers if layer.name not in mixed),
        input_shape=tuple(batch.shape[1:]),
    )
    first, second = batch[:1], batch[-1:]
    if torch.equal(first, second):
        second = first.flip(-1)
    pair = torch.cat([first, second])
    try:
        with Recorder(model, rest) as recorder, telling_faults():
            one_way = recorder.run(pair).activations
            other_way = recorder.run(pair.flip(0)).activations
    except (ModelError, RuntimeError):
        # Control flow that depends on the data, or a network for one instance only;
        # want of memory and a lost device are other errors, and say nothing of layers.
        return mixed
    for name, found in one_way.items():
        wanted = other_way[name].flip(0)
        finite = wanted[wanted.isfinite()]
        scale = float(finite.abs().max()) if finite.numel() else 0.0
        if not torch.allclose(
            found, wanted, rtol=1e-3, atol=1e-4 * scale, equal_nan=True
        ):
            mixed.append(name)
    return mixed


INSTANCES_TRACED = 2


def trace_network(
    module: nn.Module, values: NDArray[Any], preprocessing: PreprocessingConfig
) -> Architecture:
    """Find the architecture of a network with the first instances of its data.

    Parameters
    ----------
    module
        The network, in evaluation mode, on the CPU.
    values
        Prepared instances, shape (instance, ...).
    preprocessing
        Says how they are normalised.
    """
    batch = normalize(torch.from_numpy(values[:INSTANCES_TRACED]), preprocessing)
    return trace(module, batch)
