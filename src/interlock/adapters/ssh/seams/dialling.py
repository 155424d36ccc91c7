"""What asyncssh is told of a target, worked out once for each kind of target instead of for each connection.

Of its 80 options, hardly any depends on whom we dial; asyncssh looks all of them up anew, and in the file system.
"""

import asyncio
from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import Any

import asyncssh

from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.seams.handshake import prepare_name
from interlock.core.extensions import SOFTWARE

NO_KNOWN_HOSTS: Any = ([], [], [])
"""Keys, authorities and revoked keys that are trusted unasked: none. Whatever is false as a whole, ``b""`` for
example, makes asyncssh read ``~/.ssh/known_hosts``."""


def dial_options(
    loop: asyncio.AbstractEventLoop,
    owner: asyncssh.SSHClient,
    *,
    address: tuple[str, int],
    alias: str,
    username: str,
    ciphers: Sequence[str],
    host_keys: Sequence[str],
    timeout: float,
) -> "tuple[asyncssh.SSHClientConnectionOptions, asyncio.Future[None]]":
    """For one connection, and what asyncssh resolves when it is authenticated or has failed.

    ``alias``: what certificates of the host must name. ``host_keys``: algorithms. ValueError for a bad user name.
    """
    options = copy(_prepared(tuple(ciphers), tuple(host_keys), timeout))
    options.protocol_factory = lambda: owner
    options.host, options.port = address
    options.orig_host = options.host
    options.host_key_alias = alias
    options.username = prepare_name(username)
    options.waiter = waiter = loop.create_future()
    return options, waiter


@lru_cache(maxsize=64)
def _prepared(
    ciphers: tuple[str, ...], host_keys: tuple[str, ...], timeout: float
) -> asyncssh.SSHClientConnectionOptions:
    """As many as there are settings of ciphers, times the sets of types that pinned keys have."""
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        client_version=SOFTWARE,
        host="-",
        port=0,
        known_hosts=NO_KNOWN_HOSTS,
        x509_trusted_certs=None,
        x509_trusted_cert_paths=[],
        username="-",
        client_keys=None,
        agent_path=None,
        gss_host=None,
        preferred_auth=["publickey"],
        kex_algs=list(algorithms.KEX),
        encryption_algs=list(ciphers),
        mac_algs=list(algorithms.MACS),
        compression_algs=list(algorithms.COMPRESSION),
        server_host_key_algs=list(host_keys),
        login_timeout=timeout,
    )
