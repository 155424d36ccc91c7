"""What is taken away ends what is live by it (ADR-0033); what is taken from others leaves it alone."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from interlock.domain.identity import SLOWEST
from interlock.testing.everywhere import GATEWAY, Everywhere
from interlock.testing.gateway import Cluster, Person
from interlock.testing.openssh import SshClient, make_key
from interlock.testing.procs import poll_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240), pytest.mark.xdist_group("node-mode")]

TRAIT = "{{trait.unix}}"


@dataclass(frozen=True, slots=True)
class Taking:
    """``command``: with USER, ROLE and LOGIN in it; ``event``: that it tells; ``words``: people read."""

    command: str
    event: str
    words: str
    everything: bool = False  # whoever it is may not even be at the portal any more
    key: bool = False  # the person has come by an enrolled key, which our nodes do not know


ACCESS = "your access to .{1,80}was taken away"

TAKINGS = {
    "account": Taking("users rm USER", "user.delete", "your account no longer exists", everything=True),
    "role of an account": Taking("users set USER --roles beside", "user.update", ACCESS),
    "trait": Taking("users set USER --trait unix=nobody", "user.update", ACCESS),
    "login of a role": Taking("roles set ROLE --logins nobody", "role.updated", ACCESS),
    "label of a role": Taking("roles set ROLE --labels env=elsewhere", "role.updated", ACCESS),
    "denied login": Taking("roles set ROLE --deny-logins LOGIN", "role.updated", ACCESS),
    "role": Taking("roles rm ROLE", "role.deleted", ACCESS),
    "key": Taking(
        "users keys rm USER KEY",
        "user.key.delete",
        "the key that you came with was removed",
        everything=True,
        key=True,
    ),
}
"""Each way to take something away from somebody."""

UNRELATED = (
    "roles set beside --logins nobody",
    "roles set ROLE --option client_idle_timeout=1h",
    "users set bystander --roles beside",
    "users rm bystander",
)
"""What is taken from others, or only narrows what begins."""


@pytest.fixture(scope="module")
def cluster(node_cluster: Cluster) -> Cluster:
    """With a role beside that of whom it is about."""
    node_cluster.admin("roles", "add", "beside", "--logins", "nobody,daemon", "--labels", "env=test")
    return node_cluster


def somebody(cluster: Cluster, number: int, taking: Taking) -> tuple[str, SshClient]:
    """Who has a role of their own, and their client."""
    user, role = f"taken{number}", f"taken-role{number}"
    options = ("--option", "local_forwarding=yes", "--option", "join_sessions=observer")
    cluster.admin("roles", "add", role, "--logins", f"{TRAIT},spare", "--labels", "env=test", *options)
    cluster.add_user(user, role)
    cluster.admin("users", "set", user, "--trait", f"unix={cluster.login_name}")
    if not taking.key:
        return user, cluster.client(user, cluster.login(user))
    key = make_key(cluster.directory / f"{user}_id", comment="KEY")
    cluster.admin("users", "keys", "add", user, Path(f"{key.path}.pub"))
    person = Person(user, cluster.directory, key.path.parent)
    trust = f"@cert-authority * {' '.join(cluster.host_ca.read_text().split()[:2])}"
    client = SshClient(
        cluster.directory / f"client-{user}",
        [key],
        [trust],
        options={},
        blocks=[
            f"Host gateway\n  HostName {cluster.host}\n  Port {cluster.port}\n  User {person.name}",
            f"Host {' '.join(cluster.targets)}\n  ProxyJump gateway",
        ],
    )
    return user, client


def rejudged(cluster: Cluster) -> int:
    """How often a daemon has looked again at everybody who is there."""
    logs = (cluster.directory / f"{name}.log" for name in ("gateway", "node", "tunnel"))
    return sum(len(re.findall("access.rejudged", log.read_text())) for log in logs)


@pytest.mark.parametrize("name", TAKINGS)
def test_what_is_taken_away_ends_what_is_live(cluster: Cluster, name: str) -> None:
    """By every way in, in words and in time; nothing new begins."""
    taking, number = TAKINGS[name], list(TAKINGS).index(name)
    user, client = somebody(cluster, number, taking)
    words = {"USER": user, "ROLE": f"taken-role{number}", "LOGIN": cluster.login_name}

    def run(command: str) -> None:
        cluster.admin(*(words.get(word, word) for word in command.split()))

    others: Callable[[str], bool] = lambda each: taking.everything or each not in GATEWAY  # noqa: E731
    with Everywhere(cluster, client, direct=not taking.key, others=others) as everywhere:
        cluster.add_user_once("bystander", "beside")
        before, daemons = rejudged(cluster), 1 if taking.key else 3
        for command in UNRELATED:
            run(command)
        poll_until(lambda: rejudged(cluster) >= before + daemons or None, "everybody to be looked at")
        everywhere.see_alive()
        run(taking.command)
        since = everywhere.happened(taking.event)
        everywhere.see_end(taking.words)
        ends = everywhere.see_in_time(since)
        assert len(ends) == len(everywhere.roads)
        done = client.run(*everywhere.roads[0], "true")
        assert done.rc == 255


def test_an_account_made_again_under_a_name_is_somebody_elses(cluster: Cluster) -> None:
    """What was signed for the earlier one opens nothing, at any target; what the new one gets does."""
    number = len(TAKINGS)
    user, client = somebody(cluster, number, TAKINGS["account"])
    client.run(*cluster.route(cluster.node_name), "true").check()
    certain = datetime.now(UTC) + SLOWEST + timedelta(seconds=1)  # whole seconds are in the certificate
    poll_until(lambda: datetime.now(UTC) > certain, "a moment that is later by every clock")
    cluster.admin("users", "rm", user)
    cluster.add_user(user, f"taken-role{number}")
    cluster.admin("users", "set", user, "--trait", f"unix={cluster.login_name}")
    for target in cluster.targets:
        done = client.run(*cluster.route(target), "true")
        assert (done.rc, "of an earlier account of this name" in done.stderr) == (255, True), done.stderr
    again = cluster.client(f"{user}-again", cluster.login(user))
    again.run(*cluster.route(cluster.node_name), "true").check()
