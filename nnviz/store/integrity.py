"""Is every byte of a store as it was written? Where not, what is damaged?

Pieces that tasks wrote are compared with their completion marks, everything else with
checksums that were written beside it. Nothing is changed but by
:meth:`Integrity.repair`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path

from nnviz.errors import StoreFormatError
from nnviz.runs.arrays import ArraySpec, groups_of
from nnviz.runs.declarations import CONTENTS
from nnviz.store.checked_pieces import DAMAGED
from nnviz.store.completion import BATCH_SIZES, Completion
from nnviz.store.documents import (
    CHECKSUMS,
    DOCUMENT,
    LATER,
    crc_text,
    document_of,
    is_later,
    piece_of,
    sealed_group,
    unsealed_attributes,
)
from nnviz.store.groups import (
    EXPLANATIONS,
    PACKED,
    SAVED_SUBSETS,
    LaterGroups,
    stage_of,
)
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.pieces import declared_document
from nnviz.store.recovery import Damage, problem_of

__all__ = ["Integrity"]

TABLE = ("instances", "outcomes")
"""Groups of arrays in which columns of the instance table are."""

PARTIAL_SECONDS = 600
"""A piece that is being written is younger; an older one was left by a killed task."""


class Integrity:
    """The checks of one store, part by part.

    Parameters
    ----------
    hierarchy
        Hierarchy of the store; opened for writing if it is to be repaired.
    completion
        Its chunks and their completion marks.
    groups
        What later stages wrote.
    arrays
        The arrays of the run that are stored; later ones are not among them.
    format_version
        Format 1 has no checksums of metadata and of what the plan knows: there it is
        only seen whether they can be read.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        completion: Completion,
        groups: LaterGroups,
        arrays: Sequence[ArraySpec],
        format_version: int,
    ) -> None:
        self._hierarchy = hierarchy
        self._completion = completion
        self._groups = groups
        self._arrays = arrays
        self._has_checksums = format_version > 1

    def chunk(self, index: int) -> list[Damage]:
        """Check every byte of a chunk that has a completion mark."""
        remedy = f"'nnviz extract {self._hierarchy.url}'"
        return [
            Damage(path, reason, index, remedy)
            for path, reason in self._completion.problems(index)
        ]

    def run_metadata(self) -> list[Damage]:
        """Check the metadata of the run's arrays and groups."""
        found = self._groups_above()
        stated, problem = self._stated("")
        if problem:
            found.append(problem)
        for spec in self._arrays:
            key = document_of(spec.path)
            data = self._hierarchy.files.look_at([key])[0]
            if data is None:
                found.append(Damage(spec.path, "its zarr.json is missing"))
            elif isinstance(data, str):
                found.append(Damage(spec.path, data))
            elif key in stated:
                if crc_text(data) != stated[key]:
                    reason = "its metadata do not fit their checksum"
                    found.append(Damage(spec.path, reason))
            elif not self._has_checksums:
                found += self._opened(spec)
            elif data != declared_document(spec):
                reason = "its metadata are not those of the plan"
                found.append(Damage(spec.path, reason))
        return found

    def static_pieces(self, *, skip: Set[str] = frozenset()) -> list[Damage]:
        """Check the pieces of the arrays that the plan knows; `skip` are left out."""
        found: list[Damage] = []
        stated, _ = self._stated("")
        for spec in self._arrays:
            if not spec.is_static or spec.path in skip:
                continue
            keys = self._hierarchy.piece_keys(spec.path)
            for index, data in enumerate(self._hierarchy.files.look_at(keys)):
                expected = stated.get(keys[index])
                if data is None:
                    found.append(Damage(spec.path, "it is missing", index))
                elif isinstance(data, str):
                    found.append(Damage(spec.path, data, index))
                elif expected is not None and crc_text(data) != expected:
                    reason = "its bytes do not fit their checksum"
                    found.append(Damage(spec.path, reason, index))
                elif expected is None and (why := self._read(spec, index)):
                    found.append(Damage(spec.path, why, index))
        return found

    def later_groups(self) -> list[str]:
        """Return the paths of the groups that later stages wrote."""
        groups = {
            key.removesuffix(f"/{DOCUMENT}")
            for parent in LATER
            for key in self._hierarchy.files.names(parent)
            if key.endswith(DOCUMENT)
        }
        ends = {group for group in groups if group.endswith(CHECKSUMS)}
        found = {end.removesuffix(f"/{CHECKSUMS}") for end in ends}
        others = sorted(groups - ends - found)
        # Most are members of these: they are read at once, and looked into no further.
        contents = self._hierarchy.files.look_at([document_of(g) for g in others])
        found |= {
            group
            for group, data in zip(others, contents, strict=True)
            if isinstance(data, bytes) and b'"complete"' in data
            if self._is_complete(group)
        }
        return sorted(found)

    def _is_complete(self, path: str) -> bool:
        try:
            return bool(self._hierarchy.attributes(path).get("complete"))
        except StoreFormatError:
            return False

    def later_group(self, path: str) -> list[Damage]:
        """Check all files of a group of aggregates or artifacts."""
        later = self._groups
        remedy = f"'nnviz {stage_of(path)} {self._hierarchy.url}'"
        if path.startswith(EXPLANATIONS):
            instance = path.rpartition("/")[2].partition("-")[0]
            remedy = f"{remedy[:-1]} {instance} --again'"
        if path.startswith(SAVED_SUBSETS):
            remedy = f"{remedy[:-1]} QUERY --save NAME' saves it again, by who knows it"
        document = self._hierarchy.files.look_at([document_of(path)])[0]
        if isinstance(document, str):
            return [Damage(path, document, remedy=remedy)]
        try:
            if not document:
                return [Damage(path, "its metadata are missing", remedy=remedy)]
            if "complete" not in self._hierarchy.attributes(path):
                return [
                    Damage(path, "its metadata are of another group", remedy=remedy)
                ]
            if not later.is_complete(path):
                return []
            # A store of format 1 that was extended keeps groups without checksums.
            has_checksums = self._has_checksums and "n_rows" in later.attributes(path)
        except StoreFormatError:
            return [Damage(path, "its metadata are damaged", remedy=remedy)]
        stated, problem = self._stated(path) if has_checksums else ({}, None)
        found = [replace(problem, remedy=remedy)] if problem else []
        keys = sorted({*stated, *self._hierarchy.documents.owned_files(path)})
        for key, data in zip(keys, self._hierarchy.files.look_at(keys), strict=True):
            why = self._later_problem(key, data, stated, has_checksums=has_checksums)
            if why:
                found.append(_damage_of_key(key, why, remedy))
        return found

    def strays(self, *, older_than: float = PARTIAL_SECONDS) -> list[str]:
        """Return the keys of pieces that a killed task left half written.

        Parameters
        ----------
        older_than
            Seconds; a younger one may be one that is being written.
        """
        names = self._hierarchy.files.names()
        keys = [key for key in names if key.endswith(".partial")]
        folder = self._hierarchy.files.folder
        if folder is None:
            return keys
        limit = time.time() - older_than
        return [key for key in keys if _modified(folder / key) <= limit]

    def repair(self, damages: Sequence[Damage]) -> list[Damage]:
        """Repair what needs no other data, and unmark what a stage has to write again.

        Returns
        -------
        list of Damage
            The same, with what was done, or is to be done, as remedy.
        """
        if not damages:
            return []
        for index in {d.chunk for d in damages if self._is_of_chunk(d)}:
            self._completion.remove(int(index or 0))
        later = self.later_groups()
        holders = self._holders(later)
        owners = {
            damage: "" if damage.array in holders else _owner(damage, later)
            for damage in damages
        }
        for owner in {*owners.values()} - {""}:
            self._groups.invalidate(owner)
        repaired = [d if owners[d] else self._repaired(d) for d in damages]
        if any(damage.array == CHECKSUMS for damage in damages):
            skip = [s.path for s in self._arrays if not s.is_static]
            self._hierarchy.documents.state("", skip=skip)
        return repaired

    def remove_strays(self, *, older_than: float = PARTIAL_SECONDS) -> None:
        """Remove what :meth:`strays` returns."""
        for key in self.strays(older_than=older_than):
            self._hierarchy.files.delete(key)

    def derived_from(self, damages: Sequence[Damage]) -> list[str]:
        """Return the sound groups that were made from what is damaged, last ones first.

        Where a chunk is damaged that is all that was summed over it, and what follows
        from the sums. Numbers that were read before their damage was noticed may be in
        there, and nothing tells whether they are.
        """
        if not damages:
            return []
        sources = {damage.array for damage in damages if damage.chunk is not None}
        later = self.later_groups()
        sources |= {_owner(damage, later) for damage in damages} - {""}
        found = {
            group
            for group in later
            if any(_is_made_from(group, source) for source in sources)
            and self._is_complete(group)
        }
        return sorted(found - sources, reverse=True)

    def take_back(self, groups: Sequence[str]) -> None:
        """Take the marks of groups away, so that their stages write them again."""
        for group in groups:
            self._groups.invalidate(group)

    def _is_of_chunk(self, damage: Damage) -> bool:
        static = {spec.path for spec in self._arrays if spec.is_static}
        return (
            damage.chunk is not None
            and damage.array not in static
            and not is_later(damage.array)
        )

    def _repaired(self, damage: Damage) -> Damage:
        if damage.chunk is not None:
            return damage
        specs = {spec.path: spec for spec in self._arrays}
        if damage.array in specs:
            data = declared_document(specs[damage.array])
            key = document_of(damage.array)
            stated, _ = self._stated("")
            if stated and crc_text(data) != stated.get(key):
                why = "this version of Zarr writes other metadata; extract again"
                return replace(damage, remedy=why)
            self._hierarchy.files.put(key, data)
        elif damage.array != CHECKSUMS:
            self._hierarchy.files.put(document_of(damage.array), sealed_group({}))
        return replace(damage, remedy="restored", is_repaired=True)

    def _stated(self, owner: str) -> tuple[dict[str, str], Damage | None]:
        path = f"{owner}/{CHECKSUMS}" if owner else CHECKSUMS
        if not self._has_checksums:
            return {}, None
        document = self._hierarchy.files.look_at([document_of(path)])[0]
        if isinstance(document, str):
            return {}, Damage(path, document)
        try:
            stated = self._hierarchy.documents.stated(owner)
        except StoreFormatError:
            return {}, Damage(path, "the checksums are damaged")
        problem = None if document else Damage(path, "the checksums are missing")
        return stated, problem

    def _groups_above(self) -> list[Damage]:
        """Check the documents of the groups that hold the run's arrays."""
        found = []
        groups = self._holders(self.later_groups())
        if self._hierarchy.files.look_at([document_of(BATCH_SIZES)])[0]:
            groups |= {BATCH_SIZES}
        for group in sorted(groups):
            data = self._hierarchy.files.look_at([document_of(group)])[0]
            why = problem_of(data)
            if why is None and isinstance(data, bytes) and self._has_checksums:
                attributes, is_sealed = unsealed_attributes(data)
                if not is_sealed:
                    why = "its metadata have no checksum"
                elif attributes and group != BATCH_SIZES:
                    # It holds groups, and says nothing itself.
                    why = "its metadata are of another group"
            if why:
                found.append(Damage(group, why))
        return found

    def _holders(self, later: Sequence[str]) -> set[str]:
        """Return the groups that only hold others, or arrays: they say nothing."""
        parts = (group.split("/") for group in later)
        above = {"/".join(p[:n]) for p in parts for n in range(1, len(p))}
        return groups_of(self._arrays) | (above - {*later})

    def _opened(self, spec: ArraySpec) -> Iterator[Damage]:
        try:
            shape, dtype = (
                self._hierarchy.shape(spec.path),
                self._hierarchy.dtype(spec.path),
            )
        except (StoreFormatError, *DAMAGED) as error:
            yield Damage(spec.path, f"its metadata cannot be read ({error})")
            return
        if (shape, dtype) != (spec.shape, spec.dtype):
            yield Damage(
                spec.path,
                f"it is {dtype} of shape {shape}, not {spec.dtype} of {spec.shape}",
            )

    def _read(self, spec: ArraySpec, index: int) -> str | None:
        rows = spec.rows_per_shard
        try:
            self._hierarchy.read(spec.path, index * rows, (index + 1) * rows)
        except StoreFormatError as error:
            return str(error)
        return None

    def _later_problem(
        self,
        key: str,
        data: bytes | str | None,
        stated: dict[str, str],
        *,
        has_checksums: bool,
    ) -> str | None:
        if data is None:
            return "it is missing"
        if isinstance(data, str):
            return data
        if key in stated:
            is_same = crc_text(data) == stated[key]
            return None if is_same else "its bytes do not fit their checksum"
        if key.endswith(".partial"):
            return None
        if key.endswith(DOCUMENT):
            why = problem_of(data) if b"array" not in data else None
            if why is None and has_checksums and b'"group"' in data:
                is_sealed = unsealed_attributes(data)[1]
                why = None if is_sealed else "its metadata have no checksum"
            return why
        if not has_checksums:
            return self._decoded(key)
        return "nothing says what it is"

    def _decoded(self, key: str) -> str | None:
        """Return why a piece of format 1 cannot be read."""
        path = piece_of(key)[0]
        try:
            self._hierarchy.read(path)
        except (StoreFormatError, *DAMAGED) as error:
            return str(error)
        return None


