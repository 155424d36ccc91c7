"""What a relayed connection of asyncssh's need not keep until its end: half of what it holds.

Once a leg has taken it over, asyncssh only exchanges keys for it. What was for authentication and channels is let
go of, and what is the same for all connections becomes one object.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from asyncssh.connection import SSHClientConnection

_NONE: Any = frozenset()  # in the place of sets that stay empty; to add anything fails
_lists: dict[tuple[bytes, ...], Sequence[bytes]] = {}  # as many as there are settings of algorithms


def shed(connection: Any) -> None:
    """Let go of what an authenticated connection without channels does not need any more."""
    connection._client_kexinit = connection._server_kexinit = b""  # each exchange makes its own
    connection._extensions_to_send = OrderedDict()
    connection._kex_algs = _shared(connection._kex_algs)
    connection._enc_algs = _shared(connection._enc_algs)
    connection._mac_algs = _shared(connection._mac_algs)
    connection._cmp_algs = _shared(connection._cmp_algs)
    connection._sig_algs = _shared(connection._sig_algs)
    connection._revoked_host_keys = connection._revoked_host_keys or _NONE
    connection._x509_revoked_certs = connection._x509_revoked_certs or _NONE
    connection._server_sig_algs = _NONE
    connection._waiter = None
    if connection._trusted_host_keys is not None:  # None would mean that every key is trusted
        connection._trusted_host_keys = connection._trusted_host_keys or _NONE
    if connection._trusted_ca_keys is not None:
        connection._trusted_ca_keys = connection._trusted_ca_keys or _NONE
    if isinstance(connection, SSHClientConnection):
        connection._client_keys = []
        connection._options = _NONE


def _shared(algorithms: Sequence[bytes]) -> Sequence[bytes]:
    return _lists.setdefault(tuple(algorithms), algorithms)
