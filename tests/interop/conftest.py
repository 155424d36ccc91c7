"""After every test here its cluster is as it was before: no tracker, no descriptor and no process is left."""

from collections.abc import Iterator

import pytest

from interlock.testing.gateway import Cluster
from interlock.testing.residue import Residue


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test's cluster is idle when it begins and when it is over."""
    named = [name for name in ("cluster", "proxy_cluster", "node_cluster") if name in request.fixturenames]
    if not named:
        yield
        return
    cluster = request.getfixturevalue(named[0])
    assert isinstance(cluster, Cluster)
    residue = Residue(cluster)
    yield
    residue.wait_none()
