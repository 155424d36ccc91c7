"""Auth and proxies as daemons of their own, with the stock ssh: whichever proxy somebody meets, it is one."""

import asyncio
import contextlib
import json
import signal
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from interlock.adapters.ssh import algorithms
from interlock.daemons.local import open_local
from interlock.testing.evidence import Witness
from interlock.testing.gateway import Person
from interlock.testing.machines import Machines
from interlock.testing.openssh import SshClient, clean_env, make_key
from interlock.testing.postgres import PostgresServer
from interlock.testing.procs import Daemon, poll_until, run
from interlock.testing.terminal import Terminal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("machines"),
]

NO_AUTH = "auth cannot be reached|auth does not answer"
"""Which of the two ends a session first, whoever has waited long enough, is chance."""

ECHO = "stty -echo; echo begun; while read x; do echo got=$x; done"


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A cluster of one auth and two proxies."""
    with Machines(tmp_path_factory.mktemp("machines"), proxies=2) as cluster:
        cluster.admin("roles", "set", "access", "--option", "join_sessions=peer,observer,moderator")
        yield cluster


@pytest.fixture(autouse=True)
def _idle(machines: Machines) -> Iterator[None]:
    """No test leaves a session behind."""
    machines.through(0)
    yield
    poll_until(lambda: not machines.json("sessions", "ls"), "end of all sessions")


def ssh_as(cluster: Machines, person: Person, *arguments: str) -> Terminal:
    """The stock ssh of a person, in a terminal."""
    return Terminal(cluster.client(f"terminal-{person.name}", person).argv(*arguments), env=clean_env())


def admitted(cluster: Machines, client: SshClient, target: str) -> bool:
    """Whether a session can begin there now."""
    return client.run(*cluster.route(target), "true").rc == 0


def says(log: Path, what: str) -> bool:
    """Whether a daemon's log has such a line."""
    return f'"event":"{what}"' in log.read_text().replace('": "', '":"')


def names(cluster: Machines, sid: str) -> list[str]:
    """The events of a session."""
    return [event["event"] for event in cluster.events(sid)]


def wait_whole(cluster: Machines, sid: str) -> list[str]:
    """Return when a session's recording is stored: its events, each of those that come once having come once."""
    poll_until(lambda: "session.upload" in names(cluster, sid), f"upload of {sid}")
    found = names(cluster, sid)
    for once in ("session.start", "session.end", "session.upload"):
        assert found.count(once) == 1, found
    return found


def the_session(cluster: Machines) -> str:
    """The ID of the one live session."""
    (row,) = poll_until(lambda: cluster.json("sessions", "ls"), "live session")
    return str(row["sid"])


def all_sessions(cluster: Machines) -> set[str]:
    """The IDs of those that live."""
    return {str(row["sid"]) for row in cluster.json("sessions", "ls")}


@contextlib.contextmanager
def hung(daemon: Daemon) -> Iterator[None]:
    """It does nothing, while its machine accepts connections for it."""
    daemon.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.signal(signal.SIGCONT)


@pytest.mark.parametrize("mode", ["proxy", "node"])
def test_every_target_by_every_road(machines: Machines, mode: str) -> None:
    """Whoever records. Each session is told, tracked and recorded once, by whom the mode says."""
    machines.set_mode("proxy" if mode == "proxy" else "node")
    client, witness = machines.client("roads", machines.person), Witness(machines)
    for target in machines.targets:
        for road in (machines.route(target), machines.jump(target)):
            assert client.run(*road, "echo here").check().stdout == "here\n"
    ended = witness.wait_ended(6)
    events = [event["event"] for event in ended]
    assert [events.count(f"session.{each}") for each in ("start", "end", "upload")] == [6, 6, 6]
    recorders = {str(event["recorded_by"]) for event in ended if event["event"] == "session.start"}
    assert len(recorders) == (1 if mode == "proxy" else 3)  # the proxy; or it for the plain sshd, and both nodes
    machines.set_mode("proxy")


