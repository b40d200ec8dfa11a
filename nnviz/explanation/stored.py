"""Where does a store keep what was explained? One group for each instance and output.

The numbers of all layers stand one after another in few arrays; the attributes say
where each layer's begin. Nothing of it depends on other instances: a store that grows
keeps it.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import MissingDataError
from nnviz.explanation.instance_explanation import (
    ExplainedLayer,
    InstanceExplanation,
    TextToken,
)
from nnviz.store.groups import EXPLANATIONS
from nnviz.store.store import Store

__all__ = ["explanation_of", "has_explanation", "write_explanation"]

_PER_CHANNEL = ("activation", "product", "gradient")
_PER_TARGET = ("target", "source", "influence", "remainder")
_AXES = {
    **dict.fromkeys(_PER_CHANNEL, ("channel",)),
    **dict.fromkeys(("target", "remainder"), ("target",)),
    **dict.fromkeys(("source", "influence"), ("target", "rank")),
    "mapped": ("map",),
    "maps": ("value",),
}


def write_explanation(store: Store, explanation: InstanceExplanation) -> None:
    """Write an explanation, or replace the one of the same instance and output.

    Parameters
    ----------
    store
        Opened for writing.
    explanation
        Of one of its instances.
    """
    layers = explanation.layers.values()
    n_ranks = max((layer.source.shape[1] for layer in layers), default=0)
    arrays: dict[str, NDArray[Any]] = {
        name: np.concatenate([getattr(layer, name) for layer in layers])
        for name in (*_PER_CHANNEL, "target", "remainder", "mapped")
    }
    arrays["source"] = np.concatenate([_filled(x.source, n_ranks, -1) for x in layers])
    arrays["influence"] = np.concatenate(
        [_filled(x.influence, n_ranks, 0) for x in layers]
    )
    arrays["maps"] = np.concatenate([layer.maps.ravel() for layer in layers])
    attributes = {
        "instance": explanation.instance,
        "id": explanation.id,
        "output": explanation.output,
        "output_name": explanation.output_name,
        "value": explanation.value if math.isfinite(explanation.value) else None,
        "layers": [
            {
                "name": name,
                "channels": len(layer.activation),
                "targets": len(layer.target),
                "ranks": layer.source.shape[1],
                "maps": list(layer.maps.shape),
            }
            for name, layer in explanation.layers.items()
        ],
        "shown": list(explanation.shown),
        "tokens": [dataclasses.astuple(token) for token in explanation.tokens],
        "problems": list(explanation.problems),
    }
    path = _path(explanation.instance, explanation.output)
    store.groups.write(path, arrays, attributes, _AXES)


def has_explanation(store: Store, instance: int, output: int) -> bool:
    """Whether an instance was explained for an output."""
    return store.groups.is_complete(_path(instance, output))


def explanation_of(store: Store, instance: int, output: int) -> InstanceExplanation:
    """Read an explanation.

    Parameters
    ----------
    store
        Opened.
    instance
        Number of the instance.
    output
        Which of the network's outputs is explained.

    Raises
    ------
    MissingDataError
        If it was not explained.
    StoreFormatError
        If it is damaged.
    """
    path = _path(instance, output)
    if not store.groups.is_complete(path):
        name = str(store.read("instances/id", instance, instance + 1)[0])
        names = store.class_names
        of = names[output] if output < len(names) else str(output)
        command = shlex.join(("nnviz", "explain", store.url, name, "--of", of))
        msg = f"instance {name!r} was not explained for {of!r}; run '{command}'"
        raise MissingDataError(msg)
    stated = store.groups.attributes(path)
    arrays = {name: store.groups.read(f"{path}/{name}") for name in _AXES}
    layers, channel, target, mapped, value = {}, 0, 0, 0, 0
    for one in stated["layers"]:
        channels = slice(channel, channel + one["channels"])
        targets = slice(target, target + one["targets"])
        maps = slice(mapped, mapped + one["maps"][0])
        values = slice(value, value + math.prod(one["maps"]))
        parts = {name: arrays[name][channels] for name in _PER_CHANNEL}
        parts |= {name: arrays[name][targets] for name in _PER_TARGET}
        for name in ("source", "influence"):
            parts[name] = parts[name][:, : one["ranks"]]
        parts["mapped"] = arrays["mapped"][maps]
        parts["maps"] = arrays["maps"][values].reshape(one["maps"])
        layers[one["name"]] = ExplainedLayer(**parts)
        channel, target = channels.stop, targets.stop
        mapped, value = maps.stop, values.stop
    logit = stated["value"]
    return InstanceExplanation(
        instance=stated["instance"],
        id=stated["id"],
        output=stated["output"],
        output_name=stated["output_name"],
        value=math.nan if logit is None else float(logit),
        layers=layers,
        shown=tuple(stated["shown"]),
        tokens=tuple(TextToken(*token) for token in stated["tokens"]),
        problems=tuple(stated["problems"]),
    )


def _filled(values: NDArray[Any], n_ranks: int, fill: int) -> NDArray[Any]:
    """Return values with columns up to a number of ranks."""
    missing = n_ranks - values.shape[1]
    return np.pad(values, ((0, 0), (0, missing)), constant_values=fill)


def _path(instance: int, output: int) -> str:
    return f"{EXPLANATIONS}/{instance}-{output}"
