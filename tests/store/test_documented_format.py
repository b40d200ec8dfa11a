"""The format as the documents describe it: enough to check a store without nnviz."""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import zarr

from nnviz.testing import PlantedRun, write_store
from tests.oracles.stored_arrays import stored_array

PAGE = Path(__file__).parents[2] / "docs" / "store.md"
RUN = PlantedRun(n_instances=50, instances_per_chunk=20, n_unreadable=3)


def crc_of(values):
    """Return the CRC-32 that the documented row of ``extraction_done`` describes."""
    if values.dtype.kind not in "biuf":
        return zlib.crc32(b"\0".join(str(text).encode("utf-8") for text in values))
    little = values.astype(values.dtype.newbyteorder("<"))
    return zlib.crc32(np.ascontiguousarray(little).tobytes())


def test_mark__is_read_and_checked_by_the_documentation_alone(tmp_path):
    url = write_store(tmp_path / "run.zarr", RUN).url
    attributes = json.loads(Path(url, "zarr.json").read_bytes())["attributes"]
    root = zarr.open_group(url, mode="r")
    row = next(
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `extraction_done`")
    )
    fields = re.search(r"each chunk: ([\w, ]+), then the CRC-32", row)[1].split(", ")
    paths = attributes[re.search(r"the root's attribute '(\w+)'", row)[1]]
    rows = attributes["plan"]["extraction"]["instances_per_chunk"]

    for chunk, start in enumerate(range(0, 50, rows)):
        mark = root["extraction_done"][chunk].tolist()
        counts = dict(zip(fields, mark, strict=False))
        assert counts["done"] == 1
        assert counts["n_instances"] == min(rows, 50 - start)
        expected = dict(zip(paths, mark[len(fields) :], strict=True))
        found = {}
        for path in paths:
            values = stored_array(url, path)
            of_chunk = path.startswith("peaks/")
            part = values[chunk : chunk + 1] if of_chunk else values[start:][:rows]
            found[path] = crc_of(np.asarray(part))
        assert found == expected
