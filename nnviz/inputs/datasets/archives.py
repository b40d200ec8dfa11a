"""WebDataset: tar files in which members with the same key form one instance.

One pass over the headers finds where everything lies; afterwards any instance is read
by its offset, from any thread. Order: the archives by name, then as stored. A key ends
at the first dot of a member's last component, what follows is its ending, and the
members of a key lie side by side. An instance's identifier is ``archive/key``.

Of the members of one key, the first with an image's ending (or ``.npy``) is the input,
or the one whose ending is named as `bytes_column`. The label is read from ``.cls``,
else from the column ``label`` in ``.json``; a `label_column` names another ending, such
as ``txt``, or another column; without being named no text is a label, since it may be a
caption. The flat values in ``.json`` are metadata columns. Other members are left
alone. Hidden members (``._*`` of macOS) and those in ``__*__`` are left out and
counted. Members with absolute paths or ``..`` are refused, as no honest archive has
them.
"""

from __future__ import annotations

import collections
import glob
import io
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.files import MAX_FILE_BYTES
from nnviz.inputs.datasets.image_formats import IMAGE_SUFFIXES
from nnviz.inputs.datasets.listings import (
    DEFAULT_LABEL,
    check_ids,
    check_label_name,
    endings_text,
    fingerprint_of,
    label_notes,
    make_column,
    make_labels,
    select_columns,
)
from nnviz.runs.config import DatasetConfig
from nnviz.text_files import parse_json

__all__ = ["ArchiveDataset"]

_MAX_TEXT_BYTES = 1 << 20
_N_SHOWN = 10
"""How many members of a key a message names."""

_N_LOOKED_AT = 1_000
"""So many instances tell which endings there are."""

_LEFT_OUT = re.compile(r"(^|/)(\._|\.DS_Store$|__[^/]*__($|[/.]))")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(slots=True)
class _Entry:
    """One instance, while the archives are listed."""

    name: str
    shard: int
    offset: int = 0
    n_bytes: int = -1
    suffix: str = ""
    label: str | int | None = None
    label_rank: int = 9
    endings: list[str] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)
    has_label_column: bool = False


class ArchiveDataset:
    """Instances in tar files; pickled with its index, so that it is made once.

    Parameters
    ----------
    config
        Its `path` (a file, a folder, a glob pattern, or numbers in braces such as
        ``{000..012}``), `bytes_column`, `label_column`, `metadata_columns` and `limit`
        are used.

    Raises
    ------
    ConfigError
        If no path is given.
    DatasetError
        If an archive is damaged, compressed, or has a member outside of itself, a key
        twice, or members of a key that are not side by side.
    """

    def __init__(self, config: DatasetConfig) -> None:
        if config.path is None:
            msg = (
                "dataset.path is missing; for kind 'webdataset' it names the tar files"
            )
            raise ConfigError(msg)
        self._place = f"the archives {config.path!r}"
        self._archives = _find_archives(config.path)
        root = os.path.commonpath([str(p.parent) for p in self._archives])
        entries: list[_Entry] = []
        left_out: collections.Counter[str] = collections.Counter()
        for shard, path in enumerate(self._archives):
            archive = path.relative_to(root).as_posix()
            for entry in _list_archive(path, shard, config, left_out):
                entry.name = f"{archive}/{entry.name}"
                entries.append(entry)
                if len(entries) == config.limit:
                    break
            if len(entries) == config.limit:
                break
        self.ids = [entry.name for entry in entries]
        check_ids(self.ids, place=self._place)
        self._shards = np.array([entry.shard for entry in entries], dtype=np.int32)
        self._offsets = np.array([entry.offset for entry in entries], dtype=np.int64)
        self._sizes = np.array([entry.n_bytes for entry in entries], dtype=np.int64)
        self._is_array = np.array([entry.suffix.endswith(".npy") for entry in entries])
        self._without_input = {
            index: ", ".join(entry.endings[:_N_SHOWN])
            for index, entry in enumerate(entries)
            if entry.n_bytes < 0
        }
        names = dict.fromkeys(name for entry in entries for name in entry.columns)
        place = f"the .json of {self._place}"
        if not any(entry.has_label_column for entry in entries):
            check_label_name(
                config.label_column, names, option="dataset.label_column", place=place
            )
        self.labels = make_labels(entry.label for entry in entries)
        self.metadata = _metadata(entries, config)
        self.class_names: tuple[str, ...] = ()
        self.notes = _notes(entries, config, left_out, names, place)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> bytes | NDArray[Any]:
        """Return the undecoded image, or the array of an ``.npy`` member.

        Raises
        ------
        UnreadableInstanceError
            With the reason.
        """
        n_bytes = int(self._sizes[index])
        if n_bytes < 0:
            msg = (
                f"no image or .npy among the members of this key, which ends at the "
                f"first dot: {self._without_input[index]}; dataset.bytes_column names "
                f"the ending of another input"
            )
            raise UnreadableInstanceError(msg)
        if n_bytes > MAX_FILE_BYTES:
            msg = f"member of {n_bytes:,} bytes; up to {MAX_FILE_BYTES:,} are read"
            raise UnreadableInstanceError(msg)
        path = self._archives[self._shards[index]]
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.pread(descriptor, n_bytes, int(self._offsets[index]))
            finally:
                os.close(descriptor)
            if len(data) < n_bytes:
                msg = f"the archive is cut off: {len(data)} of {n_bytes} bytes"
                raise UnreadableInstanceError(msg)
            if self._is_array[index]:
                array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
                return array
        except (OSError, EOFError, ValueError) as error:
            if isinstance(error, UnreadableInstanceError):
                raise
            raise UnreadableInstanceError(str(error)) from error
        return data

    @property
    def fingerprint(self) -> str:
        """SHA-256 of identifiers, labels, columns and the members' sizes."""
        return fingerprint_of(
            "webdataset", self.ids, self.labels, self.metadata, self._sizes.tolist()
        )


