"""Which files are images? Those that the installed decoders read.

Pillow knows the endings of each format. Only formats whose files are told by their
first bytes are read, so that damage is never taken for a picture; HEIF, as telephones
write it, where pillow-heif is installed (``nnviz[heif]``).
"""

from __future__ import annotations

from PIL import Image

try:
    import pillow_heif
except ImportError:
    pass
else:
    pillow_heif.register_heif_opener()

__all__ = ["FORMATS", "IMAGE_SUFFIXES"]

_WANTED = (
    "JPEG",
    "PNG",
    "WEBP",
    "BMP",
    "GIF",
    "TIFF",
    "PPM",
    "AVIF",
    "HEIF",
    "JPEG2000",
    "QOI",
    "DIB",
)

_ENDINGS = Image.registered_extensions()

FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
"""Formats that are opened, as Pillow names them; its defects lie in the rare ones."""

IMAGE_SUFFIXES = frozenset(
    ending for ending, name in _ENDINGS.items() if name in (*FORMATS, "MPO")
)
"""Names that end so are instances of a folder or an archive, in capitals too. Several
pictures in one JPEG (MPO) are opened as a JPEG."""
