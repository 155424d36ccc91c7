"""Each command gets the observer that speaks its protocol."""

from interlock.core.transfer.command import ScpCommand, SftpCommand
from interlock.core.transfer.observer import Observer, observer_for
from interlock.core.transfer.operations import Allowed, Direction
from interlock.core.transfer.scp import ScpObserver
from interlock.core.transfer.sftp import SftpObserver


def test_observers() -> None:
    """SFTP or scp."""
    sftp: Observer = observer_for(SftpCommand(), Allowed())
    scp: Observer = observer_for(ScpCommand(Direction.UPLOAD, "x"), Allowed())
    assert (type(sftp), type(scp)) == (SftpObserver, ScpObserver)
