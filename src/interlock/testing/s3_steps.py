"""An S3 server's requests about recordings as named steps, at each of which something may happen to their sender.

A step has a moment before it, when the server has not heard of it, and one after it, when the server has done it
and nobody has been told. Each request goes to the real server, over HTTP, and so does its answer come back.
"""

import http.client
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from interlock.testing.ports import LOOPBACK

RECORDING = ".ilr"
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "host"})
_ANSWER_S = 30.0


def name_of(method: str, target: str) -> str:
    """The step that a request about a recording is; empty for anything else."""
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    if not url.path.endswith(RECORDING):
        return ""
    match method, sorted(query):
        case "POST", ["uploads"]:
            return "begin"
        case "PUT", _ if "partNumber" in query:
            return f"part {query['partNumber'][0]}"
        case "POST", ["uploadId"]:
            return "finish"
        case (("PUT" | "HEAD" | "GET" | "DELETE"), []):
            return method.lower()
        case _:
            return ""


class StepProxy:
    """In front of a server on this machine, while it is entered."""

    def __init__(self, port: int) -> None:
        """``port``: of the server."""
        self.steps: list[str] = []  # all that were done
        self.on_step: Callable[[str], bool] = lambda _: False
        """Called with ``before …`` and ``after …``, in any thread; True: whoever asks gets no answer."""
        proxy = self

        class Handler(_Handler):
            to = proxy
            server_port = port

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="s3-steps")

    @property
    def endpoint(self) -> str:
        """As a URL."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    to: StepProxy
    server_port: int

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        step = name_of(self.command, self.path)
        if step and self.to.on_step(f"before {step}"):
            self.close_connection = True
            return
        server = http.client.HTTPConnection(LOOPBACK, self.server_port, timeout=_ANSWER_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            data = answer.read()
        finally:
            server.close()
        if step:
            self.to.steps.append(step)
            if self.to.on_step(f"after {step}"):
                self.close_connection = True
                return
        self.send_response_only(answer.status, answer.reason)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815 - the library looks for these names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing: the server's own log has it."""
