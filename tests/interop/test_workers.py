"""A gateway of several processes, with the stock ssh: whatever worker somebody meets, it is one gateway."""

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.factors import give_second_factor
from interlock.testing.gateway import PASSWORD, Cluster, Person
from interlock.testing.openssh import clean_env
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal
from interlock.testing.workers import Workers

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("workers"),
]

Met = AbstractContextManager[Terminal]
"""A terminal whose connection is at a certain worker."""

ECHO = "stty -echo; echo begun; while read x; do echo got=$x; done"


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose gateway has two workers."""
    with Cluster(tmp_path_factory.mktemp("workers"), workers=2) as cluster:
        cluster.admin("roles", "set", "access", "--option", "join_sessions=peer,observer,moderator")
        cluster.admin(
            "roles", "add", "one-place", "--logins", cluster.login_name, "--labels", "env=test",
            "--option", "max_connections=1",
        )  # fmt: skip
        yield cluster


@pytest.fixture
def workers(spread: Cluster) -> Workers:
    """Its workers, two of them."""
    found = Workers(spread)
    found.wait(2)
    return found


@pytest.fixture
def helper(spread: Cluster) -> Person:
    """Somebody who may join as he likes."""
    spread.add_user_once("bob", "access")
    return spread.login("bob")


def ssh(cluster: Cluster, person: Person, *arguments: str) -> Terminal:
    """The stock ssh of a person, in a terminal."""
    return Terminal(cluster.client(f"terminal-{person.name}", person).argv(*arguments), env=clean_env())


def names(cluster: Cluster, sid: str) -> list[str]:
    """The events of a session."""
    return [event["event"] for event in cluster.events(sid)]


def wait_whole(cluster: Cluster, sid: str) -> list[str]:
    """Return when a session's recording is stored: its events, each of those that come once having come once."""
    poll_until(lambda: "session.upload" in names(cluster, sid), f"upload of {sid}")
    found = names(cluster, sid)
    for once in ("session.start", "session.end", "session.upload"):
        assert found.count(once) == 1, found
    return found


def session_at(spread: Cluster, workers: Workers, pid: int, target: str = "plain1") -> Met:
    """A session of alice's that this worker has."""
    return workers.met(pid, lambda: ssh(spread, spread.person, "-tt", *spread.route(target), ECHO), "begun")


def the_session(spread: Cluster) -> str:
    """The ID of the one live session."""
    (row,) = poll_until(lambda: spread.json("sessions", "ls"), "live session")
    return str(row["sid"])


@pytest.fixture(autouse=True)
def _idle(spread: Cluster) -> Iterator[None]:
    """No test leaves a session behind."""
    yield
    poll_until(lambda: not spread.json("sessions", "ls"), "end of all sessions")


@pytest.mark.parametrize("target", Cluster.targets)
def test_every_worker_serves_every_target(spread: Cluster, workers: Workers, target: str) -> None:
    """Also the node whose tunnel ends at one of them only. Each session is told, tracked and recorded once."""
    for pid in workers.pids:
        with session_at(spread, workers, pid, target) as terminal:
            sid = the_session(spread)
            assert workers.of_session(sid) == pid
            terminal.send("hello\r")
            terminal.expect("got=hello")
            terminal.send("\x04")
            assert terminal.wait() == 0
        wait_whole(spread, sid)
        assert "got=hello" in spread.recording_text(sid)


@pytest.mark.usefixtures("workers")
def test_jumps_and_node_mode(spread: Cluster) -> None:
    """Recorded by the node, behind a bridge or a forwarder, through a tunnel that may end elsewhere."""
    spread.set_mode("node")
    try:
        client = spread.client("jumps", spread.person)
        witness = Witness(spread)
        for target in spread.our_names:
            for road in (spread.jump(target), spread.route(target)):
                for _ in range(3):
                    done = client.run(*road, "echo jumped").check()
                    assert done.stdout == "jumped\n"
        events = [event["event"] for event in witness.wait_ended(12)]
        assert [events.count(f"session.{each}") for each in ("start", "end", "upload")] == [12, 12, 12]
    finally:
        spread.set_mode("proxy")


