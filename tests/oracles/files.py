"""What is in a folder, byte for byte?"""

from __future__ import annotations


def tree_bytes(folder):
    """Return the content of every file by its path relative to the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
