"""How do the scripts of components come to browsers? Once, until they change."""

from __future__ import annotations

import functools
import gzip
from typing import Any

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.web import HTTPError, authenticated

from nnviz_dashboards.serving.compressed_files import LEVEL
from nnviz_dashboards.serving.pictures import FOR_EVER
from nnviz_dashboards.shared.component import SCRIPTS, sent_script

__all__ = ["script_patterns"]


def script_patterns() -> list[tuple[str, type, dict[str, Any]]]:
    """Return what answers under which addresses, as tornado takes it."""
    return [(rf"/{SCRIPTS}/([0-9a-f]{{64}})\.js", ScriptHandler, {})]


class ScriptHandler(AuthRequestHandler):
    """Answers with the script of a component, by the name of what is in it."""

    @authenticated
    def get(self, name: str) -> None:
        """Send a script, compressed once for all visitors who can unpack it."""
        script = sent_script(name)
        if script is None:
            raise HTTPError(404)
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", FOR_EVER)
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            self.finish(_compressed(script))
        else:
            self.finish(script.encode())


@functools.cache
def _compressed(script: str) -> bytes:
    return gzip.compress(script.encode(), LEVEL, mtime=0)
