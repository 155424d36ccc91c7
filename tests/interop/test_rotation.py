"""The authorities' keys change while people work: real ssh and sshd, every kind of target, two workers."""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from interlock.core.certificate import SignedCertificate
from interlock.testing.gateway import Cluster, Person
from interlock.testing.machines import Machines
from interlock.testing.openssh import SshClient
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(params=["one gateway", "proxies apart"])
def rotating(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of its own."""
    made = Cluster(tmp_path, workers=2) if request.param == "one gateway" else Machines(tmp_path, proxies=1)
    with made as cluster:
        yield cluster


def _client(cluster: Cluster, name: str, person: Person, authorities: str) -> SshClient:
    """Believes these host authorities, whatever its person was told at sign-in."""
    known = [f"@cert-authority * {line}" for line in authorities.splitlines()]
    return replace(cluster.client(name, person), known_hosts=known)


def _works(cluster: Cluster, client: SshClient) -> None:
    """On every road to every kind of target."""
    for target in cluster.targets:
        for way in (cluster.route(target), cluster.jump(target)):
            done = client.run(*way, "echo here")
            assert (done.rc, done.stdout) == (0, "here\n"), (way, done.stderr)


def _refused(cluster: Cluster, client: SshClient) -> bool:
    """On both roads, by whichever worker."""
    ways = 2 * [cluster.route(cluster.node_name), cluster.jump(cluster.node_name)]
    return all(client.run(*way, "true").rc == 255 for way in ways)


def _ready(cluster: Cluster, kind: str) -> None:
    """All daemons have heard of the phase, within seconds."""
    poll_until(lambda: not _standing(cluster, kind)["waiting_for"] or None, f"daemons to hear of {kind}", 10.0)


def _standing(cluster: Cluster, kind: str) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {each["type"]: each for each in cluster.json("auth", "status")}
    return found[kind]


def _rotate(cluster: Cluster) -> None:
    cluster.admin("auth", "rotate", "--type", "all", "--force")


def test_all_authorities_change_while_people_work(rotating: Cluster) -> None:
    """Old and new certificates count at each phase; at the end the old ones are refused; a session goes on."""
    cluster = rotating
    old = cluster.person
    old_hosts = cluster.admin("auth", "export", "--type", "host")
    cluster.add_user("bob", "access")
    early = _client(cluster, "old", old, old_hosts)
    with Terminal(early.argv("-tt", *cluster.route(cluster.node_name))) as session:
        session.send("echo be''gun\r")
        session.expect("begun")

        _rotate(cluster)
        cluster.agentless.trust_cas(*cluster.admin("auth", "export", "--type", "openssh").splitlines())
        both_hosts = cluster.admin("auth", "export", "--type", "host")
        assert both_hosts.splitlines()[0] == old_hosts.strip()
        for kind in ("user", "host"):
            _ready(cluster, kind)
        _works(cluster, early)

        _rotate(cluster)
        assert _standing(cluster, "user")["phase"] == "update_clients"
        poll_until(lambda: _signed_by_new(cluster) or None, "the new key to sign")
        new = cluster.login("bob")
        assert len(new.known_hosts) == 2
        _works(cluster, early)
        _works(cluster, _client(cluster, "new", new, both_hosts))

        _rotate(cluster)
        for kind in ("user", "host"):
            _ready(cluster, kind)
        new_hosts = cluster.admin("auth", "export", "--type", "host").splitlines()[0]
        assert new_hosts != old_hosts.strip()
        _works(cluster, _client(cluster, "old", old, both_hosts))
        _works(cluster, _client(cluster, "new", new, new_hosts))

        _rotate(cluster)
        cluster.agentless.trust_cas(*cluster.admin("auth", "export", "--type", "openssh").splitlines())
        assert {each["phase"] for each in cluster.json("auth", "status")} == {"standby"}
        assert cluster.admin("auth", "export", "--type", "host").splitlines() == [new_hosts]
        late = _client(cluster, "old", old, new_hosts)
        poll_until(lambda: _refused(cluster, late) or None, "all workers to refuse the old certificate")
        late = _client(cluster, "new", new, new_hosts)
        ways = 3 * [cluster.route(cluster.node_name), cluster.jump(cluster.node_name)]
        poll_until(
            lambda: all(late.run(*way, "true").rc == 0 for way in ways) or None,
            "beacons by the key that is left, at every proxy",
            60.0,
        )
        _works(cluster, late)
        wrong = _client(cluster, "wrong", new, old_hosts).run(*cluster.route(cluster.node_name), "true")
        assert (wrong.rc, "Host key verification failed" in wrong.stderr) == (255, True)

        session.send("echo still he''re\r")
        session.expect("still here")


def _signed_by_new(cluster: Cluster) -> bool:
    """Whether the gateway's workers sign with it: they hear of it in half a second."""
    keys: list[str] = _standing(cluster, "user")["keys"]
    person = cluster.login("bob")
    line = (person.profile / "id-cert.pub").read_text()
    authority = SignedCertificate.parse(b64decode(line.split()[1])).certificate.authority
    return authority.fingerprint == keys[0]


def test_keys_of_what_is_kept_change_at_once(rotating: Cluster) -> None:
    """What was signed before, and across the change, is verified by all keys that are exported."""
    cluster = rotating
    client = cluster.client("kept", cluster.person)
    [first] = cluster.admin("auth", "export", "--type", "audit").splitlines()
    early = cluster.directory / "audit.pub"
    early.write_text(first)

    def recorded() -> int:
        for target in cluster.targets:
            assert client.run(*cluster.route(target), "echo kept").rc == 0
        whole = poll_until(lambda: _verified(cluster), "recordings that are whole")
        return len(whole)

    assert recorded() == len(cluster.targets)
    with Terminal(client.argv("-tt", *cluster.route(cluster.node_name))) as session:
        session.send("echo be''gun\r")
        session.expect("begun")
        for kind in ("audit", "recordings", "audit"):
            assert "verified as before" in cluster.admin("auth", "rotate", "--type", kind)
        session.send("exit\r")
        assert session.wait() == 0
    assert recorded() == 2 * len(cluster.targets) + 1
    assert len(cluster.admin("auth", "export", "--type", "audit").splitlines()) == 3
    signed = poll_until(lambda: _signed_after(cluster, 3), "a checkpoint by the new key")
    for options in ((), ("--key", early)):
        found = cluster.json("events", "verify", *options)
        assert (found["ok"], found["checkpoints"] >= signed) == (True, True), found


def _verified(cluster: Cluster) -> list[dict[str, Any]] | None:
    """All recordings, once none is on its way any more."""
    if cluster.json("sessions", "ls"):
        return None
    rows: list[dict[str, Any]] = cluster.json("recordings", "ls")
    if any(row["state"] != "complete" for row in rows):
        return None
    found: list[dict[str, Any]] = cluster.json("recordings", "verify", "--all")
    return found if len(found) == len(rows) and all(row["ok"] for row in found) else None


def _signed_after(cluster: Cluster, changes: int) -> int | None:
    """The number of checkpoints, once everything is signed that there was when the keys had changed."""
    steps = cluster.json("events", "ls", "--type", "certificate_authority.rotation.step")
    assert len(steps) == changes
    found = cluster.json("events", "verify")
    return found["checkpoints"] if all(row["signed"] == row["last"] for row in found["writers"]) else None


def test_clusters_that_trust_each_other(tmp_path: Path) -> None:
    """Their administrators hand the keys over in `init` and at the end, and nobody is shut out meanwhile."""
    with (
        Cluster(tmp_path / "root", name="main", with_node=False) as root,
        Cluster(tmp_path / "leaf", name="branch") as leaf,
    ):
        leaf.become_leaf_of(root, "access:access")
        way = root.route(f"{leaf.node_name}.branch")

        def handed_over() -> None:
            for there, kind, here, name in ((root, "user", leaf, "main"), (leaf, "host", root, "branch")):
                path = tmp_path / f"{name}-{kind}"
                path.write_text(there.admin("auth", "export", "--type", kind))
                here.admin("clusters", "set", name, "--authorities", path)

        def works() -> None:
            hosts = root.admin("auth", "export", "--type", "host")
            root.host_ca.write_text(hosts)
            client = _client(root, "leaf", root.login(), hosts)
            poll_until(lambda: client.run(*way, "true").rc == 0 or None, "the way into the leaf")

        works()
        before = root.admin("auth", "export", "--type", "user"), leaf.admin("auth", "export", "--type", "host")
        for number in range(4):
            _rotate(root)
            _rotate(leaf)
            if number in (0, 3):
                handed_over()
            works()
        after = root.admin("auth", "export", "--type", "user"), leaf.admin("auth", "export", "--type", "host")
        assert not set(before) & set(after)
