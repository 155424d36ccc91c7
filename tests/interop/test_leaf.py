"""Two clusters, a root and a leaf, with real daemons and the stock client: one session is one record in one.

The matrix: root mode, leaf mode, target, whether the leaf insists, and shell, exec or sftp.
"""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from interlock.testing.agent import KeyAgent, SecurityKey
from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Mode, Person
from interlock.testing.openssh import Key, SshClient, clean_env, make_key
from interlock.testing.procs import Completed, poll_until, run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240), pytest.mark.xdist_group("leaf")]

ROOT, LEAF = "main", "branch"
SETTLE_S = 40.0


@dataclass
class Pair:
    """The two clusters, and a person of the root with the stock client."""

    root: Cluster
    leaf: Cluster
    client: SshClient

    def ssh(self, target: str, *command: str, login: str = "", jump: bool = False) -> Completed:
        """One command on a node of the leaf, by the root's gateway."""
        road = self.root.jump if jump else self.root.route
        return self.client.run(*road(f"{target}.{LEAF}", login), *command)

    def refusal(self, target: str, login: str = "") -> str:
        """What a person reads who may not go there."""
        done = self.ssh(target, "true", login=login)
        assert done.rc == 255
        return done.stderr

    def wait_open(self) -> None:
        """The leaf's door has heard of a trust that was made just now."""
        poll_until(lambda: self.ssh(Cluster.agentless_name, "true").rc == 0, "an open leaf")

    def policy(self, *, root: Mode, leaf: Mode, insists: bool) -> None:
        """How both record from now on."""
        self.root.set_mode(root)
        self.leaf.set_mode(leaf)
        word = "--insist-on-recording" if insists else "--no-insist-on-recording"
        self.leaf.admin("clusters", "set", ROOT, word)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A root without nodes of ours, and a leaf with both kinds, which trusts it."""
    directory = tmp_path_factory.mktemp("clusters")
    with (
        Cluster(directory / "root", mode="proxy", with_node=False, name=ROOT) as root,
        Cluster(directory / "leaf", mode="node", name=LEAF) as leaf,
    ):
        leaf.become_leaf_of(root, "access:access")
        [told] = leaf.json("events", "ls", "--type", "trusted_cluster.create")
        assert (told["code"], told["name"], told["role_map"]) == ("T7000I", ROOT, "access:access")
        found = Pair(root, leaf, root.client("leaf", root.person))
        found.wait_open()
        yield found


Event = dict[str, Any]


class Books:
    """What both clusters have stored, and what is new since.

    Begun when nothing is on its way any more of the sessions before, such as those that asked if a leaf is open.
    """

    def __init__(self, pair: Pair) -> None:
        poll_until(lambda: self._begun(pair) == self._stored(pair), "last event of the sessions before", SETTLE_S)
        self._known = {each.name: {event["uid"] for event in self._all(each)} for each in (pair.root, pair.leaf)}

    def new(self, cluster: Cluster) -> dict[str, list[Event]]:
        """The new events of a cluster's log, by session."""
        found: dict[str, list[Event]] = {}
        for event in self._all(cluster):
            if event["uid"] not in self._known[cluster.name] and "sid" in event:
                found.setdefault(event["sid"], []).append(event)
        return found

    def settled(self, recorder: Cluster, count: int) -> dict[str, list[Event]]:
        """The same when so many sessions have their last event."""

        def uploaded() -> dict[str, list[Event]] | None:
            new = self.new(recorder)
            done = [sid for sid, events in new.items() if any(e["event"] == "session.upload" for e in events)]
            return new if len(done) >= count else None

        return poll_until(uploaded, f"{count} uploads in {recorder.name}", SETTLE_S)

    def _begun(self, pair: Pair) -> set[str]:
        return {e["sid"] for each in (pair.root, pair.leaf) for e in self._all(each) if e["event"] in BEGUN}

    def _stored(self, pair: Pair) -> set[str]:
        return {
            e["sid"] for each in (pair.root, pair.leaf) for e in self._all(each) if e["event"] == "session.upload"
        }

    @staticmethod
    def _all(cluster: Cluster) -> list[Event]:
        events: list[Event] = cluster.json("events", "ls")
        return events


BEGUN = ("session.start", "session.elsewhere")
ONCE = ("session.start", "session.end", "session.leave", "session.data", "session.upload")


