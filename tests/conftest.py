"""Fixtures for every test: clusters of real processes, started once per test process and only when asked for."""

import asyncio
import gc
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import hypothesis
import pytest
import structlog

from interlock.adapters.db.engine import open_database
from interlock.daemons import local
from interlock.services.keys import sealing
from interlock.services.signin.signin import Passwords
from interlock.testing.database import put_database
from interlock.testing.gateway import Cluster, Mode, Person
from interlock.testing.postgres import TEMPLATE, NewPlace, Place, PostgresServer, programs
from interlock.testing.procs import Profiles

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr")
"""One of each family, in the default's order of preference."""


hypothesis.settings.register_profile("interlock", deadline=None)  # how busy the machine is proves nothing
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)  # of make check
hypothesis.settings.load_profile("interlock")


def pytest_configure() -> None:
    """Let SIGTERM end the run as Ctrl-C does, so that clusters are stopped and nobody finds their processes."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: clients would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    Profiles.hide()
    gc.set_threshold(100_000)  # until all tests are collected, hardly anything is garbage


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


@pytest.fixture(scope="session", autouse=True)
def _cheap_secrets() -> Iterator[None]:
    """Hash passwords and passphrases in no time: what the real parameters are has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "Passwords", partial(Passwords, time_cost=1, memory_kib=8, parallelism=1))
        patch.setattr(sealing, "_COSTS", {"time": 1, "memory_kib": 8, "lanes": 1})
        yield


@pytest.fixture
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewPlace]:
    """Makes places for databases by the name of their kind; what PostgreSQL has of them goes with the test."""
    with ExitStack() as stack:

        def make(kind: str) -> Place:
            if kind == "sqlite":
                put_database(tmp_path / "test.db")
                return tmp_path / "test.db"
            server: PostgresServer = request.getfixturevalue("postgres")
            return server.place(stack.enter_context(server.database(TEMPLATE)))

        yield make


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, and in it a database that is up to date, to be copied (`TEMPLATE`)."""
    if programs() is None and "CI" not in os.environ:
        pytest.skip("PostgreSQL is not installed: run scripts/setup.sh --tools")
    with PostgresServer() as server:
        server.execute(f"CREATE DATABASE {TEMPLATE}")

        async def migrate() -> None:
            await (await open_database(server.place(TEMPLATE))).close()

        with ThreadPoolExecutor(1) as thread:  # whoever asks may have an event loop in this one
            thread.submit(asyncio.run, migrate()).result()
        yield server
