"""Auth and proxies as daemons of their own, with the stock ssh: whichever proxy somebody meets, it is one."""

from collections.abc import Iterator

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Person
from interlock.testing.machines import Machines
from interlock.testing.openssh import clean_env
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("machines"),
]

ECHO = "stty -echo; echo begun; while read x; do echo got=$x; done"


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A cluster of one auth and two proxies."""
    with Machines(tmp_path_factory.mktemp("machines"), proxies=2) as cluster:
        cluster.ilctl("roles", "set", "access", "--option", "join_sessions=peer,observer,moderator")
        yield cluster


@pytest.fixture(autouse=True)
def _idle(machines: Machines) -> Iterator[None]:
    """No test leaves a session behind."""
    machines.through(0)
    yield
    poll_until(lambda: not machines.json("sessions", "ls"), "end of all sessions")


def ssh(cluster: Machines, person: Person, *arguments: str) -> Terminal:
    """The stock ssh of a person, in a terminal."""
    return Terminal(cluster.client(f"terminal-{person.name}", person).argv(*arguments), env=clean_env())


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


def test_people_sign_in_and_ask_at_a_proxy(machines: Machines) -> None:
    """A password, lists and recordings are auth's to judge and give."""
    person = machines.person
    refused = machines.try_login(machines.directory / "home-wrong", "alice", "not the password")
    assert "sign-in failed" in refused.stderr
    assert machines.node_name in machines.ilsh(person.home, "ls").check().stdout
    witness = Witness(machines)
    machines.client("recorded", person).run(*machines.route("plain1"), "echo kept").check()
    (event,) = [each for each in witness.wait_ended(1) if each["event"] == "session.end"]
    assert "kept" in machines.ilsh(person.home, "play", str(event["sid"]), "--format", "text").check().stdout
    assert str(event["sid"]) in machines.ilsh(person.home, "recordings", "ls").check().stdout


def test_a_lock_ends_a_session_at_a_proxy(machines: Machines) -> None:
    """And keeps the person out, until it is taken away."""
    with ssh(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as terminal:
        terminal.expect("begun")
        sid = the_session(machines)
        machines.ilctl("locks", "add", "--user", "alice", "--message", "go home")
        terminal.expect("go home")
        assert terminal.wait() != 0
    client = machines.client("locked", machines.person)
    assert "go home" in client.run(*machines.route("plain1"), "true").stderr
    (lock,) = machines.json("locks", "ls")
    machines.ilctl("locks", "rm", str(lock["id"]))
    poll_until(lambda: client.run(*machines.route("plain1"), "true").rc == 0, "admission")
    wait_whole(machines, sid)


def test_joining_at_the_same_proxy(machines: Machines) -> None:
    """As in a gateway of one process."""
    with ssh(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as owner:
        owner.expect("begun")
        sid = the_session(machines)
        with ssh(machines, machines.person, "-tt", f"join-observer%{sid}@gateway") as observer:
            owner.expect("alice joined as observer")
            owner.send("hello\r")
            observer.expect("got=hello")
            owner.send("\x04")
            assert owner.wait() == 0
            observer.expect("the session has ended")
    wait_whole(machines, sid)


def test_a_session_outlives_an_absence_of_auth(machines: Machines) -> None:
    """It goes on being recorded; what it leaves is delivered when auth is back. New ones are refused meanwhile."""
    with ssh(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as terminal:
        terminal.expect("begun")
        sid = the_session(machines)
        machines.gateway.stop()
        terminal.send("alone\r")
        terminal.expect("got=alone")
        refused = machines.client("away", machines.person).run(*machines.route("plain1"), "true")
        assert "auth cannot be reached" in refused.stderr
        terminal.send("\x04")
        assert terminal.wait() == 0
    machines.gateway = machines.start_auth()
    wait_whole(machines, sid)
    assert "got=alone" in machines.recording_text(sid)
    client = machines.client("away", machines.person)
    poll_until(lambda: client.run(*machines.route("plain1"), "true").rc == 0, "admission")


def test_a_killed_proxy_leaves_its_recording_to_its_next_start(machines: Machines) -> None:
    """Which completes it from what is on disk; meanwhile the other proxy serves."""
    with ssh(machines, machines.person, "-tt", *machines.route("plain1"), ECHO) as terminal:
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