def use(pair: Pair, how: str, target: str, tmp_path: Path) -> str | None:
    """One session by shell, exec or sftp, and the ID that it saw of itself if it could."""
    if how == "sftp":
        (tmp_path / "sent").write_text("by sftp")
        (tmp_path / "batch").write_text(f"put {tmp_path}/sent {tmp_path}/there\n")
        (to,) = pair.root.route(f"{target}.{LEAF}")
        done = pair.client.run("-b", str(tmp_path / "batch"), to, program="sftp").check()
        assert (tmp_path / "there").read_text() == "by sftp", done.stderr
        return None
    show = "echo sid=[$SSH_SESSION_ID]; exit 6"
    if how == "exec":
        done = pair.ssh(target, show, jump=True)
        assert done.rc == 6, done.stderr
        printed = done.stdout
    else:
        argv = pair.client.argv("-tt", *pair.root.route(f"{target}.{LEAF}"))
        with Terminal(argv, env=clean_env()) as terminal:
            terminal.send(f"{show}\r")
            printed = terminal.expect(r"sid=\[[0-9a-f-]*\]").group(0).decode()
            assert terminal.wait() == 6
    found = re.search(r"sid=\[([0-9a-f-]*)\]", printed)
    assert found is not None
    return found[1] or None


@pytest.mark.parametrize("target", [Cluster.node_name, Cluster.agentless_name])
@pytest.mark.parametrize("insists", [False, True])
@pytest.mark.parametrize("leaf_mode", ["node", "proxy"])
@pytest.mark.parametrize("root_mode", ["node", "proxy"])
def test_one_session_is_one_record_in_one_cluster(
    pair: Pair, tmp_path: Path, root_mode: Mode, leaf_mode: Mode, insists: bool, target: str
) -> None:
    """One start, one end, one recording, one ID; the other cluster's log says who went where under the same ID."""
    pair.policy(root=root_mode, leaf=leaf_mode, insists=insists)
    books = Books(pair)
    seen = [use(pair, how, target, tmp_path) for how in ("shell", "exec", "sftp")]
    at_root = root_mode == "proxy" and not insists
    recorder, other = (pair.root, pair.leaf) if at_root else (pair.leaf, pair.root)
    records = books.settled(recorder, len(seen))
    lines = poll_until(lambda: new if len(new := books.new(other)) >= len(seen) else None, "lines", SETTLE_S)
    assert set(records) == set(lines), {sid: records.get(sid, lines.get(sid)) for sid in set(records) ^ set(lines)}
    assert len(records) == len(seen)
    assert {sid for sid in seen if sid} == (set(list(records)[:2]) if target == Cluster.node_name else set())
    kept = {each.name: {row["sid"] for row in each.json("recordings", "ls")} for each in (recorder, other)}
    assert set(records) <= kept[recorder.name]
    assert not set(records) & kept[other.name]
    mode = root_mode if at_root else leaf_mode
    for sid, events in records.items():
        assert {name: sum(each["event"] == name for each in events) for name in ONCE} == dict.fromkeys(ONCE, 1)
        assert sorted(each["ei"] for each in events) == list(range(len(events)))
        start = next(each for each in events if each["event"] == "session.start")
        [line] = lines[sid]
        assert (line["event"], line["recorded_in"]) == ("session.elsewhere", recorder.name)
        for each, cluster in ((start, recorder), (line, other)):
            said = (each["cluster_name"], each["user"], each["user_cluster_name"], each["server_hostname"])
            assert said == (cluster.name, "alice", ROOT, target)
        assert start["addr.remote"] == line["addr.remote"]
        assert start.get("origin_cluster") == (None if at_root else ROOT)
        assert (start if at_root else line)["target_cluster"] == LEAF
        assert start.get("session_recording") == ("proxy" if mode == "proxy" else None)
    if seen[0]:
        assert "sid=" in recorder.recording_text(seen[0])


def test_several_sessions_on_one_connection(pair: Pair) -> None:
    """ControlMaster through two gateways: as many sessions as commands, each recorded once."""
    pair.policy(root="proxy", leaf="node", insists=False)
    books = Books(pair)
    control = f"ControlPath={pair.client.directory}/master"
    to = pair.root.route(f"{Cluster.node_name}.{LEAF}")
    with Terminal(pair.client.argv("-M", "-o", control, *to, "echo ready; read go"), env=clean_env()) as master:
        master.expect(r"ready")
        told = [pair.client.run("-o", control, *to, "echo $SSH_SESSION_ID").check().stdout for _ in range(3)]
        master.send("\r")
        assert master.wait() == 0
    seen = {text.strip() for text in told}
    assert len(seen) == 3
    records = set(books.settled(pair.root, 4))
    assert seen < records
    assert len(records) == 4
    assert set(books.new(pair.leaf)) == records