@pytest.mark.parametrize("target", ["plain1", "node1", "nat1"])
def test_joining_a_session_at_another_worker(
    spread: Cluster, workers: Workers, helper: Person, target: str
) -> None:
    """An observer sees, a peer types, a moderator ends it; each is shown, and told once."""
    here, there = workers.pids
    with session_at(spread, workers, here, target) as owner:
        sid = the_session(spread)

        def joining(mode: str) -> Met:
            return workers.met(there, lambda: ssh(spread, helper, "-tt", f"join-{mode}%{sid}@gateway"), "alice's")

        with joining("observer") as observer:
            owner.expect("bob joined as observer")
            with joining("peer") as peer:
                owner.expect("bob joined as peer")
                peer.send("typed\r")
                for terminal in (owner, observer, peer):
                    terminal.expect("got=typed")
                (row,) = spread.json("sessions", "ls")
                assert row["participants"] == ["alice", "bob"]
                peer.send("\r~.")
                peer.wait()
            owner.expect("bob left")
            with joining("moderator") as moderator:
                owner.expect("bob joined as moderator")
                moderator.send("t")
                assert moderator.wait() == 0
                owner.expect("bob, a moderator, has ended the session")
                assert owner.wait() != 0
            observer.expect("the session has ended")
            assert observer.wait() == 0
    found = wait_whole(spread, sid)
    joins = [event for event in spread.events(sid) if event["event"] == "session.join"]
    assert len(joins) >= 3
    assert {event["addr.remote"].partition(":")[0] for event in joins} == {"127.0.0.1"}
    assert found.count("session.leave") == len(joins) + 1
    (end,) = [event for event in spread.events(sid) if event["event"] == "session.end"]
    assert end["participants"] == ["alice", "bob"]


def test_who_may_not_join_may_not_at_any_worker(spread: Cluster, workers: Workers) -> None:
    """Policy is asked where somebody arrives, in the same words, whichever worker that is."""
    spread.add_user_once("carol", "one-place")
    client = spread.client("carol", spread.login("carol"))
    with session_at(spread, workers, workers.pids[0]):
        sid = the_session(spread)
        for _ in range(8):
            done = client.run("-tt", f"join%{sid}@gateway")
            assert done.rc
            assert "no role of yours lets you join this session" in done.stderr


def test_limits_count_across_workers(spread: Cluster, workers: Workers) -> None:
    """One place is one place, whichever workers are asked."""
    spread.add_user_once("carol", "one-place")
    carol = spread.login("carol")
    client = spread.client("places", carol)
    for pid in workers.pids:
        with workers.met(pid, lambda: ssh(spread, carol, "-tt", *spread.route("plain1"), ECHO), "begun"):
            for _ in range(6):
                done = client.run(*spread.route("plain1"), "true")
                assert "too many concurrent ssh connections" in done.stderr
        poll_until(lambda: client.run(*spread.route("plain1"), "true").rc == 0, "free place")


def test_a_lock_ends_sessions_at_all_workers(spread: Cluster, workers: Workers, helper: Person) -> None:
    """And keeps the user out at each."""
    one, two = workers.pids

    def bobs(pid: int) -> Met:
        return workers.met(pid, lambda: ssh(spread, helper, "-tt", *spread.route("plain1"), ECHO), "begun")

    with bobs(one) as first, bobs(two) as second:
        lock = spread.json("locks", "add", "--user", "bob", "--message", "not today")
        try:
            for terminal in (first, second):
                terminal.expect("not today", timeout=5)
                assert terminal.wait() != 0
            client = spread.client("locked", helper)
            for _ in range(6):
                assert "not today" in client.run(*spread.route("plain1"), "true").stderr
        finally:
            spread.admin("locks", "rm", lock["id"])


