"""Files that are announced: the system hears of them, and nothing else changes."""

import os

import pytest

from nnviz.store import files
from nnviz.store.files import announce


def test_announce__of_parts__leaves_the_file_as_it_is(tmp_path):
    path = tmp_path / "values"
    path.write_bytes(bytes(range(200)))

    announce(path)
    announce(path, [(0, 10), (150, 1000)])

    assert path.read_bytes() == bytes(range(200))


@pytest.mark.parametrize("make", [lambda _: None, os.mkfifo], ids=["nothing", "a pipe"])
def test_announce__of_what_is_no_file__does_nothing(tmp_path, make):
    make(tmp_path / "values")

    announce(tmp_path / "values")


def test_get_all__of_many_files__returns_each_or_none(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MANY_FILES", 2)
    root = files.LocalStore(tmp_path)
    for number in (0, 2, 3):
        (tmp_path / f"{number}").write_bytes(bytes([number]) * 3)

    found = files.Files(root, "", str(tmp_path)).get_all(["0", "1", "2", "3"])

    assert found == [b"\0\0\0", None, b"\2\2\2", b"\3\3\3"]
