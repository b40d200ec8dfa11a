"""Which examples does each shown layer get, and what is on their pictures?

Peaks of all chunks are merged to the strongest instances of the run; then the instances
are read again, each once in a layer, and cut in parallel tasks.

Symbols: C channels of a layer, K ranks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnviz.derivation.examples import (
    Examples,
    Peaks,
    input_boxes,
    merge_peaks,
    pack_pictures,
    read_examples,
)
from nnviz.derivation.pictures import Drawing, cut_picture, draw
from nnviz.derivation.text_pictures import TextExample
from nnviz.engine.sharing import Shared
from nnviz.engine.tasks import run_tasks
from nnviz.errors import (
    InputError,
    MissingDependencyError,
    NnvizError,
    PlanMismatchError,
    TaskError,
    UnreadableInstanceError,
)
from nnviz.inputs.datasets.files import patiently
from nnviz.inputs.datasets.opening import Dataset, open_dataset
from nnviz.inputs.datasets.store_order import in_store_order
from nnviz.inputs.preparation.tokenizing import (
    Token,
    Tokenizer,
    imports_code,
    open_tokenizer,
)
from nnviz.runs.architecture import Layer
from nnviz.runs.config import PreprocessingConfig
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "ExamplesReport",
    "GallerySource",
    "layers_with_peaks",
    "open_source",
    "seen_in_picture",
    "seen_in_text",
    "write_examples",
]

CHUNKS_AT_A_TIME = 64
"""Chunks whose peaks are merged at a time."""

PICTURES_PER_TASK = 256

TEXT = "text"
"""Column of the instance table with the texts."""

USER_CODE = ("torch",)
"""Kinds of data sets whose opening imports the user's code."""


@dataclass(frozen=True, slots=True)
class GallerySource:
    """Where pictures come from."""

    dataset: Dataset | None = None
    """None: no pictures are cut."""
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    keeps_pictures: bool = False
    """Whether those that the store has stay, since others cannot be cut."""
    tokenizer: Tokenizer | None = None
    """Of texts, which the store has itself: examples are these, with their tokens."""

    @property
    def has_any(self) -> bool:
        """Whether examples have pictures or texts."""
        has_own = self.dataset is not None or self.tokenizer is not None
        return has_own or self.keeps_pictures


@dataclass(frozen=True, slots=True)
class ExamplesReport:
    """What was written for one layer."""

    layer: str
    n_examples: int
    n_pictures: int
    n_unreadable: int
    """Examples without a picture: not read, not readable any more, or no picture."""


@dataclass(frozen=True, slots=True)
class _Request:
    """One picture to cut."""

    place: int
    """Row-major index over channels and ranks."""
    instance: int
    box: tuple[float, float, float, float]
    """In pixels of the network's input."""


@dataclass(frozen=True, slots=True)
class _Cut:
    place: int
    box: tuple[float, float, float, float]
    """In pixels of the stored image."""
    picture: bytes


def layers_with_peaks(store: Store) -> tuple[Layer, ...]:
    """Return the shown layers of which extraction kept the strongest instances."""
    kept = store.stored.places
    return tuple(x for x in store.shown_layers if f"peaks/{x.name}/value" in kept)


