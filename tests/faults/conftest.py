"""A cluster to be ill-treated, and how thoroughly.

``make test`` strikes at a few steps of each kind; ``make faults`` at every one until the flow completes.
"""

import shutil
from collections.abc import Iterator

import pytest

from interlock.testing.gateway import Cluster
from interlock.testing.injection import ALL
from interlock.testing.strikes import PROPERTY, Strikes

_counts: dict[str, int] = {}
"""Of the tests that are over, by their names."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these take long, and drive real programs."""
    for item in items:
        if "/faults/" in str(item.path):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.interop)
            item.add_marker(pytest.mark.timeout(1800 if ALL else 300))
            if "struck" in getattr(item, "fixturenames", ()) and not ALL:
                item.add_marker(pytest.mark.xdist_group("faults"))  # one cluster for all of them


@pytest.fixture(scope="session", autouse=True)
def _strace() -> None:
    if shutil.which("strace") is None:
        pytest.fail("strace is missing: scripts/setup.sh --tools installs it")


@pytest.fixture(scope="session")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Proxy mode, one process, no nodes; who may come is known, and has a place among a limited number."""
    with Cluster(tmp_path_factory.mktemp("faults"), mode="proxy", with_node=False) as made:
        made.ilctl("roles", "set", "access", "--option", "max_connections=50")
        assert made.person.key.path.exists()  # signed in before anything fails
        yield made


@pytest.fixture
def cluster(struck: Cluster) -> Cluster:
    """It runs, whatever the test before has left."""
    if not struck.gateway.running:
        struck.gateway = struck.start_gateway()
    return struck


@pytest.fixture
def strikes(request: pytest.FixtureRequest) -> Iterator[Strikes]:
    """How often this test has struck; the last lines of the run have the sum."""
    counted = Strikes()
    yield counted
    request.node.user_properties.append((PROPERTY, counted.count))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Also of what other processes have run."""
    if report.when == "teardown":
        for count in (value for name, value in report.user_properties if name == PROPERTY):
            _counts[report.nodeid] = int(str(count))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much this run was worth."""
    if _counts:
        terminalreporter.write_line(f"{sum(_counts.values())} faults have come about in {len(_counts)} tests")
        for name, count in sorted(_counts.items()):
            terminalreporter.write_line(f"  {count:5} {name}")
