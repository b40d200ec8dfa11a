"""Panel's server in a thread of this process: what it holds can be looked at."""

import asyncio
import contextlib
import threading

import panel as pn


@contextlib.contextmanager
def threaded_server(page, seconds, **options):
    """Serve a page on loopback, with Panel's options, and give the server.

    Whatever takes longer than so many seconds fails.
    """
    begun, ready = {}, threading.Event()

    def serve():
        asyncio.set_event_loop(asyncio.new_event_loop())
        server = pn.io.server.get_server(
            page,
            port=0,
            address="127.0.0.1",
            check_unused_sessions_milliseconds=20,
            **options,
        )
        server.start()
        begun["server"], begun["loop"] = server, server.io_loop
        ready.set()
        server.io_loop.start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(seconds)
    server, loop = begun["server"], begun["loop"]
    try:
        yield server
    finally:
        loop.add_callback(server.stop)
        loop.add_callback(loop.stop)
        thread.join(seconds)
