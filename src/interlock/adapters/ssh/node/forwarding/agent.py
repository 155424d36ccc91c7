"""The socket by which a session's programs reach the client's key agent."""

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from interlock.adapters.ssh.node.accounts import Account
from interlock.adapters.ssh.node.forwarding.as_login import BACKLOG
from interlock.adapters.ssh.node.forwarding.display import hand_over, private_directory


@dataclass(frozen=True, slots=True)
class AgentSocket:
    """Listening, but not accepting yet; in a directory that only the login may enter."""

    listener: socket.socket
    directory: Path

    @property
    def variables(self) -> dict[str, str]:
        """What a session's programs need to find it."""
        return {"SSH_AUTH_SOCK": str(self.directory / "agent")}

    def close(self) -> None:
        """Leave nothing behind."""
        self.listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def open_agent(account: Account) -> AgentSocket:
    """Make the socket; OSError."""
    directory = private_directory()
    listener = socket.socket(socket.AF_UNIX)
    made = AgentSocket(listener, directory)
    try:
        listener.bind(str(directory / "agent"))
        hand_over(directory / "agent", account)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        hand_over(directory, account)
    except OSError:
        made.close()
        raise
    return made
