"""Fixtures for every test: clusters of real processes, started once per test process and only when asked for."""

import gc
import signal
from collections.abc import Iterator

import hypothesis
import pytest
import structlog

from interlock.testing.gateway import Cluster, Mode, Person
from interlock.testing.procs import Profiles

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr")
"""One of each family, in the default's order of preference."""


hypothesis.settings.register_profile("interlock", deadline=None)  # how busy the machine is proves nothing
hypothesis.settings.load_profile("interlock")


def pytest_configure() -> None:
    """Let SIGTERM end the run as Ctrl-C does, so that clusters are stopped and nobody finds their processes."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: clients would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    Profiles.hide()


def pytest_collection_finish() -> None:
    """Leave what all tests share (modules, thousands of tests) out of every later garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)  # hypothesis has each collection tell it, however small


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Undo what a program sets up for its process, in a test or a wider fixture: its stderr is closed by now."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def proxy_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that records at the proxy."""
    with Cluster(tmp_path_factory.mktemp("proxy-mode"), mode="proxy", ciphers=CIPHERS) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def node_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that records at the node where it can."""
    with Cluster(tmp_path_factory.mktemp("node-mode"), mode="node", ciphers=CIPHERS) as cluster:
        yield cluster


@pytest.fixture(
    params=[
        # The groups keep each mode in one process of xdist, so that each cluster starts once.
        pytest.param("proxy", marks=pytest.mark.xdist_group("proxy-mode")),
        pytest.param("node", marks=pytest.mark.xdist_group("node-mode")),
    ]
)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Both clusters in turn."""
    mode: Mode = request.param
    found: Cluster = request.getfixturevalue(f"{mode}_cluster")
    return found


@pytest.fixture
def person(cluster: Cluster) -> Person:
    """The user of the cluster, signed in."""
    return cluster.person
