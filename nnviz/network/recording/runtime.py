"""How is the network run on a worker? At its best on the worker's device, recorded.

Batch normalisation folded, channels last, no gradients; float32 unless another
precision was asked for. The same object serves planning (one batch) and extraction.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnviz.errors import DeviceLostError, PlanError, TaskMemoryError
from nnviz.network.analysis.analysis import analyse
from nnviz.network.analysis.instance_axes import record_by_instance
from nnviz.network.analysis.token_axes import record_other_length
from nnviz.network.arguments import counted_of
from nnviz.network.influence.inputs import EdgeInput, Strongest
from nnviz.network.influence.strongest_sources import strongest_sources
from nnviz.network.recording.cheap_maxima import find_cheap_maxima
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.gradients import Explained, GraphBytes
from nnviz.network.recording.made_up_batches import example_of, varied_from
from nnviz.network.recording.normalizing import normalize
from nnviz.network.recording.peak_places import layers_of_one_grid, peaks_of_pairs
from nnviz.network.recording.peaks import PeakTracker
from nnviz.network.recording.received import received_layers
from nnviz.network.recording.recorder import OnLayer, OnTarget, RecordedBatch, Recorder
from nnviz.network.recording.taps import EdgeTaps
from nnviz.network.top_channels import planned_targets
from nnviz.runs.architecture import Architecture, Layer
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig

__all__ = ["BatchResult", "NetworkRuntime", "Recording", "telling_faults"]

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What is kept of one batch, on the host."""

    logits: NDArray[np.float32] | None
    """Shape (instance, class); None if the network is no classifier."""
    activations: Mapping[str, NDArray[np.float32]]
    """Maxima by layer, shape (instance, channel)."""
    influences: Mapping[str, Strongest] = field(default_factory=dict)
    """The strongest sources of the kept targets, by target layer."""
    relevance: Mapping[str, Mapping[str, NDArray[np.float32]]] = field(
        default_factory=dict
    )
    """Of each shown layer, the parts of its channels' relevance by their names, shape
    (instance, channel), where gradients are recorded."""
    reached: frozenset[str] = frozenset()
    """Layers at which a gradient arrived; it is zero in other ones."""
    influence_s: float = 0.0
    """Seconds of the batch that its influences took."""


