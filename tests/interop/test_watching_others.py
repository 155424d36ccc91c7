"""A role that lets somebody look after others, with the real programs: what they see, play and end."""

import json
from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180), pytest.mark.xdist_group("proxy-mode")]

VERBS = "allow=sessions:list,sessions:end,recordings:list,recordings:play,events:list"


@pytest.fixture(scope="module")
def auditor(proxy_cluster: Cluster) -> Person:
    """Somebody without any login."""
    proxy_cluster.admin("roles", "add", "auditor", "--labels", "env=test", "--option", VERBS)
    proxy_cluster.add_user("audrey", "auditor")
    return proxy_cluster.login("audrey")


def test_sessions_and_recordings_of_others(proxy_cluster: Cluster, auditor: Person) -> None:
    """Seen, ended, and played afterwards, by whoever may; and by nobody else."""
    cluster, witness = proxy_cluster, Witness(proxy_cluster)
    cluster.add_user_once("eve", "access")
    eve = cluster.login("eve")

    def ilsh(who: Person, *arguments: str) -> tuple[int, str]:
        done = cluster.ilsh(Path(who.home), *arguments)
        return done.rc, done.stdout + done.stderr

    with Terminal(
        cluster.client("watched", cluster.person).argv("-tt", *cluster.route(cluster.node_name))
    ) as terminal:
        terminal.send("echo hel''lo\r")
        terminal.expect("hello")
        [sid] = witness.wait_live()
        assert sid in ilsh(auditor, "sessions", "ls")[1]
        assert sid not in ilsh(eve, "sessions", "ls")[1]
        assert ilsh(eve, "sessions", "end", sid)[0] == 3
        assert ilsh(auditor, "sessions", "end", sid, "--message", "work begins") == (0, f"Session {sid} ends.\n")
        terminal.expect("this session was ended: work begins")
        terminal.wait()
    assert witness.wait_event("lock.created", user="audrey")["target"] == {"session": sid}
    witness.wait_event("session.upload", sid=sid)
    assert sid in ilsh(auditor, "recordings", "ls", "--all")[1]
    assert sid not in ilsh(auditor, "recordings", "ls")[1]
    assert sid not in ilsh(eve, "recordings", "ls", "--all")[1]
    code, shown = ilsh(auditor, "play", sid, "--format", "text")
    assert (code, "hello" in shown) == (0, True)
    code, shown = ilsh(eve, "play", sid, "--format", "text")
    assert (code, "hello" in shown) == (4, False)
    assert witness.wait_event("session.recording.access", sid=sid)["user"] == "audrey"
    code, shown = ilsh(auditor, "events", "ls", "--sid", sid, "--format", "json")
    assert code == 0
    assert [each["event"] for each in json.loads(shown)] == [
        each["event"] for each in cluster.events(sid) if each["event"] != "session.recording.access"
    ], "all that is about the node; who has read what is about none"
    code, shown = ilsh(auditor, "events", "ls", "--sid", sid, "--limit", "1", "--after", "0")
    assert (code, "session.start" in shown, "There may be more: --after" in shown) == (0, True, True)
    code, shown = ilsh(eve, "events", "ls")
    assert (code, "no role of yours shows the audit log (events:list)" in shown) == (4, True)
    refused = cluster.client("audrey", auditor).run(*cluster.route(cluster.node_name), "true")
    assert (refused.rc, "you may not log in" in refused.stderr) == (255, True)
