"""What is left of trained networks when some channels of a layer are replaced?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.causal_networks import Chain, Sample, Study
from benchmarks.causal_report import EXACT

__all__ = ["FRACTION", "KINDS", "MODES", "Asked", "Effect", "Kind", "Scores"]

FRACTION = 0.1
"""Of a layer's channels, at least one."""

ROWS = 256
"""Images that the network sees at once."""

Kind = Literal["mean", "zero", "resample", "other"]
"""What stands in place of a channel; ``other``: the mean of another class."""

KINDS: tuple[Kind, ...] = ("mean", "zero", "resample", "other")
MODES = ("taken", "alone")

Scores = dict[str, dict[str, NDArray[np.float64]]]
"""By way and layer: of every class and channel, shape (class, C)."""


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """What is left of some images under T treatments."""

    own: NDArray[np.float64]
    """Logit of the class, shape (T, n)."""
    others: NDArray[np.float64]
    """Mean of the other logits."""
    pair: NDArray[np.float64]
    """Logit of the class that it is compared with."""
    right: NDArray[np.float64]
    """1 where the class is predicted."""

    @classmethod
    def of(cls, logits: Tensor, wanted: int, other: int) -> Effect:
        """Return the numbers of logits of shape (T, n, class)."""
        values = logits.numpy().astype(np.float64)
        own = values[..., wanted]
        others = (values.sum(-1) - own) / (values.shape[-1] - 1)
        right = (values.argmax(-1) == wanted).astype(np.float64)
        return cls(own, others, values[..., other], right)