def test_who_guesses_passwords_is_braked_once_for_all_workers(spread: Cluster, tmp_path: Path) -> None:
    """Five failures are free, not five at each worker."""
    spread.add_user_once("dave", "access")
    for _ in range(5):
        assert spread.try_login(tmp_path / "home", "dave", "wrong password").rc != 0
    errors = [
        event.get("error")
        for event in spread.json("events", "ls", "--user", "dave")
        if event["event"] == "user.login"
    ]
    before = errors.count("too many failures, the brake is on")
    for _ in range(4):
        assert spread.try_login(tmp_path / "home", "dave", "wrong password").rc != 0
    found = [
        event.get("error")
        for event in spread.json("events", "ls", "--user", "dave")
        if event["event"] == "user.login"
    ]
    assert found.count("too many failures, the brake is on") > before


@pytest.mark.usefixtures("workers")
def test_second_factors_are_judged_for_all_workers(spread: Cluster, tmp_path: Path) -> None:
    """At sign-in and on each connection, whichever worker asks; no code counts twice."""
    options = ("--logins", spread.login_name, "--labels", "env=test", "--option", "second_factor=session")
    spread.admin("roles", "add", "confirmed", *options)
    spread.add_user_once("erin", "confirmed")
    codes = asyncio.run(give_second_factor(spread.data, "erin"))
    home = tmp_path / "home"
    assert spread.try_login(home, "erin", PASSWORD).rc != 0
    spread.try_login(home, "erin", f"{PASSWORD}\n{codes[0]}").check()
    erin = Person("erin", home, next(home.rglob("id-cert.pub")).parent)
    client = spread.client("erin", erin, {"BatchMode": "no"})
    for code in codes[1:4]:
        with Terminal(
            client.argv(*spread.route(spread.agentless_name), "echo was-$((40+2))"), env=clean_env()
        ) as it:
            for typed in (codes[0], code):
                it.expect("Code:")
                it.send(f"{typed}\r")
            it.expect("was-42")
            assert it.wait() == 0


def test_a_worker_that_is_killed(spread: Cluster, workers: Workers) -> None:
    """The others go on; what it had is finished within seconds, and somebody else takes its place."""
    one, two = workers.pids
    with session_at(spread, workers, one) as lost, session_at(spread, workers, two) as kept:
        by_worker = {workers.of_session(row["sid"]): row["sid"] for row in spread.json("sessions", "ls")}
        lost.send("last-words\r")
        lost.expect("got=last-words")
        spread.wait_kept([by_worker[one]], "got=last-words")
        subprocess.run(["kill", "-KILL", str(one)], check=True)
        assert lost.wait() == 255
        wait_whole(spread, by_worker[one])
        assert "got=last-words" in spread.recording_text(by_worker[one])
        workers.wait(1, without=(one, two))
        kept.send("still-here\r")
        kept.expect("got=still-here")
        (row,) = spread.json("sessions", "ls")
        assert row["sid"] == by_worker[two]
        kept.send("\x04")
        kept.wait()
    wait_whole(spread, by_worker[two])
    assert len(workers.log("worker.died")) >= 1
    for pid in workers.pids:
        with session_at(spread, workers, pid, "nat1") as terminal:
            terminal.send("\x04")
            terminal.wait()


