"""Sizes of files: of a local disk at once, of a slow file server in threads."""

import os
import threading
import time

import pytest

from nnviz.inputs.datasets import files
from nnviz.inputs.datasets.files import Root


def test_sizes__files_gone_and_absolute__are_told_in_order(tmp_path):
    (tmp_path / "a.png").write_bytes(b"abc")
    (tmp_path / "b.png").write_bytes(b"")

    names = ["a.png", "gone.png", str(tmp_path / "a.png"), "b.png", "nul\0.png"]
    sizes = Root(tmp_path, allow_outside=False).sizes(names)

    assert sizes == [3, -1, 3, 0, -1]


@pytest.mark.slow
def test_sizes__slow_file_system__is_asked_by_many_threads_in_order(
    tmp_path, monkeypatch
):
    names = [f"{i}.png" for i in range(3_000)]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * (i % 7))
    threads, stat = set(), os.stat
    root = Root(tmp_path, allow_outside=False)

    def slow_stat(path, **options):
        threads.add(threading.get_ident())
        time.sleep(1e-4)
        return stat(path, **options)

    monkeypatch.setattr(files.os, "stat", slow_stat)

    assert root.sizes(names) == [i % 7 for i in range(3_000)]
    assert len(threads) > 1
