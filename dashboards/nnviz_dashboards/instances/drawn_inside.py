"""What is sent of what the network did with an instance? Values for the scripts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nnviz.explanation.instance_explanation import ExplainedLayer
from nnviz.results.explained_instances import BesideClass, GraphPlaces
from nnviz.runs.patch_tokens import PatchGrid
from nnviz_dashboards.instances.inside import Inside, InsideModel
from nnviz_dashboards.shared.theme import format_count, format_percent, format_value

__all__ = ["drawn_inside"]

N_CHANNELS = 8
"""Of each layer and order."""

N_OTHERS = 3
"""Other classes that are told, of which the graphs share most."""


def drawn_inside(model: InsideModel, layers: Mapping[str, str]) -> dict[str, object]:
    """Return what is known of the opened instance, or how to find out.

    Parameters
    ----------
    model
        What is known.
    layers
        Short name of each shown layer by its name, in order.
    """
    names = model.results.store.class_names
    called = {i: names[i] if i < len(names) else f"output {i}" for i in model.outputs}
    value: dict[str, object] = {
        "outputs": [[index, name] for index, name in called.items()],
        "output": model.output,
        "command": shlex.join(model.words),
        "can_run": model.can_run,
        "is_running": model.is_running,
        "problem": model.problem,
        "found": None,
    }
    if model.inside is not None:
        value["found"] = _found(model, model.inside, layers)
    return value


def _found(
    model: InsideModel, inside: Inside, layers: Mapping[str, str]
) -> dict[str, object]:
    explanation = inside.explanation
    pictures, shown = model.results.instance_pictures, model.results.store.layer
    return {
        "of": explanation.output_name or f"output {explanation.output}",
        "value": format_value(explanation.value),
        "layers": [
            _layer(
                name, label, number, explanation.layer(name), shown(name).channel_names,
                has_places=pictures.has_places(shown(name)),
                patches=pictures.patches(shown(name)),
            )
            for number, (name, label) in reversed(list(enumerate(layers.items())))
            if name in explanation.layers
        ],
        "text": inside.text,
        "tokens": [[token.text, token.start, token.stop]
                   for token in explanation.tokens],
        "problems": list(explanation.problems),
        "crop": None if inside.crop is None else [round(x, 4) for x in inside.crop],
        "graph": None if inside.beside is None else _graphs(
            inside.beside, layers, lambda name: shown(name).channel_names
        ),
        "why": inside.why,
    }  # fmt: skip


def _layer(
    name: str,
    label: str,
    number: int,
    layer: ExplainedLayer,
    called: Sequence[str],
    *,
    has_places: bool,
    patches: PatchGrid | None,
) -> dict[str, object]:
    relevant, active = (
        layer.strongest(N_CHANNELS, by).tolist() for by in ("relevance", "activation")
    )
    return {
        "layer": name,
        "label": label,
        "number": number,
        "has_places": has_places,
        **_left_out(layer, patches),
        "channels": list(called),
        "mapped": layer.mapped.tolist(),
        "relevant": [[c, f"+{layer.product[c]:.2g}"] for c in relevant],
        "active": [[c, format_value(float(layer.activation[c]))] for c in active],
    }


def _left_out(layer: ExplainedLayer, patches: PatchGrid | None) -> dict[str, object]:
    """Return which tokens have no place, and the channels that are strongest there."""
    n = 0 if patches is None else patches.n_before
    if patches is None or not n:
        return {"left_out": "", "aside": []}
    strongest = zip(layer.mapped.tolist(), layer.maps, strict=True)
    return {
        "left_out": "the class token" if n == 1 else f"{n} tokens before the patches",
        "aside": [c for c, values in strongest if patches.is_before(values)],
    }


def _graphs(
    beside: BesideClass,
    layers: Mapping[str, str],
    called: Callable[[str], Sequence[str]],
) -> dict[str, object]:
    own = beside.own.graph
    drawn = list(own.layers)
    theirs = [set(one.graph.keys()) for one in beside.classes]
    mine = set(own.keys())
    return {
        "layers": [layers.get(name, name) for name in drawn],
        "names": drawn,
        "channels": [list(called(name)) for name in drawn],
        "own": _graph(beside.own, drawn, theirs),
        "n": own.n_nodes,
        "classes": [
            {
                "name": one.graph.subset,
                "n": one.graph.n_nodes,
                "n_common": beside.n_common(number),
                **_graph(one, drawn, [mine]),
            }
            for number, one in enumerate(beside.classes)
        ],
        "said": _said(beside),
    }


def _graph(
    one: GraphPlaces, drawn: list[str], others: list[set[tuple[str, int]]]
) -> dict[str, object]:
    """Return nodes as [row, place, channel, in which others, score], and arcs."""
    graph = one.graph
    place = {name: len(drawn) - 1 - i for i, name in enumerate(drawn)}
    rows = [place.get(graph.layers[i], -1) for i in graph.layer.tolist()]
    nodes = [
        [row, round(x, 2), channel, [int(key in other) for other in others],
         f"{score:.2g}"]
        for row, x, channel, key, score in zip(
            rows, one.x.tolist(), graph.channel.tolist(), graph.keys(),
            graph.score.tolist(), strict=True,
        )
    ]  # fmt: skip
    ends = np.stack([graph.source, graph.target], axis=1).tolist()
    return {"nodes": nodes, "arcs": ends}


def _said(beside: BesideClass) -> str:
    """Return how much of the instance's graph is that of classes, as a sentence."""
    n = beside.own.graph.n_nodes
    if not n or not beside.classes:
        return ""
    parts = [
        f"{format_count(beside.n_common(number))} are in the graph of "
        f"{one.graph.subset}"
        for number, one in enumerate(beside.classes)
    ]
    text = f"Of its {format_count(n)} channels {' and '.join(parts)}"
    if beside.others:
        counts = [count for _, count in beside.others]
        mean = format_percent(float(np.mean(counts)) / n)
        most = ", ".join(f"{n} ({name})" for name, n in beside.others[:N_OTHERS])
        text += f"; of the other classes on average {mean}, at most {most}"
    return f"{text}."
