"""How does a network with one logit for two classes get an output for each of them?

A classifier of two classes often has one output, the logit :math:`z` of its second
class: the sigmoid of :math:`z` is that class's probability. The same network with two
outputs, :math:`-z/2` and :math:`z/2`, has the same probabilities, since their softmax
is the sigmoid of :math:`z`; and each class has an output of its own, which rests on
what speaks for this class. So the linear layer that makes the logit gets a second row:
half of its weights for the second class, and minus half of them for the first. A
network that applies the sigmoid itself gets whole weights: its outputs are then
:math:`1 - p` and :math:`p`.

What follows the layer runs on both, and gives both: a sigmoid, a flattening, a mean
over positions. Where it takes one number out of them instead, as ``z[:, 0]`` does, it
is given the logit that it expects, and the network returns what the layer made. Where
the logit is the sum of what several layers make, such as of a wide and a deep part, all
of them get the second row.

Whether a layer is the one that makes the logit, and which of the two ways is right, is
seen by trying: the outputs have to be these on a batch.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.fx
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx.graph import _PyTreeCodeGen
from torch.nn.utils import skip_init
from torch.utils import _pytree as pytree

from nnviz.network.analysis.outputs import main_output
from nnviz.network.arguments import inputs_of
from nnviz.network.recording.normalizing import normalize
from nnviz.runs.config import PreprocessingConfig

__all__ = ["TwoOutputs", "find_two_outputs", "with_two_outputs"]

TOLERANCE = 1e-4
"""Largest difference between outputs, relative to the largest of them."""

SUM = " + "
"""Joins the names of layers whose outputs are added."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, slots=True)
class TwoOutputs:
    """Which layer makes the logit of two classes, or which ones, of whose sum it is."""

    module: str
    """Its name in the network; several are joined by ``SUM``."""
    are_probabilities: bool
    """Whether the outputs are probabilities of the classes, not logits."""
    are_direct: bool = False
    """Whether they are what the layer makes, since what follows takes one out of it."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The name of each layer."""
        return tuple(self.module.split(SUM))


def find_two_outputs(
    module: nn.Module, values: NDArray[Any], preprocessing: PreprocessingConfig
) -> TwoOutputs | None:
    """Find the layer that makes the only output of a network.

    Parameters
    ----------
    module
        The network, in evaluation mode, on the CPU, with one output for an instance.
    values
        Prepared instances, shape (instance, ...).
    preprocessing
        Says how they are normalised.

    Returns
    -------
    TwoOutputs or None
        None if no linear layer with one output makes it, and no sum of all of these,
        by itself or before a sigmoid.
    """
    batch = torch.from_numpy(values)
    if inputs_of(module) is None:
        batch = normalize(batch, preprocessing)
    single = _flat(_run(module, batch))
    if single is None or len(single) != len(batch):
        return None
    may_hold = isinstance(module, torch.fx.GraphModule)
    names = [
        name
        for name, layer in module.named_modules()
        if _has_one_output(layer, may_hold=may_hold)
    ]
    tried = [
        TwoOutputs(name, are_probabilities, are_direct)
        for name in reversed(names)
        for are_direct, are_probabilities in product((False, True), repeat=2)
    ]
    if len(names) > 1:
        tried += [
            TwoOutputs(SUM.join(names), are_probabilities, are_direct)
            for are_direct, are_probabilities in product((False, True), repeat=2)
        ]
    for found in tried:
        pair = _run(with_two_outputs(module, found), batch)
        if pair is not None and _is_pair(pair, single, found):
            return found
    return None


def with_two_outputs(module: nn.Module, found: TwoOutputs) -> nn.Module:
    """Return a copy of a network that has an output for each of its two classes.

    Parameters
    ----------
    module
        The network with one output for an instance.
    found
        The layer that makes it, or the layers.
    """
    factor = 1.0 if found.are_probabilities else 0.5
    module = copy.deepcopy(module)
    for path in found.modules:
        layer = _with_two_rows(module.get_submodule(path), factor)
        if path:
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, layer)
        else:
            module = layer
    if isinstance(module, torch.fx.GraphModule):
        _change_graph(module, found)
    elif found.are_direct:
        kept = _Kept(found)
        for path in found.modules:
            module.get_submodule(path).register_forward_hook(kept.after_layer)
        module.register_forward_hook(kept.after_network)
    else:
        module.register_forward_hook(_after_network)
    return module