@contextlib.contextmanager
def telling_faults() -> Iterator[None]:
    """Say what faults of memory and of devices are, whatever library raises them.

    Raises
    ------
    TaskMemoryError
        Where there was not enough memory, on the host or on the device.
    DeviceLostError
        Where the device has failed, and with it everything of this process on it.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        first = str(error).partition("\n")[0]
        msg = f"not enough memory: {first or type(error).__name__}"
        raise TaskMemoryError(msg) from error
    except RuntimeError as error:
        first = str(error).partition("\n")[0]
        if "CUDA error" in first or "device-side assert" in first:
            msg = f"the GPU has failed: {first}"
            raise DeviceLostError(msg) from error
        if "can't allocate memory" in str(error):  # of the allocator for the host
            msg = f"not enough memory: {first}"
            raise TaskMemoryError(msg) from error
        raise


class NetworkRuntime:
    """A network on this process's device, optimised and hooked.

    Parameters
    ----------
    module
        The network, in evaluation mode; it is copied.
    architecture
        The layers to record.
    preprocessing
        How prepared instances are normalised.
    extraction
        Precision, memory format, folding, device and threads; targets and ranks.
    layer_dtypes
        In which dtype each layer is stored; float16 where it is not said. Top channels
        are those of the stored values.
    explained
        Of which outputs gradients are recorded; None: of none.

    Raises
    ------
    PlanError
        If the plan asks for CUDA and this process has none.
    """

    def __init__(
        self,
        module: nn.Module,
        architecture: Architecture,
        *,
        preprocessing: PreprocessingConfig,
        extraction: ExtractionConfig,
        layer_dtypes: Mapping[str, str] | None = None,
        explained: Explained | None = None,
    ) -> None:
        self.explained = explained
        self.architecture = architecture
        self.extraction = extraction
        self.layer_dtypes = layer_dtypes or {}
        self.device = _device(extraction.device)
        self._preprocessing = preprocessing
        self._channels_last = extraction.memory_format == "channels_last"
        self._dtype = _DTYPES[extraction.precision]
        self._lock = threading.Lock()
        if self.device.type == "cpu":
            torch.set_num_threads(extraction.threads_per_worker)
        example = example_of(architecture)
        network = optimize(
            module,
            memory_format=extraction.memory_format,
            fold_batch_norm=extraction.fold_batch_norm,
            architecture=architecture,
            batch=example,
        )
        # The network as it is run is recorded and analysed once, for all who ask.
        needs_taps = extraction.targets != "none" and bool(architecture.edges)
        taps = cheap_maxima = None
        if needs_taps or self.device.type == "cpu":
            analysis = analyse(
                record_by_instance(network, example),
                record_other_length(network, example),
                received_layers(architecture),
            )
            if needs_taps:
                taps = EdgeTaps(
                    analysis,
                    architecture,
                    device=self.device,
                    excluded=extraction.excluded_channels,
                )
            if self.device.type == "cpu":
                cheap_maxima = find_cheap_maxima(analysis, architecture)
        network = network.to(device=self.device, dtype=self._dtype)
        self._weights = (*network.parameters(), *network.buffers())
        self.model_bytes = sum(
            tensor.numel() * tensor.element_size() for tensor in self._weights
        )
        """Bytes of its parameters and buffers."""
        self._recorder = Recorder(
            network, architecture, taps=taps, cheap_maxima=cheap_maxima
        )
        self.one_grid: frozenset[str] = frozenset()
        """Layers in whose outputs the peaks of their targets are found."""
        if taps is not None and extraction.signal == "peak":
            varied = varied_from(example, architecture).to(self.device)
            if architecture.inputs is None and varied.is_floating_point():
                varied = varied.to(self._dtype)
            self.one_grid = layers_of_one_grid(self._recorder, varied)
        if explained is not None:
            example = example.to(self.device)
            if architecture.inputs is None and example.is_floating_point():
                example = example.to(self._dtype)
            self._recorder.prepare_gradients(example)

    def input_of(self, values: NDArray[Any]) -> Tensor:
        """Return prepared instances as the network's input, on its device.

        Parameters
        ----------
        values
            Shape (instance, ...): uint8 (N, H, W, C) for images.
        """
        on_device = torch.from_numpy(self._with_padding(values)).to(self.device)
        if self.architecture.inputs is not None:
            return on_device  # the network's parts are as it wants them
        batch = normalize(
            on_device, self._preprocessing, channels_last=self._channels_last
        )
        return batch.to(self._dtype) if batch.is_floating_point() else batch

    def _with_padding(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a batch of which an instance is padded, where batches may differ.

        Networks may take another way through their functions where nothing is padded,
        and are known by the way that they take with padding.
        """
        inputs, padding = self.architecture.inputs, self.architecture.padding
        if inputs is None or padding is None or padding.mode != "buckets":
            return values
        n_tokens = inputs.tokens_of(values.shape[1]) + 1
        if n_tokens > padding.longest or inputs.ends_in_padding(values).any():
            return values
        return inputs.repacked(values, n_tokens)

    def run(
        self,
        values: NDArray[Any],
        *,
        on_layer: OnLayer | None = None,
        on_target: OnTarget | None = None,
        labels: NDArray[np.integer] | None = None,
        explained: Explained | None = None,
    ) -> BatchResult:
        """Run one batch of prepared instances.

        Parameters
        ----------
        values
            Shape (instance, ...).
        on_layer
            Called with each layer, its output and its maxima.
        on_target
            Called with each layer that edges enter, its maxima, and what entered it.
        labels
            True classes, shape (instance,), -1 where there is none; gradients may be
            those of their outputs.
        explained
            Of which outputs gradients are recorded, if this runtime records any; None:
            of its own.
        """
        with self._lock:
            batch = self.input_of(values)
            recorded = self._recorder.run(
                batch,
                counted_of(batch, self.architecture.inputs),
                on_layer=on_layer,
                on_target=on_target,
                explained=explained or self.explained,
                labels=labels,
            )
            return _on_host(recorded)

    @property
    def since(self) -> Tensor | None:
        """From where on the maxima of the layer that is being handed over are found."""
        return self._recorder.since

    def graph_bytes(self, values: NDArray[Any]) -> int:
        """Return what a batch's forward pass keeps for its backward pass, in bytes.

        Parameters
        ----------
        values
            Prepared instances, shape (instance, ...).
        """
        if self.explained is None:
            return 0
        kept = GraphBytes()
        with kept:
            self.run(values, on_layer=kept.add_layer)
        return kept.without(self._weights)

    @contextlib.contextmanager
    def recording(
        self, start: int, *, labels: NDArray[np.integer] | None = None
    ) -> Iterator[Recording]:
        """Open the recording of one chunk.

        Parameters
        ----------
        start
            Its first instance.
        labels
            True classes of its instances, -1 where there is none; None: of none.
        """
        yield Recording(self, start, labels)


