"""A token that is kept: who may read it, and what it opens after a restart."""

import os
import urllib.request

import pytest

from nnviz.errors import ConfigError
from nnviz_dashboards.serving.tokens import kept_token
from tests.dashboards.served_pages import served


def test_token__is_written_once_for_its_owner_alone(tmp_path):
    file = tmp_path / "token"

    first = kept_token(file)

    assert len(first) > 30
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept_token(file) == first
    assert kept_token(tmp_path / "other") != first


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such bits")
def test_token__that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "token"
    kept_token(file)
    file.chmod(0o640)

    with pytest.raises(ConfigError, match=r"mode 640.*chmod 600"):
        kept_token(file)


@pytest.mark.parametrize(
    "text", [b"", b"short", b"not a token, but a sentence of words", b"\xff" * 30]
)
def test_token__that_is_none_is_refused(tmp_path, text):
    file = tmp_path / "token"
    file.write_bytes(text)
    file.chmod(0o600)

    with pytest.raises(ConfigError, match="holds no token"):
        kept_token(file)


def test_token__in_no_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        kept_token(tmp_path / "none" / "token")


@pytest.mark.slow
def test_token__opens_the_page_of_the_next_server(finished_url, tmp_path):
    options = ("--token-file", str(tmp_path / "token"))
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with served(finished_url, *options, with_token=True) as (_, address):
        host, token = address.split("/?token=")
        assert browser.open(f"http://{address}", timeout=20).status == 200
    port = host.split(":")[1]

    # Cookies know no ports, and their names do.
    again = ("--port", port, *options)
    with served(finished_url, *again, with_token=True) as (_, address):
        assert address == f"{host}/?token={token}"
        assert browser.open(f"http://{host}/?layer=late", timeout=20).status == 200
