"""Ansible with pipelining and ControlPersist: twenty tasks on five hosts, a hundred sessions, five connections."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import BIN, Cluster, Person, Road
from interlock.testing.openssh import clean_env
from interlock.testing.procs import poll_until, run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

MORE = ["plain2", "plain3"]
"""Further names of the agentless server."""
HOSTS = [*Cluster.targets, *MORE]
TASKS = 20
ROADS: dict[str, Road] = {"proxy": "route", "node": "jump"}
"""One road in each mode: both are the same to ssh, which the tests of ssh itself walk in all combinations."""


@pytest.fixture
def hosts(cluster: Cluster) -> Iterator[list[str]]:
    """Five targets."""
    key = cluster.agentless.host_key.path.with_name("host_key.pub")
    for name in MORE:
        cluster.admin(
            "nodes", "add", name, "--addr", cluster.agentless.addr, "--labels", "env=test", "--host-key", key
        )
    yield HOSTS
    for name in MORE:
        cluster.admin("nodes", "rm", name)


@pytest.fixture
def sockets(cluster: Cluster) -> Iterator[Path]:
    """Where Ansible keeps its shared connections, which are ended after the test."""
    with TemporaryDirectory(prefix="cp-") as short:  # a socket's path has 107 characters at most
        yield Path(short)
        for socket in Path(short).iterdir():
            run(["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", cluster.host], env=clean_env())


def inventory(cluster: Cluster, hosts: list[str], road: Road) -> str:
    """One line for each host; by route the target is in the user's name."""
    login = cluster.login_name
    lines = [
        f"{name} ansible_host=gateway ansible_user={login}%{name}"
        if road == "route"
        else f"{name} ansible_host={name} ansible_user={login}"
        for name in hosts
    ]
    return "\n".join([*lines, "[all:vars]", "ansible_python_interpreter=/usr/bin/python3"]) + "\n"


def playbook() -> str:
    """A module in every second task, sent through the pipe to Python; a plain command in the others."""
    lines = ["- hosts: all", "  gather_facts: false", "  tasks:"]
    for number in range(TASKS):
        kind = "ansible.builtin.raw" if number % 2 else "ansible.builtin.command"
        lines.append(f"    - {kind}: echo task-{number}")
    return "\n".join(lines) + "\n"


def test_twenty_tasks_on_five_hosts(
    cluster: Cluster, person: Person, hosts: list[str], sockets: Path, tmp_path: Path
) -> None:
    """Every task succeeds on every host, and every one is a session of its own with an ID, a start and an end."""
    client = cluster.client("ansible", person)
    (tmp_path / "hosts").write_text(inventory(cluster, hosts, ROADS[cluster.mode]))
    (tmp_path / "play.yml").write_text(playbook())
    jump = " -J gateway" if ROADS[cluster.mode] == "jump" else ""
    env = {
        **clean_env(),
        "LC_ALL": "C.UTF-8",  # Ansible starts in no other
        "HOME": str(tmp_path),
        "ANSIBLE_HOME": str(tmp_path),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORKS": "5",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_ARGS": f"-F {client.config}{jump} -o ControlMaster=auto -o ControlPersist=60s",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
    }
    witness = Witness(cluster)
    argv: list[str | Path] = [BIN / "ansible-playbook", "-i", tmp_path / "hosts", tmp_path / "play.yml"]
    done = run(argv, env=env, cwd=tmp_path, timeout=240).check()
    for name in hosts:
        assert f"{name} : ok={TASKS}" in " ".join(done.stdout.split())
    assert len(list(sockets.iterdir())) == len(hosts)

    def ended() -> list[str] | None:
        sids = [e["sid"] for e in witness.new_events() if e["event"] == "session.end"]
        return sids if len(sids) >= TASKS * len(hosts) else None

    sids = poll_until(ended, "end of all sessions", 60)
    assert len(set(sids)) == len(sids) == TASKS * len(hosts)
    started = [e for e in witness.wait_settled(sids) if e["event"] == "session.start" and e["sid"] in set(sids)]
    assert Counter(e["server_hostname"] for e in started) == dict.fromkeys(hosts, TASKS)
