"""What groups are there, and what are their attributes? Sealed documents by path.

Groups are few and small, and hold what a store is: its plan, and what later stages say
of their output. Their documents are *sealed*: they carry a checksum of themselves.
Those of arrays, and files that no completion mark covers, have theirs in a group
``checksums``: one for the run, one for each group of aggregates, artifacts or index.
"""

from __future__ import annotations

import collections
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from nnviz.errors import StoreFormatError
from nnviz.store.files import Files

__all__ = [
    "CHECKSUMS",
    "DOCUMENT",
    "LATER",
    "Documents",
    "crc_text",
    "document_of",
    "is_later",
    "piece_of",
    "sealed_group",
    "unsealed_attributes",
]

DOCUMENT = "zarr.json"


CHECKSUMS = "checksums"
"""Name of the group with the CRC-32 of files by key."""


LATER = ("aggregates", "artifacts", "index")
"""Groups of what later stages write."""


def document_of(path: str) -> str:
    """Return the key of the metadata of a group or an array; the root is ``""``."""
    return f"{path}/{DOCUMENT}" if path else DOCUMENT


def piece_of(key: str) -> tuple[str, str]:
    """Return the path of an array and the name of its piece; "" where it is no piece.

    Examples
    --------
    >>> piece_of("activations/c/c/3/0"), piece_of("activations/c/zarr.json")
    (('activations/c', 'c/3/0'), ('activations/c/zarr.json', ''))
    """
    match = _PIECE.fullmatch(key)
    return (match[1], match[2]) if match else (key, "")


_PIECE = re.compile(r"(.+)/(c(?:/\d+)*)")


def is_later(path: str) -> bool:
    """Whether a group or array belongs to what later stages write."""
    return path.split("/")[0] in LATER