def _find_archives(path: str) -> list[Path]:
    if Path(path).is_dir():
        found = sorted(Path(path).glob("*.tar"))
    else:
        patterns = _expand_braces(path)
        matches = [sorted(glob.glob(each)) for each in patterns]  # noqa: PTH207
        found = [Path(match) for each in matches for match in each]
        if not all(matches):
            found, path = [], patterns[matches.index([])]
    if not found:
        msg = (
            f"there is no archive {path!r}; dataset.path names a .tar file, a folder "
            f"of them, a pattern 'shard-*.tar' or numbers 'shard-{{000..012}}.tar'"
        )
        raise DatasetError(msg)
    return [path.resolve() for path in found]


def _expand_braces(pattern: str) -> list[str]:
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    first, last = found.groups()
    return [
        expanded
        for number in range(int(first), int(last) + 1)
        for expanded in _expand_braces(
            f"{pattern[: found.start()]}{number:0{len(first)}d}{pattern[found.end() :]}"
        )
    ]


def _list_archive(
    path: Path,
    shard: int,
    config: DatasetConfig,
    left_out: collections.Counter[str],
) -> Iterator[_Entry]:
    """Yield the instances of one archive in its order; count what is left out."""
    entry: _Entry | None = None
    # The endings of each key; most keys share one tuple.
    finished: dict[str, tuple[str, ...]] = {}
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    try:
        with (
            path.open("rb") as file,
            tarfile.open(fileobj=file, mode="r:", tarinfo=_Member) as archive,
        ):
            for member in archive:
                # The archive remembers every member; a million of them are too many.
                archive.members.clear()  # type: ignore[attr-defined] # typeshed
                if member.isdir():
                    continue
                stem, suffix = _split(member.name, path)
                if _LEFT_OUT.search(member.name):
                    left_out[os.path.splitext(member.name)[1].lower()] += 1  # noqa: PTH122
                    continue
                if entry is None or entry.name != stem:
                    if entry is not None:
                        endings = tuple(entry.endings)
                        finished[entry.name] = shared.setdefault(endings, endings)
                        yield entry
                    entry = _Entry(stem, shard)
                    if stem in finished and suffix not in finished[stem]:
                        raise DatasetError(_not_side_by_side(path, member.name, stem))
                if suffix in entry.endings or suffix in finished.get(stem, ()):
                    msg = (
                        f"the archive {str(path)!r} has the key {stem!r} twice, with "
                        f"{suffix or 'no ending'!r} each time; a key (up to the first "
                        f"dot) is one instance: give each a name of its own"
                    )
                    raise DatasetError(msg)
                entry.endings.append(suffix)
                if member.isreg():
                    _add_member(entry, member, suffix, file, config)
            _check_end(file, archive)
    except (OSError, OverflowError, MemoryError, tarfile.TarError) as error:
        msg = (
            f"cannot read the archive {str(path)!r}: {error}; it should be an "
            f"uncompressed tar file that is complete"
        )
        raise DatasetError(msg) from error
    if entry is not None:
        yield entry


