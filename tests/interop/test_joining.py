"""Joining and moderating with the stock ssh in real terminals: proxy mode, node mode, and agentless in both."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock.domain.screen import Screen
from interlock.testing.evidence import Witness
from interlock.testing.gateway import BIN, Cluster, Person
from interlock.testing.openssh import clean_env
from interlock.testing.procs import KitError, poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

COLS, ROWS = 80, 24


@pytest.fixture(params=Cluster.targets)
def target(request: pytest.FixtureRequest) -> str:
    """Every kind of target."""
    name: str = request.param
    return name


@pytest.fixture
def helper(cluster: Cluster) -> Person:
    """Bob, who may join as he likes."""
    return somebody(cluster, "bob", "join_sessions=peer,observer,moderator")


@pytest.fixture
def watched(cluster: Cluster) -> Person:
    """Mallory, whose sessions must be moderated."""
    return somebody(cluster, "mallory", "require_moderators=1")


def somebody(cluster: Cluster, name: str, option: str) -> Person:
    """A person with a role of their own with this option."""
    role = f"of-{name}"
    if role not in {each["name"] for each in cluster.json("roles", "ls")}:
        cluster.admin(
            "roles", "add", role, "--logins", cluster.login_name, "--labels", "env=test", "--option", option
        )
    cluster.add_user_once(name, role)
    return cluster.login(name)


class Watcher:
    """A terminal with a screen: what a person in front of it sees."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self._screen = Screen(COLS, ROWS)
        self._read = 0

    def sees(self, text: str) -> str:
        """Wait until it is on the screen, which is returned."""
        while text not in (shown := self._shown()):
            try:
                self.terminal.expect(b".", timeout=15)
            except KitError as error:
                raise AssertionError(f"no {text!r} on the screen:\n{shown}\n{error}") from None
        return shown

    def _shown(self) -> str:
        self._screen.feed(self.terminal.output[self._read :])
        self._read = len(self.terminal.output)
        return "\n".join(self._screen.lines)


def ssh(cluster: Cluster, person: Person, *arguments: str) -> Terminal:
    """The stock ssh of a person, in a terminal."""
    return Terminal(cluster.client(f"terminal-{person.name}", person).argv(*arguments), env=clean_env())


@pytest.fixture
def vi(cluster: Cluster, person: Person, target: str, tmp_path: Path) -> Iterator[tuple[Watcher, str]]:
    """Alice has a file in an editor: her terminal, and the session's ID."""
    (tmp_path / "poem").write_text("tiger, tiger\nburning bright\n")
    witness = Witness(cluster)
    with ssh(
        cluster, person, "-tt", *cluster.route(target), f"TERM=xterm vi -u NONE -N {tmp_path}/poem"
    ) as terminal:
        alice = Watcher(terminal)
        alice.sees("burning bright")
        [sid] = witness.wait_live()
        yield alice, sid
        with contextlib.suppress(OSError):  # a moderator has ended it
            terminal.send("\x1b:q!\r")
        terminal.wait()


def test_an_observer_sees_the_editor_and_a_peer_types(
    cluster: Cluster, helper: Person, vi: tuple[Watcher, str], tmp_path: Path
) -> None:
    """Late joiners see the page that the editor painted long ago; what a peer types arrives in it."""
    alice, sid = vi
    with ssh(cluster, helper, "-tt", f"join%{sid}@gateway") as looking:
        observer = Watcher(looking)
        shown = observer.sees("you observe alice's session")
        assert "tiger, tiger\nburning bright\n~" in shown
        looking.send("dd:q!\r")
        with ssh(cluster, helper, "-tt", f"join-peer%{sid}@gateway") as typing:
            peer = Watcher(typing)
            peer.sees("tiger, tiger")
            alice.sees("bob joined as peer")
            typing.send("Gonext verse\x1b")
            for watcher in (peer, observer, alice):
                watcher.sees("next verse")
            typing.send(":w\r")
            peer.sees("written")
            assert (tmp_path / "poem").read_text() == "tiger, tiger\nburning bright\nnext verse\n"
            typing.send("\r~.")
            typing.wait()
        alice.sees("bob left")
        looking.send("\x03")
        assert looking.wait() == 0
    poll_until(lambda: [each["event"] for each in cluster.events(sid)].count("session.leave") == 2, "two leaves")
    events = cluster.events(sid)
    assert [each["participant_mode"] for each in events if each["event"] == "session.join"] == ["observer", "peer"]
    assert {each["code"] for each in events if each["event"] == "session.join"} == {"T2001I"}
    assert [each["user"] for each in events if each["event"] == "session.leave"] == ["bob", "bob"]


