"""One S3-compatible storage for the tests of this directory that ask for it, started once per test process."""

from collections.abc import Iterator

import pytest

from interlock.testing.s3 import S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server
