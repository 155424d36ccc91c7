"""A role that asks for a second factor on each connection, and stock clients: none of their ways passes it by."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interlock.adapters.system import SystemClock
from interlock.domain.identity import RECOVERY
from interlock.testing.evidence import Witness
from interlock.testing.factors import Authenticator, give_second_factor, phone_of
from interlock.testing.gateway import PASSWORD, Cluster, Person
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.procs import Completed, poll_until, run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), pytest.mark.xdist_group("proxy-mode")]

USER = "confirming"


@pytest.fixture(scope="module")
def codes(proxy_cluster: Cluster) -> Iterator[str]:
    """Recovery codes of a person whose role asks on each connection: unlike others they need no waiting."""
    cluster = proxy_cluster
    options = ("second_factor=session", "local_forwarding=yes", "join_sessions=observer")
    labels = ("--logins", cluster.login_name, "--labels", "env=test")
    cluster.admin("roles", "add", "confirmed", *labels, *(word for each in options for word in ("--option", each)))
    cluster.add_user(USER, "confirmed")

    return iter(asyncio.run(give_second_factor(cluster.data, USER)))


@pytest.fixture(scope="module")
def confirming(proxy_cluster: Cluster, codes: Iterator[str]) -> Person:
    """That person, signed in with one of them."""
    home = proxy_cluster.directory / "home-confirming"
    proxy_cluster.try_login(home, USER, f"{PASSWORD}\n{next(codes)}").check()
    return Person(USER, home, next(home.rglob("id-cert.pub")).parent)


@pytest.fixture
def client(proxy_cluster: Cluster, confirming: Person) -> SshClient:
    """A stock client that asks nobody (BatchMode)."""
    return proxy_cluster.client("confirming", confirming)


Way = Callable[[SshClient, str, Path], Completed]


def _scp(client: SshClient, place: str, directory: Path) -> Completed:
    return client.run("-O", str(directory / "here"), f"{place}:{directory}/there", program="scp")


def _rsync(client: SshClient, place: str, directory: Path) -> Completed:
    return run(["rsync", directory / "here", f"{place}:{directory}/there"], env=client.env())


WAYS: dict[str, Way] = {
    "shell": lambda client, place, directory: client.run(
        "-tt", place, stdin=f"touch {directory}/there\n".encode()
    ),
    "exec": lambda client, place, directory: client.run(place, f"touch {directory}/there"),
    "sftp": lambda client, place, directory: client.run(
        "-b", "-", place, stdin=f"put {directory}/here {directory}/there".encode(), program="sftp"
    ),
    "scp": _scp,
    "rsync": _rsync,
    "forward": lambda client, place, _: client.run("-W", "127.0.0.1:22", place),
    "no session": lambda client, place, _: client.run("-N", place),
    "join": lambda client, _place, _directory: client.run("join%aaaaaaaa-0000-4000-8000-000000000001@gateway"),
}


@pytest.mark.parametrize("road", ["route", "jump"])
@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_past_it(
    proxy_cluster: Cluster, client: SshClient, tmp_path: Path, way: str, road: str
) -> None:
    """R8, R12: a certificate alone is half of it, for whatever it is; who lets nobody be asked reads why."""
    (tmp_path / "here").write_text("x")
    witness = Witness(proxy_cluster)
    place = proxy_cluster.place(proxy_cluster.agentless_name, "route" if road == "route" else "jump")
    done = WAYS[way](client, place, tmp_path)
    assert done.rc != 0
    assert "has to be confirmed with a second factor" in done.stderr
    assert "Permission denied (keyboard-interactive)" in done.stderr
    assert not (tmp_path / "there").exists()
    assert not [event for event in witness.new_events() if event["event"] == "session.start"]


def asking(client: SshClient, *arguments: str) -> Terminal:
    """The same client with somebody at its terminal."""
    client.options = {"BatchMode": "no"}
    client.write()
    return Terminal(client.argv(*arguments), env=clean_env())


def test_who_answers_gets_in_once_for_a_shared_connection(
    proxy_cluster: Cluster, client: SshClient, codes: Iterator[str], tmp_path: Path
) -> None:
    """Prompted by stock ssh after its key; ControlMaster asks once; the log tells the device."""
    place = proxy_cluster.place(proxy_cluster.agentless_name, "route")
    witness = Witness(proxy_cluster)
    shared = ("-o", "ControlMaster=auto", "-o", f"ControlPath={tmp_path}/c")
    with asking(client, *shared, place, "echo was-$((40+2)); read x") as terminal:
        terminal.expect("has to be confirmed")
        terminal.expect("Code:")
        terminal.send("000000\r")
        terminal.expect("not right")
        terminal.expect("Code:")
        terminal.send(f"{next(codes)}\r")
        terminal.expect("was-42")
        again = client.run(*shared, "-o", "BatchMode=yes", place, "echo again").check()
        assert again.stdout == "again\n"
        terminal.send("\r")
        assert terminal.wait() == 0
    told = [each for each in witness.new_events() if each["event"] == "mfa_auth_challenge.validate"]
    assert [each["code"] for each in told] == ["T1016W", "T1016I"]


@pytest.mark.usefixtures("codes")
def test_a_jump_is_asked_at_its_end(proxy_cluster: Cluster, client: SshClient) -> None:
    """Once, by the gateway in the target's place; the jump itself is not. By an authenticator."""
    place = proxy_cluster.place(proxy_cluster.node_name, "jump")
    witness = Witness(proxy_cluster)
    with asking(client, place, "echo was-$((40+2))") as terminal:
        terminal.expect("Code:")
        terminal.send(f"{Authenticator().code(SystemClock().now())}\r")
        terminal.expect("was-42")
        assert terminal.wait() == 0
    assert witness.wait_event("session.start", user=USER)["with_mfa"] == phone_of(USER).id


