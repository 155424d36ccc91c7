"""The web part's settings, and that a gateway without it knows nothing of it."""

import re
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from interlock.core.errors import ConfigError
from interlock.daemons.config import Config, WebConfig
from interlock.daemons.web import check_no_web, check_web, keep_url, kept_url
from interlock.testing.gateway import PASSWORD, Cluster
from interlock.testing.ports import free_port
from interlock.testing.tls import self_signed

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


@pytest.mark.slow
def test_nothing_of_the_web_is_imported_without_it() -> None:
    """It would cost every start a quarter of a second."""
    code = (
        "import sys, interlock.daemons.gateway, interlock.cli.admin, interlock.cli.user; "
        "print([each for each in ('litestar', 'uvicorn', 'httpx', 'webauthn', 'joserfc') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_web_part_is_auths() -> None:
    """A proxy apart that was given one says where it belongs."""
    check_no_web(WebConfig())
    with pytest.raises(ConfigError, match="file of the gateway"):
        check_no_web(GOOD)


@pytest.mark.interop
@pytest.mark.slow
def test_by_tls_from_the_first_byte_to_the_end_of_the_gateway(tmp_path: Path) -> None:
    """Cookies of this host alone; nothing in clear; whoever stays connected keeps no gateway from stopping."""
    certificate, key = self_signed(tmp_path, "localhost")
    port = free_port()
    url = f"https://localhost:{port}"
    tls = f'tls_cert = "{certificate}"\ntls_key = "{key}"'
    settings = f'[web]\nlisten = "127.0.0.1:{port}"\npublic_url = "{url}"\n{tls}\n'
    with Cluster(tmp_path / "cluster", with_node=False, settings=settings) as cluster:
        cluster.gateway.wait_port("127.0.0.1", port)
        trusted = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=url, verify=trusted, headers={"origin": url}, trust_env=False) as browser:
            page = browser.get("/sign-in")
            assert page.headers["strict-transport-security"]
            [token] = set(re.findall(r'name="form" value="([0-9a-f]+)"', page.text))
            form = {"form": token, "user": cluster.user, "password": PASSWORD}
            answer = browser.post("/sign-in", data=form)
            assert (answer.status_code, answer.headers["location"]) == (303, "/account")
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-interlock-signin=")
            assert "; Secure" in cookie
            assert cluster.user in browser.get("/account").text
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"http://localhost:{port}/sign-in", trust_env=False)
            cluster.gateway.signal(signal.SIGTERM)
            assert cluster.gateway.wait(15) == 0
        assert "Traceback" not in cluster.gateway.log_tail(200)