def open_source(
    store: Store, dataset: Dataset | None, *, trust: bool
) -> tuple[GallerySource, str]:
    """Open what pictures are cut from.

    Parameters
    ----------
    store
        The run.
    dataset
        The run's data set; None opens the one that the plan names.
    trust
        Whether that may import the user's code.

    Returns
    -------
    tuple
        The source, and why no pictures are cut; an empty text if they are.

    Raises
    ------
    PlanMismatchError
        If the data set is not that of the run.
    """
    config = store.plan.dataset
    if store.plan.preprocessing.kind == "text" and TEXT in store.columns:
        return _source_of_texts(store, trust=trust)
    if len(store.plan.architecture.input_shape) < 2:
        return GallerySource(), ""  # rows of numbers have no pictures
    if dataset is None and config.kind in USER_CODE and not trust:
        why = (
            f"the data set {config.source!r} is code, which is imported only with "
            "trust (--trust)"
        )
        return _without_data(store, why)
    try:
        dataset = dataset or open_dataset(config, trust=trust)
    except (InputError, MissingDependencyError, OSError) as error:
        return _without_data(store, f"the data set cannot be opened: {error}")
    planned = store.plan.fingerprints["dataset"]
    if dataset.fingerprint != planned:
        msg = (
            f"the data set has the fingerprint {dataset.fingerprint[:12]}; the store "
            f"{store.url!r} was made from {planned[:12]}: pictures would show other "
            "instances. Use the same data set, or derive without pictures "
            "(--no-pictures)"
        )
        raise PlanMismatchError(msg)
    ordered = in_store_order(dataset, store.positions())
    return GallerySource(ordered, store.plan.preprocessing), ""


def _source_of_texts(store: Store, *, trust: bool) -> tuple[GallerySource, str]:
    config = store.plan.preprocessing
    if not trust and imports_code(config.tokenizer):
        why = (
            f"the tokenizer {config.tokenizer!r} is code, which is imported only with "
            "trust (--trust)"
        )
        return _without_data(store, why)
    try:
        tokenizer = open_tokenizer(config.tokenizer)
    except (InputError, MissingDependencyError, OSError) as error:
        return _without_data(store, f"the tokenizer cannot be opened: {error}")
    return GallerySource(preprocessing=config, tokenizer=tokenizer), ""


def _without_data(store: Store, why: str) -> tuple[GallerySource, str]:
    """Return the source of no new pictures, and what is to be said."""
    if not _has_pictures(store):
        return GallerySource(), f"examples have no pictures: {why}"
    return GallerySource(keeps_pictures=True), (
        f"examples keep the pictures that they have, and get no new ones: {why}"
    )


def _has_pictures(store: Store) -> bool:
    path = "artifacts/examples"
    if not store.groups.is_complete(path):
        return False
    return bool(store.groups.attributes(path).get("has_pictures"))


def write_examples(
    store: Store, client: Client | None, source: GallerySource
) -> Iterator[ExamplesReport]:
    """Write examples of every shown layer, with pictures where there is a source.

    Parameters
    ----------
    store
        Opened for writing.
    client
        Client of a running cluster; None works in this process.
    source
        What pictures are cut from.

    Yields
    ------
    ExamplesReport
        Report of each layer, in order of computation.

    Raises
    ------
    TaskError
        If a task failed on a worker.
    """
    path = "artifacts/examples"
    layers = layers_with_peaks(store)
    names, shared = [layer.name for layer in layers], Shared(source)
    merging = _run(client, _merged_peaks, names, Shared(store.url))
    merged = dict(merging)
    kept = _kept_examples(store, names) if source.keeps_pictures else {}
    if kept.keys() == merged.keys() != set() and all(
        _are_of(kept[name], merged[name]) for name in names
    ):
        # Nothing is written, and so nothing can get lost on the way.
        yield from (_report(name, merged[name], kept[name]) for name in names)
        return
    store.groups.start(path)
    for layer in layers:
        peaks = merged[layer.name]
        requests = _requests(store, layer, peaks) if source.dataset else []
        tasks = [
            tuple(requests[i : i + PICTURES_PER_TASK])
            for i in range(0, len(requests), PICTURES_PER_TASK)
        ]
        cuts = [cut for _, part in _run(client, _cut, tasks, shared) for cut in part]
        if source.tokenizer is not None:
            cuts = _text_cuts(store, layer, peaks, source)
        if layer.name in kept:
            cuts = _kept_cuts(kept[layer.name], peaks)
        report = _write_layer(store, f"{path}/{layer.name}", layer.name, peaks, cuts)
        yield report
    store.groups.finish(
        path,
        {
            "layers": [layer.name for layer in layers],
            "has_pictures": source.has_any,
        },
    )


def _kept_examples(store: Store, names: Sequence[str]) -> dict[str, Examples]:
    stored = store.groups.attributes("artifacts/examples")["layers"]
    return {name: read_examples(store, name) for name in names if name in stored}


