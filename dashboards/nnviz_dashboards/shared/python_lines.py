"""With which lines of nnviz does one get the numbers of a chart?"""

from __future__ import annotations

__all__ = ["look_lines", "python_lines"]


def python_lines(store_url: str, *lines: str) -> str:
    """Return lines that open a store and then do something with it.

    Parameters
    ----------
    store_url
        URL of the store.
    *lines
        Of Python, in which ``nnviz`` and ``store`` are known.

    Examples
    --------
    >>> print(python_lines("run.zarr", "store.table('label = horse')"))
    import nnviz
    store = nnviz.open_store('run.zarr')
    store.table('label = horse')
    """
    return "\n".join(
        ["import nnviz", f"store = nnviz.open_store({store_url!r})", *lines]
    )


def look_lines(store_url: str, a: str, b: str, *lines: str) -> str:
    """Return lines that look at A against B, or against all others, as ``found``.

    Parameters
    ----------
    store_url
        URL of the store.
    a, b
        Queries; an empty one of B means all others.
    *lines
        In which ``found`` is known.
    """
    arguments = f"{a!r}, {b!r}" if b else repr(a)
    return python_lines(store_url, f"found = store.look({arguments})", *lines)
