"""The web part's settings, and that a gateway without it knows nothing of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from interlock.core.errors import ConfigError
from interlock.daemons.config import Config, WebConfig
from interlock.daemons.web import check_web, keep_url, kept_url

GOOD = WebConfig("0.0.0.0:443", "https://gate.example", "cert.pem", "key.pem")


@pytest.mark.parametrize(
    "config",
    [
        WebConfig(),
        GOOD,
        WebConfig("127.0.0.1:8080", "http://localhost:8080"),
        WebConfig("[::1]:8080", "https://gate.example"),  # a reverse proxy on this machine
        WebConfig("10.0.0.1:80", "https://gate.example", behind_proxy=("10.0.0.0/24", "::1")),
    ],
)
def test_settings_that_protect_what_people_type_are_taken(config: WebConfig) -> None:
    """TLS here, or a reverse proxy that is named, or this machine alone."""
    check_web(config)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (WebConfig("0.0.0.0:80", "https://gate.example"), "web.listen"),
        (WebConfig(":80", "https://gate.example"), "web.listen"),
        (WebConfig("127.0.0.1:80", "http://gate.example"), "https://"),
        (WebConfig("127.0.0.1:80", ""), "public_url"),
        (WebConfig("127.0.0.1:80", "https://gate.example/"), "public_url"),
        (WebConfig("127.0.0.1:80", "https://gate.example/path"), "public_url"),
        (WebConfig("127.0.0.1:80", "https://a@gate.example"), "public_url"),
        (WebConfig("127.0.0.1:80", "https://Gate.example"), "lower case"),
        (WebConfig("127.0.0.1:80", "ftp://gate.example"), "public_url"),
        (WebConfig("", "https://gate.example"), "web.listen"),
        (WebConfig("127.0.0.1:80", "https://gate.example", tls_key="k"), "tls_cert"),
        (WebConfig("127.0.0.1:80", "https://gate.example", behind_proxy=("10.0.0.1/8",)), "behind_proxy"),
        (WebConfig("127.0.0.1:80", "https://gate.example", behind_proxy=("proxy",)), "behind_proxy"),
    ],
)
def test_settings_that_do_not_are_refused(config: WebConfig, named: str) -> None:
    """Before anybody can type a password there."""
    with pytest.raises(ConfigError, match=named):
        check_web(config)


def test_ilctl_learns_where_people_go(tmp_path: Path) -> None:
    """From the data directory, as long as there is a web part."""
    with pytest.raises(ConfigError, match="no web part"):
        kept_url(tmp_path)
    keep_url(tmp_path, GOOD)
    assert kept_url(tmp_path) == "https://gate.example"
    keep_url(tmp_path, Config().web)
    with pytest.raises(ConfigError):
        kept_url(tmp_path)


def test_nothing_of_the_web_is_imported_without_it() -> None:
    """It would cost every start a quarter of a second."""
    code = (
        "import sys, interlock.daemons.gateway, interlock.cli.admin, interlock.cli.user; "
        "print([each for each in ('litestar', 'uvicorn', 'httpx', 'webauthn', 'joserfc') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