def test_a_reload_keeps_sessions_and_loses_no_connection(
    spread: Cluster, workers: Workers, helper: Person
) -> None:
    """Old workers serve what they have, also to who joins it, new ones the rest; a second reload is no other."""
    client, failures, over = spread.client("steady", spread.person), [], threading.Event()

    def connect() -> None:
        while not over.is_set():
            done = client.run(*spread.route("plain1"), "true")
            if done.rc:
                failures.append(done.stderr)

    opener = threading.Thread(target=connect)
    opener.start()
    try:
        first, second = workers.pids
        with session_at(spread, workers, first, "nat1") as oldest:
            (sid,) = poll_until(
                lambda: [row["sid"] for row in spread.json("sessions", "ls") if row["hostname"] == "nat1"],
                "tracker",
            )
            newer = workers.reload()
            assert len(newer) == 2
            with session_at(spread, workers, newer[0]) as newest:
                newer_still = workers.reload()
                assert not set(newer) & set(newer_still)
                with workers.met(
                    newer_still[1], lambda: ssh(spread, helper, "-tt", f"join-peer%{sid}@gateway"), "alice's"
                ) as peer:
                    peer.send("across-generations\r")
                    oldest.expect("got=across-generations")
                newest.send("hello\r")
                newest.expect("got=hello")
                newest.send("\x04")
                newest.wait()
            workers.wait_gone(*newer)
            oldest.send("\x04")
            oldest.wait()
        workers.wait_gone(first, second)
    finally:
        over.set()
        opener.join()
    assert failures == []
    wait_whole(spread, sid)


def test_a_bad_configuration_refuses_the_reload(spread: Cluster, workers: Workers) -> None:
    """Everything goes on as it was."""
    config = spread.directory / "gateway.toml"
    before, good = workers.pids, config.read_text()
    config.write_text(good.replace("workers = 2", 'workers = "two"'))
    try:
        refused = len(workers.log("reload.refused"))
        spread.gateway.signal(signal.SIGHUP)
        poll_until(lambda: len(workers.log("reload.refused")) > refused, "refusal")
    finally:
        config.write_text(good)
    assert "workers" in json.dumps(workers.log("reload.refused")[-1])
    assert workers.pids == before
    spread.client("after", spread.person).run(*spread.route("plain1"), "true").check()


def test_a_reload_may_change_the_number(spread: Cluster, workers: Workers) -> None:
    """More workers, then fewer: every connection finds one."""
    config = spread.directory / "gateway.toml"
    good = config.read_text()
    client = spread.client("numbers", spread.person)
    try:
        config.write_text(good.replace("workers = 2", "workers = 3"))
        before = workers.pids
        assert len(workers.reload()) == 3
        workers.wait_gone(*before)
        config.write_text(good)
        assert len(workers.reload()) == 2
        for _ in range(12):
            client.run(*spread.route("plain1"), "true").check()
    finally:
        config.write_text(good)
    workers.wait(2)


def test_a_gateway_that_is_stopped(spread: Cluster, workers: Workers) -> None:
    """SIGTERM to the supervisor: people at every worker are told, and no process is left."""
    one, two = workers.pids
    with session_at(spread, workers, one) as first, session_at(spread, workers, two) as second:
        sids = [row["sid"] for row in spread.json("sessions", "ls")]
        pids = spread.gateway.pids
        spread.gateway.signal(signal.SIGTERM)
        for terminal in (first, second):
            terminal.expect("shutting down")
            assert terminal.wait() == 255
        assert spread.gateway.wait() == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert not (spread.data / "run").exists()
    for sid in sids:
        wait_whole(spread, sid)
    spread.gateway = spread.start_gateway()
    spread.wait_listed()


def test_a_supervisor_that_is_killed(spread: Cluster, workers: Workers) -> None:
    """Its workers end their sessions in order, and the next gateway waits for them."""
    one, two = workers.pids
    with session_at(spread, workers, one) as first, session_at(spread, workers, two) as second:
        sids = [row["sid"] for row in spread.json("sessions", "ls")]
        spread.gateway.kill()
        for terminal in (first, second):
            terminal.expect("shutting down")
            assert terminal.wait() == 255
        spread.gateway = spread.start_gateway()
    assert [pid for pid in (one, two) if Path(f"/proc/{pid}/exe").exists()] == []
    for sid in sids:
        wait_whole(spread, sid)
    spread.wait_listed()
    Workers(spread).wait(2)