def _after_network(_module: nn.Module, _inputs: object, output: object) -> object:
    return _by_instance(output) if isinstance(output, Tensor) else output


def _by_instance(output: Tensor) -> Tensor:
    """Undo what a network does to a single output: to drop its axis."""
    return output.reshape(-1, 2) if output.ndim == 1 else output


class _Kept:
    """Keeps both outputs of each layer, and gives its single one to what follows.

    Its methods are hooks.

    Parameters
    ----------
    found
        Whether they are logits, each a half of the single one.
    """

    def __init__(self, found: TwoOutputs) -> None:
        self._found = found
        self._pairs: list[Tensor] = []

    def after_layer(self, layer: nn.Module, _inputs: object, pair: Tensor) -> Tensor:
        """Return the single output."""
        self._pairs.append(pair)
        second = pair.narrow(_class_axis(layer), 1, 1)
        return second if self._found.are_probabilities else 2 * second

    def after_network(self, _module: nn.Module, _inputs: object, out: object) -> object:
        """Return both, in place of what the network returns."""
        pairs, self._pairs = self._pairs, []
        if not pairs:  # no layer was run
            return out
        pair = functools.reduce(torch.add, pairs)
        return torch.sigmoid(pair) if self._found.are_probabilities else pair


def _class_axis(layer: nn.Module) -> int:
    """Return the axis of a layer's outputs that its rows of weights make."""
    weight = _tensor(layer, "weight")
    assert weight is not None
    return -1 if weight.ndim == 2 else 1


def _change_graph(module: torch.fx.GraphModule, found: TwoOutputs) -> None:
    """Let the graph of a network return both outputs; copies of it lose its hooks."""
    graph = module.graph
    made = {path: _made_by(graph, path) for path in found.modules}
    pairs = {path: node for path, node in made.items() if node is not None}
    (end,) = (node for node in graph.nodes if node.op == "output")
    leaves, spec = pytree.tree_flatten(end.args[0])
    place = _place_of_main(module, leaves, spec)
    if place is None or len(pairs) < len(made):
        return  # no outputs of two classes, as is seen then
    if found.are_direct:
        for path, pair in pairs.items():
            axis = _class_axis(module.get_submodule(path))
            _pick_second(graph, pair, axis, 1 if found.are_probabilities else 2)
    with graph.inserting_before(end):
        if not found.are_direct:
            both = graph.call_function(_by_instance, (leaves[place],))
        else:
            both, *others = pairs.values()
            for other in others:
                both = graph.call_function(torch.add, (both, other))
            if found.are_probabilities:
                both = graph.call_function(torch.sigmoid, (both,))
    leaves[place] = both
    end.args = (pytree.tree_unflatten(leaves, spec),)
    module.recompile()


def _pick_second(
    graph: torch.fx.Graph, pair: torch.fx.Node, axis: int, factor: int
) -> None:
    """Give what reads a value its second output alone, times a factor."""
    with graph.inserting_after(pair):
        second = graph.call_function(torch.narrow, (pair, axis, 1, 1))
    with graph.inserting_after(second):
        single = graph.call_function(torch.mul, (second, factor))
    pair.replace_all_uses_with(single, lambda user: user not in (second, single))


def _made_by(graph: torch.fx.Graph, name: str) -> torch.fx.Node | None:
    """Return what a layer, or an operator with its weights, makes of the inputs."""
    weight = f"{name}.weight".removeprefix(".")
    of_inputs: set[torch.fx.Node] = set()
    of_weights: set[torch.fx.Node] = set()
    for node in graph.nodes:
        sources = set(node.all_input_nodes)
        if node.op == "placeholder" or sources & of_inputs:
            of_inputs.add(node)
        if node.op == "call_module" and node.target == name:
            return node  # type: ignore[no-any-return]  # torch's lists have no types
        if node.op == "get_attr" and node.target == weight:
            of_weights.add(node)
        elif sources & of_weights:
            if node in of_inputs:
                return node  # type: ignore[no-any-return]
            of_weights.add(node)
    return None


