"""A cluster to be ill-treated, and how thoroughly.

``make test`` strikes at a few steps of each kind; ``make faults`` at every one until the flow completes.
"""

import shutil
from collections.abc import Iterator

import pytest

from interlock.testing.gateway import Cluster
from interlock.testing.injection import ALL


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
