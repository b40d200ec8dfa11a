"""How does a notebook show the page? In a process beside it, which ends with it.

The server has its own signals and event loop, and a kernel has its own: they share
nothing but a pipe, by which the server learns that its caller is gone.
"""

from __future__ import annotations

import atexit
import html
import os
import signal
import subprocess
import sys
import threading

from nnviz.argument_types import checked
from nnviz.errors import TaskError
from nnviz.store.store import Store, opened

__all__ = ["ServedPage", "serve"]

MARK = "nnviz-address "


class ServedPage:
    """A page that is served from a process of its own.

    Parameters
    ----------
    process
        Of the server.
    address
        Of the page, with its token.
    """

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self._process = process
        self.address = address
        """To open in a browser of this machine."""

    def stop(self) -> None:
        """End the server."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=30)

    def wait(self) -> None:
        """Return when the server has ended: Ctrl+C ends it."""
        try:
            self._process.wait()
        except KeyboardInterrupt:
            self.stop()

    def __repr__(self) -> str:
        return f"<nnviz page at {self.address}>"

    def _repr_html_(self) -> str:
        address = html.escape(self.address)
        return (
            f"<a href='{address}' target='_blank'>{address}</a>"
            f"<iframe src='{address}' title='nnviz' "
            "style='width:100%;height:800px;border:1px solid #ccc'></iframe>"
        )


@checked
def serve(
    store: Store | str | os.PathLike[str],
    *,
    port: int = 0,
    other_store: Store | str | os.PathLike[str] | None = None,
    published: str | os.PathLike[str] | None = None,
) -> ServedPage:
    """Serve the page of a store on loopback, until this process ends.

    Parameters
    ----------
    store
        The store, or its path.
    port
        0 takes a free one.
    other_store
        Of another network with the same layers over the same instances, whose graphs
        can be looked at beside.
    published
        File of a graph that SUMMIT published, or a folder of them, likewise.

    Returns
    -------
    ServedPage
        A notebook shows the page itself; a script calls its ``wait()``.

    Raises
    ------
    StoreError
        If there is no store.
    TaskError
        If the server does not start.
    """
    url = opened(store).url
    other = "" if other_store is None else opened(other_store).url
    beside = "" if published is None else os.fspath(published)
    process = subprocess.Popen(
        [sys.executable, "-m", "nnviz.interface.page", url, str(port), other, beside],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        text=True,
        start_new_session=True,  # Ctrl+C in a notebook is for the kernel
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(MARK):
            page = ServedPage(process, line.removeprefix(MARK).strip())
            atexit.register(page.stop)
            return page
    msg = f"the page's server did not start; 'nnviz serve {url}' says why"
    raise TaskError(msg)


def _end_with_caller() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _main() -> None:
    from nnviz_dashboards.serving.server import (  # noqa: PLC0415  the child's alone
        serve as serve_page,
    )

    threading.Thread(target=_end_with_caller, daemon=True).start()
    url, port, other_store, published = sys.argv[1:]
    serve_page(
        url,
        port=int(port),
        other_store=other_store or None,
        published=published or None,
        announce=lambda address: print(f"{MARK}{address}", flush=True),  # noqa: T201
    )


if __name__ == "__main__":
    _main()
