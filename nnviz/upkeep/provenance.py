"""What was a store made of, by which software, on which machine?"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from nnviz.runs.json_values import to_json
from nnviz.store.store import Store

__all__ = ["provenance_lines", "provenance_of"]


def provenance_of(store: Store) -> dict[str, Any]:
    """Return fingerprints, software, machine and history, as JSON values.

    Parameters
    ----------
    store
        Opened; nothing that it names is opened.

    Returns
    -------
    dict
        ``fingerprints`` (SHA-256 of the plan, and of the weights, the architecture, the
        preprocessing, the data set's listing, and the contents of its instances),
        ``contents`` (how many of these were read, and are duplicates), ``software``
        (with the machine) of the planning, ``run`` (device, precision, batch size,
        threads), and ``history``, one entry for each extension.
    """
    plan = store.plan
    records = store.records
    architecture = to_json(plan.architecture)
    return {
        "fingerprints": {
            "plan": store.fingerprint,
            "weights": plan.fingerprints["model"],
            "architecture": _sha256(architecture),
            "preprocessing": _sha256(to_json(plan.preprocessing)),
            "dataset": plan.fingerprints["dataset"],
            "contents": plan.contents.fingerprint,
        },
        "contents": {
            "mode": plan.contents.mode,
            "n_read": plan.contents.n_read,
            "n_duplicates": plan.contents.n_duplicates,
            "duplicates": [list(group) for group in plan.contents.duplicates],
        },
        "software": records.get("software", {}),
        "run": {
            "device": plan.extraction.device,
            "precision": plan.extraction.precision,
            "memory_format": plan.extraction.memory_format,
            "batch_size": plan.extraction.batch_size,
            "threads_per_worker": plan.extraction.threads_per_worker,
        },
        "format_version": records["format_version"],
        "history": records.get("history", []),
    }


def provenance_lines(provenance: dict[str, Any]) -> list[str]:
    """Return the same as lines of text."""
    read = provenance["contents"]
    how = {
        "none": "not read: dataset.fingerprint_contents was 'none'",
        "sampled": f" of a sample of {read['n_read']:,} instances",
        "full": f" of all {read['n_read']:,} instances that could be read",
    }
    fingerprints = dict(provenance["fingerprints"])
    fingerprints["contents"] += how[read["mode"]]
    lines = [f"{name:<14} {v}" for name, v in fingerprints.items()]
    for part in ("software", "run"):
        values = (f"{name} {value}" for name, value in provenance[part].items())
        lines.append(f"{part:<14} {', '.join(values) or 'not recorded'}")
    lines.append(f"format         {provenance['format_version']}")
    for entry in provenance["history"]:
        versions = (f"{n} {v}" for n, v in entry["software"].items())
        lines.append(
            f"extended       from {entry['n_before']:,} to {entry['n_instances']:,} "
            f"instances, listing {entry['dataset_before'][:12]} to "
            f"{entry['dataset'][:12]}, with {', '.join(versions)}"
        )
    return lines


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