def _is_made_from(group: str, source: str) -> bool:
    """Whether a group of a later stage was made from an array or another group."""
    parts, place = group.split("/"), source.split("/")
    if group.startswith((EXPLANATIONS, SAVED_SUBSETS)):
        return False
    if parts[:2] == ["artifacts", "columns"]:
        return place[0] in TABLE and parts[-1].startswith("rows-")
    if place[0] == "peaks":
        return group == "artifacts/examples"
    if group == PACKED:
        return place[0] in TABLE
    if parts[0] == "index":
        return source.startswith(("activations/", "influences/"))
    if not is_later(source):
        return source != CONTENTS and group != "artifacts/examples"
    if len(place) < (3 if place[:2] == ["artifacts", "attribution_graphs"] else 2):
        return False  # a folder of groups, in which nothing is
    if group in ("artifacts/examples", "artifacts/classes"):
        return False
    if place[0] == "aggregates":
        if group == "artifacts/instance_places":  # they lie between the classes
            return True
        # Base rates, of all instances, are part of what follows from any others.
        return parts[0] == "artifacts" and (place[1] == "all" or place[1] in parts)
    is_graph = place[:2] == ["artifacts", "attribution_graphs"]
    return is_graph and parts[:2] == ["artifacts", "ablation"] and place[2] in parts


def _damage_of_key(key: str, reason: str, remedy: str) -> Damage:
    path, piece = piece_of(key)
    if "/" in piece:
        return Damage(path, reason, int(piece.split("/")[1]), remedy)
    return Damage(path.removesuffix("/" + DOCUMENT), reason, None, remedy)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # its task has just ended


def _owner(damage: Damage, later: Sequence[str]) -> str:
    """Return the group of a later stage that is damaged; empty for the run."""
    owners = [group for group in later if f"{damage.array}/".startswith(f"{group}/")]
    return max(owners, key=len, default="")
