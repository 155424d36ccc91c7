"""An S3-compatible storage on this machine: moto's server in a process of its own, over HTTP on a free port.

It keeps conditional writes (If-None-Match, also for uploads in parts; If-Match for single requests), each in one
step, uploads in parts with their sums, and tags that are MD5. It checks neither signatures nor the sums of what it
is sent, so what is damaged on the way is stored as it came. What it has is gone when it stops, unless it is only
paused.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interlock.adapters.blob.bucket import Bucket, BucketPlace
from interlock.testing.ports import LOOPBACK, free_port
from interlock.testing.procs import Daemon

KEY_ID = "AKIDINTERLOCKTEST"
SECRET = "not-to-be-seen-in-any-log"


class S3Server:
    """The server; `stop` belongs into a finally clause."""

    def __init__(self, directory: Path, host: str = LOOPBACK) -> None:
        """Starts it; ``directory``: for its log and a file of credentials."""
        self.host = host
        self.port = free_port()
        self.credentials = directory / "s3-credentials"
        self.credentials.touch(0o600)
        self.credentials.write_text(f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
        self._log = directory / "s3.log"
        self.start()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{self.host}:{self.port}"

    def place(self, bucket: str, *, endpoint: str = "", prefix: str = "recordings") -> BucketPlace:
        """A bucket, made if there is none. ``endpoint``: another way to the server."""
        own = BucketPlace(bucket, prefix, self.endpoint, credentials=str(self.credentials))
        Bucket(own).create()
        return BucketPlace(bucket, prefix, endpoint or self.endpoint, credentials=str(self.credentials))

    def start(self) -> None:
        """Start it, also again after `stop`: on the same port, and empty."""
        argv = [sys.executable, "-m", "interlock.testing.s3_process", self.host, str(self.port)]
        self._daemon = Daemon(argv, log=self._log, name="s3")
        self._daemon.wait_port(self.host, self.port)

    def pause(self) -> None:
        """Let nothing be answered, as if the machine hung."""
        self._daemon.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        self._daemon.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process; what it had is gone."""
        self.resume()
        self._daemon.stop()


@contextmanager
def s3_server(directory: Path, host: str = LOOPBACK) -> Iterator[S3Server]:
    """One, stopped at the end."""
    server = S3Server(directory, host)
    try:
        yield server
    finally:
        server.stop()