def _place_of_main(
    module: torch.fx.GraphModule, leaves: list[Any], spec: pytree.TreeSpec
) -> int | None:
    """Return which of the values that a graph returns is the network's main output."""
    codegen = module.graph._codegen
    if isinstance(codegen, _PyTreeCodeGen):
        spec = codegen.pytree_info.out_spec or spec
    numbers = [torch.tensor(i) for i in range(len(leaves))]
    main = main_output(pytree.tree_unflatten(numbers, spec))
    return None if main is None else int(main)


def _has_one_output(layer: nn.Module, *, may_hold: bool) -> bool:
    """Whether a layer may be what makes one output.

    Parameters
    ----------
    layer
        Of the network.
    may_hold
        Whether it may be a module that holds weights, of an exported program.
    """
    if isinstance(layer, nn.Linear):
        return layer.out_features == 1
    if isinstance(layer, _CONVOLUTIONS):
        return layer.out_channels == 1
    if not may_hold:
        return False
    weight, bias = _tensor(layer, "weight"), _tensor(layer, "bias")
    if weight is None or weight.ndim < 2 or len(weight) != 1:
        return False
    return bias is None or bias.shape == (1,)


def _is_own_kind(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.Linear, *_CONVOLUTIONS))


def _with_two_rows(layer: nn.Module, factor: float) -> nn.Module:
    """Return a layer like this one, with minus its weights before its weights."""
    weight, bias = _tensor(layer, "weight"), _tensor(layer, "bias")
    assert weight is not None
    has_bias, dtype = bias is not None, weight.dtype
    # Without initial weights, which would draw from the caller's random numbers.
    if isinstance(layer, nn.Linear):
        new: nn.Module = skip_init(
            nn.Linear, layer.in_features, 2, bias=has_bias, dtype=dtype
        )
    elif isinstance(layer, _CONVOLUTIONS):
        new = skip_init(
            next(kind for kind in _CONVOLUTIONS if isinstance(layer, kind)),
            layer.in_channels,
            2,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            bias=has_bias,
            padding_mode=layer.padding_mode,
            dtype=dtype,
        )
    else:  # what holds the weights of an exported program
        new = copy.deepcopy(layer)
    signs = torch.tensor([-factor, factor], dtype=dtype)
    rows = weight.detach() * signs.reshape(2, *[1] * (weight.ndim - 1))
    new.weight = nn.Parameter(rows, requires_grad=False)
    if bias is not None:
        new.bias = nn.Parameter(bias.detach() * signs, requires_grad=False)
    return new.eval()


def _tensor(layer: nn.Module, name: str) -> Tensor | None:
    """Return what a layer holds under a name, which may be computed of parameters."""
    value = getattr(layer, name, None)
    return value if isinstance(value, Tensor) else None


def _run(module: nn.Module, batch: Tensor) -> Tensor | None:
    try:
        with torch.inference_mode():
            output = main_output(module(batch))
    except Exception:  # noqa: BLE001  a network may count on its one output
        return None
    return output


def _flat(output: Tensor | None) -> NDArray[np.float64] | None:
    if output is None or not output.is_floating_point():
        return None
    return output.double().numpy().reshape(-1)


def _is_pair(output: Tensor, single: NDArray[np.float64], found: TwoOutputs) -> bool:
    """Whether outputs are those of two classes, by the single output of the network."""
    values = output.double().numpy()
    if values.ndim < 2 or values.reshape(len(values), -1).shape != (len(single), 2):
        return False
    values = values.reshape(-1, 2)
    wanted = np.stack([-single / 2, single / 2], axis=1)
    if found.are_probabilities:
        wanted = np.stack([1 - single, single], axis=1)
    if not np.isfinite(wanted).all():
        return False
    allowed = TOLERANCE * np.abs(wanted).max(initial=1e-30)
    return bool(np.abs(values - wanted).max(initial=0.0) <= allowed)
