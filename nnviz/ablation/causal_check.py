"""Does a graph matter? What the network loses without its channels, and without others.

For each treatment (``channel_sets``) and sampled instance the class's logit, its
probability and the prediction are known; the sample is the same for all treatments, so
that differences are paired. With m the mean logit of a subset's sample,

    drop = m(none) - m(treatment)
    share lost = drop / (m(none) - m(all))                                  eq. (1)

where ``all`` replaces every channel of the layers: what is left then says nothing about
the instance. The share kept by a graph alone, one minus eq. (1), is its faithfulness
[1]_. It may exceed 1, or be negative.

Symbols: S subsets, T treatments, n instances of a sample, R random draws.

References
----------
.. [1] Marks et al., "Sparse feature circuits", ICLR 2025, section 3: faithfulness and
   completeness of a circuit, between the full and the fully ablated network.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.ablation.treatments import ALL_LAYERS, SetName, Treatment
from nnviz.formatting import html_table, text_table
from nnviz.statistics import draw_deviation, half_width, mean_of, standard_error

__all__ = ["CausalCheck", "Effect"]

_SETS: tuple[tuple[str, SetName], ...] = (
    ("the graph's channels", "graph"),
    ("as many, most often on top", "active"),
    ("as many, least scored", "least"),
    ("as many at random", "random"),
)
_KEPT: tuple[tuple[str, SetName], ...] = (
    ("all but the graph's", "graph"),
    ("all but as many at random", "random"),
)
"""What is said of each set, in the order in which it is shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """What a treatment does in each subset, shape (S,); means over instances and draws.

    NaN for a subset without instances.
    """

    drop: NDArray[np.float64]
    """Of the class's logit."""
    error: NDArray[np.float64]
    """Standard error of `drop` over instances; NaN for one instance."""
    spread: NDArray[np.float64]
    """Standard deviation of `drop` between draws; 0 for sets that are not drawn."""
    share: NDArray[np.float64]
    """Of the logit that is lost, eq. (1); NaN where nothing can be lost."""
    probability: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    """Fraction predicted as its label; where there is none, as without ablation."""