class Recording:
    """The batches of one chunk: influences, and every channel's strongest instances.

    Parameters
    ----------
    runtime
        The network.
    start
        First instance of the chunk.
    labels
        True classes of its instances, -1 where there is none; None: of none.
    """

    def __init__(
        self,
        runtime: NetworkRuntime,
        start: int,
        labels: NDArray[np.integer] | None = None,
    ) -> None:
        self._runtime = runtime
        self._first = self._next = start
        self._labels = labels
        ranks = runtime.extraction.examples_per_channel
        self._tracker = PeakTracker(ranks) if ranks else None

    def run(
        self,
        values: NDArray[Any],
        *,
        valid: NDArray[np.bool_],
        instances: NDArray[np.int64] | None = None,
    ) -> BatchResult:
        """Run the chunk's next batch.

        Parameters
        ----------
        values
            Prepared instances, shape (instance, ...).
        valid
            Which rows are instances that could be read, shape (instance,).
        instances
            Their numbers; None: those after the ones of the batch before. Rows beyond
            them fill the batch up.
        """
        numbers = np.arange(self._next, self._next + len(values))
        if instances is not None:
            numbers[: len(instances)] = instances
        self._next += len(values)
        labels = self._labels
        if labels is not None:
            places = numbers - self._first
            known = valid & (places < len(labels))
            own = labels[np.where(known, places, 0)] if len(labels) else -1
            labels = np.where(known, own, -1).astype(np.int64)
        batch = _BatchInProgress(self._runtime, self._tracker, numbers, valid.copy())
        wants_influence = self._runtime.extraction.targets != "none"
        result = self._runtime.run(
            values,
            on_layer=batch.on_layer,
            on_target=batch.on_target if wants_influence else None,
            labels=labels,
        )
        return replace(
            result, influences=batch.influences, influence_s=batch.influence_s
        )

    def peak_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays ``peaks/<layer>/...`` of the chunk, (1, channel, rank)."""
        arrays: dict[str, NDArray[Any]] = {}
        if self._tracker is None:
            return arrays
        for layer in self._runtime.architecture.shown:
            peaks = self._tracker.result(layer.name)
            arrays[f"peaks/{layer.name}/instance"] = peaks.instance[None]
            arrays[f"peaks/{layer.name}/position"] = peaks.position[None]
            arrays[f"peaks/{layer.name}/value"] = peaks.value[None]
        return arrays


class _BatchInProgress:
    """What is done with each layer of one batch while its output exists."""

    def __init__(
        self,
        runtime: NetworkRuntime,
        tracker: PeakTracker | None,
        instances: NDArray[np.int64],
        usable: NDArray[np.bool_],
    ) -> None:
        self._runtime = runtime
        self._tracker = tracker
        self._instances = instances
        self._usable = usable
        """Rows that were read and whose activations have been finite so far."""
        self._output: tuple[Tensor, Tensor | None] | None = None
        """Of the layer that is looked at, and which of its positions count."""
        self.influences: dict[str, Strongest] = {}
        self.influence_s = 0.0

    def on_layer(
        self,
        layer: Layer,
        output: Tensor,
        activations: Tensor,
        counted: Tensor | None,
    ) -> None:
        is_read = layer.name in self._runtime.one_grid
        # Kept until what enters the layer is looked at, which is next.
        self._output = (output, counted) if is_read else None
        if self._tracker is None or not layer.shown:
            return
        if not self._usable.all():
            dropped = torch.from_numpy(~self._usable)[:, None].to(activations.device)
            # A value that is not finite never counts as a peak.
            activations = activations.masked_fill(dropped, torch.nan)
        self._tracker.update(
            layer.name,
            output,
            activations,
            instances=self._instances,
            channel_axis=layer.channel_axis,
            token_axis=layer.token_axis,
            counted=counted,
            since=self._runtime.since,
        )

    def on_target(
        self, layer: Layer, activations: Tensor, inputs: list[EdgeInput]
    ) -> None:
        options = self._runtime.extraction
        # Waits for the device, which is the forward pass's time.
        values = activations.float().cpu().numpy()
        began = time.perf_counter()
        self._usable &= np.isfinite(values).all(axis=1)
        rows = np.flatnonzero(self._usable)
        excluded = options.excluded_channels.get(layer.name, ())
        if options.targets == "all":
            counted = np.setdiff1d(np.arange(layer.n_channels), excluded)
            instance = np.repeat(rows, len(counted))
            target = np.tile(counted, len(rows))
        else:
            dtype = self._runtime.layer_dtypes.get(layer.name, "float16")
            limit = np.finfo(dtype).max
            stored = np.clip(values[rows], -limit, limit).astype(dtype)
            row, target = planned_targets(stored, layer.name, options)
            instance = rows[row]
        places = None
        if self._output is not None:
            pairs = instance, target
            since = self._runtime.since
            places = peaks_of_pairs(layer, *self._output, inputs, values, pairs, since)
        self.influences[layer.name] = strongest_sources(
            inputs,
            (instance, target),
            ranks=options.ranks,
            extremum=options.extremum,
            signal=options.signal,
            positions=places,
            threads=options.threads_per_worker,
        )
        self.influence_s += time.perf_counter() - began
        self._output = None


def _on_host(recorded: RecordedBatch) -> BatchResult:
    logits = recorded.logits
    return BatchResult(
        logits=None if logits is None else logits.float().cpu().numpy(),
        activations={
            name: values.float().cpu().numpy()
            for name, values in recorded.activations.items()
        },
        relevance={
            name: {
                part: values.float().cpu().numpy()
                for part, values in found._asdict().items()
            }
            for name, found in recorded.gradients.items()
        },
        reached=frozenset(recorded.reached),
    )


def _device(wanted: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if wanted == "cuda" and not has_cuda:
        msg = (
            "the plan asks for extraction.device = 'cuda', and this process has no "
            "CUDA device; run on a worker with a GPU, or plan with device = 'auto'"
        )
        raise PlanError(msg)
    return torch.device("cuda" if has_cuda and wanted != "cpu" else "cpu")
