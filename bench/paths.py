"""The ways that are compared. Each is a command line of ``ssh`` that ends at the same kind of ``sshd``."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from interlock.testing.gateway import Cluster
from interlock.testing.openssh import SshClient, Sshd, make_key, sign_user

OPTIONS: Mapping[str, str] = {
    # Like with like: OpenSSH's own default key exchange costs 70 ms more on both ends of both its connections.
    "KexAlgorithms": "curve25519-sha256",
    "Ciphers": "aes128-gcm@openssh.com",
    "Compression": "no",
}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the target; ``relay_pid`` is the process whose CPU time counts as the gateway's."""

    name: str
    client: SshClient
    destination: tuple[str, ...]
    relay_pid: int | None = None

    def argv(self, *command: str, tty: bool = False) -> list[str]:
        """The command line that runs ``command`` at the target."""
        return self.client.argv(*(["-tt"] if tty else []), *self.destination, *command)


@contextmanager
def ways(directory: Path) -> Iterator[list[Way]]:
    """Start the target, the jump host and the gateway, and stop them at the end."""
    with ExitStack() as stack:
        ca = make_key(directory / "ca")
        key = make_key(directory / "id")
        target = stack.enter_context(Sshd(directory / "target", trusted_cas=[ca.public]))
        jump = stack.enter_context(Sshd(directory / "jump", trusted_cas=[ca.public]))
        sign_user(ca, key, principals=[target.login], validity="-1m:+1d")
        hosts = [target.known_hosts_line(), jump.known_hosts_line()]
        plain = SshClient(directory / "client", keys=[key], known_hosts=hosts, options=OPTIONS)
        at_target = ("-p", str(target.port), f"{target.login}@{target.host}")
        cluster = stack.enter_context(Cluster(directory / "cluster", mode="proxy", with_node=False))
        client = cluster.client("bench", cluster.person, options=OPTIONS)
        yield [
            Way("direct", plain, at_target),
            Way("jump", plain, ("-J", f"{jump.login}@{jump.addr}", *at_target)),
            Way("interlock", client, cluster.route(cluster.agentless_name), cluster.gateway.pid),
        ]
