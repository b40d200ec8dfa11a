"""Which messages of visitors come to the server of the page, and when is it done?

Serves a store as ``python -m nnviz_dashboards`` does, and notes in a file when a
message of a visitor has come, and when the frames of one have been written that changes
the page, or that is a receipt, each as a line of JSON. The browser, which notes answers
late where it is busy, has no part in it.

    python benchmarks/timed_server.py times.jsonl RUN.zarr --port 0 --no-token
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "dashboards")]

from bokeh.server.views.ws import WSHandler  # noqa: E402
from tornado.websocket import WebSocketHandler  # noqa: E402

from nnviz_dashboards.__main__ import main  # noqa: E402

IN, OUT, RECEIPT = "in", "out", "receipt"


def answer_ms(lines: list[str]) -> float | None:
    """Return how long the server took to answer what a click made the page ask.

    An answer ends with the last frame before the page asks again, as for what a card
    shows once it is drawn; of several the one that took longest counts. Where the page
    asks again before it has the answer, what comes after counts from there on, and is
    told too short: ``page`` of the interactions has all of it. A receipt is an answer
    only where there is no other: it changes nothing.

    Parameters
    ----------
    lines
        What it has noted since the click.

    Returns
    -------
    float or None
        Milliseconds; None where there is no message, or no answer after it.
    """
    longest: dict[str, float] = {}
    asked = answered = None
    for way, at in map(json.loads, lines):
        if way == IN:
            # A message comes in several frames.
            if asked is None or answered is not None:
                asked, answered = at, None
        elif asked is not None:
            answered = at
            longest[way] = max(longest.get(way, 0.0), 1e3 * (at - asked))
    return longest.get(OUT, longest.get(RECEIPT))


def note_messages(file: Path) -> None:
    """Note what every connection of this process receives and sends from now on."""
    out = file.open("a", buffering=1, encoding="utf-8")
    write, receive = WebSocketHandler.write_message, WSHandler.on_message
    sends_receipt: set[WebSocketHandler] = set()

    def note(way: str) -> None:
        out.write(json.dumps([way, time.monotonic()]) + "\n")

    # A message is a header, which says of what kind it is, and further frames.
    def noted_write(
        self: WebSocketHandler, message: Any, binary: bool = False
    ) -> Awaitable[None]:
        if isinstance(message, str) and message.startswith('{"msgid"'):
            is_receipt = json.loads(message)["msgtype"] == "OK"
            (sends_receipt.add if is_receipt else sends_receipt.discard)(self)
        written = write(self, message, binary)
        note(RECEIPT if self in sends_receipt else OUT)
        return written

    async def noted_receive(self: WSHandler, fragment: str | bytes) -> None:
        note(IN)
        await receive(self, fragment)

    WebSocketHandler.write_message = noted_write
    WSHandler.on_message = noted_receive


if __name__ == "__main__":
    note_messages(Path(sys.argv.pop(1)))
    sys.exit(main())
