"""R28: a lock of each kind ends what it is about wherever it is: on each road, idle, looking on, at the portal."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.openssh import SshClient
from interlock.testing.procs import poll_until, run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

PROMISE = timedelta(seconds=2)

WORDS = "call the security desk"


def somebody(cluster: Cluster) -> Person:
    """Whose lock hurts nobody else: their role and their login are theirs alone in this test."""
    if "everywhere" not in {role["name"] for role in cluster.json("roles", "ls")}:
        cluster.admin("roles", "add", "everywhere", "--logins", cluster.login_name, "--labels", "env=test")
    cluster.add_user_once("lena", "everywhere")
    return cluster.login("lena")


def direct(cluster: Cluster) -> tuple[str, ...]:
    """To our node without the gateway."""
    [addr] = [row["addr"] for row in cluster.json("nodes", "ls") if row["hostname"] == cluster.node_name]
    host, _, port = addr.rpartition(":")
    return ("-p", port, "-o", f"HostKeyAlias={cluster.node_name}", f"{cluster.login_name}@{host}")


def lock(cluster: Cluster, person: Person, kind: str) -> Iterator[str]:
    """A lock of this kind that concerns the person; its ID. More than one go together with it."""
    about = {"user": person.name, "role": "everywhere", "login": cluster.login_name}
    match kind:
        case "user" | "role" | "login":
            yield cluster.json("locks", "add", f"--{kind}", about[kind], "--message", WORDS)["id"]
        case "certificate":
            shown = run(["ssh-keygen", "-L", "-f", person.profile / "id-cert.pub"]).check().stdout
            [serial] = re.findall(r"Serial: (\d+)", shown)
            yield cluster.admin("certs", "revoke", serial, "--message", WORDS).split("locks rm ")[1].split()[0]
        case "key":
            key = person.profile / "id.pub"
            yield (
                cluster.admin("certs", "revoke", "--key", key, "--message", WORDS).split("locks rm ")[1].split()[0]
            )
        case _:
            for name in cluster.targets:
                yield cluster.json("locks", "add", "--node", name, "--message", WORDS)["id"]


def everything_ends(cluster: Cluster, kind: str) -> None:
    """Open a connection in every way, lock, and see each of them end in the lock's words and in time."""
    person = somebody(cluster)
    witness, client = Witness(cluster), cluster.client(f"everywhere-{kind}", person)
    roads = [road(name) for road in (cluster.route, cluster.jump) for name in cluster.targets]
    roads += [direct(cluster)]
    with ExitStack() as stack:
        shells = [stack.enter_context(Terminal(client.argv("-tt", *road))) for road in roads]
        for shell in shells:
            shell.send("echo hel''lo\r")
            shell.expect("hello")
        sids = witness.wait_live(len(roads))
        others = [stack.enter_context(Terminal(argv)) for argv in idle(cluster, client, sids[0], kind)]
        locks = list(lock(cluster, person, kind))
        try:
            for each in shells:
                each.expect(WORDS)
                each.wait()
            for each in others:  # who looks on may see the end of what they look at first
                each.expect(f"{WORDS}|the session has ended")
                each.wait()
            created = [witness.wait_event("lock.created", name=each) for each in locks]
            ends = [witness.wait_event("session.end", sid=sid) for sid in sids]
            refused = [client.run(*road, "true") for road in roads]
        finally:
            for each_id in locks:
                cluster.admin("locks", "rm", each_id)
    for event in ends:
        assert moment(event["time"]) - max(moment(each["time"]) for each in created) <= PROMISE
    for done in refused:
        assert (done.rc, WORDS in done.stderr) == (255, True), done.stderr
    for road in roads:
        poll_until(lambda road=road: client.run(*road, "true").rc == 0 or None, "the end of the lock")  # type: ignore[misc]  # mypy cannot infer it


def idle(cluster: Cluster, client: SshClient, sid: str, kind: str) -> list[list[str]]:
    """Connections without a session of their own: one that may forward, one that looks on, one to the portal."""
    found = [client.argv("-N", *cluster.route(cluster.agentless_name))]
    if kind not in {"login", "node"}:  # of which these have none
        found += [
            client.argv("-tt", f"join%{sid}@gateway"),
            client.argv("-s", "gateway", "portal@interlock.dev"),
        ]
    return found


def moment(text: str) -> datetime:
    """When it happened."""
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("kind", ["user", "role", "login", "node", "certificate", "key"])
def test_where_the_node_records(node_cluster: Cluster, kind: str) -> None:
    """The jump to the node is a bridge: it is the node that ends it."""
    everything_ends(node_cluster, kind)


def test_where_the_proxy_records(proxy_cluster: Cluster) -> None:
    """There every connection is the proxy's, but that which comes to the node directly."""
    everything_ends(proxy_cluster, "user")
