"""The environment of a session's process, made from nothing: what the daemon has in its own never gets in.

What the client asks for passes an allow-list, because a variable such as LD_PRELOAD, BASH_ENV or GIT_SSH_COMMAND
runs code (R19). What we set wins over what the client asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock.adapters.ssh.node.accounts import Account
from interlock.core.extensions import Words
from interlock.core.ids import DaemonId, SessionId
from interlock.core.limits import MAX_ENV_BYTES, MAX_ENV_VARS

ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"

_ALLOWED = frozenset({b"LANG", b"LANGUAGE", b"TERM", b"COLORTERM", b"NO_COLOR"})
_ALLOWED_PREFIX = b"LC_"


@dataclass(slots=True)
class RequestedEnvironment:
    """The variables that one channel asked for, within the limits."""

    variables: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, name: bytes, value: bytes) -> bool:
        """Take one variable; False if it is not on the list or there are too many."""
        if name not in _ALLOWED and not name.startswith(_ALLOWED_PREFIX):
            return False
        if b"\0" in name + value or b"=" in name:
            return False
        rest = {key: kept for key, kept in self.variables.items() if key != name}
        size = sum(len(key) + len(kept) for key, kept in rest.items()) + len(name) + len(value)
        if len(rest) >= MAX_ENV_VARS or size > MAX_ENV_BYTES:
            return False
        self.variables[name] = value
        return True


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What a process may know of the session it runs in."""

    sid: SessionId
    user: str
    cluster: str
    host_uuid: DaemonId
    client: tuple[str, int]  # address and port
    server: tuple[str, int]
    web_proxy_addr: str = ""
    words: Words = field(default_factory=Words)  # what the person said of it when it was opened
    variables: Mapping[str, str] = field(default_factory=dict)  # of what is forwarded for the session
    extra_path: str = ""  # a directory to find `interlock` in, after the system's own


def session_environment(
    account: Account,
    facts: SessionFacts,
    requested: Mapping[bytes, bytes],
    *,
    tty: str = "",
    term: str = "",
) -> dict[bytes, bytes]:
    """All variables of the process (teleport-facts §1.4); ``tty`` and ``term`` are empty without a PTY."""
    path = ROOT_PATH if account.uid == 0 else USER_PATH
    client, port = facts.client
    server, server_port = facts.server
    ours = {
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "PATH": f"{path}:{facts.extra_path}" if facts.extra_path else path,
        "SSH_CLIENT": f"{client} {port} {server_port}",
        "SSH_CONNECTION": f"{client} {port} {server} {server_port}",
        "SSH_SESSION_ID": facts.sid,
        "TELEPORT_SESSION": facts.sid,
        "INTERLOCK_SESSION": facts.sid,
        "SSH_TELEPORT_USER": facts.user,
        "INTERLOCK_USER": facts.user,
        "SSH_TELEPORT_CLUSTER_NAME": facts.cluster,
        "INTERLOCK_CLUSTER": facts.cluster,
        "SSH_TELEPORT_HOST_UUID": facts.host_uuid,
    }
    ours |= facts.variables
    if tty:
        ours |= {"SSH_TTY": tty, "TERM": term}
    if facts.web_proxy_addr:
        ours["SSH_SESSION_WEBPROXY_ADDR"] = facts.web_proxy_addr
    clean = {
        key.encode(): value.replace("\0", "").encode("utf-8", "surrogateescape") for key, value in ours.items()
    }
    return dict(requested) | clean