def test_every_key_exchange_of_ssh_proves_that_people_are_there(machines: Machines) -> None:
    """What is hashed is put together by ssh itself, and auth hashes it again."""
    offered = run(["ssh", "-Q", "kex"]).check().stdout.split()
    client = machines.client("exchanges", machines.person)
    for kex in set(offered) & set(algorithms.SERVED_KEX):
        for road in (machines.route("plain1"), machines.jump("plain1")):
            assert client.run("-o", f"KexAlgorithms={kex}", *road, "echo here").check().stdout == "here\n"
    assert "access.presence" not in {event["event"] for event in machines.json("events", "ls")}


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_key_of_ssh_proves_that_people_are_there(
    machines: Machines, kind: str, tmp_path: Path
) -> None:
    """Enrolled, and then with a certificate."""
    key, person = make_key(tmp_path / "id", kind=kind, comment=kind), machines.person
    machines.admin("users", "keys", "add", machines.user, f"{key.path}.pub")
    client = machines.client(f"key-{kind}", person)
    client.keys = [key]
    client.write()

    async def certify() -> str:
        async with open_local(machines.data) as local:
            account = await local.users.user(machines.user)
            logins, life = [machines.login_name], timedelta(hours=1)
            return await local.authority.issue_user(account.name, account.roles, logins, key.public, life)

    for certified in (False, True):
        if certified:
            key.certificate.write_text(asyncio.run(certify()) + "\n")
            client.write()
        for road in (machines.route("plain1"), machines.jump("plain1")):
            assert client.run(*road, "echo here").check().stdout == "here\n"
    machines.admin("users", "keys", "rm", machines.user, kind)
    assert "access.presence" not in {event["event"] for event in machines.json("events", "ls")}


def test_people_sign_in_and_ask_at_a_proxy(machines: Machines) -> None:
    """A password, lists and recordings are auth's to judge and give."""
    person = machines.person
    refused = machines.try_login(machines.directory / "home-wrong", "alice", "not the password")
    assert "sign-in failed" in refused.stderr
    assert machines.node_name in machines.ilsh(person.home, "ls").check().stdout
    witness = Witness(machines)
    machines.client("recorded", person).run(*machines.route("plain1"), "echo kept").check()
    (event,) = [each for each in witness.wait_ended(1) if each["event"] == "session.end"]
    played = machines.ilsh(person.home, "play", str(event["sid"]), "--at", "1s").check()
    assert "kept" in played.stdout
    assert str(event["sid"]) in machines.ilsh(person.home, "recordings", "ls").check().stdout


