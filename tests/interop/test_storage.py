"""Recordings on an S3-compatible storage, with a gateway of several processes and the real ssh."""

import json
from collections.abc import Iterator

import pytest

from interlock.adapters.blob.bucket import Bucket, BucketPlace
from interlock.testing.gateway import Cluster
from interlock.testing.openssh import SshClient
from interlock.testing.procs import poll_until
from interlock.testing.s3 import KEY_ID, SECRET, S3Server, s3_server

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("storage"),
]

BUCKET = "interlock-recordings"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The storage."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def place(s3: S3Server) -> BucketPlace:
    """An empty bucket."""
    return s3.place(BUCKET, prefix="demo")


@pytest.fixture(scope="module")
def stored(place: BucketPlace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that stores there."""
    settings = f"""
[recordings]
store = {json.dumps(place.url)}
endpoint = {json.dumps(place.endpoint)}
credentials = {json.dumps(place.credentials)}
"""
    with Cluster(tmp_path_factory.mktemp("stored"), workers=2, settings=settings) as cluster:
        yield cluster


@pytest.fixture
def client(stored: Cluster) -> SshClient:
    """Of a person who may go everywhere."""
    return stored.client("stored", stored.person)


def run(cluster: Cluster, client: SshClient, target: str, text: str) -> str:
    """A session that shows the text; its ID."""
    before = {each["sid"] for each in cluster.json("recordings", "ls")}
    assert client.run(*cluster.route(target), f"echo {text}").check().stdout == f"{text}\n"
    fresh = poll_until(lambda: {each["sid"] for each in cluster.json("recordings", "ls")} - before, "a session")
    assert len(fresh) == 1
    return str(fresh.pop())


def objects(place: BucketPlace) -> list[str]:
    """The names of all recordings."""
    return [each.key for each in Bucket(place).listed(f"{place.prefix}/") if each.key.endswith(".ilr")]


def test_each_session_is_one_object(stored: Cluster, client: SshClient, place: BucketPlace) -> None:
    """Wherever it was recorded: listed, read and exported from there, and nothing stays on the gateway's disk."""
    before = objects(place)
    sids = [run(stored, client, target, f"hello {target}") for target in stored.targets]
    wanted = sorted([*before, *(f"{place.prefix}/{sid}.ilr" for sid in sids)])
    poll_until(lambda: objects(place) == wanted, f"just {wanted}")
    for sid, target in zip(sids, stored.targets, strict=True):
        assert f"hello {target}" in stored.recording_text(sid)
        [upload] = [each for each in stored.events(sid) if each["event"] == "session.upload"]
        assert upload["url"] == f"{place.url}/{sid}.ilr"
        [row] = [each for each in stored.json("recordings", "ls") if each["sid"] == sid]
        assert row["user"] == stored.user
    recordings = stored.data / "recordings"
    poll_until(lambda: not list(recordings.rglob("*.part")), "an empty disk")
    assert not list(recordings.rglob("*.ilr"))


def test_a_storage_that_hangs_holds_up_no_session(
    stored: Cluster, client: SshClient, place: BucketPlace, s3: S3Server
) -> None:
    """What is recorded meanwhile stays on the disk and is stored afterwards; also by a new gateway."""
    before = set(objects(place))
    s3.pause()
    try:
        for number in range(3):
            client.run(*stored.route(stored.agentless_name), f"echo away {number}").check()
        parts = [path.stem for path in (stored.data / "recordings" / "live").glob("*.part")]
        assert len(parts) == 3
        stored.gateway.kill()
        stored.gateway = stored.start_gateway()
    finally:
        s3.resume()
    wanted = before | {f"{place.prefix}/{sid}.ilr" for sid in parts}
    poll_until(lambda: set(objects(place)) == wanted, "the rest of the recordings", timeout=60)
    assert sorted(stored.recording_text(sid).split()[-1] for sid in parts) == ["0", "1", "2"]


def test_the_secret_is_nowhere(stored: Cluster) -> None:
    """Neither in logs nor in what the gateway keeps (R6)."""
    assert "[recordings]" in (stored.directory / "gateway.toml").read_text()
    for path in [each for each in stored.directory.rglob("*") if each.is_file()]:
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        assert KEY_ID.encode() not in content, path
