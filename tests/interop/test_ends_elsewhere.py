"""Locks, and what is taken away, where a cluster is in pieces: at every proxy apart, and in leaf clusters."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.testing.everywhere import GATEWAY, HAS_ENDED, PROMISE, Everywhere, moment
from interlock.testing.evidence import Event, Witness
from interlock.testing.gateway import Cluster
from interlock.testing.machines import Machines
from interlock.testing.openssh import clean_env
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]

TAKEN = "your access to .{1,80}was taken away"
LEAF = "branch"

ENDINGS = {
    "lock on the user": ("locks add --user USER --message desk", "lock.created", "desk", True),
    "lock on the role": ("locks add --role ROLE --message desk", "lock.created", "desk", True),
    "lock on the login": ("locks add --login LOGIN --message desk", "lock.created", "desk", False),
    "role of the user": ("users set USER --roles beside", "user.update", TAKEN, False),
    "login of the role": ("roles set ROLE --logins spare", "role.updated", TAKEN, False),
    "account": ("users rm USER", "user.delete", "your account no longer exists", True),
}
"""The command, what it tells, what people read, and whether it is about the gateway itself, too."""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A cluster of one auth and two proxies."""
    with Machines(tmp_path_factory.mktemp("ends"), proxies=2, mode="node") as cluster:
        cluster.admin("roles", "add", "beside", "--logins", "spare", "--labels", "env=test")
        yield cluster


@pytest.mark.xdist_group("ends-machines")
@pytest.mark.parametrize("name", ENDINGS)
def test_at_every_proxy_and_node(machines: Machines, name: str) -> None:
    """Of one person, by every way through one proxy and past it, and by the other proxy."""
    command, event, words, everything = ENDINGS[name]
    number = list(ENDINGS).index(name)
    user, role = f"ended{number}", f"ended-role{number}"
    options = ("--option", "local_forwarding=yes", "--option", "join_sessions=observer")
    machines.through(0)
    machines.admin(
        "roles", "add", role, "--logins", f"{machines.login_name},spare", "--labels", "env=test", *options
    )
    machines.add_user(user, role)
    person = machines.login(user)
    first = machines.client(f"{user}-first", person)
    machines.through(1)
    second = machines.client(f"{user}-second", person)
    machines.through(0)
    given = {"USER": user, "ROLE": role, "LOGIN": machines.login_name}
    locks: list[str] = []
    with (
        Everywhere(machines, first, others=lambda each: everything or each not in GATEWAY) as here,
        Everywhere(machines, second, direct=False, others=lambda each: each not in GATEWAY) as there,
    ):
        machines.admin(*(given.get(word, word) for word in command.split()))
        since = here.happened(event)
        locks += [each["id"] for each in machines.json("locks", "ls")]
        for each in (here, there):
            each.see_end(words)
            each.see_in_time(since)
        assert first.run(*here.roads[0], "true").rc == second.run(*there.roads[0], "true").rc == 255
    for each_id in locks:
        machines.admin("locks", "rm", each_id)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Cluster]]:
    """A root, and a leaf that trusts it."""
    directory: Path = tmp_path_factory.mktemp("ends-clusters")
    with (
        Cluster(directory / "root", mode="proxy", with_node=False, name="main") as root,
        Cluster(directory / "leaf", mode="node", name=LEAF) as leaf,
    ):
        root.admin("roles", "add", "guest", "--logins", "nobody", "--labels", "env=test")
        leaf.admin("roles", "add", "guest", "--logins", leaf.login_name, "--labels", "env=test")
        leaf.become_leaf_of(root, "access:access,guest:guest")
        client = root.client("leaf", root.person)
        there = root.route(f"{leaf.agentless_name}.{LEAF}")
        poll_until(lambda: client.run(*there, "true").rc == 0, "an open leaf")
        yield root, leaf


LEAF_ENDINGS = {
    "lock of the root on its user": ("root", "locks add --user USER --message desk", "lock.created", "desk"),
    "lock of the leaf on them": ("leaf", "locks add --user USER --message desk", "lock.created", "desk"),
    "lock of the leaf on its role": ("leaf", "locks add --role guest --message desk", "lock.created", "desk"),
    "lock of the leaf on the login": ("leaf", "locks add --login LOGIN --message desk", "lock.created", "desk"),
    "role of the root's user": ("root", "users set USER --roles access", "user.update", "your roles were changed"),
    "account of the root's user": ("root", "users rm USER", "user.delete", "your account no longer exists"),
    "login of the leaf's role": ("leaf", "roles set guest --logins spare", "role.updated", TAKEN),
    "role of the leaf": ("leaf", "roles rm guest", "role.deleted", TAKEN + "|none of your roles counts"),
}
"""Who does it, the command, what that cluster tells, what people read. The last one leaves no role."""


@pytest.mark.xdist_group("ends-leaf")
@pytest.mark.parametrize("name", LEAF_ENDINGS)
def test_in_a_leaf(pair: tuple[Cluster, Cluster], name: str) -> None:
    """By route and by jump, to a node and to plain sshd; whoever is another person's stays."""
    root, leaf = pair
    who, command, event, words = LEAF_ENDINGS[name]
    acts, number = (root if who == "root" else leaf), list(LEAF_ENDINGS).index(name)
    user = f"went{number}"
    root.add_user(user, "guest")
    client, bystander = root.client(user, root.login(user)), root.client("stays", root.person)
    roads = [
        road(f"{target}.{LEAF}", leaf.login_name)
        for road in (root.route, root.jump)
        for target in (leaf.node_name, leaf.agentless_name)
    ]
    witness, told = Witness(root), Witness(acts)
    given = {"USER": user, "LOGIN": leaf.login_name}
    shells = [Terminal(client.argv("-tt", *road), env=clean_env()) for road in roads]
    other = Terminal(bystander.argv("-tt", *roads[0]), env=clean_env())
    locks: list[str] = []
    try:
        for shell in (*shells, other):
            shell.send("echo hel''lo\r")
            shell.expect("hello")
        acts.admin(*(given.get(word, word) for word in command.split()))
        locks += [each["id"] for each in acts.json("locks", "ls")]
        since = told.wait_event(event)["time"]
        for shell in shells:
            shell.expect(f"{words}|{HAS_ENDED}")
            shell.wait()
        if "--login" not in command:  # which is the other one's, too
            other.send("echo sti''ll\r")
            other.expect("still")
        ended = poll_until(lambda: ends_of(user, witness, len(roads)), "the root's record of every end")
        assert all(moment(each["time"]) - moment(since) <= PROMISE for each in ended)
        done = client.run(*roads[0], "true")
        assert done.rc == 255
    finally:
        for each in (*shells, other):
            each.close()
        for each_id in locks:
            acts.admin("locks", "rm", each_id)
        if "roles set guest" in command:
            leaf.admin("roles", "set", "guest", "--logins", leaf.login_name)
        if "roles rm guest" in command:
            leaf.admin("roles", "add", "guest", "--logins", leaf.login_name, "--labels", "env=test")


def ends_of(user: str, witness: Witness, count: int) -> list[Event] | None:
    """How so many sessions of this person have ended; None: not yet."""
    found = [each for each in witness.new_events() if each["event"] == "session.end" and each["user"] == user]
    return found if len(found) == count else None
