"""One person in every way that leads anywhere, at once: for tests of what has to end them all, or none.

Shells by each road to each kind of target, and what has none: a file transfer, a connection that may forward,
somebody who looks on, a portal.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from interlock.testing.evidence import SETTLE_S, Witness
from interlock.testing.gateway import Cluster
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

PROMISE = timedelta(seconds=2)
"""From a change to the end of what it is about."""

GATEWAY = ("portal", "join")
"""Ways that lead to no login on a target."""

HAS_ENDED = "the session has ended"
"""What who looks on reads if the end of the session reached them before their own."""

STILL_COMING = "access denied"
"""What a connection without a shell reads that was not let in yet when the change came: nothing tells when."""

Road = tuple[str, ...]


def roads(cluster: Cluster, *, direct: bool = True) -> list[Road]:
    """Arguments of ssh that lead to a shell: each way through the gateway to each target, and past it."""
    found = [road(name) for road in (cluster.route, cluster.jump) for name in cluster.targets]
    return [*found, past_the_gateway(cluster)] if direct else found


def past_the_gateway(cluster: Cluster) -> Road:
    """To our node itself."""
    [addr] = [row["addr"] for row in cluster.json("nodes", "ls") if row["hostname"] == cluster.node_name]
    host, _, port = addr.rpartition(":")
    return ("-p", port, "-o", f"HostKeyAlias={cluster.node_name}", f"{cluster.login_name}@{host}")


def idle(cluster: Cluster, client: SshClient, sid: str) -> dict[str, list[str]]:
    """Commands that are there without a shell of their own, by name; ``sid``: whom to look at."""
    to = cluster.place
    return {
        "sftp to sshd": client.argv(to(cluster.agentless_name, "route"), program="sftp"),
        "sftp to our node": client.argv(to(cluster.node_name, "jump"), program="sftp"),
        "forward to sshd": client.argv("-N", *cluster.route(cluster.agentless_name)),
        "forward to our node": client.argv("-N", *cluster.route(cluster.node_name)),
        "join": client.argv("-tt", f"join%{sid}@gateway"),
        "portal": client.argv("-s", "gateway", "portal@interlock.dev"),
    }


class Everywhere:
    """The person, from `__enter__` on. Nobody else may begin sessions meanwhile."""

    def __init__(
        self,
        cluster: Cluster,
        client: SshClient,
        *,
        direct: bool = True,
        others: Callable[[str], bool] = lambda _name: True,
    ) -> None:
        """``direct``: also past the gateway. ``others``: which of `idle`, by name."""
        self.cluster = cluster
        self.client = client
        self.roads = roads(cluster, direct=direct)
        self.sids: list[str] = []  # of the shells, set by `__enter__`
        self._others = others
        self._witness = Witness(cluster)
        self._stack = ExitStack()
        self._shells: list[Terminal] = []
        self._idle: dict[str, Terminal] = {}

    def __enter__(self) -> Self:
        """Open all of it."""
        try:
            self._shells = [self._open(self.client.argv("-tt", *road)) for road in self.roads]
            self.see_alive()
            self.sids = self._witness.wait_live(len(self.roads))
            for name, argv in idle(self.cluster, self.client, self.sids[0]).items():
                if self._others(name):
                    self._idle[name] = self._open(argv)
                    if name.startswith("sftp"):
                        self._idle[name].expect("sftp>")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what is left."""
        self._stack.close()

    def _open(self, argv: Sequence[str]) -> Terminal:
        return self._stack.enter_context(Terminal(argv, env=clean_env()))

    def see_alive(self) -> None:
        """Every shell answers, and every transfer."""
        for shell in self._shells:
            shell.send("echo hel''lo\r")
            shell.expect("hello")
        for name, each in self._idle.items():
            if name.startswith("sftp"):
                each.send("pwd\r")
                each.expect("directory:.*sftp>")

    def see_end(self, words: str) -> None:
        """Each of them ends in these words, a regular expression."""
        for shell in self._shells:
            shell.expect(words)
            shell.wait()
        for name, each in self._idle.items():
            each.expect(f"{words}|{HAS_ENDED}|{STILL_COMING}")
            if not name.startswith("sftp"):  # which stays at its prompt
                each.wait()

    def see_in_time(self, since: str) -> list[dict[str, Any]]:
        """Every shell's session has ended within the promise after that moment; the events of their ends."""
        ends = [self._witness.wait_event("session.end", sid=sid) for sid in self.sids]
        late = {each["sid"]: each["time"] for each in ends if moment(each["time"]) - moment(since) > PROMISE}
        assert not late, f"since {since}: {late}"
        return ends

    def see_refused(self, words: str) -> None:
        """Nobody new comes in."""
        for road in self.roads:
            done = self.client.run(*road, "true")
            assert (done.rc, words in done.stderr) == (255, True), done.stderr

    def wait_admitted(self) -> None:
        """Return when all ways are open again."""
        for road in self.roads:
            poll_until(lambda road=road: self.client.run(*road, "true").rc == 0 or None, f"way by {road}")  # type: ignore[misc]  # mypy cannot infer it

    def happened(self, event: str, **facts: str) -> str:
        """When the last such event was told."""
        return str(self._witness.wait_event(event, within=SETTLE_S, **facts)["time"])


def moment(text: str) -> datetime:
    """When it happened."""
    return datetime.fromisoformat(text)
