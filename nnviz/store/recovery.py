"""What if the root's metadata are damaged? There is a copy of them, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnviz.errors import StoreFormatError, StoreNotFoundError
from nnviz.store.documents import DOCUMENT, document_of, unsealed_attributes
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.places import absolute_url

__all__ = ["RECOVERY", "Damage", "problem_of", "restore_root"]

RECOVERY = "recovery"
"""Name of a group whose document is a copy of the root's, byte for byte."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it was written."""

    array: str
    """Path of the array or group; empty for the root."""
    reason: str
    chunk: int | None = None
    """Number of the damaged chunk; None for metadata."""
    remedy: str = ""
    """Command that makes it again, or what was done; empty where nothing helps."""
    is_repaired: bool = False

    def __str__(self) -> str:
        where = repr(self.array) if self.array else "the root"
        chunk = "" if self.chunk is None else f", chunk {self.chunk}"
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{where}{chunk}: {self.reason}{remedy}"


def restore_root(url: str, *, repair: bool) -> list[Damage]:
    """Compare the root's metadata with their copy, and restore either from the other.

    Parameters
    ----------
    url
        URL of the store, which may be impossible to open.
    repair
        Whether to write.

    Raises
    ------
    StoreFormatError
        If neither can be read: what the store was made of is not known any more.
    """
    given, url = url, absolute_url(url)
    try:
        hierarchy = Hierarchy.open(given, writable=repair)
    except (StoreFormatError, StoreNotFoundError):
        # Zarr cannot read the root's document: look at the files without it.
        if "://" in url or not (Path(url) / document_of(RECOVERY)).exists():
            raise
        hierarchy = Hierarchy.open_damaged(url)
    keys = (document_of(""), document_of(RECOVERY))
    contents = hierarchy.files.look_at(keys)
    problems = [problem_of(data) for data in contents]
    if not any(problems) and contents[0] == contents[1]:
        return []
    if contents[1] is None and problems[0] is None and isinstance(contents[0], bytes):
        attributes, is_sealed = unsealed_attributes(contents[0])
        if not is_sealed and attributes.get("format_version", 1) == 1:
            return []
    sound = (data for data, why in zip(contents, problems, strict=True) if not why)
    good = next((data for data in sound if isinstance(data, bytes)), None)
    if good is None:
        msg = (
            f"the metadata of {url!r} are damaged ({problems[0]}), and their copy is "
            "too: what the store was made of cannot be read any more; plan and extract "
            "again into a new store"
        )
        raise StoreFormatError(msg)
    found = []
    for key, data, why in zip(keys, contents, problems, strict=True):
        if data == good:
            continue
        if repair:
            hierarchy.files.put(key, good)
        found.append(
            Damage(
                key.removesuffix(DOCUMENT).rstrip("/"),
                why or "it differs from the root's metadata",
                remedy="restored from its copy"
                if repair
                else "'nnviz verify' restores it",
                is_repaired=repair,
            )
        )
    return found


def problem_of(data: bytes | str | None) -> str | None:
    """Return what is wrong with a group's document; None if nothing is.

    Parameters
    ----------
    data
        What :meth:`Files.look_at` returned for it.
    """
    if data is None:
        return "it is missing"
    if isinstance(data, str):
        return data
    try:
        attributes, is_sealed = unsealed_attributes(data)
    except ValueError as error:
        return str(error)
    if not is_sealed and attributes.get("format_version", 1) > 1:
        return "it has no checksum"
    return None
