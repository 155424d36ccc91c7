"""How ``ilsh ssh``, ``scp`` and ``config`` speak to the stock OpenSSH: arguments and configuration, no shell.

What the person typed as login and node is parsed before it becomes an argument, and stands behind ``--`` (R26).
The route is ``LOGIN%NODE@GATEWAY``; configuration files use ``LOGIN+NODE``, because newer OpenSSH expands ``%``
in them.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from interlock.cli.user_profile import Login, Profile
from interlock.core.errors import ConfigError
from interlock.core.extensions import SESSION_INVITED, SESSION_REASON, JoinMode
from interlock.core.ids import SessionId, parse_login, parse_name
from interlock.core.portal import NodeItem
from interlock.domain.party import JOIN_LOGIN

_SSH_WITH_VALUE = "BbcDEeFIiJLlmOoPpQRSWw"
_SCP_WITH_VALUE = "cDFiJloPSX"
_REMOTE = re.compile(r"([^/:]+):(.*)", re.DOTALL)
"""What scp takes for a file on another host: all of it must become a route or be refused."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a session goes."""

    login: str
    node: str


@dataclass(frozen=True, slots=True)
class SshArguments:
    """What a person typed after ``ilsh ssh``, taken apart."""

    options: list[str]
    destination: str
    command: list[str]


def split_ssh(arguments: Sequence[str]) -> SshArguments:
    """Find the destination among ssh's own options; ValueError if there is none."""
    options, rest = _split_options(arguments, _SSH_WITH_VALUE)
    if not rest:
        msg = "no destination: say LOGIN@NODE"
        raise ValueError(msg)
    return SshArguments(options, rest[0], rest[1:])


def parse_destination(text: str, profile: Profile, cluster: str = "") -> Destination:
    """``LOGIN@NODE``, or ``NODE`` for people who have one login only; ValueError otherwise.

    ``cluster``: the leaf that the node is in.
    """
    login, at, node = text.rpartition("@")
    if at:
        return Destination(parse_login(login), in_cluster(node, profile, cluster))
    if len(profile.logins) != 1:
        msg = f"no login: say LOGIN@{text[:64]} with one of {', '.join(profile.logins)}"
        raise ValueError(msg)
    return Destination(profile.logins[0], in_cluster(text, profile, cluster))


def in_cluster(node: str, profile: Profile, cluster: str) -> str:
    """The name by which the gateway knows the node; ValueError if it is none."""
    elsewhere = cluster and cluster.lower() != profile.cluster.lower()
    return parse_name(f"{parse_name(node)}.{parse_name(cluster)}" if elsewhere else node)


def ssh_argv(
    login: Login, arguments: SshArguments, cluster: str = "", *, reason: str = "", invite: Sequence[str] = ()
) -> list[str]:
    """The arguments of ``ssh``, its name first; ValueError for a destination that is none, or unusable words."""
    to = parse_destination(arguments.destination, login.profile, cluster)
    port = ["-p", str(login.profile.port)]
    route = f"{to.login}%{to.node}@{login.profile.host}"
    own = [*_own_options(login), *_words(reason, invite)]
    return ["ssh", *own, *port, *arguments.options, "--", route, *arguments.command]


def join_argv(login: Login, sid: SessionId, mode: JoinMode | None) -> list[str]:
    """The arguments of ``ssh`` that lead into a session, its name first."""
    name = JOIN_LOGIN if mode is None else f"{JOIN_LOGIN}-{mode.value}"
    route = f"{name}%{sid}@{login.profile.host}"
    return ["ssh", *_own_options(login), "-p", str(login.profile.port), "-t", "--", route]


def _words(reason: str, invite: Sequence[str]) -> list[str]:
    """What the person says about the session, as environment variables that the gateway takes for itself."""
    if any(not char.isprintable() for char in reason):
        msg = "the reason must be one line of text"
        raise ValueError(msg)
    said = [(SESSION_REASON, reason), (SESSION_INVITED, ",".join(map(parse_name, invite)))]
    set_env = [_quoted_word(f"{name.decode()}={value}") for name, value in said if value]
    return ["-o", f"SetEnv={' '.join(set_env)}"] if set_env else []


