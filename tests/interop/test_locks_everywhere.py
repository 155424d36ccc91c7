"""R28: a lock of each kind ends what it is about wherever it is: on each road, idle, looking on, at the portal."""

import asyncio
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from interlock.domain.identity import RECOVERY
from interlock.domain.lock import LockKind
from interlock.testing.everywhere import GATEWAY, Everywhere, roads
from interlock.testing.evidence import Witness
from interlock.testing.factors import give_second_factor
from interlock.testing.gateway import PASSWORD, Cluster, Person
from interlock.testing.openssh import clean_env
from interlock.testing.procs import run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

WORDS = "call the security desk"


@dataclass(frozen=True, slots=True)
class Case:
    """Somebody whom only this lock concerns, and how it is made: its ID, or of several of them."""

    person: Callable[[Cluster], Person]
    lock: Callable[[Cluster, Person], list[str]]
    gateway: bool = True  # whether it concerns who looks on, and who is at the portal, too


def role_of(cluster: Cluster, name: str, *options: str) -> None:
    """A role of that name, for every target."""
    if name not in {role["name"] for role in cluster.json("roles", "ls")}:
        said = ("local_forwarding=yes", "join_sessions=observer", *options)
        words = [word for each in said for word in ("--option", each)]
        cluster.admin("roles", "add", name, "--logins", cluster.login_name, "--labels", "env=test", *words)


def somebody(cluster: Cluster) -> Person:
    """Whose lock hurts nobody else: their role is theirs alone in this test."""
    role_of(cluster, "everywhere")
    cluster.add_user_once("lena", "everywhere")
    return cluster.login("lena")


def with_a_device(cluster: Cluster) -> Person:
    """Who has signed in with a second factor."""
    role_of(cluster, "everywhere")
    if "lenas-phone" not in {user["name"] for user in cluster.json("users", "ls")}:
        cluster.add_user("lenas-phone", "everywhere")
    codes = asyncio.run(give_second_factor(cluster.data, "lenas-phone"))
    home = cluster.directory / "home-lenas-phone"
    cluster.try_login(home, "lenas-phone", f"{PASSWORD}\n{codes[0]}").check()
    return Person("lenas-phone", home, next(home.rglob("id-cert.pub")).parent)


def by_request(cluster: Cluster) -> Person:
    """Who has the role for a while."""
    role_of(cluster, "for-a-while")
    if "asking" not in {role["name"] for role in cluster.json("roles", "ls")}:
        cluster.admin("roles", "add", "asking", "--option", "request_roles=for-a-while")
    cluster.add_user_once("lenas-guest", "asking")
    person = cluster.login("lenas-guest")
    asked = cluster.ilsh(person.home, "request", "create", "for-a-while", "--reason", "why", "--for", "1h").check()
    request = asked.stdout.split()[1]
    cluster.admin("requests", "approve", request)
    cluster.ilsh(person.home, "request", "use", request).check()
    return person


def add(cluster: Cluster, kind: str, *names: str) -> list[str]:
    """Locks of this kind on these."""
    return [cluster.json("locks", "add", f"--{kind}", name, "--message", WORDS)["id"] for name in names]


def revoke(cluster: Cluster, *what: str) -> list[str]:
    """As `ilctl certs` makes them."""
    return [cluster.admin("certs", "revoke", *what, "--message", WORDS).split("locks rm ")[1].split()[0]]


def serial_of(person: Person) -> str:
    """Of the certificate that they have."""
    shown = run(["ssh-keygen", "-L", "-f", person.profile / "id-cert.pub"]).check().stdout
    [serial] = re.findall(r"Serial: (\d+)", shown)
    return str(serial)


def request_of(cluster: Cluster, person: Person) -> str:
    """The newest of theirs."""
    return str(next(each["id"] for each in cluster.json("requests", "ls") if each["user"] == person.name))


CASES = {
    LockKind.USER: Case(somebody, lambda cluster, person: add(cluster, "user", person.name)),
    LockKind.ROLE: Case(somebody, lambda cluster, _person: add(cluster, "role", "everywhere")),
    LockKind.LOGIN: Case(
        somebody, lambda cluster, _person: add(cluster, "login", cluster.login_name), gateway=False
    ),
    LockKind.NODE: Case(somebody, lambda cluster, _person: add(cluster, "node", *cluster.targets), gateway=False),
    LockKind.CERTIFICATE: Case(somebody, lambda cluster, person: revoke(cluster, serial_of(person))),
    LockKind.KEY: Case(somebody, lambda cluster, person: revoke(cluster, "--key", str(person.profile / "id.pub"))),
    LockKind.MFA_DEVICE: Case(with_a_device, lambda cluster, _person: add(cluster, "mfa-device", RECOVERY)),
    LockKind.ACCESS_REQUEST: Case(
        by_request, lambda cluster, person: add(cluster, "access-request", request_of(cluster, person))
    ),
}
"""Every kind but a session's, which ends one thing: `test_a_session_ends_and_no_other`."""


def test_every_kind_is_walked() -> None:
    """Whoever adds one says here how it ends what it is about."""
    assert set(CASES) | {LockKind.SESSION} == set(LockKind)


def everything_ends(cluster: Cluster, kind: LockKind) -> None:
    """Open a connection in every way, lock, and see each of them end in the lock's words and in time."""
    case = CASES[kind]
    person = case.person(cluster)
    client = cluster.client(f"everywhere-{kind.value}", person)
    others: Callable[[str], bool] = lambda name: case.gateway or name not in GATEWAY  # noqa: E731
    locks: list[str] = []
    with Everywhere(cluster, client, others=others) as everywhere:
        try:
            locks += case.lock(cluster, person)
            everywhere.see_end(WORDS)
            everywhere.see_in_time(max(everywhere.happened("lock.created", name=each) for each in locks))
            everywhere.see_refused(WORDS)
        finally:
            for each in locks:
                cluster.admin("locks", "rm", each)
        everywhere.wait_admitted()


@pytest.mark.xdist_group("node-mode")
@pytest.mark.parametrize("kind", CASES, ids=lambda kind: str(kind.value))
def test_where_the_node_records(node_cluster: Cluster, kind: LockKind) -> None:
    """The jump to a node is a bridge: it is the node that ends it."""
    everything_ends(node_cluster, kind)


@pytest.mark.xdist_group("proxy-mode")
@pytest.mark.parametrize(
    "kind",
    [kind if kind is LockKind.USER else pytest.param(kind, marks=pytest.mark.slow) for kind in CASES],
    ids=lambda kind: str(kind.value),
)
def test_where_the_proxy_records(proxy_cluster: Cluster, kind: LockKind) -> None:
    """There every connection is the proxy's, but that which comes to the node directly."""
    everything_ends(proxy_cluster, kind)


@pytest.mark.xdist_group("node-mode")
def test_a_session_ends_and_no_other(node_cluster: Cluster) -> None:
    """One after the other, by each road; whoever is left answers."""
    cluster = node_cluster
    client, witness = cluster.client("one-by-one", somebody(cluster)), Witness(cluster)
    with ExitStack() as stack:
        shells: list[tuple[str, Terminal]] = []
        for road in roads(cluster):
            shell = stack.enter_context(Terminal(client.argv("-tt", *road), env=clean_env()))
            shells.append((witness.wait_live()[0], shell))
        while shells:
            sid, shell = shells.pop()
            cluster.admin("sessions", "terminate", sid, "--message", WORDS)
            shell.expect(f"this session was ended: {WORDS}")
            shell.wait()
            for _, other in shells:
                other.send("echo sti''ll\r")
                other.expect("still")
