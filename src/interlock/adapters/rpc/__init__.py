"""gRPC between daemons: auth on one side, a node apart from it on the other.

The C library under grpcio reads its settings once, when it is first imported, which is below this package.
"""

import os

# It logs every failed handshake on stderr by itself; we report those in our own words.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Its fork handlers run in the children that a node starts for sessions and crash them now and then, and the node
# with them, because CPython starts them by vfork. Our children exec at once and need no gRPC.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