def _quoted_word(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def scp_argv(login: Login, arguments: Sequence[str], cluster: str = "") -> list[str]:
    """The arguments of ``scp``, its name first; ValueError for a remote file that is none."""
    options, files = _split_options(arguments, _SCP_WITH_VALUE)
    if len(files) < 2:
        msg = "scp needs a source and a target"
        raise ValueError(msg)
    routed = [_scp_file(text, login.profile, cluster) for text in files]
    return ["scp", *_own_options(login), "-P", str(login.profile.port), *options, "--", *routed]


def _scp_file(text: str, profile: Profile, cluster: str) -> str:
    remote = _REMOTE.fullmatch(text)
    if remote is None:
        return text
    to = parse_destination(remote[1], profile, cluster)
    host = f"[{profile.host}]" if ":" in profile.host else profile.host
    return f"{to.login}%{to.node}@{host}:{remote[2]}"


def _split_options(arguments: Sequence[str], with_value: str) -> tuple[list[str], list[str]]:
    """Options of OpenSSH's getopt string, and what follows them."""
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            return list(arguments[:at]), list(arguments[at + 1 :])
        if not word.startswith("-") or word == "-":
            break
        takes = next((i for i, flag in enumerate(word[1:], 1) if flag in with_value), None)
        value_follows = takes is not None and takes == len(word) - 1
        at += 2 if value_follows else 1
    return list(arguments[:at]), list(arguments[at:])


def _own_options(login: Login) -> list[str]:
    """What makes ssh use this login. Placed first, since the first value of an option counts."""
    return [word for name, value in _settings(login) for word in ("-o", f"{name}={value}")]


def _settings(login: Login) -> list[tuple[str, str]]:
    return [
        ("IdentityFile", _quoted(str(login.key))),
        ("CertificateFile", _quoted(str(login.certificate))),
        ("IdentitiesOnly", "yes"),
        ("UserKnownHostsFile", _quoted(str(login.known_hosts))),
        ("StrictHostKeyChecking", "yes"),
        ("UpdateHostKeys", "no"),
    ]


def _quoted(path: str) -> str:
    """A path for ssh_config: quoted, and ``%`` doubled; ConfigError for characters that it cannot carry."""
    if any(char in path for char in '"\\\n\r') or "${" in path:
        raise ConfigError(f"OpenSSH cannot use the path {path!r}: set ILSH_HOME")
    return '"' + path.replace("%", "%%") + '"'


def route_names(nodes: Sequence[NodeItem]) -> list[str]:
    """By what name each node is reached: its hostname, or its ID where several have that hostname."""
    times = Counter(node.hostname for node in nodes)
    return [node.hostname if times[node.hostname] == 1 else node.id for node in nodes]


def ssh_config(login: Login, nodes: Sequence[tuple[str, Sequence[str]]], leaf: str = "") -> str:
    """An ssh_config for stock ssh. ``nodes``: `route_names` and logins of what the gateway listed; of ``leaf``.

    ``NODE.CLUSTER`` goes by ProxyJump with the login that the person names, ``LOGIN.NODE.CLUSTER`` by the route,
    which needs one handshake instead of two.
    """
    profile = login.profile
    gateway = f"gateway.{parse_name(profile.cluster)}"
    cluster = parse_name(leaf or profile.cluster)
    there = [("HostName", profile.host), ("Port", str(profile.port))]
    blocks = [_block(gateway, [*there, ("User", profile.user)])]
    for routed, logins in nodes:
        name = f"{parse_name(routed)}.{cluster}"
        node = in_cluster(routed, profile, leaf)
        jump = [("HostName", node), ("HostKeyAlias", node), ("ProxyJump", gateway)]
        blocks.append(_block(name, jump))
        blocks += [
            _block(f"{each}.{name}", [*there, ("User", f"{each}+{node}")]) for each in map(parse_login, logins)
        ]
    everywhere = f"*.{cluster}" if cluster == profile.cluster else f"*.{cluster} {gateway}"
    blocks.append(_block(everywhere, _settings(login)))
    return "\n".join(blocks)


def _block(host: str, settings: Sequence[tuple[str, str]]) -> str:
    return f"Host {host}\n" + "".join(f"    {name} {value}\n" for name, value in settings)