def _are_of(examples: Examples, peaks: Peaks) -> bool:
    """Whether examples are those of the same peaks."""
    return np.array_equal(examples.instance, peaks.instance) and np.array_equal(
        examples.position, peaks.position
    )


def _report(layer: str, peaks: Peaks, examples: Examples) -> ExamplesReport:
    n_examples = int((peaks.instance >= 0).sum())
    n_pictures = int((np.diff(examples.picture_offsets) > 0).sum())
    return ExamplesReport(layer, n_examples, n_pictures, n_examples - n_pictures)


def _kept_cuts(examples: Examples, peaks: Peaks) -> list[_Cut]:
    """Return the pictures of instances that are still among a channel's strongest."""
    cuts = []
    n_ranks = peaks.instance.shape[1]
    for channel, (before, now) in enumerate(
        zip(examples.instance, peaks.instance, strict=True)
    ):
        ranks = {int(instance): rank for rank, instance in enumerate(before)}
        for rank, instance in enumerate(now):
            old = ranks.get(int(instance))
            if instance < 0 or old is None:
                continue
            left, top, right, bottom = examples.box[channel, old].tolist()
            picture = examples.stored(channel, old)
            if picture:
                place = channel * n_ranks + rank
                cuts.append(_Cut(place, (left, top, right, bottom), picture))
    return cuts


def _run(
    client: Client | None,
    function: Callable[[Any, Any], Any],
    items: Sequence[Any],
    shared: Shared,
) -> Iterator[tuple[Any, Any]]:
    """Run ``function(item, shared)`` for every item; pairs of item and value."""
    if client is None:
        for item in items:
            yield item, function(item, shared.value)
        return
    for outcome in run_tasks(client, function, items, shared=shared):
        if outcome.error is None:
            yield outcome.item, outcome.value
        elif isinstance(outcome.error, NnvizError):
            raise outcome.error
        else:
            msg = f"a task that makes examples failed: {outcome.error!r}"
            raise TaskError(msg) from outcome.error


def _merged_peaks(layer: str, url: str) -> Peaks:
    """Merge the peaks of all chunks, some at a time."""
    store = Store.open(url)
    n_chunks = len(store.chunks)
    n_ranks = store.plan.extraction.examples_per_channel
    best: list[Peaks] = []
    for first in range(0, n_chunks, CHUNKS_AT_A_TIME):
        last = min(n_chunks, first + CHUNKS_AT_A_TIME)
        instance, position, value = (
            store.read(f"peaks/{layer}/{part}", first, last)
            for part in ("instance", "position", "value")
        )
        parts = [Peaks(instance[i], position[i], value[i]) for i in range(last - first)]
        best = [merge_peaks([*best, *parts], n_ranks)]
    return best[0]


def _requests(store: Store, layer: Layer, peaks: Peaks) -> list[_Request]:
    """Return what is to be cut, by instance, so that each is read in one task only."""
    shape = store.plan.architecture.input_shape
    size = (shape[-2], shape[-1]) if len(shape) >= 2 else (1, 1)
    boxes = input_boxes(layer, peaks.position, size).reshape(-1, 4)
    instances = peaks.instance.ravel()
    places = np.flatnonzero(instances >= 0)
    order = places[np.argsort(instances[places], kind="stable")]
    return [
        _Request(int(place), int(instances[place]), _as_box(boxes[place]))
        for place in order
    ]


def _as_box(values: NDArray[np.float64]) -> tuple[float, float, float, float]:
    left, top, right, bottom = values.tolist()
    return left, top, right, bottom


def _cut(requests: Sequence[_Request], source: GallerySource) -> list[_Cut]:
    """Cut pictures; instances that are no pictures are left out."""
    dataset, config = source.dataset, source.preprocessing
    assert dataset is not None

    @functools.lru_cache(maxsize=1)
    def drawing(instance: int) -> Any:
        try:
            return draw(patiently(dataset.read, instance), config)
        except UnreadableInstanceError:
            return None

    cuts = []
    for request in requests:
        drawn = drawing(request.instance)
        if drawn is not None:
            box = drawn.box_of(request.box, config)
            cuts.append(_Cut(request.place, box, cut_picture(drawn, box)))
    return cuts