def test_a_moderator_ends_it(cluster: Cluster, helper: Person, vi: tuple[Watcher, str]) -> None:
    """Listed by ilsh, joined by ilsh, ended with one key."""
    alice, sid = vi
    home = helper.home
    rows: list[dict[str, Any]] = json.loads(cluster.ilsh(home, "sessions", "ls", "--format", "json").stdout)
    (row,) = [row for row in rows if row["sid"] == sid]
    assert (row["user"], row["join_as"]) == ("alice", ["peer", "observer", "moderator"])
    argv: list[str | Path] = [BIN / "ilsh", "join", sid, "--mode", "moderator"]
    env = {**clean_env(), "ILSH_HOME": str(home), "HOME": str(home), "TERM": "xterm"}
    with Terminal(argv, env=env) as terminal:
        moderator = Watcher(terminal)
        moderator.sees("you moderate alice's session")
        terminal.send("t")
        assert terminal.wait() == 0
    assert alice.terminal.wait() != 0
    assert "bob, a moderator, has ended the session" in alice.terminal.text
    poll_until(lambda: [each for each in cluster.events(sid) if each["event"] == "session.end"], "session.end")
    (end,) = [each for each in cluster.events(sid) if each["event"] == "session.end"]
    assert end["participants"] == ["alice", "bob"]


def test_a_moderated_session(cluster: Cluster, helper: Person, watched: Person, target: str) -> None:
    """It waits, begins, pauses at once when the moderator leaves (R30), and goes on."""
    witness = Witness(cluster)
    loop = "stty -echo; echo ready; while read x; do echo got=$x; done"
    with ssh(cluster, watched, "-tt", *cluster.route(target), loop) as terminal:
        mallory = Watcher(terminal)
        mallory.sees("waiting for 1 moderator")
        terminal.send("early\r")
        [sid] = witness.wait_live()
        with ssh(cluster, helper, "-tt", f"join-moderator%{sid}@gateway") as first:
            mallory.sees("ready")
            terminal.send("one\r")
            Watcher(first).sees("got=one")
            first.hang_up()
        mallory.sees("the session is paused: it needs 1 moderator more")
        terminal.send("two\r")
        with ssh(cluster, helper, "-tt", f"join-moderator%{sid}@gateway") as second:
            moderator = Watcher(second)
            mallory.sees("the session goes on")
            moderator.sees("got=one")
            terminal.send("three\r")
            shown = moderator.sees("got=three")
            assert "got=two" not in shown
            assert "got=early" not in shown
            second.send("t")
            second.wait()
        terminal.wait()


def test_nothing_runs_unwatched(cluster: Cluster, watched: Person, target: str) -> None:
    """A moderated person's command without a terminal is refused; waiting ends with Ctrl-C."""
    done = cluster.client("watched", watched).run(*cluster.route(target), "touch /nonexistent/x; echo ran")
    assert done.rc == 254
    assert "ran" not in done.stdout
    assert "must be moderated, which needs a terminal" in done.stderr + done.stdout
    with ssh(cluster, watched, "-tt", *cluster.route(target), "echo ran") as terminal:
        terminal.expect("waiting for 1 moderator")
        terminal.send("\x03")
        terminal.wait()
        assert "gave up waiting" in terminal.text
        assert not re.search(r"^ran", terminal.text, re.MULTILINE)


def test_what_cannot_be_joined(cluster: Cluster, person: Person, helper: Person, vi: tuple[Watcher, str]) -> None:
    """Refused when the channel opens, in words that ssh shows."""
    _, sid = vi
    somebody(cluster, "carol", "join_sessions=observer")
    carol = cluster.login("carol")
    for who, user, words in (
        (helper, "join%00000000-0000-4000-8000-000000000000", "there is no session 00000000"),
        (carol, f"join-peer%{sid}", "you may join this session as observer only"),
        (person, f"join-moderator%{sid}", "nobody moderates their own session"),
    ):
        done = cluster.client(f"no-{who.name}", who).run("-T", f"{user}@gateway")
        assert done.rc == 255
        assert words in done.stderr
    jump = cluster.client("no-jump", helper).run("-W", "127.0.0.1:22", f"join%{sid}@gateway")
    assert jump.rc != 0


def test_reason_and_invitations(cluster: Cluster, person: Person, helper: Person, target: str) -> None:
    """`ilsh ssh --reason --invite`: in the list of sessions and in the audit log."""
    witness = Witness(cluster)
    argv: list[str | Path] = [BIN / "ilsh", "ssh", "--invite", "bob,carol", "--reason", 'fix "it" now', "-tt"]
    env = {**clean_env(), "ILSH_HOME": str(person.home), "HOME": str(person.home), "TERM": "xterm"}
    with Terminal([*argv, f"{cluster.login_name}@{target}", "echo up; read go"], env=env) as terminal:
        terminal.expect("up")
        [sid] = witness.wait_live()
        rows = json.loads(cluster.ilsh(helper.home, "sessions", "ls", "--format", "json").stdout)
        (row,) = [row for row in rows if row["sid"] == sid]
        assert (row["reason"], row["invited"]) == ('fix "it" now', ["bob", "carol"])
        terminal.send("go\r")
        terminal.wait()
    start = witness.wait_event("session.start", sid=sid)
    assert (start["reason"], start["invited"]) == ('fix "it" now', ["bob", "carol"])
