"""Clusters on PostgreSQL, with the real ssh: the acceptance list's main cells, and a database that goes away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Mode
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.postgres import PASSWORD, PostgresServer
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("postgres"),
]

SHOW = 'echo "sid=[$SSH_SESSION_ID]"; read go; exit 6'


@pytest.fixture(scope="module", params=["proxy", "node"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Both recording modes in turn."""
    chosen: Mode = request.param
    return chosen


@pytest.fixture(scope="module")
def shared(postgres: PostgresServer, mode: Mode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A gateway of several processes, whose database is reached by TCP with a password."""
    with postgres.database() as name:
        url = postgres.url(name, tcp=True)
        with Cluster(tmp_path_factory.mktemp("shared"), mode=mode, workers=2, database=url) as cluster:
            yield cluster


@pytest.fixture
def client(shared: Cluster) -> SshClient:
    """Of a person who may go everywhere."""
    return shared.client("shared", shared.person)


def destination(cluster: Cluster, target: str, route: str) -> tuple[str, ...]:
    """The arguments of ssh that lead to the target."""
    return cluster.jump(target) if route == "jump" else cluster.route(target)


def wait_back(cluster: Cluster, client: SshClient, name: str) -> None:
    """Return when a node has found its way back to a gateway that was started again; what showed it is over."""
    witness = Witness(cluster)
    poll_until(lambda: client.run(*cluster.route(name), "true").rc == 0 or None, f"way to {name}")
    witness.wait_ended()


@pytest.mark.parametrize(("route", "terminal"), [("jump", True), ("user%node", False)], ids=["shell", "exec"])
@pytest.mark.parametrize("target", Cluster.targets)
def test_a_session_has_one_id_everywhere(
    shared: Cluster, client: SshClient, target: str, route: str, terminal: bool
) -> None:
    """Recorded once, under one ID, with one set of events."""
    to, witness = destination(shared, target, route), Witness(shared)
    argv = client.argv("-tt", *to) if terminal else client.argv(*to, SHOW)
    with Terminal(argv, env=clean_env()) as session:
        session.send(f"{SHOW}\r" if terminal else "")
        printed = session.expect(r"sid=\[([0-9a-f-]*)\]").group(1).decode()
        live = witness.wait_live()
        session.send("go\r")
        assert session.wait() == 6
    evidence = witness.evidence(target, seen=printed or None, live=live)
    assert evidence.problems() == []
    assert "sid=[" in shared.recording_text(evidence.sid)


def test_a_session_outlives_an_absence_of_the_database(
    shared: Cluster, client: SshClient, postgres: PostgresServer
) -> None:
    """What it does meanwhile is stored when the database is back, once; then new sessions begin as before."""
    witness, to = Witness(shared), shared.route(shared.agentless_name)
    with Terminal(client.argv("-tt", *to, "cat; exit 6"), env=clean_env()) as session:
        session.send("before\r")
        session.expect(r"before\r\n.*before")
        live = witness.wait_live()
        postgres.stop(now=True)
        try:
            session.send("meanwhile\r")
            session.expect(r"meanwhile\r\n.*meanwhile")
        finally:
            postgres.start()
        session.send("\x04")
        assert session.wait() == 6
    evidence = witness.evidence(shared.agentless_name, seen=None, live=live)
    assert evidence.problems() == []
    assert "meanwhile" in shared.recording_text(evidence.sid)
    assert client.run(*to, "echo again").check().stdout == "again\n"


def test_an_administrators_lock_ends_what_is_live(shared: Cluster, client: SshClient) -> None:
    """``ilctl`` is another process, with connections of its own."""
    with Terminal(client.argv("-tt", *shared.route(shared.agentless_name), "cat"), env=clean_env()) as session:
        session.send("here\r")
        session.expect(r"here\r\n.*here")
        shared.admin("locks", "add", "--user", shared.user, "--message", "call 4711")
        try:
            session.expect("call 4711")
            assert session.wait() != 0
        finally:
            [lock] = shared.json("locks", "ls")
            shared.admin("locks", "rm", lock["id"])


def test_nobody_is_told_the_password(shared: Cluster) -> None:
    """Not in the log, not in a list of processes; the note in the directory is the owner's."""
    assert PASSWORD not in shared.gateway.log.read_text()
    for pid in shared.gateway.pids:
        assert PASSWORD not in Path(f"/proc/{pid}/cmdline").read_text()
    assert (shared.data / "database-url").stat().st_mode & 0o777 == 0o600
    assert not (shared.data / "interlock.db").exists()


def test_a_start_without_the_setting_is_the_same_cluster(shared: Cluster, client: SshClient) -> None:
    """An empty one would be worse than any error."""
    before = shared.admin("auth", "export", "--type", "host")
    config = shared.directory / "gateway.toml"
    text = config.read_text()
    config.write_text("\n".join(line for line in text.splitlines() if not line.startswith("database")))
    try:
        shared.gateway.stop()
        shared.gateway = shared.start_gateway()
        poll_until(lambda: shared.json("nodes", "ls") or None, "nodes")
        assert shared.admin("auth", "export", "--type", "host") == before
    finally:
        config.write_text(text)
    for name in Cluster.our_names:
        wait_back(shared, client, name)