def _not_side_by_side(path: Path, name: str, stem: str) -> str:
    return (
        f"the members of key {stem!r} in the archive {str(path)!r} are not side by "
        f"side: {name!r} comes after members of other keys; write the archive again in "
        f"the order of names, as 'tar --sort=name -cf sorted.tar FOLDER' does"
    )


class _Member(tarfile.TarInfo):
    """A header of an archive; one that points backwards would be read for ever."""

    def _block(self, count: int) -> int:
        if count < 0:
            raise tarfile.ReadError("a member has a negative size")
        return super()._block(count)  # type: ignore[misc,no-any-return] # not in typeshed


def _check_end(file: IO[bytes], archive: tarfile.TarFile) -> None:
    """Refuse an archive that stops elsewhere than at its end.

    tarfile takes a damaged header for the end, and all after it would be lost unsaid.
    """
    file.seek(archive.offset)
    rest = file.read(tarfile.BLOCKSIZE)
    if rest.strip(b"\0"):
        msg = f"damaged header at byte {archive.offset:,}"
        raise tarfile.ReadError(msg)


def _split(name: str, path: Path) -> tuple[str, str]:
    """Split a member's name at the first dot of its last component."""
    if name.startswith("/") or (".." in name and ".." in name.split("/")):
        msg = (
            f"the archive {str(path)!r} has the member {name!r}, which leads out of "
            f"it; make the archive again with relative names"
        )
        raise DatasetError(msg)
    folder, _, last = name.removeprefix("./").rpartition("/")
    stem, dot, suffix = last.partition(".")
    stem = f"{folder}/{stem}" if folder else stem
    return stem, (dot + suffix).lower()


def _add_member(
    entry: _Entry,
    member: tarfile.TarInfo,
    suffix: str,
    file: Any,
    config: DatasetConfig,
) -> None:
    if config.bytes_column is None:
        is_input = suffix in IMAGE_SUFFIXES or suffix == ".npy"
    else:
        is_input = suffix == _ending(config.bytes_column)
    if is_input and entry.n_bytes < 0:
        entry.suffix = suffix
        entry.offset, entry.n_bytes = member.offset_data, member.size
    named = config.label_column
    is_label = bool(named) and suffix == _ending(named) and not is_input
    if named == DEFAULT_LABEL:
        is_label = suffix == ".cls"
    if not (is_label or suffix == ".json") or member.size > _MAX_TEXT_BYTES:
        return
    back = file.tell()
    file.seek(member.offset_data)
    text = file.read(member.size).decode("utf-8-sig", errors="replace").strip()
    file.seek(back)
    if is_label:
        entry.has_label_column = True
        if text and entry.label_rank > 0:
            entry.label, entry.label_rank = text, 0
        return
    entry.columns = _flat_values(text)
    if named and named in entry.columns:
        entry.has_label_column = True
        label = entry.columns.pop(named)
        if label not in (None, "") and entry.label_rank > 1:
            entry.label, entry.label_rank = label, 1


def _ending(name: str) -> str:
    return f".{name.removeprefix('.').lower()}"


def _notes(
    entries: list[_Entry],
    config: DatasetConfig,
    left_out: collections.Counter[str],
    columns: Iterable[str],
    place: str,
) -> tuple[str, ...]:
    notes = []
    if left_out:
        notes.append(
            f"hidden and system members of the archives are left out: "
            f"{endings_text(left_out)}"
        )
    without = sum(entry.n_bytes < 0 for entry in entries)
    if without:
        first = next(entry for entry in entries if entry.n_bytes < 0)
        notes.append(
            f"{without:,} keys have no image or .npy and cannot be read, such as "
            f"{first.name!r} with {', '.join(first.endings[:_N_SHOWN])}; "
            f"dataset.bytes_column names the ending of the input"
        )
    if not any(entry.has_label_column for entry in entries):
        endings = dict.fromkeys(
            ending.removeprefix(".")
            for entry in entries[:_N_LOOKED_AT]
            for ending in entry.endings
            if ending not in (entry.suffix, ".json")
        )
        notes += label_notes(
            config.label_column,
            [*endings, *columns],
            option="dataset.label_column",
            place=place,
        )
    return tuple(notes)


def _flat_values(text: str) -> dict[str, Any]:
    try:
        found = parse_json(text)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(name): value
        for name, value in found.items()
        if isinstance(value, (bool, int, float, str))
    }


def _metadata(entries: list[_Entry], config: DatasetConfig) -> dict[str, NDArray[Any]]:
    names = dict.fromkeys(name for entry in entries for name in entry.columns)
    kept = select_columns(names, config.metadata_columns)
    return {
        name: make_column([entry.columns.get(name) for entry in entries])
        for name in kept
    }
