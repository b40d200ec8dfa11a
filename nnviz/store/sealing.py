"""How is a damaged metadata document noticed? It holds a checksum of itself.

A group's ``zarr.json`` is written with its own CRC-32 among the attributes, taken over
the document's bytes with zeros in its place. Any changed byte is noticed, where the
JSON would often stay valid and say something else.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

__all__ = ["crc_text", "sealed_group", "unsealed_attributes"]

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
        is no group's document.
    """
    try:
        document = json.loads(data)
    except ValueError as error:
        msg = f"it is no JSON ({error})"
        raise ValueError(msg) from error
    if not isinstance(document, dict) or document.get("node_type") != "group":
        msg = "it is no Zarr v3 group"
        raise ValueError(msg)
    attributes = document.get("attributes", {})
    if not isinstance(attributes, dict):
        msg = "its attributes are no table"
        raise ValueError(msg)  # noqa: TRY004  the bytes are wrong, not a caller
    stated = attributes.pop(SEAL, None)
    if stated is None:
        return attributes, False
    unsigned = _SEAL.sub(rb"\g<1>00000000\g<3>", data, count=1)
    if crc_text(unsigned) != stated:
        msg = "its bytes do not fit its checksum"
        raise ValueError(msg)
    return attributes, True