def test_the_mapping_of_roles_decides(pair: Pair) -> None:
    """A role of the root counts as what the leaf says, and otherwise for nothing."""
    pair.policy(root="proxy", leaf="node", insists=False)
    assert "you may not log in as nobody on node1" in pair.refusal(Cluster.node_name, login="nobody")
    pair.leaf.admin("clusters", "set", ROOT, "--map", "other:access")
    try:
        witness = Witness(pair.leaf)
        text = f"none of your roles counts in the cluster {LEAF}"
        assert text in pair.refusal(Cluster.node_name)
        told = witness.wait_event("session.rejected", user="alice", user_cluster_name=ROOT)
        assert told["message"].endswith(text)
        listed = pair.root.ilsh(pair.root.person.home, "ls", "--cluster", LEAF)
        assert (listed.rc != 0, text in listed.stderr) == (True, True)
    finally:
        pair.leaf.admin("clusters", "set", ROOT, "--map", "*:access")
    assert pair.ssh(Cluster.node_name, "true").rc == 0


def test_what_a_certificate_withholds_is_withheld_in_a_leaf(pair: Pair, tmp_path: Path) -> None:
    """The root tells the leaf; the target there enforces it, and whoever records says what ran."""
    modes: tuple[tuple[Mode, Cluster], ...] = (("node", pair.leaf), ("proxy", pair.root))
    for leaf, recorder in modes:
        pair.policy(root="proxy", leaf=leaf, insists=recorder is pair.leaf)
        for number, target in enumerate((Cluster.node_name, Cluster.agentless_name)):
            key = make_key(tmp_path / f"{leaf}-{number}")
            sign = ("--user", pair.root.user, "--public-key", f"{key.path}.pub", "--out", key.certificate)
            pair.root.admin("auth", "sign", *sign, "-O", "force-command=echo forced", "-O", "no-pty")
            person = Person(pair.root.user, pair.root.person.home, pair.root.person.profile)
            client = pair.root.client(f"restricted-{leaf}-{number}", person)
            client.keys = [key]
            client.write()
            witness = Witness(recorder)
            there = pair.root.route(f"{target}.{LEAF}")
            assert client.run(*there, "id").check().stdout == "forced\n"
            start = witness.wait_event("session.start", user=pair.root.user)
            assert (start["initial_command"], start["original_command"]) == (["echo forced"], ["id"])
            assert "PTY allocation request failed" in client.run("-tt", *there, "id").stderr


def test_a_leafs_roles_ask_for_a_key_on_hardware(pair: Pair, tmp_path: Path) -> None:
    """The root has seen the signature, and says in its certificate what the key has shown."""
    pair.policy(root="proxy", leaf="node", insists=False)
    token, key = SecurityKey(), Key(tmp_path / "token")
    Path(f"{key.path}.pub").write_text(f"{token.line}\n")
    sign = ("--user", pair.root.user, "--public-key", f"{key.path}.pub", "--out", key.certificate)
    pair.root.admin("auth", "sign", *sign)
    token.certificate = b64decode(key.certificate.read_text().split()[1])
    agent = tmp_path / "agent"
    client = pair.root.client("token", pair.root.person, {"IdentityAgent": str(agent)})
    client.keys = [key]
    client.write()
    pair.leaf.admin("roles", "set", "access", "--option", "hardware_key=touch")
    try:
        with KeyAgent(agent, [token]):
            for target in (Cluster.node_name, Cluster.agentless_name):
                assert "takes a key on hardware here" in pair.refusal(target)
                client.run(*pair.root.route(f"{target}.{LEAF}"), "true").check()
    finally:
        pair.leaf.admin("roles", "set", "access", "--option", "hardware_key=")


