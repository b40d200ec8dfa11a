"""Which pictures does the server answer with? Those of a run, by numbers alone."""

from __future__ import annotations

import asyncio
from typing import Any

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.web import HTTPError, authenticated

from nnviz.errors import NnvizError
from nnviz_dashboards.page.app import PICTURES
from nnviz_dashboards.serving.shared_results import SharedResults

__all__ = ["FOR_EVER", "picture_patterns"]

FOR_EVER = "private, max-age=31536000, immutable"
"""How long a browser keeps what its address names: a year, and asks no more."""


def picture_patterns(shared: SharedResults) -> list[tuple[str, type, dict[str, Any]]]:
    """Return what answers under which addresses, as tornado takes it."""
    folder = rf"/{PICTURES}/[0-9a-f]+"
    numbers = r"(\d{1,12})/(\d{1,9})/(\d{1,6})/(\d{1,9})"
    given = {"results": shared}
    return [
        (rf"{folder}/(\d{{1,6}})/(\d{{1,9}})/(\d{{1,6}})", PictureHandler, given),
        (
            rf"{folder}/diverse/(\d{{1,6}})/(\d{{1,9}})/(\d{{1,6}})",
            DiverseHandler,
            given,
        ),
        (rf"{folder}/features/(\d{{1,6}})/(\d{{1,9}})", FeatureHandler, given),
        (
            rf"{folder}/instances/(\d{{1,12}})(/large)?",
            InstancePictureHandler,
            given,
        ),
        (rf"{folder}/heat/{numbers}(/large)?", HeatHandler, given),
    ]


class PictureHandler(AuthRequestHandler):
    """Answers with a stored picture: three numbers, never a path."""

    def initialize(self, results: SharedResults) -> None:
        """Take what `make_server` gives."""
        self._shared = results

    @authenticated
    def get(self, layer: str, channel: str, rank: str) -> None:
        """Send the picture of one rank of one channel of one shown layer."""
        results = self._shared.latest
        if int(layer) >= len(results.layers):
            raise HTTPError(404)
        try:
            name = results.layers[int(layer)].name
            picture = results.picture(name, int(channel), int(rank))
        except NnvizError:
            picture = b""  # not derived, or damaged since
        self._send(picture)

    def _send(self, picture: bytes) -> None:
        if not picture:
            raise HTTPError(404)
        self.set_header("Content-Type", _content_type(picture))
        self.set_header("X-Content-Type-Options", "nosniff")
        # A text is drawn as SVG, which runs nothing, also where it is opened by itself.
        self.set_header(
            "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"
        )
        self.set_header("Cache-Control", FOR_EVER)
        self.finish(picture)


class FeatureHandler(PictureHandler):
    """Answers with what a channel was made to see, from the folder beside the store."""

    @authenticated
    def get(self, layer: str, channel: str) -> None:
        """Send the picture of one channel of one shown layer."""
        results = self._shared.latest
        if int(layer) >= len(results.layers):
            raise HTTPError(404)
        name = results.layers[int(layer)].name
        self._send(results.features.picture(name, int(channel)))


class DiverseHandler(PictureHandler):
    """Answers with what a channel sees of one of its diverse examples."""

    @authenticated
    async def get(self, layer: str, channel: str, place: str) -> None:
        """Send the picture of one place of one channel of one shown layer."""
        results = self._shared.latest
        if int(layer) >= len(results.layers):
            raise HTTPError(404)
        name, picture = results.layers[int(layer)].name, results.diverse.picture
        # The examples may have to be found again.
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                None, lambda: picture(name, int(channel), int(place))
            )
        except NnvizError:
            found = b""  # damaged since
        self._send(found)


class InstancePictureHandler(PictureHandler):
    """Answers with the picture of an instance, read from the data set of the run."""

    @authenticated
    async def get(self, number: str, large: str | None) -> None:
        """Send the picture of one instance, small or large."""
        pictures = self._shared.latest.instance_pictures
        # The first one opens the data set, which may take a while.
        picture = await asyncio.get_running_loop().run_in_executor(
            None, lambda: pictures.picture(int(number), is_large=bool(large))
        )
        self._send(picture)


class HeatHandler(PictureHandler):
    """Answers with where in its picture a channel of an instance fired."""

    @authenticated
    async def get(
        self, number: str, output: str, layer: str, channel: str, large: str | None
    ) -> None:
        """Send what is laid over the picture, small or large."""
        heat = self._shared.latest.explained.heat
        asked = int(number), int(output), int(layer), int(channel)
        picture = await asyncio.get_running_loop().run_in_executor(
            None, lambda: heat(*asked, is_large=bool(large))
        )
        self._send(picture)


def _content_type(picture: bytes) -> str:
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "image/webp"
    if picture[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    return "image/svg+xml" if picture[:4] == b"<svg" else "image/jpeg"
