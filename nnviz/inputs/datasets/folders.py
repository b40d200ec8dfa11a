"""A folder with one sub-folder for each class.

Order: by the components of the path, as code points: independent of locale and file
system, and for one level of sub-folders the order of torchvision's ``ImageFolder``.

- Every entry whose name ends like an image's is an instance, whatever it is: a named
  pipe or a folder called ``x.jpg`` is listed and recorded as unreadable.
- Entries that start with a dot are left out (``.DS_Store``, ``.ipynb_checkpoints``),
  and so are files that are named otherwise; `notes` counts them by ending, and names a
  class of which nothing is left.
- Blanks around the name of a class folder are not part of the class's name.
- Links are followed. One that leads out of the folder, or in circles, is refused.
- Without sub-folders the images of the folder itself are the instances, unlabelled.
"""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ConfigError, DatasetError
from nnviz.inputs.datasets.files import Root
from nnviz.inputs.datasets.image_formats import IMAGE_SUFFIXES
from nnviz.inputs.datasets.listings import (
    check_ids,
    endings_text,
    fingerprint_of,
    make_labels,
)
from nnviz.runs.config import DatasetConfig

__all__ = ["FolderDataset"]


class FolderDataset:
    """Image files in a folder; the label is the first sub-folder's name.

    Parameters
    ----------
    config
        Its `path`, `limit` and `allow_outside_root` are used; a `label_column` of ""
        stands for data without labels.
    ids
        Ids of the instances, where they are known: the folder is not listed.

    Raises
    ------
    ConfigError
        If no path is given.
    DatasetError
        If the folder cannot be listed, or holds no image.
    """

    def __init__(self, config: DatasetConfig, ids: Sequence[str] | None = None) -> None:
        if config.path is None:
            msg = "dataset.path is missing; for kind 'folder' it names the folder"
            raise ConfigError(msg)
        root = Root(config.path, allow_outside=config.allow_outside_root)
        self._root = root
        self._left_out: dict[str, collections.Counter[str]] = {}
        self._paths: dict[int, str] = {}
        if ids is None:
            paths = list(itertools.islice(self._walk(), config.limit))
            place = f"the folder {root.path!r}"
            if not paths and self._left_out:
                total = sum(self._left_out.values(), collections.Counter())
                msg = (
                    f"{place} has no instances; its files are no images that can be "
                    f"read: {endings_text(total)}"
                )
                raise DatasetError(msg)
            check_ids(paths, place=place)
            self.ids = self._readable(paths)
        else:
            self.ids = list(ids)
        if config.label_column:
            self.labels = _labels(self.ids)
        else:
            self.labels = None
        self.metadata: dict[str, NDArray[Any]] = {}
        self.class_names = self._folder_names() if self.labels is not None else ()
        self.notes = tuple(self._notes())
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> bytes:
        """Return the undecoded file; raises UnreadableInstanceError with the reason."""
        return self._root.read(self._path(index))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of paths and sizes; the files' times have no part in it."""
        if self._fingerprint is None:
            paths = self.ids
            if self._paths:
                paths = [self._path(index) for index in range(len(self))]
            sizes = self._root.sizes(paths)
            self._fingerprint = fingerprint_of("folder", self.ids, None, {}, sizes)
        return self._fingerprint

    def _path(self, index: int) -> str:
        return self._paths.get(index, self.ids[index])

    def _folder_names(self) -> tuple[str, ...]:
        """Names of all class folders, those without a listed instance included."""
        names = [
            os.fsencode(entry.name).decode("utf-8", errors="backslashreplace")
            for entry in os.scandir(self._root.path)
            if entry.is_dir() and not entry.name.startswith(".")
        ]
        stripped = collections.Counter(name.strip() for name in names)
        twice = next((name for name, n in stripped.items() if n > 1), None)
        if twice is not None:
            msg = (
                f"several class folders of {self._root.path!r} are called {twice!r} "
                f"but for blanks; rename or join them"
            )
            raise DatasetError(msg)
        return tuple(sorted(stripped))

    def _notes(self) -> Iterator[str]:
        """Say which files are no instances, and which classes have lost all."""
        total = sum(self._left_out.values(), collections.Counter())
        if not total:
            return
        yield f"left out of the folder: {endings_text(total)}"
        present = {path.partition("/")[0] for path in self.ids if "/" in path}
        for folder, counts in self._left_out.items():
            # Hidden files are nobody's pictures.
            counts = collections.Counter({e: n for e, n in counts.items() if e != "."})
            if folder and counts and folder not in present:
                yield (
                    f"warning: class {folder!r} has no instance: all of its files are "
                    f"left out ({endings_text(counts)})"
                )

    def _walk(self) -> Iterator[str]:
        """Yield the paths of all instances relative to the root, in order."""
        stray = []
        n_nested = 0
        for path in self._walk_folder("", self._root.path, frozenset()):
            if "/" in path:
                n_nested += 1
                yield path
            else:
                stray.append(path)
        if stray and n_nested:
            msg = (
                f"{len(stray)} images lie beside the class folders of "
                f"{self._root.path!r}, such as {stray[0]!r}; they have no class: move "
                f"them into a folder, or away"
            )
            raise DatasetError(msg)
        yield from stray

    def _walk_folder(
        self, relative: str, real: str, above: frozenset[str]
    ) -> Iterator[str]:
        if real in above:
            msg = (
                f"the folder {relative!r} in {self._root.path!r} is a link to a folder "
                f"that contains it; remove the link"
            )
            raise DatasetError(msg)
        above |= {real}
        try:
            with os.scandir(real) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            msg = f"cannot list the folder {real!r}: {error.strerror or error}"
            raise DatasetError(msg) from error
        for entry in entries:
            name = entry.name
            path = f"{relative}/{name}" if relative else name
            if name.startswith("."):
                self._leave_out(path, ".")
                continue
            target = self._target(entry, path)
            ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a million times
            if ending in IMAGE_SUFFIXES:
                yield path
            elif entry.is_dir():
                yield from self._walk_folder(path, target, above)
            else:
                self._leave_out(path, ending)

    def _leave_out(self, path: str, ending: str) -> None:
        folder = path.partition("/")[0] if "/" in path else ""
        self._left_out.setdefault(folder, collections.Counter())[ending] += 1

    def _target(self, entry: os.DirEntry[str], path: str) -> str:
        """Return the entry's path without links, or refuse it."""
        if not entry.is_symlink():
            return entry.path
        target = os.path.realpath(entry.path)
        if not self._root.contains(target):
            msg = (
                f"the link {path!r} in {self._root.path!r} leads out of it, to "
                f"{target!r}; set dataset.allow_outside_root = true if that is meant"
            )
            raise DatasetError(msg)
        return target

    def _readable(self, paths: list[str]) -> list[str]:
        """Escape the names that are not valid Unicode, and remember their paths."""
        try:
            "".join(paths).encode()
        except UnicodeEncodeError:
            pass
        else:
            return paths
        ids = []
        for index, path in enumerate(paths):
            escaped = os.fsencode(path).decode("utf-8", errors="backslashreplace")
            if escaped != path:
                self._paths[index] = path
            ids.append(escaped)
        check_ids(ids, place=f"the folder {self._root.path!r}")
        return ids


def _labels(ids: list[str]) -> NDArray[np.object_] | None:
    if "/" not in ids[0]:
        return None
    return make_labels(path.partition("/")[0] for path in ids)
