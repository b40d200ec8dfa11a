"""What makes a plan this plan? All that decides the stored numbers, and nothing else.

Two plans of one identity may write to one store. Options that came later leave the
identity of earlier plans as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nnviz.errors import ConfigError

__all__ = ["fingerprint_of", "identity_of"]

_IDENTITY_FREE_PARTS = (
    "measurements",
    "labels_joined_by",
    "notes",
    "class_of_label",
    "extensions",
    "contents",
    "chooses_chunks",
)
_IDENTITY_FREE = {
    "model": ("weights", "weights_key", "weights_prefix"),
    "dataset": ("path", "root", "fingerprint_contents", "delimiter", "encoding"),
    "preprocessing": ("measured_on",),
    "classes": ("map",),
    "extraction": ("reader_threads", "max_unreadable_fraction"),
}
"""Options that say where things are or how fast they go. What is there is told by the
fingerprints of network and data."""


_LATER_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "preprocessing": {
        "jpeg_reduction": None,
        "tokenizer": None,
        "max_length": None,
        "special_tokens_count": False,
        "padding_id": None,
        "columns": [],
    },
    "dataset": {
        "text_column": None,
        "pattern": None,
        "input_columns": [],
        "missing_values": [],
    },
    "architecture": {"inputs": None, "padding": None},
    "extraction": {
        "targets_minimum": 1,
        "relevance": "none",
        "relevance_outputs": [],
        "relevance_signal": None,
    },
}
"""Options with their defaults that plans from before do not have: those plans have the
same identity as with the defaults."""


def fingerprint_of(value: Mapping[str, Any]) -> str:
    """Return the fingerprint of a plan as JSON values, also of one from before.

    Raises
    ------
    ConfigError
        If a part of a plan is missing.
    """
    try:
        identity = identity_of(json.loads(json.dumps(value)))
    except (AttributeError, KeyError, TypeError) as error:
        msg = f"it lacks the part {error}"
        raise ConfigError(msg) from error
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def identity_of(value: dict[str, Any]) -> dict[str, Any]:
    """Return a plan's JSON values without what changes no stored number.

    Parameters
    ----------
    value
        Of the whole plan; it is changed.
    """
    for name in _IDENTITY_FREE_PARTS:
        value.pop(name, None)
    for part, names in _IDENTITY_FREE.items():
        for name in names:
            value[part].pop(name, None)
    for name in ("problems", "validation_error", "held"):
        value["architecture"].pop(name, None)
    padding = value["architecture"].get("padding")
    if padding is not None:
        value["architecture"]["padding"] = padding["mode"]
    for part, later in _LATER_OPTIONS.items():
        for name, default in later.items():
            if value[part].get(name) == default:
                value[part].pop(name, None)
    for layer in value["architecture"]["layers"]:
        layer.pop("aliases", None)
        layer.pop("token_window", None)
        layer.pop("channel_names", None)
        for name in ("token_axis", "token_field"):
            if layer.get(name) is None:
                layer.pop(name, None)
    for name in (
        "keeps_remainders",
        "keeps_gradient_norms",
        "outcome_columns",
        "two_outputs_of",
        "two_outputs_are_direct",
        "gives_probabilities",
        "target_column",
    ):
        if not value.get(name):
            value.pop(name, None)
    return value