class Documents:
    """The metadata of a hierarchy.

    Parameters
    ----------
    files
        Files of the hierarchy.
    url
        Where it is, for messages.
    """

    def __init__(self, files: Files, url: str) -> None:
        self._files = files
        self._url = url
        self._groups: set[str] = set()
        self._stated: dict[str, dict[str, str]] = {}
        self._owners: dict[str, str] = {}
        """Which group's checksums cover the members of a group, where it is known."""
        self._pieces: dict[str, Mapping[str, dict[str, str]]] = {}
        self.ignores_checksums = False
        """Whether arrays are changed right now, so that their checksums are old."""

    def stated(self, owner: str) -> dict[str, str]:
        """Return the CRC-32 by key that were written for a group; empty without them.

        Raises
        ------
        StoreFormatError
            If they are damaged.
        """
        if owner not in self._stated:
            path = f"{owner}/{CHECKSUMS}" if owner else CHECKSUMS
            said = self.found(path)
            known = {} if said is None else said.get("files")
            below = f"{owner}/" if owner else ""
            if known is None or not all(key.startswith(below) for key in known):
                what, reason = f"of {path!r}", "they are those of another group"
                raise self.damaged(what, reason)
            self._stated[owner] = known
            self._pieces.pop(owner, None)
        return self._stated[owner]

    def state(self, owner: str, *, skip: Sequence[str] = ()) -> None:
        """Write down the CRC-32 of all files of a group; `skip` as for `checksums`."""
        path = f"{owner}/{CHECKSUMS}" if owner else CHECKSUMS
        known = self.checksums(owner, skip=skip)
        self.create_group(path, {"files": known})
        self._stated[owner] = known
        self._pieces.pop(owner, None)
        self._forget_owners(owner)

    def checksums(self, path: str = "", *, skip: Sequence[str] = ()) -> dict[str, str]:
        """Return the CRC-32 of the files below a path, but of sealed documents.

        Parameters
        ----------
        path
            Path of a group.
        skip
            Paths of arrays whose pieces are left out.
        """
        pieces = tuple(f"{name}/c/" for name in skip)
        keys = [
            key
            for key in self.owned_files(path)
            if not key.startswith(pieces) and not key.endswith(".partial")
        ]
        contents = zip(keys, self._files.get_all(keys), strict=True)
        # Groups of the run, and the group itself, are written again later.
        apart = {document_of(path)} if path else set(keys)
        return {
            key: crc_text(data)
            for key, data in contents
            if data is not None and not (_is_group(key, data) and key in apart)
        }

    def owned_files(self, owner: str) -> list[str]:
        """Return the keys that the checksums of a group cover: not those of others."""
        keys = self._files.names(owner)
        mark = f"/{CHECKSUMS}/{DOCUMENT}"
        others = tuple(
            key.removesuffix(mark) + "/"
            for key in keys
            if key.endswith(mark) and key != owner + mark
        )
        if not owner:
            others = tuple(f"{group}/" for group in LATER)
        own = f"{owner}/{CHECKSUMS}" if owner else CHECKSUMS
        return [key for key in keys if not key.startswith((*others, f"{own}/"))]

    def owner_of(self, path: str) -> str:
        """Return the group whose checksums cover an array; the run's is ``""``."""
        if not is_later(path):
            return ""
        parts = path.split("/")
        above = "/".join(parts[:-1])
        if above in self._owners:
            return self._owners[above]
        # No stage writes one of LATER as a whole.
        groups = ("/".join(parts[:n]) for n in range(len(parts) - 1, 1, -1))
        owner = next((g for g in groups if self._stated_of(g)), "")
        # Where a group is being written, a nearer one may have checksums soon.
        if owner and document_of(path) in self._stated[owner]:
            self._owners[above] = owner
        return owner

    def _stated_of(self, group: str) -> dict[str, str]:
        """Return the checksums of a group, which may have none yet."""
        known = self.stated(group)
        if not known:
            del self._stated[group]
        return known

    def _forget_owners(self, path: str) -> None:
        below = path + "/"
        self._owners = {
            above: owner
            for above, owner in self._owners.items()
            if not (above + "/").startswith(below)
        }

    def has(self, path: str) -> bool:
        """Whether there is a group or an array at this path."""
        return self._files.exist([document_of(path)])[0]

    def attributes(self, path: str = "") -> dict[str, Any]:
        """Return the attributes of a group.

        Raises
        ------
        StoreFormatError
            If there is none, or its document is damaged.
        """
        data = self._files.get(document_of(path))
        if data is None:
            msg = f"there is no group {path!r} in the store {self._url!r}"
            raise StoreFormatError(msg)
        return self._unsealed(path, data)

    def found(self, path: str) -> dict[str, Any] | None:
        """Return the attributes of a group, or None if there is none: one question.

        Raises
        ------
        StoreFormatError
            If its document is damaged.
        """
        data = self._files.get(document_of(path))
        return None if data is None else self._unsealed(path, data)

    def _unsealed(self, path: str, data: bytes) -> dict[str, Any]:
        try:
            self._check_member(path, data)
            attributes, is_sealed = unsealed_attributes(data)
            if not is_sealed and attributes.get("format_version", 1) > 1:
                msg = "it has no checksum"
                raise ValueError(msg)  # noqa: TRY301  one place says what is damaged
            return attributes
        except ValueError as error:
            what = f"of {path!r}" if path else "of the root"
            raise self.damaged(what, error) from error

    def _check_member(self, path: str, data: bytes) -> None:
        """Refuse the document of a group inside of a later one, if it is another's.

        Raises
        ------
        ValueError
            If a checksum is known, and another one is found.
        """
        if not is_later(path) or path.endswith(f"/{CHECKSUMS}"):
            return
        owner, crc = self.owner_of(path), crc_text(data)
        if owner and crc != self.stated(owner).get(document_of(path), crc):
            self._stated.pop(owner)
            if crc != self.stated(owner).get(document_of(path), crc):
                msg = "its bytes do not fit their checksum"
                raise ValueError(msg)

    def create_group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Create a group, with the groups above it, or renew its attributes, at once.

        Raises
        ------
        StoreError
            If the place is full or cannot be written.
        """
        self.ensure_parents(path)
        self._files.put(
            document_of(path), sealed_group(attributes), is_durable=not path
        )
        self._groups.add(path)

    def ensure_parents(self, path: str) -> None:
        """Create the groups above a path that are not there."""
        parts = path.split("/")
        for n in range(1, len(parts)):
            group = "/".join(parts[:n])
            if group not in self._groups and not self.has(group):
                self._files.put(document_of(group), sealed_group({}))
            self._groups.add(group)

    def of_array(self, path: str) -> tuple[bytes, dict[str, str]]:
        """Return an array's metadata, and the CRC-32 of its files by key below it.

        Raises
        ------
        StoreFormatError
            If there is none, or a checksum is known and another one is found.
        """
        key, owner = document_of(path), self.owner_of(path)
        data = self._files.get(key)
        if data is None:
            if not self.ignores_checksums and key in self.stated(owner):
                raise self.damaged_array(path, "zarr.json is missing")
            msg = f"there is no array {path!r} in the store {self._url!r}"
            raise StoreFormatError(msg)
        if self.ignores_checksums:
            return data, {}
        if crc_text(data) != self.stated(owner).get(key, crc_text(data)):
            # Another process may have written the group again.
            self._stated.pop(owner)
            if crc_text(data) != self.stated(owner).get(key, crc_text(data)):
                reason = "the bytes do not fit their checksum"
                raise self.damaged_array(path, reason)
        return data, self._pieces_of(owner)[path]

    def _pieces_of(self, owner: str) -> Mapping[str, dict[str, str]]:
        """Return the CRC-32 of pieces by their key below an array, by its path."""
        stated = self.stated(owner)
        if owner not in self._pieces:
            pieces = collections.defaultdict[str, dict[str, str]](dict)
            for key, crc in stated.items():
                path, name = piece_of(key)
                if name:
                    pieces[path][name] = crc
            self._pieces[owner] = pieces
        return self._pieces[owner]

    def damaged_array(self, path: str, reason: object) -> StoreFormatError:
        """Return an error that says that an array's metadata are damaged."""
        return self.damaged(f"of array {path!r}", reason)

    def damaged(self, what: str, reason: object) -> StoreFormatError:
        """Return an error that says what is damaged, and how that is repaired."""
        return StoreFormatError(
            f"the metadata {what} in the store {self._url!r} are damaged: {reason}; "
            f"'nnviz verify {self._url}' repairs them, or says what makes them again"
        )

    def renew(self, path: str) -> None:
        """Read the checksums that cover an array again when they are needed."""
        owner = self.owner_of(path)
        self._stated.pop(owner, None)
        self._forget_owners(owner)

    def forget(self, path: str) -> None:
        """Drop what is remembered of a path, and of all below it."""
        below = path + "/"
        for owner in [o for o in self._stated if (o + "/").startswith(below)]:
            del self._stated[owner]
        self._forget_owners(path)
        self._groups = {g for g in self._groups if not (g + "/").startswith(below)}


