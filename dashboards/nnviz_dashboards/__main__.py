"""Serve a store: ``python -m nnviz_dashboards STORE``."""

from __future__ import annotations

import argparse
import sys

from nnviz.errors import NnvizError
from nnviz_dashboards.serving.server import serve


def main() -> int:
    """Read the command line and serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m nnviz_dashboards")
    parser.add_argument("store")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--allow-origin", action="append", default=[])
    parser.add_argument("--basic-auth")
    parser.add_argument("--oauth")
    parser.add_argument("--oauth-user", action="append", default=[])
    parser.add_argument("--no-token", action="store_false", dest="with_token")
    parser.add_argument("--token-file")
    parser.add_argument("--network-on")
    parser.add_argument("--other-store")
    parser.add_argument("--published")
    parser.add_argument("--classes")
    parser.add_argument("--open", action="store_true", dest="open_browser")
    options = parser.parse_args()
    try:
        serve(
            options.store,
            host=options.host,
            port=options.port,
            allow_origin=options.allow_origin,
            basic_auth=options.basic_auth,
            oauth=options.oauth,
            oauth_users=options.oauth_user,
            with_token=options.with_token,
            token_file=options.token_file,
            network_on=options.network_on,
            other_store=options.other_store,
            published=options.published,
            classes=options.classes,
            open_browser=options.open_browser,
        )
    except NnvizError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
