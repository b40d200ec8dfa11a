"""What are a network's layers and edges? One forward pass finds them.

See, in :mod:`nnviz.network.analysis`, ``operations`` for how operations are recorded,
``following`` for how channels are followed, ``layers`` for what becomes a layer,
``summands``, ``entering`` and ``edges`` for what enters it, ``replay`` and
``single_channels`` for the validation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnviz.argument_types import checked
from nnviz.errors import ModelError
from nnviz.network.analysis.analysis import Analysis, analyse, validate
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.held_parts import measure_held
from nnviz.network.analysis.instance_axes import record_by_instance
from nnviz.network.analysis.layers import RECEIVED
from nnviz.network.analysis.operations import OperationGraph
from nnviz.network.analysis.outputs import logits_of, main_output
from nnviz.network.analysis.token_axes import record_other_length
from nnviz.network.analysis.value_paths import held_operations
from nnviz.network.arguments import inputs_of, received_names
from nnviz.network.independence import check_independence
from nnviz.network.padding_check import check_padding
from nnviz.network.recording.normalizing import normalize
from nnviz.network.recording.recorder import NotByInstanceError
from nnviz.network.recording.runtime import telling_faults
from nnviz.runs.architecture import Architecture, Layer
from nnviz.runs.config import PreprocessingConfig
from nnviz.runs.network_inputs import NetworkInputs
from nnviz.runs.table_columns import columns_of_inputs
from nnviz.user_code import telling_user_errors

__all__ = ["trace", "trace_network"]


@checked
def trace(
    model: nn.Module,
    batch: Tensor,
    columns: Mapping[str, Sequence[str]] | None = None,
) -> Architecture:
    """Find the layers and edges of a network, and check them.

    Parameters
    ----------
    model
        The network in evaluation mode; it is run and not changed.
    batch
        Normalised network input (instance, ...), real or random, of 1 or 2 instances;
        packed for a network to which inputs are bound.
    columns
        Names of the channels of inputs that are layers, too: of an input by its
        parameter of ``forward``, of the first also by "0". None: no input is a layer.

    Returns
    -------
    Architecture
        Layers in order of computation, and the edges between them. What is not known of
        a layer's edges is named in `problems`; its activations are recorded all the
        same.

    Raises
    ------
    ModelError
        If the network cannot be run on the batch, returns no tensor, or has no layer;
        or if its values depend on chance or on the other instances of a batch.
    TaskMemoryError, DeviceLostError
        If memory or the device fails while layers are checked.
    """
    if model.training:
        msg = (
            "the network is in training mode, so its output depends on chance and on "
            "the other instances of a batch; call model.eval() first"
        )
        raise ModelError(msg)
    shape = tuple(batch.shape[1:])
    batch, graph = _record_padded(model, batch)
    output = main_output(graph.output)
    if output is None:
        msg = (
            f"the network returned {type(graph.output).__name__} without a tensor; "
            "it must return a tensor, or a tuple, dictionary or dataclass of tensors"
        )
        raise ModelError(msg)
    with telling_faults():
        other = record_other_length(model, batch)
    of_inputs = _columns_of_inputs(received_names(model, batch), graph, columns or {})
    names = {value: name for value, (name, _) in of_inputs.items()}
    analysis = analyse(graph, other, names)
    unclear = _unclear_layers(model, analysis)
    layers = [x.layer for x in analysis.layers if x.layer.name not in unclear]
    mixed = _without_instances(model, analysis, batch)
    mixed += _check_independence(model, layers, mixed, batch)
    largest_error = validate(analysis)
    layers = [layer for layer in layers if layer.name not in mixed]
    if not layers:
        msg = (
            "no layer was found: the output depends on no convolution, linear map, sum "
            "or concatenation that torch functions make from the input, instance by "
            "instance"
        )
        raise ModelError(msg)
    logits = logits_of(graph.output)
    known = {layer.name for layer in layers}
    return Architecture(
        layers=tuple(
            _named(_of_length(layer, shape, inputs_of(model)), of_inputs)
            for layer in layers
        ),
        edges=tuple(
            edge
            for target in analysis.targets
            for edge in target.edges
            if edge.source in known and edge.target in known
        ),
        input_shape=shape,
        input_dtype=str(batch.dtype).removeprefix("torch."),
        inputs=inputs_of(model),
        padding=check_padding(model, tuple(layers), batch),
        output_shape=tuple((output if logits is None else logits).shape[1:]),
        problems=(
            *_not_taken_apart(analysis),
            *(problem for target in analysis.targets for problem in target.problems),
            *(
                f"layer {name!r} is left out: the instance is neither the first axis "
                "of its output nor, behind time, the second"
                for name in mixed
            ),
            *(
                f"layer {name!r} is left out: which tokens its positions see is not "
                "known, and padding must not count"
                for name in unclear
            ),
        ),
        validation_error=largest_error,
        held=tuple(
            held
            for held in measure_held(analysis.flow, analysis.layers, analysis.targets)
            if held.layer in known
        ),
    )


def _columns_of_inputs(
    names: Sequence[str], graph: OperationGraph, columns: Mapping[str, Sequence[str]]
) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Return name and columns of each input that is a layer, by its value.

    Indices have no channels; they are those of what is looked up by them.
    """
    found = {}
    for value, name in zip(graph.received, names, strict=True):
        known = columns.get(name) or (columns.get("0") if value == 0 else None)
        its = graph.values[value]
        if known and its.dtype.is_floating_point and its.shape[1:] == (len(known),):
            found[value] = name, tuple(known)
    if len(found) == 1:
        ((value, (_, known)),) = found.items()
        return {value: ("input", known)}
    return found