@dataclass(frozen=True, slots=True, eq=False)
class CausalCheck:
    """The outputs of sampled instances under every treatment."""

    subsets: str
    """Name of the collection."""
    names: tuple[str, ...]
    """Of its subsets that were looked at, (S,)."""
    graph: Mapping[str, Any]
    """Preset, weight, scoring and what else says which graph it is."""
    options: Mapping[str, Any]
    """Seed, draws, numbers of instances."""
    n_channels: Mapping[str, int]
    """Of each layer in which channels were ablated, in order of computation."""
    n_kept: NDArray[np.int64]
    """How many of them the graph has, shape (S, layer)."""
    treatments: tuple[Treatment, ...]
    """(T,)."""
    instance: NDArray[np.int64]
    """The samples, shape (S, n); -1 behind a smaller one."""
    wanted: NDArray[np.int32]
    """Class that is right: the label, else the prediction of the run; shape (S, n)."""
    logit: NDArray[np.float32]
    """Shape (S, T, n); NaN behind a smaller sample."""
    probability: NDArray[np.float32]
    """Shape (S, T, n)."""
    prediction: NDArray[np.int32]
    """Shape (S, T, n)."""
    problems: tuple[str, ...] = ()
    """What is not as one would expect; one sentence each."""

    @property
    def n_instances(self) -> NDArray[np.int64]:
        """Size of each sample, shape (S,)."""
        sizes: NDArray[np.int64] = (self.instance >= 0).sum(axis=1)
        return sizes

    def drops(
        self, what: SetName, *, keeps: bool = False, layer: str = ALL_LAYERS
    ) -> NDArray[np.float64]:
        """Return how far each instance's logit drops, shape (S, draw, n).

        Parameters
        ----------
        what, keeps, layer
            Values that name the treatment.
        """
        logit = self.logit.astype(np.float64)
        rows = self._rows(what, keeps=keeps, layer=layer)
        return logit[:, self._rows("none")] - logit[:, rows]

    def has(
        self, what: SetName, *, keeps: bool = False, layer: str = ALL_LAYERS
    ) -> bool:
        """Return whether a treatment was tried."""
        return bool(self._rows(what, keeps=keeps, layer=layer))

    def effect(
        self,
        what: SetName,
        *,
        keeps: bool = False,
        layers: Sequence[str] = (ALL_LAYERS,),
    ) -> Effect:
        """Return what a treatment does; each layer alone: its mean over some layers.

        Parameters
        ----------
        what, keeps
            Values that name the treatment, which was tried.
        layers
            In which layer it is done, or in which, one at a time.
        """
        rows = [x for y in layers for x in self._rows(what, keeps=keeps, layer=y)]
        by_layer = [self.drops(what, keeps=keeps, layer=layer) for layer in layers]
        drops = np.mean(by_layer, axis=0)
        mean, most = mean_of(drops.mean(axis=1)), mean_of(self.drops("all")[:, 0])
        is_right = (self.prediction[:, rows] == self.wanted[:, None]).mean(axis=1)
        is_right[self.instance < 0] = np.nan
        return Effect(
            drop=mean,
            error=standard_error(drops.mean(axis=1)),
            spread=np.mean([draw_deviation(mean_of(one)) for one in by_layer], axis=0),
            share=mean / np.where(most != 0, most, np.nan),
            probability=mean_of(self.probability[:, rows].astype(np.float64).mean(1)),
            accuracy=mean_of(is_right),
        )

    def advantage(
        self, *, over: SetName = "random", layers: Sequence[str] = (ALL_LAYERS,)
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how much further the logit drops by the graph than by another set.

        Parameters
        ----------
        over
            The other set; ``random`` is the mean over the draws.
        layers
            As in :meth:`effect`.

        Returns
        -------
        tuple
            Mean paired difference and its standard error, each (S,). The error is that
            of both samples, of instances and of draws.
        """
        graph = np.mean([self.drops("graph", layer=x)[:, 0] for x in layers], axis=0)
        other = np.mean([self.drops(over, layer=layer) for layer in layers], axis=0)
        paired, n_draws = graph - other.mean(axis=1), other.shape[1]
        of_draws = draw_deviation(mean_of(other)) ** 2 / n_draws
        return mean_of(paired), np.sqrt(standard_error(paired) ** 2 + of_draws)

    def beaten(
        self, what: SetName = "graph", *, layers: Sequence[str] = (ALL_LAYERS,)
    ) -> NDArray[np.float64]:
        """Return in which part of the random draws a set harms more than they, (S,).

        One half where it is no better than chance; above R of R + 1 draws in one time
        of R + 1 only, if any channels of that number would do.

        Parameters
        ----------
        what
            The set.
        layers
            As in :meth:`effect`; each draw in each layer counts.
        """
        parts = []
        for layer in layers:
            mine = mean_of(self.drops(what, layer=layer)[:, :1])
            draws = mean_of(self.drops("random", layer=layer))
            part = np.where(mine == draws, 0.5, mine > draws)
            parts.append(np.where(np.isnan(draws), np.nan, part))
        return mean_of(np.concatenate(parts, axis=1))

    def overall(self, *, by_layer: bool = False) -> list[dict[str, Any]]:
        """Return a row for each treatment: means over the subsets.

        Parameters
        ----------
        by_layer
            Whether each layer is ablated alone, and the means are over layers, too;
            empty if that was not tried.

        Returns
        -------
        list of dict
            ``interval`` is the half width of the 95 % interval of the drop, over
            subsets; with one subset, over its instances. ``beaten`` is the fraction of
            random draws that harm less.
        """
        layers = tuple(self.n_channels) if by_layer else (ALL_LAYERS,)
        sets = [
            (x, what, False) for x, what in _SETS if self.has(what, layer=layers[0])
        ]
        if by_layer and not sets:
            return []
        if not by_layer:
            kept = [(x, what, True) for x, what in _KEPT if self.has(what, keeps=True)]
            ends = [("nothing", "none", False)], [("all", "all", False)]
            sets = [*ends[0], *sets, *kept, *ends[1]]  # type: ignore[list-item]
        most = float(mean_of(mean_of(self.drops("all")[:, 0])))
        rows = []
        for text, what, keeps in sets:
            effect = self.effect(what, keeps=keeps, layers=layers)
            drop = float(mean_of(effect.drop))
            row = {
                "ablated": text,
                "channels": self._n_ablated(what, keeps=keeps) / len(layers),
                "drop": drop,
                "interval": half_width(effect.drop, effect.error, self.n_instances),
                "spread": float(mean_of(effect.spread)),
                "share": drop / most if most else math.nan,
                "probability": float(mean_of(effect.probability)),
                "accuracy": float(mean_of(effect.accuracy)),
            }
            compares = what in ("graph", "active", "least") and not keeps
            if self.has("random"):
                beaten = self.beaten(what, layers=layers) if compares else [math.nan]
                row["beaten"] = float(mean_of(np.asarray(beaten)))
            rows.append(row)
        return rows

    def by_subset(self) -> list[dict[str, Any]]:
        """Return a row for each subset: the graph beside the other sets."""
        graph, none = self.effect("graph"), self.effect("none")
        columns: dict[str, Sequence[Any] | NDArray[Any]] = {
            "subset": self.names,
            "instances": self.n_instances,
            "channels": self.n_kept.sum(axis=1),
            "drop": graph.drop,
            "error": graph.error,
            "active": self.effect("active").drop,
            "least": self.effect("least").drop,
        }
        if self.has("random"):
            random = self.effect("random")
            columns |= {
                "random": random.drop,
                "spread": random.spread,
                "beaten": self.beaten(),
            }
        columns |= {"accuracy": none.accuracy, "accuracy_without": graph.accuracy}
        return _as_rows(columns)

    def by_layer(self) -> list[dict[str, Any]]:
        """Return a row for each layer ablated alone, from the last to the first."""
        rows = []
        for number, (layer, n) in reversed(list(enumerate(self.n_channels.items()))):
            if not self.has("graph", layer=layer):
                return []
            row: dict[str, Any] = {"layer": layer, "channels": n}
            row["kept"] = float(self.n_kept[:, number].mean())
            for _, what in _SETS:
                if self.has(what, layer=layer):
                    name = "drop" if what == "graph" else what
                    row[name] = float(mean_of(self.effect(what, layers=[layer]).drop))
            if self.has("random"):
                random = self.effect("random", layers=[layer])
                row["spread"] = float(mean_of(random.spread))
                row["beaten"] = float(mean_of(self.beaten(layers=[layer])))
            rows.append(row)
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values; what is not known is None."""
        value = {
            "subsets": self.subsets,
            "graph": dict(self.graph),
            "options": dict(self.options),
            "overall": self.overall(),
            "each_layer": self.overall(by_layer=True),
            "by_subset": self.by_subset(),
            "by_layer": self.by_layer(),
            "problems": list(self.problems),
        }
        return _without_nan(value)  # type: ignore[no-any-return]

    def _rows(
        self, what: SetName, *, keeps: bool = False, layer: str = ALL_LAYERS
    ) -> list[int]:
        wanted = (what, keeps, layer)
        return [
            number
            for number, one in enumerate(self.treatments)
            if (one.what, one.keeps, one.layer) == wanted
        ]

    def _n_ablated(self, what: SetName, *, keeps: bool) -> float:
        """Return the mean number of ablated channels of a subset, in all layers."""
        total = sum(self.n_channels.values())
        if what in ("none", "all"):
            return 0.0 if what == "none" else float(total)
        kept = float(mean_of(self.n_kept.sum(axis=1)[self.n_instances > 0] + 0.0))
        return total - kept if keeps else kept

    def _tables(self) -> list[tuple[str, list[dict[str, Any]]]]:
        graph = ", ".join(
            value if isinstance(value, str) else f"{name} {value}"
            for name, value in self.graph.items()
        )
        title = (
            f"<nnviz.CausalCheck {self.subsets!r}> {graph}: "
            f"{len(self.names):,} subsets, {int(self.n_instances.sum()):,} instances, "
            f"mean ablation in {len(self.n_channels)} layers"
        )
        tables = [
            (title, []),
            ("in all layers at once", self.overall()),
            ("in each layer alone, means over layers", self.overall(by_layer=True)),
            ("by subset, in all layers at once", self.by_subset()),
            ("by layer, each alone", self.by_layer()),
        ]
        return [tables[0], *(table for table in tables[1:] if table[1])]

    def __repr__(self) -> str:
        texts = [text_table(title, _as_columns(rows)) for title, rows in self._tables()]
        return "\n".join([*texts, *self.problems])

    def _repr_html_(self) -> str:
        tables = [html_table(t, _as_columns(rows)) for t, rows in self._tables()]
        problems = [f"<div>{html.escape(text)}</div>" for text in self.problems]
        return "".join([*tables, *problems])


def _as_rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = [
        column.tolist() if isinstance(column, np.ndarray) else column
        for column in columns.values()
    ]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _as_columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    names = list(rows[0]) if rows else []
    return [
        (name.replace("_", " "), [_rounded(row[name]) for row in rows])
        for name in names
    ]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.2f}"
    return value


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
