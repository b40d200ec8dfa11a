"""How are scripts and styles sent? Compressed once, for all visitors."""

from __future__ import annotations

import asyncio
import functools
import gzip
from pathlib import Path

from tornado.web import StaticFileHandler

__all__ = ["LEVEL", "CompressedFiles"]

_ENDINGS = (".js", ".css")
LEVEL = 6
"""Of compression."""


class CompressedFiles(StaticFileHandler):
    """Sends scripts and styles from memory, to those who can unpack them.

    To be put before a handler of files, which says where they are and answers the rest.
    Compressing what a first page needs takes as long as building that page, and all
    other visitors would wait for it each time.
    """

    async def get(self, path: str, include_body: bool = True) -> None:  # noqa: FBT001, FBT002  Tornado's
        """Answer with a file; see :class:`tornado.web.StaticFileHandler`."""
        headers = self.request.headers
        takes_it = "gzip" in headers.get("Accept-Encoding", "")
        if not (takes_it and path.endswith(_ENDINGS)) or "Range" in headers:
            await super().get(path, include_body)
            return
        self.path = self.parse_url_path(path)
        location = self.get_absolute_path(self.root, self.path)
        found = self.validate_absolute_path(self.root, location)
        if found is None:
            return  # it has been answered
        self.absolute_path = found
        self.modified = self.get_modified_time()
        self.set_headers()
        if self.should_return_304():
            self.set_status(304)
            return
        modified = 0.0 if self.modified is None else self.modified.timestamp()
        content = await asyncio.to_thread(_compressed, found, modified)
        self.set_header("Content-Encoding", "gzip")
        self.set_header("Content-Length", len(content))
        if include_body:
            self.write(content)


@functools.lru_cache(maxsize=64)
def _compressed(file: str, modified: float) -> bytes:
    del modified  # another time is another file
    return gzip.compress(Path(file).read_bytes(), LEVEL, mtime=0)
