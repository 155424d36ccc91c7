"""A real identity provider: npm's oidc-provider under node, with one client and its own sign-in pages.

``make tools`` installs it from ``oidc/package-lock.json`` into ``.node``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interlock.testing.ports import free_port
from interlock.testing.procs import Daemon

_HERE = Path(__file__).parent / "oidc"
_MODULE = Path(__file__).parents[3] / ".node/node_modules/oidc-provider/lib/index.js"

CLIENT, SECRET = "interlock", "a secret of the client"


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """One that runs."""

    issuer: str
    daemon: Daemon


@contextmanager
def oidc_provider(
    directory: Path, *, redirect: str, groups: Mapping[str, Sequence[str]]
) -> Iterator[OidcProvider]:
    """Meanwhile it runs on this machine. ``groups``: of whom, by name; anybody else may sign in too, with none."""
    port = free_port()
    issuer = f"http://localhost:{port}"
    settings = {
        "issuer": issuer,
        "port": port,
        "client": CLIENT,
        "secret": SECRET,
        "redirect": redirect,
        "groups": groups,
    }
    argv = ["node", str(_HERE / "provider.mjs"), str(_MODULE), json.dumps(settings)]
    daemon = Daemon(argv, log=directory / "oidc-provider.log", name="oidc-provider")
    try:
        daemon.wait_log("ready")
        yield OidcProvider(issuer, daemon)
    finally:
        daemon.stop()
