"""A small disk fills up under live sessions: the gateway's, which records for a plain sshd, and a node's own."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from interlock.testing.disk import SmallDisk, small_disk
from interlock.testing.gateway import Cluster, Mode, Person
from interlock.testing.procs import Completed, poll_until
from interlock.testing.terminal import Terminal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("full-disk"),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system"),
]

MIB = 1024 * 1024
ROOM = """
[recordings]
spill_below_mib = 12
refuse_below_mib = 6
reserve_mib = 4
"""
SPILLING, REFUSING = (12 - 2) * MIB, (6 - 2) * MIB
"""Bytes that are free in the middle of the steps."""


@dataclass(frozen=True)
class Place:
    """Whose disk is small."""

    cluster: Cluster
    disk: SmallDisk
    target: str
    strict: Person
    saver: Person  # whose sessions go on unrecorded, for those who have to make room

    def run(self, who: Person, command: str) -> Completed:
        """A session of its own."""
        return self.cluster.client(who.name, who).run(*self.cluster.route(self.target), command)

    def shell(self, who: Person) -> Terminal:
        """A live session, at its prompt."""
        terminal = self.cluster.terminal(who, *self.cluster.route(self.target))
        terminal.send("PS1=; stty -echo; echo ready-$((1+1))\n")
        terminal.expect("ready-2")
        return terminal

    def steps(self) -> list[str]:
        """As the audit log tells them."""
        return [str(each["step"]) for each in self.cluster.json("events", "ls", "--type", "recording.room")]

    def rest(self) -> int:
        """Room for all, and what is set aside is there; how many steps were told until then."""
        self.disk.clear()
        poll_until(lambda: self.steps()[-1:] in ([], ["enough"]), "the first step")
        poll_until(
            lambda: any(held.stat().st_size for held in self.cluster.directory.rglob("reserve")), "a reserve"
        )
        return len(self.steps())

    def wait_step(self, step: str) -> None:
        """Until it is the last one."""
        poll_until(lambda: self.steps()[-1:] == [step], f"the step {step}")


@pytest.fixture(params=["proxy", "node"], scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """At the proxy, which records for the plain sshd, and at our node."""
    mode: Mode = request.param
    directory = tmp_path_factory.mktemp(f"full-{mode}")
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(directory / ("gateway" if mode == "proxy" else "node"), 48))
        texts = (ROOM, "") if mode == "proxy" else ("", ROOM)
        cluster = stack.enter_context(Cluster(directory, mode=mode, settings=texts[0], node_settings=texts[1]))
        cluster.admin("roles", "add", "saver", "--logins", cluster.login_name, "--labels", "env=test")
        cluster.admin("roles", "set", "saver", "--option", "record_session=best_effort")
        cluster.add_user("saver", "saver")
        target = cluster.agentless_name if mode == "proxy" else cluster.node_name
        yield Place(cluster, disk, target, cluster.person, cluster.login("saver"))


@contextmanager
def live(place: Place, who: Person) -> Iterator[Terminal]:
    """A live session."""
    with place.shell(who) as terminal:
        yield terminal


def live_sids(place: Place) -> list[str]:
    """Of those who are here."""
    return [str(row["sid"]) for row in place.cluster.json("sessions", "ls")]


def answers(terminal: Terminal, word: str) -> None:
    """The session goes on."""
    terminal.send(f"echo {word}-$((20+1))\n")
    terminal.expect(f"{word}-21")


def test_the_ladder(place: Place) -> None:
    """Each step up with what it refuses and what it does not, and all the way down again."""
    told = place.rest()
    assert place.run(place.strict, "echo before").check().stdout == "before\n"
    with live(place, place.strict) as strict, live(place, place.saver) as saver:
        place.disk.leave(SPILLING)
        place.wait_step("spill")
        assert place.run(place.strict, "echo spilling").check().stdout == "spilling\n"

        place.disk.leave(REFUSING)
        place.wait_step("refuse")
        refused = place.run(place.strict, "echo refused")
        assert refused.rc != 0
        assert "no room left for recordings, please tell an administrator" in refused.stderr + refused.stdout
        assert place.run(place.saver, "echo let in").check().stdout == "let in\n"
        answers(strict, "strict")
        answers(saver, "saver")

        place.disk.leave(0)
        place.wait_step("reserve")
        strict.send("echo more\n")
        strict.expect("cannot be recorded|recording failed", timeout=30)
        strict.wait()
        answers(saver, "still")
        assert place.run(place.strict, "echo refused").rc != 0
        assert place.run(place.saver, "echo let in").check().stdout == "let in\n"
        place.cluster.login("saver")  # signing in works as well

        place.disk.clear()
        place.wait_step("enough")
        assert place.run(place.strict, "echo after").check().stdout == "after\n"
        answers(saver, "last")
    assert place.steps()[told:] == ["spill", "refuse", "reserve", "enough"]
    lapses = place.cluster.json("events", "ls", "--type", "session.recording.lapse")
    assert {each["user"] for each in lapses} == {"saver"}
    assert len({each["sid"] for each in lapses}) >= 3
    rejected = place.cluster.json("events", "ls", "--type", "session.rejected")
    assert {each["user"] for each in rejected} == {place.strict.name}


def test_what_was_recorded_until_then_is_kept(place: Place) -> None:
    """A session that ended because of the disk has a recording that says so, when there is room again."""
    place.rest()
    with live(place, place.strict) as strict:
        answers(strict, "evidence")
        sids = poll_until(lambda: live_sids(place) or None, "a live session")
        place.cluster.wait_kept(sids, "evidence-21")
        place.disk.leave(0)
        place.wait_step("reserve")
        strict.send("echo more\n")
        strict.expect("cannot be recorded|recording failed", timeout=30)
        strict.wait()
        sid = str(place.cluster.json("events", "ls", "--type", "session.start")[-1]["sid"])
    place.disk.clear()
    place.wait_step("enough")
    poll_until(
        lambda: any(each["event"] == "session.upload" for each in place.cluster.events(sid)), "a stored recording"
    )
    assert "evidence-21" in place.cluster.recording_text(sid)
