"""The gateway as a process: stopped in order, started twice, killed in the middle of a session."""

import signal
from collections.abc import Iterator

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import BIN, Cluster, Mode
from interlock.testing.procs import poll_until, run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]


@pytest.fixture(params=["proxy", "node"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own, because it will be ill-treated."""
    mode: Mode = request.param
    with Cluster(tmp_path_factory.mktemp("life"), mode=mode) as own:
        yield own


def test_orderly_stop_tells_people_and_ends_their_sessions(cluster: Cluster) -> None:
    """SIGTERM: a message at the client, one session.end, a stored recording, exit code 0."""
    witness = Witness(cluster)
    with cluster.terminal(cluster.person, "-tt", *cluster.route(cluster.agentless_name)) as terminal:
        terminal.send("unset HISTFILE; echo was-$((40+2))\r")
        terminal.expect("was-42")
        live = witness.wait_live()
        cluster.gateway.signal(signal.SIGTERM)
        terminal.expect("shutting down")
        assert terminal.wait() != 0
        assert cluster.gateway.wait() == 0
    cluster.gateway = cluster.start_gateway()
    evidence = witness.evidence(cluster.agentless_name, seen=None, live=live)
    assert evidence.problems() == []
    assert "was-42" in cluster.recording_text(evidence.sid)


def test_killed_gateway_finishes_its_sessions_at_the_next_start(cluster: Cluster) -> None:
    """kill -9: after a restart the session has one end and its recording, to within the last moment."""
    witness = Witness(cluster)
    with cluster.terminal(cluster.person, "-tt", *cluster.route(cluster.agentless_name)) as terminal:
        terminal.send("unset HISTFILE; echo was-$((40+2))\r")
        terminal.expect("was-42")
        live = witness.wait_live()
        poll_until(lambda: any(cluster.data.glob("recordings/live/*")), "live part")
        cluster.gateway.kill()
        assert terminal.wait() != 0
    cluster.gateway = cluster.start_gateway()
    evidence = witness.evidence(cluster.agentless_name, seen=None, live=live)
    assert (
        evidence.count("session.start") == evidence.count("session.end") == evidence.count("session.upload") == 1
    )
    assert evidence.ids_equal
    cluster.wait_listed()  # the nodes have found their way back
    for target in cluster.our_names:
        done = cluster.client("again", cluster.person).run(*cluster.route(target), "echo again")
        assert done.check().stdout == "again\n"


def test_second_gateway_on_the_same_data_is_refused(cluster: Cluster) -> None:
    """One data directory, one gateway: the second says so in a sentence and leaves the first alone."""
    second = run([BIN / "interlock", "start", "-c", cluster.directory / "gateway.toml"], env=cluster.env())
    assert second.rc == 1
    assert "another interlock runs on" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    assert cluster.gateway.running