def test_a_lock_ends_a_session_at_a_proxy(machines: Machines) -> None:
    """And keeps the person out, until it is taken away."""
    with ssh_as(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as terminal:
        terminal.expect("begun")
        sid = the_session(machines)
        machines.admin("locks", "add", "--user", "alice", "--message", "go home")
        terminal.expect("go home")
        assert terminal.wait() != 0
    client = machines.client("locked", machines.person)
    assert "go home" in client.run(*machines.route("plain1"), "true").stderr
    (lock,) = machines.json("locks", "ls")
    machines.admin("locks", "rm", str(lock["id"]))
    poll_until(lambda: client.run(*machines.route("plain1"), "true").rc == 0, "admission")
    wait_whole(machines, sid)


def test_joining_at_the_same_proxy(machines: Machines) -> None:
    """As in a gateway of one process."""
    with ssh_as(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as owner:
        owner.expect("begun")
        sid = the_session(machines)
        with ssh_as(machines, machines.person, "-tt", f"join-observer%{sid}@gateway") as observer:
            owner.expect("alice joined as observer")
            owner.send("hello\r")
            observer.expect("got=hello")
            owner.send("\x04")
            assert owner.wait() == 0
            observer.expect("the session has ended")
    wait_whole(machines, sid)


@pytest.mark.parametrize("mode", ["proxy", "node"])
def test_a_node_whose_tunnel_ends_at_the_other_proxy(machines: Machines, mode: str) -> None:
    """Is reached by both roads, whoever records."""
    machines.set_mode("proxy" if mode == "proxy" else "node")
    machines.through(1)
    client, witness = machines.client("across", machines.person), Witness(machines)
    for road in (machines.route("nat1"), machines.jump("nat1")):
        said = client.run(*road, "echo $SSH_CLIENT; head -c 1000000 /dev/zero | base64 -w0 | wc -c").check().stdout
        assert said.split()[0] == "127.0.0.1"
        assert said.split()[-1] == "1333336"
    assert len([each for each in witness.wait_ended(2) if each["event"] == "session.upload"]) == 2
    machines.set_mode("proxy")


@pytest.mark.parametrize("target", Machines.targets)
def test_joining_a_session_at_the_other_proxy(machines: Machines, target: str) -> None:
    """An observer sees, a peer types, a moderator ends it; each is shown, and told once."""
    machines.add_user_once("bob", "access")
    bob = machines.login("bob")
    with ssh_as(machines, machines.person, "-tt", *machines.route(target), ECHO) as owner:
        owner.expect("begun")
        sid = the_session(machines)
        machines.through(1)
        with ssh_as(machines, bob, "-tt", f"join-observer%{sid}@gateway") as observer:
            owner.expect("bob joined as observer")
            with ssh_as(machines, bob, "-tt", f"join-peer%{sid}@gateway") as peer:
                owner.expect("bob joined as peer")
                peer.send("typed\r")
                for terminal in (owner, observer, peer):
                    terminal.expect("got=typed")
                peer.send("\r~.")
                peer.wait()
            owner.expect("bob left")
            with ssh_as(machines, bob, "-tt", f"join-moderator%{sid}@gateway") as moderator:
                owner.expect("bob joined as moderator")
                moderator.send("t")
                assert moderator.wait() == 0
                owner.expect("bob, a moderator, has ended the session")
                assert owner.wait() != 0
            observer.expect("the session has ended")
            assert observer.wait() == 0
    found = wait_whole(machines, sid)
    joins = [event for event in machines.events(sid) if event["event"] == "session.join"]
    assert len(joins) == 3
    assert {event["addr.remote"].partition(":")[0] for event in joins} == {"127.0.0.1"}
    assert found.count("session.leave") == len(joins) + 1


def test_who_may_not_join_may_not_at_the_other_proxy(machines: Machines) -> None:
    """Auth is asked, whichever proxy somebody meets."""
    if "looks" not in {role["name"] for role in machines.json("roles", "ls")}:
        machines.admin("roles", "add", "looks", "--logins", machines.login_name, "--labels", "env=test")
    machines.add_user_once("carol", "looks")
    client = machines.client("carol", machines.login("carol"))
    with ssh_as(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as owner:
        owner.expect("begun")
        sid = the_session(machines)
        machines.through(1)
        client = machines.client("carol", machines.login("carol"))
        assert "no role of yours lets you join this session" in client.run("-tt", f"join%{sid}@gateway").stderr


def test_nobody_but_a_proxy_comes_in_where_proxies_do(machines: Machines) -> None:
    """Not without a certificate, nor with a node's."""
    identity = json.loads((machines.directory / "node" / "identity.json").read_text())
    pem = machines.directory / "node.pem"
    pem.write_text(identity["key"] + identity["certificate"])
    for shown in (None, pem):
        context = ssl.create_default_context(cadata=identity["roots"])
        context.check_hostname = False
        if shown is not None:
            context.load_cert_chain(shown)
        where = (machines.host, machines.peer_ports[0])
        with (
            socket.create_connection(where) as plain,
            contextlib.suppress(OSError),
            context.wrap_socket(plain) as wrapped,
        ):
            wrapped.sendall(b"\0\0\0\2{}")
            assert wrapped.recv(1) == b""
    log = machines.directory / "proxy0.log"
    poll_until(lambda: log.read_text().count("peers.refused") == 2, "two refusals")


def test_a_session_outlives_an_absence_of_auth(machines: Machines) -> None:
    """It goes on being recorded, and what it leaves is delivered when auth is back.

    Where policy says so, people who are here go on meanwhile, by further sessions on a connection and by jumps to
    a node. What wants a new certificate is refused. Each session is claimed, told and recorded once.
    """
    machines.set_mode("node")
    machines.ilctl("offline", "set", "1h")
    proxy_log, node_log = machines.directory / "proxy0.log", machines.directory / "node.log"
    for log in (proxy_log, node_log):
        poll_until(partial(says, log, "access.offline_allowed"), f"the policy in {log}")
    client, witness = machines.client("offline", machines.person), Witness(machines)
    master = (*machines.route("plain1"), "-o", f"ControlPath={client.directory}/m")
    client.run(*machines.jump("node1"), "true").check()
    try:
        with Terminal(client.argv("-M", "-tt", *master, ECHO), env=clean_env()) as terminal:
            terminal.expect("begun")
            sid = the_session(machines)
            machines.gateway.stop()
            terminal.send("alone\r")
            terminal.expect("got=alone")
            refused = client.run(*machines.route("plain1"), "true")
            assert "auth cannot be reached" in refused.stderr
            sessions = 3  # this one, and the jump with auth and without
            while not says(proxy_log, "access.offline"):
                client.run(*master, "true").check()
                sessions += 1
            assert client.run(*machines.jump("node1"), "echo jumped").check().stdout == "jumped\n"
            assert says(node_log, "access.offline")
            terminal.send("\x04")
            assert terminal.wait() == 0
    finally:
        machines.gateway = machines.start_auth()
    told = witness.wait_ended(sessions)
    events = [event["event"] for event in told]
    assert [events.count(f"session.{each}") for each in ("start", "end", "upload")] == [sessions] * 3
    wait_whole(machines, sid)
    assert "got=alone" in machines.recording_text(sid)
    judged = witness.wait_event("access.offline", user="alice", login=machines.login_name)
    assert judged["answered"] < judged["time"]
    machines.ilctl("offline", "set", "off")
    machines.set_mode("proxy")
    poll_until(partial(admitted, machines, machines.client("back", machines.person), "plain1"), "admission")


def test_an_auth_that_hangs_is_no_auth(machines: Machines) -> None:
    """What is live goes on where the proxy records, and ends with a message where auth has to store it."""
    with ssh_as(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as terminal:
        terminal.expect("begun")
        sid = the_session(machines)
        machines.set_mode("proxy-sync")
        try:
            with ssh_as(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as synced:
                synced.expect("begun")
                (synced_sid,) = poll_until(lambda: all_sessions(machines) - {sid}, "the second session")
                with hung(machines.gateway):
                    for each in (synced, terminal):
                        each.send("alone\r")
                    synced.expect(NO_AUTH)
                    assert synced.wait() != 0
                    terminal.expect("got=alone")
                    refused = machines.client("hung", machines.person).run(*machines.route("plain1"), "true")
                    assert "auth cannot be reached" in refused.stderr
                    terminal.send("\x04")
                    assert terminal.wait() == 0
        finally:
            machines.set_mode("proxy")
    for each_sid in (sid, synced_sid):
        wait_whole(machines, each_sid)
    assert "got=alone" in machines.recording_text(sid)
    poll_until(partial(admitted, machines, machines.client("hung", machines.person), "plain1"), "admission")


def test_a_session_in_a_sync_mode_ends_when_auth_goes(machines: Machines) -> None:
    """With a message: what it does cannot be on auth's storage as it happens."""
    machines.set_mode("proxy-sync")
    try:
        with ssh_as(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as terminal:
            terminal.expect("begun")
            sid = the_session(machines)
            machines.gateway.stop()
            terminal.send("alone\r")
            terminal.expect(NO_AUTH)
            assert terminal.wait() != 0
    finally:
        machines.gateway = machines.start_auth()
        machines.set_mode("proxy")
    wait_whole(machines, sid)
    client = machines.client("back", machines.person)
    poll_until(partial(admitted, machines, client, "plain1"), "admission")


def test_a_killed_proxy_leaves_its_recording_to_its_next_start(machines: Machines) -> None:
    """Which completes it from what is on disk; meanwhile the other proxy serves."""
    with ssh_as(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as terminal:
        terminal.expect("begun")
        sid = the_session(machines)
        terminal.send("last words\r")
        terminal.expect("got=last")
        machines.wait_kept([sid], "got=last words")
        machines.proxies[0].kill()
        assert terminal.wait() != 0
    machines.through(1)
    assert (
        machines.client("other", machines.person).run(*machines.route("plain1"), "echo on").check().stdout
        == "on\n"
    )
    machines.proxies[0] = machines.start_proxy(0)
    wait_whole(machines, sid)
    assert "got=last words" in machines.recording_text(sid)


def test_a_proxy_gives_its_port_to_another_one(machines: Machines) -> None:
    """Its settings change under those who are there; then a new process takes who comes, and they stay."""
    first, log = machines.proxies[0], machines.directory / "proxy0.log"
    client, witness = machines.client("ported", machines.person), Witness(machines)
    other = ("-c", "aes128-gcm@openssh.com", *machines.route("plain1"), "true")
    with ssh_as(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as terminal:
        terminal.expect("begun")
        sid = the_session(machines)
        with (machines.directory / "proxy0.toml").open("a") as config:
            config.write('ciphers = ["aes256-gcm@openssh.com"]\n')
        client.run(*other).check()
        first.signal(signal.SIGHUP)
        poll_until(partial(says, log, "reload.done"), "reload")
        assert "no matching cipher" in client.run(*other).stderr
        machines.add_proxy(beside=0)
        first.signal(signal.SIGUSR1)
        poll_until(partial(says, log, "proxy.drains"), "the first proxy closing its port")
        client.run(*other).check()
        terminal.send("still\r")
        terminal.expect("got=still")
        terminal.send("\x04")
        assert terminal.wait() == 0
    assert first.wait() == 0
    ended = {
        event["sid"]: event["recorded_by"] for event in witness.wait_ended(3) if event["event"] == "session.end"
    }
    assert len(set(ended.values())) == 2
    assert list(ended.values()).count(ended[sid]) == 2
    wait_whole(machines, sid)
    machines.remove_last_proxy()  # first: the port would answer before the other one has it
    machines.proxies[0] = machines.start_proxy(0)


@pytest.fixture(scope="module")
def two_auths(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Two auths on one PostgreSQL, and a proxy that knows both."""
    with (
        postgres.database() as name,
        Machines(tmp_path_factory.mktemp("auths"), database=postgres.url(name, tcp=True), auths=2) as cluster,
    ):
        yield cluster


def test_an_auth_hangs(two_auths: Machines) -> None:
    """It is left like one that was killed, although its machine still accepts connections."""
    client = two_auths.client("auths", two_auths.person)
    with ssh_as(two_auths, two_auths.person, "-tt", *two_auths.route("plain1"), ECHO) as terminal:
        terminal.expect("begun")
        sid = the_session(two_auths)
        with hung(two_auths.gateway):
            terminal.send("alone\r")
            terminal.expect("got=alone")
            for target in two_auths.targets:
                poll_until(
                    partial(admitted, two_auths, client, target), f"admission at {target} by the other auth"
                )
            terminal.send("\x04")
            assert terminal.wait() == 0
            wait_whole(two_auths, sid)


def test_an_auth_is_killed(two_auths: Machines) -> None:
    """What is live goes on and is delivered to the other one, which lets new sessions in, at nodes, too."""
    client = two_auths.client("auths", two_auths.person)
    with ssh_as(two_auths, two_auths.person, "-tt", *two_auths.route("plain1"), ECHO) as terminal:
        terminal.expect("begun")
        sid = the_session(two_auths)
        two_auths.gateway.kill()
        terminal.send("alone\r")
        terminal.expect("got=alone")
        for target in two_auths.targets:
            poll_until(partial(admitted, two_auths, client, target), f"admission at {target} by the other auth")
        terminal.send("\x04")
        assert terminal.wait() == 0
    wait_whole(two_auths, sid)
    two_auths.gateway = two_auths.start_auth()
    two_auths.other_auths[0].kill()
    poll_until(partial(admitted, two_auths, client, "node1"), "admission by the first auth")
    two_auths.other_auths[0] = two_auths.start_other_auth(1)