def _is_group(key: str, data: bytes) -> bool:
    return key.endswith(DOCUMENT) and b'"node_type": "group"' in data


SEAL = "document_crc32"


_SEAL = re.compile(rb'("document_crc32": ")([0-9a-f]{8})(")')


def crc_text(data: bytes) -> str:
    """Return the CRC-32 of some bytes, eight hexadecimal digits."""
    return f"{zlib.crc32(data):08x}"


def sealed_group(attributes: Mapping[str, Any]) -> bytes:
    """Return the ``zarr.json`` of a group with these attributes, sealed."""
    kept = {name: value for name, value in attributes.items() if name != SEAL}
    document = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {SEAL: "0" * 8, **kept},
    }
    data = json.dumps(document, indent=1).encode()
    return _SEAL.sub(rb"\g<1>" + crc_text(data).encode() + rb"\g<3>", data, count=1)


def unsealed_attributes(data: bytes) -> tuple[dict[str, Any], bool]:
    """Return the attributes of a group's document, and whether it had a seal.

    Raises
    ------
    ValueError
        If the document is damaged: its bytes do not fit its seal, it is cut off, or it
        is not a group's document.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = f"it is not valid JSON ({error})"
        raise ValueError(msg) from error
    if not isinstance(document, dict) or document.get("node_type") != "group":
        msg = "it is not the document of a Zarr v3 group"
        raise ValueError(msg)
    attributes = document.get("attributes", {})
    if not isinstance(attributes, dict):
        msg = "its attributes are not a table"
        raise ValueError(msg)  # noqa: TRY004  the bytes are wrong, not a caller
    stated = attributes.pop(SEAL, None)
    if stated is None:
        return attributes, False
    unsigned = _SEAL.sub(rb"\g<1>00000000\g<3>", data, count=1)
    if crc_text(unsigned) != stated:
        msg = "its bytes do not fit its checksum"
        raise ValueError(msg)
    return attributes, True
