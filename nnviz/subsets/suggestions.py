"""Which subsets are worth a look? Where a network errs more than elsewhere.

Four kinds are looked for, on one half of the instances:

1. *slices*: values of columns and top channels, and pairs of them, with high error
   (:mod:`nnviz.subsets.slices`), one after the other: errors that a slice explains
   count less in the search for the next ones [1]_, or else parts of the largest slice
   would hide all others;
2. *confusions*: pairs of classes, the first taken for the second more than others are;
3. *clusters* of wrong instances among the activations of a layer, with all instances
   that lie as near to the cluster's centre as its own;
4. *unusual* instances: far from their class's mean in a layer, in units of its spread.

What was found is then counted on the other half, which had no say in the choice: there
an excess of errors is tested and given an interval. With p-values adjusted for the
number of suggestions, data without such subsets have a significant one in at most 5 %
of all runs. A slice that lies in one that was found before it is compared with the
rest of that one, because only there it says something new.

Symbols: N instances, C channels of a layer.

References
----------
.. [1] Lavrač, Kavšek, Flach, Todorovski, "Subgroup discovery with CN2-SD", JMLR 5,
   2004, section 3.3: weighted covering.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from nnviz.engine.wanted import check_wanted
from nnviz.errors import DatasetError
from nnviz.formatting import said_p_value
from nnviz.significance import familywise_p_values
from nnviz.statistics import exact_interval
from nnviz.store.store import Store
from nnviz.subsets.columns import InstanceColumns
from nnviz.subsets.slices import features_of, find_slices
from nnviz.subsets.value_groups import value_groups
from nnviz.subsets.writing import quoted

__all__ = ["Suggestion", "searched_layers", "suggest_subsets"]

Mask = NDArray[np.bool_]

MIN_SIZE = 20
"""Smallest number of instances of a suggestion, in the half that it is found in."""

CONTAINED = 0.8
"""Share of a slice from which on it is a part of another one."""

SIMILAR = 0.5
"""Jaccard index from which on two suggestions are one."""

MAX_CLUSTERED = 4_000
"""Wrong instances among which clusters are looked for, drawn by the seed."""

N_CLUSTERS = 8
UNUSUAL_SHARE = 0.02
LEVEL = 0.05
TURNS = ("slice", "confusion", "slice", "cluster", "slice", "unusual")

FOLLOWING = (
    "correct",
    "loss",
    "confidence",
    "probability",
    "margin",
    "entropy",
    "rank",
)
"""Columns that follow from the prediction: slices of them say nothing new."""


@dataclass(frozen=True, slots=True, eq=False)
class Suggestion:
    """A subset that is worth a look, and what is known of its errors."""

    kind: Literal["slice", "confusion", "cluster", "unusual"]
    name: str
    query: str
    """In the query language; empty where it cannot be said there."""
    instances: NDArray[np.int64]
    """All of its usable instances, ascending; for a confusion those that are taken
    for the other class."""
    n_held_out: int
    """Instances of the half that had no say; for a confusion, those of the class."""
    rate: float
    """Fraction of these that are wrong; for a confusion, taken for the other class."""
    interval: tuple[float, float]
    """Exact 95 % interval of `rate` (Clopper and Pearson)."""
    others_rate: float
    """The same fraction among the other instances of that half; for a part of a slice
    that was found before, among those of the slice."""
    p_value: float
    """One-sided, Fisher's exact test, adjusted for the number of suggestions
    (Holm)."""
    sentence: str
    """What was found, in words."""

    @property
    def is_significant(self) -> bool:
        """Whether chance alone is an unlikely reason, at 5 %."""
        return self.p_value < LEVEL

    def __repr__(self) -> str:
        return f"<nnviz.Suggestion: {self.sentence}>"

    def to_json(self) -> dict[str, Any]:
        """Return the suggestion as JSON values, with the number of its instances."""
        return {
            "kind": self.kind,
            "name": self.name,
            "query": self.query,
            "instances": len(self.instances),
            "held_out": self.n_held_out,
            "rate": None if math.isnan(self.rate) else self.rate,
            "interval": list(self.interval),
            "others_rate": None if math.isnan(self.others_rate) else self.others_rate,
            "p_value": self.p_value,
            "significant": self.is_significant,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    kind: Literal["slice", "confusion", "cluster", "unusual"]
    name: str
    query: str
    members: Mask
    """What is shown."""
    asked: Mask
    """Among which `bad` is counted."""
    bad: Mask
    """What is counted: wrong ones, or those that are taken for a class."""
    among: Mask
    """Instances that `asked` is compared with, itself included."""
    rest: str = "the others"
    """Those of them that are not asked, in words."""


def searched_layers(store: Store) -> tuple[str, ...]:
    """Return the shown layers without the output, which says what was predicted."""
    shown, last = store.shown_layers, store.layers[-1]
    is_output = not last.positions and last.n_channels == len(store.class_names)
    return tuple(layer.name for layer in shown if not is_output or layer != last)


def suggest_subsets(
    columns: InstanceColumns,
    *,
    n: int = 10,
    layers: Iterable[str] = (),
    seed: int = 0,
) -> list[Suggestion]:
    """Find subsets in which a classifier errs more than elsewhere, best first.

    Parameters
    ----------
    columns
        Of the store, with labels and predictions.
    n
        Return at most this number.
    layers
        Layers whose top channels may be features, and the last of which is searched
        for clusters and unusual instances; empty: columns of the table only.
    seed
        Seed of the halves and of the clusters.

    Returns
    -------
    list
        Significant ones first; the kinds take turns, every second turn is a slice's;
        within a kind by the strength of the excess on the held-out half. No two share
        more than half of their instances.

    Raises
    ------
    DatasetError
        If the run has no labels or no predictions.
    NotWantedError
        If nobody waits for them any more (:mod:`nnviz.engine.wanted`).
    """
    label, prediction = columns.column("label"), columns.column("prediction")
    if label.kind != "class":
        msg = (
            "suggestions are about errors, and with several labels of an instance none "
            "is the one that was missed; write queries instead"
        )
        raise DatasetError(msg)
    usable = ~label.null & ~prediction.null & columns.usable
    if not usable.any():
        msg = (
            "suggestions are about errors, and no instance of the run has a label and "
            "a prediction; give the data set a label column, or write queries instead"
        )
        raise DatasetError(msg)
    wrong = usable & (label.values != prediction.values)
    rng = np.random.default_rng(seed)
    find = rng.random(columns.n_instances) < 0.5
    search = _Search(columns, usable, wrong, find & usable, ~find & usable, rng)
    layers = tuple(layers)
    candidates = [*search.slices(layers, n), *search.confusions(n)]
    if layers:
        candidates += [*search.clusters(layers[-1]), *search.unusual(layers[-1])]
    return search.tested(_different(candidates))[:n]


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    columns: InstanceColumns
    usable: Mask
    wrong: Mask
    find: Mask
    held_out: Mask
    rng: np.random.Generator

    def slices(self, layers: tuple[str, ...], n: int) -> Iterator[_Candidate]:
        """Yield values, top channels, and pairs of them, with high error."""
        # Of a thousand classes, the masks of a million instances are a gigabyte.
        made = [(c, q, np.flatnonzero(m)) for c, q, m in self._table_features()]
        names = [query for _, query, _ in made]
        column_of = [column for column, _, _ in made]
        rows_of = [rows for _, _, rows in made]
        blocks = [features_of(rows_of, self.columns.n_instances)] if made else []
        for layer in layers:
            check_wanted()
            block = sparse.csc_array(self.columns.channels.top(layer))
            names += [
                f"top({quoted(layer)}, {channel})" for channel in range(block.shape[1])
            ]
            first = max(column_of, default=-1) + 1
            column_of += range(first, first + block.shape[1])
            blocks.append(block)
        if not blocks:
            return
        features = sparse.hstack(blocks, format="csc").astype(np.bool_)
        found: list[_Candidate] = []
        for query, members in self._covering(features, names, column_of, n):
            one = self._of_errors("slice", query, query, members)
            size = max(1, int(one.members.sum()))
            around = [
                other
                for other in found
                if (one.members & other.members).sum() >= CONTAINED * size
            ]
            if around:
                whole = min(around, key=lambda other: int(other.members.sum()))
                rest = f"the others in {whole.name}"
                one = replace(one, among=whole.members | one.members, rest=rest)
            found.append(one)
        yield from found

    def _covering(
        self,
        features: sparse.csc_array,
        names: Sequence[str],
        column_of: Sequence[int],
        n: int,
    ) -> Iterator[tuple[str, Mask]]:
        """Yield the query and the members of slices, each where others do not explain.

        Errors in a slice that was found are weighted until there is no excess in it.
        """
        rows = np.flatnonzero(self.find)
        some = sparse.csc_array(features[rows])
        errors = self.wrong[rows].astype(np.float64)
        for _ in range(n):
            check_wanted()
            found = find_slices(
                some,
                errors,
                column_of=np.array(column_of, dtype=np.int64),
                min_size=self._min_size,
                n_slices=1,
            )
            if not found:
                return
            chosen = list(found[0].features)
            # A condition that nearly all of the other one meet only makes it longer.
            alone = {f: int(some[:, [f]].sum()) for f in chosen}
            if found[0].size >= CONTAINED * min(alone.values()):
                chosen = [min(alone, key=alone.__getitem__)]
            parts = np.asarray(features[:, chosen].sum(axis=1)).reshape(-1)
            members = parts == len(chosen)
            yield " and ".join(names[f] for f in chosen), members
            inside = members[rows]
            if inside.all():
                return
            errors[inside] *= errors[~inside].mean() / errors[inside].mean()

    @property
    def _min_size(self) -> int:
        return max(MIN_SIZE, int(self.find.sum()) // 1000)

    def _table_features(self) -> Iterator[tuple[int, str, Mask]]:
        """Yield (number of the column, query, mask) of each value that groups."""
        for number, name in enumerate(self.columns.names, start=1):
            if name in ("id", "instance", "status", *FOLLOWING):
                continue
            check_wanted()
            column = self.columns.column(name)
            # Label and prediction together are an error by definition.
            place = 0 if column.kind == "class" else number
            for query, mask in value_groups(name, column, self.columns.class_names):
                yield place, query, mask & ~column.null

    def confusions(self, n: int) -> Iterator[_Candidate]:
        """Yield pairs of classes, the first of which is often taken for the second."""
        names = self.columns.class_names
        label = self.columns.column("label").values
        prediction = self.columns.column("prediction").values
        k = len(names)
        rows = np.flatnonzero(self.find)
        counts = np.bincount(label[rows] * k + prediction[rows], minlength=k * k)
        table = counts.reshape(k, k)
        expected = np.outer(table.sum(axis=1), table.sum(axis=0) - np.diag(table))
        expected = expected / max(1, len(rows))
        excess = np.where(table >= MIN_SIZE // 4, table - expected, 0.0)
        np.fill_diagonal(excess, 0.0)
        for place in np.argsort(-excess, axis=None, kind="stable")[:n]:
            true, taken = divmod(int(place), k)
            if excess[true, taken] <= 0:
                return
            asked = (label == true) & self.usable
            bad = (prediction == taken) & self.usable
            yield _Candidate(
                "confusion",
                f"{names[true]} taken for {names[taken]}",
                f"label = {quoted(names[true])} and prediction = "
                f"{quoted(names[taken])}",
                asked & bad,
                asked,
                bad,
                self.usable & (label != taken),
            )

    def clusters(self, layer: str) -> Iterator[_Candidate]:
        """Yield the surroundings of clusters of wrong instances in a layer."""
        from sklearn.cluster import KMeans  # noqa: PLC0415  slow to import

        rows = np.flatnonzero(self.find & self.wrong)
        if len(rows) < 2 * MIN_SIZE:
            return
        check_wanted()
        rows = np.sort(self.rng.permutation(rows)[:MAX_CLUSTERED])
        everything = np.nan_to_num(
            self.columns.channels.activations(layer).astype(np.float32)
        )
        scale = everything[self.find].std(axis=0)
        everything /= np.where(scale > 0, scale, 1)
        n_clusters = min(N_CLUSTERS, len(rows) // MIN_SIZE)
        seed = int(self.rng.integers(2**31))
        model = KMeans(n_clusters, n_init=4, random_state=seed).fit(everything[rows])
        for number, centre in enumerate(model.cluster_centers_):
            distance = np.linalg.norm(everything - centre, axis=1)
            radius = np.median(distance[rows[model.labels_ == number]])
            check_wanted()
            name = f"cluster {number + 1} of errors in {layer}"
            yield self._of_errors("cluster", name, "", distance <= radius)

    def unusual(self, layer: str) -> Iterator[_Candidate]:
        """Yield the instances that are farthest from their class in a layer."""
        values = self.columns.channels.activations(layer)
        label = self.columns.column("label").values
        distance = np.full(len(values), -np.inf)
        for index in np.unique(label[self.find]):
            check_wanted()
            members = np.flatnonzero((label == index) & self.usable)
            own = values[members].astype(np.float32)
            known = own[self.find[members]]
            if len(known) < MIN_SIZE:
                continue
            spread = known.std(axis=0)
            units = (own - known.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
            distance[members] = np.sqrt((units**2).mean(axis=1))
        known = distance[self.find]
        if not np.isfinite(known).any():
            return
        border = np.quantile(known[np.isfinite(known)], 1 - UNUSUAL_SHARE)
        name = f"unusual for their class in {layer}"
        yield self._of_errors("unusual", name, "", distance > border)

    def _of_errors(
        self,
        kind: Literal["slice", "cluster", "unusual"],
        name: str,
        query: str,
        members: Mask,
    ) -> _Candidate:
        members = members & self.usable
        return _Candidate(kind, name, query, members, members, self.wrong, self.usable)

    def tested(self, candidates: list[_Candidate]) -> list[Suggestion]:
        """Count the candidates on the held-out half, and put the surest first."""
        counts = [self._counted(one) for one in candidates]
        p_values = familywise_p_values(np.array([_p_value(*one) for one in counts]))
        made = [
            _suggestion(one, numbers, float(p))
            for one, numbers, p in zip(candidates, counts, p_values, strict=True)
        ]
        strength = {id(s): _strength(*c) for s, c in zip(made, counts, strict=True)}
        by_strength = sorted(made, key=lambda one: -strength[id(one)])
        sure = [one for one in by_strength if one.is_significant]
        return [*_in_turns(sure), *(s for s in by_strength if not s.is_significant)]

    def _counted(self, one: _Candidate) -> tuple[int, int, int, int]:
        """Return (bad, asked, bad among the others, others) of the held-out half."""
        asked = one.asked & self.held_out
        others = one.among & self.held_out & ~asked
        counts = (asked & one.bad, asked, others & one.bad, others)
        return tuple(int(mask.sum()) for mask in counts)  # type: ignore[return-value]


def _different(candidates: list[_Candidate]) -> list[_Candidate]:
    """Return the candidates without those that are nearly one before them."""
    kept: list[_Candidate] = []
    for one in candidates:
        n = int(one.members.sum())
        overlaps = (
            (int((one.members & other.members).sum()), int(other.members.sum()))
            for other in kept
        )
        if n and all(
            shared < SIMILAR * (n + size - shared) for shared, size in overlaps
        ):
            kept.append(one)
    return kept


def _in_turns(suggestions: list[Suggestion]) -> Iterator[Suggestion]:
    """Yield from each kind in turn, so that no kind hides the others."""
    of_kind = {
        kind: [one for one in suggestions if one.kind == kind] for kind in set(TURNS)
    }
    for kind in itertools.cycle(TURNS):
        if not any(of_kind.values()):
            return
        if of_kind[kind]:
            yield of_kind[kind].pop(0)


def _p_value(bad: int, asked: int, others_bad: int, others: int) -> float:
    if not asked or not others:
        return 1.0
    total, total_bad = asked + others, bad + others_bad
    return float(stats.hypergeom.sf(bad - 1, total, total_bad, asked))


def _strength(bad: int, asked: int, others_bad: int, others: int) -> float:
    """Return the excess of bad ones, in standard errors."""
    if not asked or not others:
        return 0.0
    rate = (others_bad + 1) / (others + 2)
    return (bad - asked * rate) / math.sqrt(asked * rate * (1 - rate))


def _suggestion(
    one: _Candidate, counts: tuple[int, int, int, int], p_value: float
) -> Suggestion:
    bad, asked, others_bad, others = counts
    rate = bad / asked if asked else math.nan
    others_rate = others_bad / others if others else math.nan
    low, high = (float(end) for end in exact_interval(bad, asked))
    n = int(one.members.sum())
    what = "are taken for it" if one.kind == "confusion" else "are predicted wrong"
    subject = f"{one.name}: {n:,} instances" if one.kind != "slice" else f"{one.name}"
    sure = (
        said_p_value(p_value)
        if p_value < LEVEL
        else f"{said_p_value(p_value)}, so this may be chance"
    )
    sentence = (
        f"{subject}; in the half that had no say {rate:.0%} of {asked:,} {what} "
        f"({low:.0%} to {high:.0%}), {others_rate:.1%} of {one.rest}; {sure}"
    )
    return Suggestion(
        one.kind,
        one.name,
        one.query,
        np.flatnonzero(one.members),
        asked,
        rate,
        (low, high),
        others_rate,
        p_value,
        sentence,
    )
