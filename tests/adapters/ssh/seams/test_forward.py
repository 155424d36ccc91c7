"""asyncssh's private names that `seams_forward` uses, as they are in the pinned version."""

import inspect

import asyncssh
import pytest
from asyncssh.channel import SSHAgentChannel, SSHX11Channel
from asyncssh.connection import SSHConnection, SSHServerConnection

NAMES = [
    (SSHConnection, "create_tcp_channel", ("encoding", "errors", "window", "max_pktsize")),
    (SSHConnection, "create_unix_channel", ("encoding", "errors", "window", "max_pktsize")),
    (SSHConnection, "_update_recv_pktlen", ("max_pktsize",)),
    (SSHServerConnection, "_process_cancel_tcpip_forward_global_request", ("packet",)),
    (SSHServerConnection, "_process_cancel_streamlocal_forward_at_openssh_dot_com_global_request", ("packet",)),
    (SSHServerConnection, "_finish_port_forward", ("listen_host", "listen_port")),
    (SSHX11Channel, "open", ("session_factory", "orig_host", "orig_port")),
    (SSHAgentChannel, "open", ("session_factory",)),
]


@pytest.mark.parametrize(("owner", "name", "parameters"), NAMES, ids=[name for _, name, _ in NAMES])
def test_a_name_is_there(owner: type, name: str, parameters: tuple[str, ...]) -> None:
    """With the parameters that we pass."""
    found = tuple(inspect.signature(getattr(owner, name)).parameters)[1:]
    assert found == parameters


def test_a_cancelled_listener_that_is_not_there_is_an_offence_to_asyncssh() -> None:
    """Which is why we answer FAILURE instead; if it stops being one, the override can go."""
    source = inspect.getsource(SSHServerConnection._process_cancel_tcpip_forward_global_request)
    assert "ProtocolError" in source
    assert issubclass(asyncssh.SSHListener, object)