def _named(layer: Layer, of_inputs: Mapping[int, tuple[str, tuple[str, ...]]]) -> Layer:
    if layer.kind != "input":
        return layer
    _, columns = of_inputs[int(layer.node.removeprefix(RECEIVED))]
    return replace(layer, channel_names=columns)


def _record(model: nn.Module, batch: Tensor) -> OperationGraph:
    with telling_faults():
        return record_by_instance(model, batch)


def _record_padded(model: nn.Module, batch: Tensor) -> tuple[Tensor, OperationGraph]:
    """Record the network on a batch whose instances all end in padding, if it can be.

    A network may take another way where nothing is padded.
    """
    inputs = inputs_of(model)
    if inputs is not None and inputs.has_tokens:
        packed = batch.cpu().numpy()
        if not inputs.ends_in_padding(packed).all():
            n_tokens = inputs.tokens_of(batch.shape[1])
            padded = torch.from_numpy(inputs.repacked(packed, n_tokens + 1))
            padded = padded.to(batch.device)
            with contextlib.suppress(ModelError):  # of one number of tokens
                return padded, _record(model, padded)
    return batch, _record(model, batch)


def _unclear_layers(model: nn.Module, analysis: Analysis) -> list[str]:
    """Return the layers in which padding cannot be told from what counts."""
    inputs = inputs_of(model)
    if inputs is None or inputs.counted is None:
        return []
    return [
        item.layer.name
        for item in analysis.layers
        if analysis.tokens.is_unclear(analysis.flow, item.layer, item.site.read_value)
    ]


def _of_length(
    layer: Layer, shape: tuple[int, ...], inputs: NetworkInputs | None
) -> Layer:
    """Return a layer with a position for each token of instances of a packed shape."""
    if inputs is None or layer.token_axis is None or layer.token_field is not None:
        return layer
    positions = list(layer.positions)
    positions[layer.token_axis] = inputs.tokens_of(shape[0])
    return replace(layer, positions=tuple(positions))


def _not_taken_apart(analysis: Analysis) -> list[str]:
    """Name what mixes channels and is no layer, each at its own place."""
    values = analysis.flow.graph.values
    held = held_operations(analysis.flow)
    found = []
    for operation in analysis.flow.unknown:
        name = operation.name
        if operation.index in held:
            continue  # of a pattern, which is named as what it is
        is_complex = values[operation.outputs[-1]].dtype.is_complex
        if is_complex and name in ("mul", "div"):
            what = "multiplies by complex numbers"
        elif category_of(name) == "contraction" or name.startswith(("fft_", "linalg_")):
            what = "combines channels"
        else:
            continue
        found.append(
            f"{operation.place} is no layer: {name} {what} in a way that nnviz does "
            "not take apart, and influence ends there"
        )
    return found


def _without_instances(
    model: nn.Module, analysis: Analysis, batch: Tensor
) -> list[str]:
    """Return the layers of which neither of the first axes can be the instance."""
    graphs = [analysis.flow.graph]
    if len(batch) == 1:  # every number of rows is a multiple of 1
        graphs.append(_record(model, torch.cat([batch, batch])))
    if len(graphs[0].values) != len(graphs[-1].values):
        graphs = graphs[:1]
    return [
        item.layer.name
        for item in analysis.layers
        if any(
            graph.instance_shape(item.site.read_value)[0] % graph.n_instances
            for graph in graphs
        )
    ]


def _check_independence(
    model: nn.Module, layers: list[Layer], mixed: list[str], batch: Tensor
) -> list[str]:
    """Return the layers beside `mixed` whose first axis turns out to be another."""
    found: list[str] = []
    while True:
        left_out = {*mixed, *found}
        kept = tuple(layer for layer in layers if layer.name not in left_out)
        try:
            return [*found, *check_independence(model, kept, batch)]
        except NotByInstanceError as error:
            found.append(error.layer)


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
    batch = torch.from_numpy(values[:INSTANCES_TRACED])
    if inputs_of(module) is None:
        batch = normalize(batch, preprocessing)
    # What no part of the analysis foresaw is an error, too, and never a traceback.
    with telling_user_errors(
        "looking into the network",
        advice="name a network of ordinary torch modules as model.source",
        error_type=ModelError,
    ):
        return trace(module, batch, columns_of_inputs(preprocessing.columns))
