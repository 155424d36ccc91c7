"""gRPC between daemons: auth on one side, a node apart from it on the other.

The C library under grpcio logs every failed handshake on stderr by itself; we report those in our own words.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read once, when grpc is first imported
