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


@pytest.fixture(scope="session", autouse=True)
def _strace() -> None:
    if shutil.which("strace") is None:
        pytest.fail("strace is missing: scripts/setup.sh --tools installs it")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Proxy mode, one process."""
    with Cluster(tmp_path_factory.mktemp("faults"), mode="proxy") as made:
        yield made


@pytest.fixture(scope="session")
def steps() -> tuple[int, ...]:
    """At which calls of a kind a fault strikes."""
    return tuple(range(1, 200)) if ALL else (2, 5)


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