def test_a_node_reached_directly_says_where_to_go(proxy_cluster: Cluster, client: SshClient) -> None:
    """It has nobody to ask, so auth does not let it."""
    to = ("-p", str(proxy_cluster.node_port), f"{proxy_cluster.login_name}@{proxy_cluster.host}")
    client.options = {"StrictHostKeyChecking": "no"}
    done = client.run("-o", f"HostKeyAlias={proxy_cluster.node_name}", *to, "true")
    assert done.rc == 255
    assert "connect through the gateway" in done.stderr


def test_a_sign_in_without_a_second_factor_is_not_enough_where_a_role_wants_one(proxy_cluster: Cluster) -> None:
    """In words that say what to do; who has none can still sign in, and get one."""
    cluster = proxy_cluster
    labels = ("--logins", cluster.login_name, "--labels", "env=test")
    cluster.admin("roles", "add", "signed", *labels, "--option", "second_factor=sign_in")
    cluster.add_user("factorless", "signed")
    person = cluster.login("factorless")
    done = cluster.client("factorless", person).run(*cluster.route(cluster.agentless_name), "true")
    assert done.rc == 255
    assert "run ilsh login (and ilsh mfa add before" in done.stderr


@pytest.mark.parametrize("target", [Cluster.agentless_name, Cluster.node_name])
def test_a_lock_on_the_device_ends_what_it_confirmed(
    proxy_cluster: Cluster, client: SshClient, codes: Iterator[str], target: str
) -> None:
    """Within two seconds, in words; other people's sessions stay (tests/interop/test_locks.py)."""
    with asking(client, "-tt", proxy_cluster.place(target, "route"), "echo was-$((40+2)); read x") as terminal:
        terminal.expect("Code:")
        terminal.send(f"{next(codes)}\r")
        terminal.expect("was-42")
        made = proxy_cluster.json("locks", "add", "--mfa-device", RECOVERY, "--message", "it was lost")
        try:
            began = time.monotonic()
            terminal.expect("it was lost")
            terminal.wait()
            assert time.monotonic() - began < 3  # two, and what the machine takes
        finally:
            proxy_cluster.admin("locks", "rm", made["id"])
            client.options = {}
            client.write()
            place = proxy_cluster.place(target, "route")
            poll_until(lambda: "locked" not in client.run(place, "true").stderr, "the lock to be gone")
