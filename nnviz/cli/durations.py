"""How long is ``90``, ``1h30m`` or ``02:00:00``? Durations as users write them."""

from __future__ import annotations

import re

from nnviz.errors import ConfigError

__all__ = ["seconds_of"]

_UNITS = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?"
    r"(?:(\d+(?:\.\d+)?)s?)?"
)
_CLOCK = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_SECONDS = (86_400, 3_600, 60, 1)


def seconds_of(text: str) -> float:
    """Return the seconds of a duration.

    Parameters
    ----------
    text
        Seconds (``90``), units (``1h30m``), or a clock as batch systems write it
        (``30:00``, ``02:00:00``, ``1-12:00:00``).

    Raises
    ------
    ConfigError
        If it is none of these, or not positive.

    Examples
    --------
    >>> seconds_of("90"), seconds_of("1h30m"), seconds_of("1-12:00:00")
    (90.0, 5400.0, 129600.0)
    """
    stripped = text.strip().lower()
    match = _CLOCK.fullmatch(stripped) or _UNITS.fullmatch(stripped)
    parts = match.groups() if match else ()
    seconds = sum(
        float(part or 0) * unit for part, unit in zip(parts, _SECONDS, strict=False)
    )
    if seconds <= 0:
        msg = (
            f"{text!r} is no duration; write seconds (90), units (1h30m) or a clock "
            "(02:00:00), more than zero"
        )
        raise ConfigError(msg)
    return seconds