def _text_cuts(
    store: Store, layer: Layer, peaks: Peaks, source: GallerySource
) -> list[_Cut]:
    """Return the texts of a layer's examples, with what each maximum sees."""
    tokenizer, limit = source.tokenizer, source.preprocessing.max_length
    assert tokenizer is not None
    texts = store.column(TEXT)
    tokens: dict[int, list[Token]] = {}
    nowhere = (np.nan,) * 4
    cuts = []
    n_ranks = peaks.instance.shape[1]
    for channel, rank in np.argwhere(peaks.instance >= 0).tolist():
        instance = int(peaks.instance[channel, rank])
        text = str(texts[instance])
        if instance not in tokens:
            try:
                tokens[instance] = tokenizer.tokens_of(text, limit)
            except UnreadableInstanceError:
                tokens[instance] = []
        position = int(peaks.position[channel, rank])
        example = seen_in_text(layer, text, tokens[instance], position)
        cuts.append(_Cut(channel * n_ranks + rank, nowhere, example.to_bytes()))
    return cuts


def seen_in_text(
    layer: Layer, text: str, tokens: Sequence[Token], position: int
) -> TextExample:
    """Return a text with the tokens that a layer sees at one of its positions.

    Parameters
    ----------
    layer
        Of the network.
    text
        The instance.
    tokens
        Its tokens; none where they are not known.
    position
        Row-major, of the layer.
    """
    place = layer.token_of(position)
    token = Token("")
    if place is not None and place < len(tokens):
        token = tokens[place]
    first, stop = layer.tokens_of(position) or (0, 0)
    seen = [each for each in tokens[first:stop] if each.start < each.stop]
    span = (seen[0].start, seen[-1].stop) if seen else (token.start, token.stop)
    return TextExample.at(text, span, token.text)


def seen_in_picture(
    layer: Layer,
    drawing: Drawing,
    config: PreprocessingConfig,
    position: int,
    *,
    input_size: tuple[int, int],
) -> bytes:
    """Return what a layer sees of a picture at one of its positions, as a file.

    Parameters
    ----------
    layer
        Of the network.
    drawing
        The instance.
    config
        How it is prepared.
    position
        Row-major, of the layer.
    input_size
        Height and width of the network's input in pixels.
    """
    box = input_boxes(layer, np.array([position], dtype=np.int32), input_size)[0]
    return cut_picture(drawing, drawing.box_of(_as_box(box), config))


def _write_layer(
    store: Store, path: str, layer: str, peaks: Peaks, cuts: Sequence[_Cut]
) -> ExamplesReport:
    n_channels, n_ranks = peaks.instance.shape
    box = np.full((n_channels * n_ranks, 4), np.nan, dtype=np.float32)
    pictures = [b""] * (n_channels * n_ranks)
    for cut in cuts:
        box[cut.place] = cut.box
        pictures[cut.place] = cut.picture
    picture_bytes, picture_offsets = pack_pictures(pictures)
    ranked = ("channel", "rank")
    members: dict[str, tuple[NDArray[Any], tuple[str, ...]]] = {
        "instance": (peaks.instance, ranked),
        "value": (peaks.value, ranked),
        "position": (peaks.position, ranked),
        "box": (box.reshape(n_channels, n_ranks, 4), (*ranked, "edge")),
        "picture_bytes": (picture_bytes, ("byte",)),
        "picture_offsets": (picture_offsets, ("channel x rank + 1",)),
    }
    for name, (values, dimensions) in members.items():
        store.groups.write_member(f"{path}/{name}", values, dimensions=dimensions)
    n_examples = int((peaks.instance >= 0).sum())
    return ExamplesReport(layer, n_examples, len(cuts), n_examples - len(cuts))
