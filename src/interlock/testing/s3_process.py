"""The process of `interlock.testing.s3`: moto's server, whose answers to writes are made one after the other.

It looks whether a condition holds and then writes, and between both another thread of it may write. A storage does
that in one step, so that is what the tests must have.
"""

import signal
import sys
import threading
from collections.abc import Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

_WRITES = frozenset({"PUT", "POST", "DELETE"})


class OneWriterAtATime:
    """A WSGI application around another one."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._writing = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        if environ["REQUEST_METHOD"] not in _WRITES:
            answer: Iterable[bytes] = self._app(environ, start_response)
            return answer
        with self._writing:
            return list(self._app(environ, start_response))


def main() -> None:
    """Serve on the host and port of the command line until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    host, port = sys.argv[1:]
    app = OneWriterAtATime(DomainDispatcherApplication(create_backend_app))
    run_simple(host, int(port), app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
