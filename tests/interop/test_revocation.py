"""Certificates revoked by serial and by key, with the real ssh: live sessions end, plain sshd has a list."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.openssh import Sshd
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

PROMISE = timedelta(seconds=2)
WORDS = "your certificate was revoked"


@pytest.fixture
def rachel(cluster: Cluster) -> Iterator[Person]:
    """Somebody whose certificates are revoked; nothing of that stays."""
    yield from _revocable(cluster)


@pytest.fixture
def rachel_recorded(proxy_cluster: Cluster) -> Iterator[Person]:
    """The same where the mode makes no difference."""
    yield from _revocable(proxy_cluster)


def _revocable(cluster: Cluster) -> Iterator[Person]:
    cluster.add_user_once("rachel", "access")
    yield cluster.login("rachel")
    for row in cluster.json("certs", "revoked"):
        cluster.admin("locks", "rm", row["id"])


def _serial(cluster: Cluster, person: Person) -> str:
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", person.key.certificate], check=True, capture_output=True, text=True
    ).stdout
    serial = next(line.split()[1] for line in shown.splitlines() if "Serial:" in line)
    assert serial in {row["serial"] for row in cluster.json("certs", "ls", "--user", person.name)}
    return serial


@pytest.mark.parametrize(
    ("road", "target"),
    [("route", Cluster.node_name), ("jump", Cluster.node_name), ("route", Cluster.agentless_name)],
)
def test_a_revoked_certificate_ends_what_is_live(cluster: Cluster, rachel: Person, road: str, target: str) -> None:
    """Within two seconds; new connections by it are refused in words, the next certificate works."""
    witness = Witness(cluster)
    way = cluster.jump(target) if road == "jump" else cluster.route(target)
    client = cluster.client("revoked", rachel)
    with Terminal(client.argv("-tt", *way)) as terminal:
        sid = witness.wait_live()[0]
        terminal.send("echo hel''lo\r")
        terminal.expect("hello")
        cluster.admin("certs", "revoke", _serial(cluster, rachel))
        terminal.expect(WORDS)
        terminal.wait()
    refused = client.run(*way, "true")
    assert (refused.rc, WORDS in refused.stderr) == (255, True)
    created, end = witness.wait_event("lock.created"), witness.wait_event("session.end", sid=sid)
    assert _moment(end) - _moment(created) <= PROMISE
    again = cluster.client("again", cluster.login("rachel"))
    assert again.run(*way, "true").rc == 0


def test_all_certificates_of_a_user_and_all_of_a_key(proxy_cluster: Cluster, rachel_recorded: Person) -> None:
    """Those that there are now, not those to come; a key's for good, whatever certificate is made for it."""
    client, way = proxy_cluster.client("all", rachel_recorded), proxy_cluster.route(proxy_cluster.node_name)
    proxy_cluster.admin("certs", "revoke", "--user", "rachel")
    poll_until(lambda: client.run(*way, "true").rc == 255 or None, "the refusal")
    fresh = proxy_cluster.login("rachel")
    client = proxy_cluster.client("all", fresh)
    assert client.run(*way, "true").rc == 0
    proxy_cluster.admin("certs", "revoke", "--key", fresh.key.certificate, "--message", "it was on a lost laptop")
    refused = poll_until(lambda: done if (done := client.run(*way, "true")).rc else None, "the refusal")
    assert "it was on a lost laptop" in refused.stderr


def test_plain_sshd_refuses_what_the_list_names(
    proxy_cluster: Cluster, rachel_recorded: Person, tmp_path: Path
) -> None:
    """The file is `RevokedKeys`, and says the same of a serial and of a key."""
    krl = tmp_path / "krl"
    export = ("auth", "export", "--type", "krl")
    authority = proxy_cluster.admin("auth", "export", "--type", "user")
    krl.write_bytes(proxy_cluster.ilctl(*export).out)
    with Sshd(tmp_path / "sshd", trusted_cas=[authority], options=[f"RevokedKeys {krl}"]) as sshd:
        client = replace(proxy_cluster.client("plain", rachel_recorded), known_hosts=[sshd.known_hosts_line()])
        way = ("-p", str(sshd.port), f"{sshd.login}@{sshd.host}")
        assert client.run(*way, "true").rc == 0
        proxy_cluster.admin("certs", "revoke", _serial(proxy_cluster, rachel_recorded))
        krl.write_bytes(proxy_cluster.ilctl(*export).out)
        assert client.run(*way, "true").rc == 255


def _moment(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["time"])