class Asked:
    """A network and its images; what stands in place of channels is computed once."""

    def __init__(self, chain: Chain, sample: Sample, study: Study) -> None:
        images, n_ranked = torch.from_numpy(sample.images), study.n_ranked
        self.chain = chain
        self.ranked, self.tested = images[:, :n_ranked], images[:, n_ranked:]
        self.kinds = KINDS if study.has_pairs else KINDS[:-1]
        self.wanted = sample.classes.tolist()
        self.classes = range(len(sample.classes))
        known = [chain.outputs(_last(x)) for x in self.ranked]
        number = len(chain.layers) - 1
        logits = [chain.logits_after(number, x[-1]).mean(0) for x in known]
        likely = torch.stack(logits)[:, sample.classes].numpy()
        np.fill_diagonal(likely, -np.inf)
        self.other = likely.argmax(axis=1)
        """Of each class, the one of the others whose logit is largest in its images."""
        self.means = [
            torch.stack([one[layer].mean((0, 2, 3)) for one in known])
            for layer in range(len(chain.layers))
        ]
        """Of each layer, by class, shape (class, C)."""

    def one_by_one(
        self, row: int, depths: Mapping[str, list[int]], n: int
    ) -> dict[tuple[Kind, int], NDArray[np.float64]]:
        """Return what the logit loses without each channel alone, in two halves.

        Returns
        -------
        dict
            By kind and number of the layer, shape (2, C).
        """
        images = _last(self.ranked[row, :n])
        outputs, found = self.chain.outputs(images), {}
        for layer in (x for part in depths.values() for x in part):
            masks = torch.eye(outputs[layer].shape[1], dtype=torch.bool)
            none = self._after(row, layer, outputs, masks[:1] & False, "zero", images)
            for kind in self.kinds:
                left = self._after(row, layer, outputs, masks, kind, images)
                lost = none.own - left.own
                if kind == "other":
                    lost = lost - (none.pair - left.pair)
                halves = lost[:, ::2].mean(1), lost[:, 1::2].mean(1)
                found[kind, layer] = np.array(halves)
        return found

    def losses(
        self,
        row: int,
        scores: Scores,
        single: Mapping[tuple[Kind, int], NDArray[np.float64]],
        depths: Mapping[str, list[int]],
    ) -> dict[tuple[str, str, str, str], NDArray[np.float64]]:
        """Return what one class loses, by way, mode, kind and depth.

        Returns
        -------
        dict
            Shape (4, n): of each tested image what its logit, that less the others' (or
            less the other class's) and the layer's share of what can be lost, and
            whether it is right; mean over the layers of a depth.
        """
        images = _last(self.tested[row])
        outputs = self.chain.outputs(images)
        ways = [*scores, EXACT, "everything"]
        found: dict[tuple[str, str, str, str], NDArray[np.float64]] = {}
        for kind in self.kinds:
            chosen = {
                layer: self._masks(row, layer, kind, scores, single, depths)
                for layer in range(len(outputs))
            }
            for mode in MODES:
                of_layer = {
                    x: masks if mode == "taken" else ~masks
                    for x, masks in chosen.items()
                }
                for depth, part in depths.items():
                    values = np.mean(
                        [
                            self._lost(row, x, outputs, of_layer[x], kind, images)
                            for x in part
                        ],
                        axis=0,
                    )
                    for way, one in zip(ways, values, strict=True):
                        found[way, mode, kind, depth] = one
            values = self._lost_in_all(row, outputs, chosen, kind, images)
            n_asked = sum(map(len, depths.values()))
            for way, one in zip(ways, values, strict=True):
                if way == EXACT and n_asked < len(outputs):
                    continue  # in the other layers it is not known
                found[way, "taken", kind, "all layers"] = one
        return found

    def _masks(
        self,
        row: int,
        layer: int,
        kind: Kind,
        scores: Scores,
        single: Mapping[tuple[Kind, int], NDArray[np.float64]],
        depths: Mapping[str, list[int]],
    ) -> Tensor:
        """Return which channels each way ranks first, then the bound's, and all."""
        name = self.chain.layers[layer]
        ranked = [values[name][row] for values in scores.values()]
        is_known = (kind, layer) in single
        ranked.append(single[kind, layer].mean(0) if is_known else ranked[0] * 0)
        size = len(ranked[0])
        masks = torch.zeros(len(ranked) + 1, size, dtype=torch.bool)
        n = max(1, round(FRACTION * size))
        for mask, values in zip(masks, ranked, strict=False):
            mask[torch.from_numpy(np.argsort(-values, kind="stable")[:n].copy())] = True
        masks[-1] = True
        return masks

    def _lost(
        self,
        row: int,
        layer: int,
        outputs: list[Tensor],
        masks: Tensor,
        kind: Kind,
        images: Tensor,
    ) -> NDArray[np.float64]:
        """Return what is lost by each way in one layer, shape (way, 3, n)."""
        # Many ways choose the same channels of a small layer.
        asked, place = torch.unique(
            torch.cat([masks[:1] & False, masks]), dim=0, return_inverse=True
        )
        left = self._after(row, layer, outputs, asked, kind, images)
        return _differences(left, place.numpy(), kind)

    def _lost_in_all(
        self,
        row: int,
        outputs: list[Tensor],
        chosen: Mapping[int, Tensor],
        kind: Kind,
        images: Tensor,
    ) -> NDArray[np.float64]:
        """Return what is lost by each way in all layers at once, shape (way, 3, n)."""
        n_ways = len(chosen[0]) + 1
        masks = [torch.cat([x[:1] & False, x]) for x in chosen.values()]
        in_place = self._in_place(row, kind, outputs, images)
        logits = []
        for part in torch.arange(n_ways).split(max(1, ROWS // len(images))):
            x = images.repeat(len(part), 1, 1, 1)
            for stage, mask, value in zip(
                self.chain.stages, masks, in_place, strict=True
            ):
                x = _replaced(stage(_last(x)), mask[part], value)
            logits.append(self.chain.head(x).unflatten(0, (len(part), -1)))
        left = self._effect(row, torch.cat(logits))
        return _differences(left, np.arange(n_ways), kind)

    def _after(
        self,
        row: int,
        layer: int,
        outputs: list[Tensor],
        masks: Tensor,
        kind: Kind,
        images: Tensor,
    ) -> Effect:
        """Return what is left when each row of masks is replaced in one layer."""
        output = outputs[layer]
        value = self._in_place(row, kind, outputs, images)[layer]
        logits = []
        for part in masks.split(max(1, ROWS // len(output))):
            x = output.repeat(len(part), 1, 1, 1)
            x = _last(_replaced(x, part, value))
            values = self.chain.logits_after(layer, x)
            logits.append(values.unflatten(0, (len(part), -1)))
        return self._effect(row, torch.cat(logits))

    def _in_place(
        self, row: int, kind: Kind, outputs: list[Tensor], images: Tensor
    ) -> list[Tensor]:
        """Return what channels are replaced by, by layer: (C, 1, 1) or (n, C, H, W)."""
        if kind == "mean":
            return [x.mean(0)[:, None, None] for x in self.means]
        if kind == "other":
            return [x[self.other[row]][:, None, None] for x in self.means]
        if kind == "zero":
            return [torch.zeros(x.shape[1], 1, 1) for x in self.means]
        return self._drawn(row, len(images))

    def _drawn(self, row: int, n: int) -> list[Tensor]:
        """Return the outputs for n ranked images of any class, the same every time."""
        draw = np.random.default_rng((row, n))
        n_classes, n_ranked = self.ranked.shape[:2]
        classes, places = (
            draw.integers(n_classes, size=n),
            draw.integers(n_ranked, size=n),
        )
        return self.chain.outputs(_last(self.ranked[classes, places]))

    def _effect(self, row: int, logits: Tensor) -> Effect:
        return Effect.of(logits, self.wanted[row], self.wanted[self.other[row]])


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _replaced(x: Tensor, masks: Tensor, value: Tensor) -> Tensor:
    """Replace channels: x of (T * n, C, H, W), masks of (T, C)."""
    rows = x.unflatten(0, (len(masks), -1))
    return torch.where(masks[:, None, :, None, None], value, rows).flatten(0, 1)


def _differences(
    left: Effect, place: NDArray[np.int64], kind: Kind
) -> NDArray[np.float64]:
    """Return losses against the first place, shape (places - 1, 3, n)."""
    own = left.own[place[0]] - left.own[place[1:]]
    beside = left.pair if kind == "other" else left.others
    others = beside[place[0]] - beside[place[1:]]
    return np.stack([own, own - others, left.right[place[1:]]], axis=1)
