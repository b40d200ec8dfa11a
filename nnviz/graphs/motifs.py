"""What is a part that the graphs of many subsets share? A motif, and a list of them."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from nnviz.formatting import html_table, text_table
from nnviz.graphs.kept_parts import Arc, Node
from nnviz.graphs.motif_chance import most_expected

__all__ = ["Motif", "Motifs"]

NAMED = 6
"""Subsets of a motif that are named in print."""

FEW = 40
"""Graphs below which little is found: of tens drawn from two hundred graphs that share
twenty parts one showed on average, of forties three or four."""


@dataclass(frozen=True, slots=True)
class Motif:
    """Arcs that hang together, and that several graphs have, every one of them."""

    subsets: tuple[str, ...]
    """Of all graphs that have all of its arcs, in their order."""
    nodes: tuple[Node, ...]
    """(Layer, channel), by layer and channel."""
    arcs: tuple[Arc, ...]
    """(Source, target), by source."""
    bits: float
    """How surprising it is, in bits, by itself."""
    new_bits: float
    """How surprising it is when those before it in the list are known."""


@dataclass(frozen=True, slots=True)
class Motifs:
    """The parts that the graphs of a collection share, the most surprising first."""

    subsets: str
    """Name of the collection."""
    preset: str
    """How the graphs were made."""
    n_graphs: int
    """Graphs with arcs, among which was searched."""
    at_least: int
    """Graphs that share a motif."""
    shuffles: int
    """Tables without shared parts that were searched for what chance would find."""
    by_chance: float
    """The most surprising of that, in bits: less is not listed."""
    motifs: tuple[Motif, ...]

    def __iter__(self) -> Iterator[Motif]:
        return iter(self.motifs)

    def __len__(self) -> int:
        return len(self.motifs)

    def __getitem__(self, index: int) -> Motif:
        return self.motifs[index]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self) | {
            "motifs": [
                {
                    "subsets": list(one.subsets),
                    "nodes": [list(node) for node in one.nodes],
                    "arcs": [[list(end) for end in arc] for arc in one.arcs],
                    "bits": one.bits,
                    "new_bits": one.new_bits,
                }
                for one in self.motifs
            ]
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Motifs:
        """Read what :meth:`to_json` returns."""
        motifs = tuple(
            Motif(
                subsets=tuple(one["subsets"]),
                nodes=tuple((name, channel) for name, channel in one["nodes"]),
                arcs=tuple(((a, i), (b, j)) for (a, i), (b, j) in one["arcs"]),
                bits=one["bits"],
                new_bits=one["new_bits"],
            )
            for one in value["motifs"]
        )
        return cls(**(value | {"motifs": motifs}))

    def to_csv(self) -> str:
        """Return a row for each arc of each motif."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        ends = "source_layer", "source_channel", "target_layer", "target_channel"
        writer.writerow(["motif", "bits", "new_bits", "graphs", "subsets", *ends])
        for number, one in enumerate(self.motifs, 1):
            names = "; ".join(one.subsets)
            for source, target in one.arcs:
                row = [number, one.bits, one.new_bits, len(one.subsets), names]
                writer.writerow([*row, *source, *target])
        return stream.getvalue()

    def remarks(self) -> list[str]:
        """Return what a reader should know before believing it, a sentence each."""
        if not self.shuffles:
            return ["nothing was shuffled: what chance would find is not known"]
        listed = "" if self.motifs else ", and nothing here is more surprising"
        said = (
            f"in {self.shuffles} shuffled tables of the same graphs chance finds parts "
            f"of up to {self.by_chance:.1f} bits{listed}"
        )
        if not 0 < self.n_graphs < FEW:
            return [said]
        n_shared = min(self.at_least, self.n_graphs)
        most = most_expected(n_shared, self.by_chance, self.n_graphs)
        return [
            said,
            (
                f"{self.n_graphs} graphs are few: a part of {n_shared} of them is "
                f"listed if chance would give it to {most:.1g} of them at most; {FEW} "
                "or more, of finer classes or of subsets, have more to find"
            ),
        ]

    def _title(self) -> str:
        n = len(self.motifs)
        return (
            f"<nnviz.Motifs {self.subsets!r}> {self.preset}: {n:,} "
            f"{'part' if n == 1 else 'parts'} that {self.at_least:,} or more of "
            f"{self.n_graphs:,} graphs share"
        )

    def _columns(self) -> list[tuple[str, list[object]]]:
        found = self.motifs
        return [
            ("graphs", [len(one.subsets) for one in found]),
            ("nodes", [len(one.nodes) for one in found]),
            ("arcs", [len(one.arcs) for one in found]),
            ("layers", [_layers(one) for one in found]),
            ("bits", [one.bits for one in found]),
            ("beyond those above", [one.new_bits for one in found]),
        ]

    def __repr__(self) -> str:
        table = text_table(self._title(), self._columns() if self.motifs else [])
        named = [
            f"{number}. {_named(one)}" for number, one in enumerate(self.motifs, 1)
        ]
        return "\n".join([table, *(f"  {x}" for x in (*named, *self.remarks()))])

    def _repr_html_(self) -> str:
        named: list[object] = [_named(one) for one in self.motifs]
        table = html_table(self._title(), [*self._columns(), ("shared by", named)])
        return table + "".join(f"<div>{html.escape(x)}</div>" for x in self.remarks())


def _layers(motif: Motif) -> str:
    first, last = motif.nodes[0][0], motif.nodes[-1][0]
    return f"{first} to {last}"


def _named(motif: Motif) -> str:
    rest = len(motif.subsets) - NAMED
    more = f" and {rest:,} more" if rest > 0 else ""
    return ", ".join(motif.subsets[:NAMED]) + more