def test_the_persons_own_tool_knows_leaves(pair: Pair, tmp_path: Path) -> None:
    """``ilsh`` lists a leaf's nodes, goes there, copies, and writes a configuration for stock ssh."""
    person = pair.root.person
    rows = json.loads(pair.root.ilsh(person.home, "ls", "--cluster", LEAF, "--format", "json").check().stdout)
    assert {row["hostname"] for row in rows} >= {Cluster.node_name, Cluster.agentless_name}
    to = f"{pair.root.login_name}@{Cluster.node_name}"
    done = pair.root.ilsh(person.home, "ssh", "--cluster", LEAF, to, "echo from $SSH_TELEPORT_CLUSTER_NAME")
    assert done.check().stdout == f"from {LEAF}\n"
    (tmp_path / "sent").write_text("by scp")
    arguments = ("scp", "--cluster", LEAF, "-q", str(tmp_path / "sent"), f"{to}:{tmp_path}/there")
    pair.root.ilsh(person.home, *arguments).check()
    assert (tmp_path / "there").read_text() == "by scp"
    written = tmp_path / "ssh_config"
    written.write_text(pair.root.ilsh(person.home, "config", "--cluster", LEAF).check().stdout)
    alias = f"{Cluster.node_name}.{LEAF}"
    for host in (f"{pair.root.login_name}.{alias}", f"{pair.root.login_name}@{alias}"):
        assert run(["ssh", "-F", written, host, "exit 4"], env=clean_env()).rc == 4
    unknown = pair.root.ilsh(person.home, "ls", "--cluster", "twig")
    assert (unknown.rc, "unknown cluster twig" in unknown.stderr) == (3, True)


def test_ports_are_forwarded_by_the_leafs_roles(pair: Pair) -> None:
    """-W to the leaf's node itself: refused, then allowed by the leaf's administrator, by the leaf's role."""
    to = pair.root.route(f"{Cluster.node_name}.{LEAF}")
    reach = f"{pair.leaf.agentless.host}:{pair.leaf.agentless.port}"
    assert pair.client.run("-W", reach, *to).rc == 255
    pair.leaf.admin("roles", "set", "access", "--option", "local_forwarding=yes")
    done = pair.client.run("-W", reach, *to, stdin=b"SSH-2.0-x\r\n")
    assert done.stdout.startswith("SSH-2.0-OpenSSH")


def test_what_goes_wrong_is_said(pair: Pair) -> None:
    """A name that is none, a trust that is closed or ended, a leaf that is away: each in its own words."""
    assert f"cluster {LEAF}: unknown node nowhere" in pair.refusal("nowhere")
    done = pair.client.run(*pair.root.route("node1.twig"), "true")
    assert "unknown node node1.twig: there is none here, and no leaf cluster" in done.stderr
    pair.leaf.admin("clusters", "set", ROOT, "--disable")
    ended = f"the cluster {LEAF} does not trust the cluster {ROOT} any more"
    assert ended in pair.refusal(Cluster.node_name)
    pair.leaf.admin("clusters", "set", ROOT, "--enable")
    pair.root.admin("clusters", "set", LEAF, "--disable")
    assert f"the cluster {LEAF} is closed to this gateway's users for now" in pair.refusal(Cluster.node_name)
    pair.root.admin("clusters", "set", LEAF, "--enable")
    pair.leaf.admin("clusters", "rm", ROOT)
    # At once by the decision; and by the door as well, as soon as it has heard of it.
    text = f"the cluster {LEAF} does not accept this gateway's users: it may not trust this cluster any more"
    poll_until(lambda: text in (words := pair.refusal(Cluster.node_name)) or ended not in words, "a closed door")
    assert text in pair.refusal(Cluster.node_name)
    pair.leaf.become_leaf_of(pair.root, "access:access")
    pair.wait_open()
    address = f"{pair.leaf.host}:{pair.leaf.port}"
    pair.root.admin("clusters", "set", LEAF, "--proxy", "127.0.0.1:1")
    assert f"the cluster {LEAF} is unreachable: connection refused" in pair.refusal(Cluster.node_name)
    # Somebody else's SSH server at the leaf's address: here, the root's own proxy, which has another authority.
    pair.root.admin("clusters", "set", LEAF, "--proxy", f"{pair.root.host}:{pair.root.port}")
    assert f"host key verification failed for the cluster {LEAF}" in pair.refusal(Cluster.node_name)
    pair.root.admin("clusters", "set", LEAF, "--proxy", address)
    assert pair.ssh(Cluster.node_name, "true").rc == 0


def test_a_leafs_node_behind_nat_is_like_any_other(pair: Pair) -> None:
    """The leaf reaches it by its tunnel; the root, which records, neither knows nor needs an address."""
    pair.policy(root="proxy", leaf="node", insists=False)
    books = Books(pair)
    done = pair.ssh(Cluster.tunnel_name, "echo $SSH_SESSION_ID").check()
    [(sid, events)] = books.settled(pair.root, 1).items()
    assert done.stdout.strip() == sid
    start = next(each for each in events if each["event"] == "session.start")
    assert (start["server_hostname"], start["target_cluster"]) == (Cluster.tunnel_name, LEAF)
    assert "server_addr" not in start
