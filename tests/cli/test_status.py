"""``interlock status`` inside and outside of a session."""

import json

import pytest
import typer

from interlock.cli.output import Format
from interlock.cli.status import read_status, status

SID = "d46d710b-24b9-4f86-af68-d7755636b94b"
INSIDE = {
    "SSH_SESSION_ID": SID,
    "SSH_TELEPORT_USER": "alice",
    "USER": "ubuntu",
    "SSH_TELEPORT_CLUSTER_NAME": "example",
    "SSH_TELEPORT_HOST_UUID": "23bc35d7-10f5-421f-9ef4-890af45e3166",
    "SSH_CLIENT": "10.3.3.2 35524 3022",
}


@pytest.fixture
def _inside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTERLOCK_SESSION", "INTERLOCK_USER", "INTERLOCK_CLUSTER", "SSH_SESSION_WEBPROXY_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in INSIDE.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_inside")
def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Each fact has a line."""
    status(Format.TEXT)
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert {key: value.strip() for key, value in lines.items()} == {
        "User": "alice",
        "Login": "ubuntu",
        "From": "10.3.3.2",
        "Cluster": "example",
        "Host UUID": "23bc35d7-10f5-421f-9ef4-890af45e3166",
        "Session ID": SID,
    }


@pytest.mark.usefixtures("_inside")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs."""
    status(Format.JSON)
    found = json.loads(capsys.readouterr().out)
    assert (found["session_id"], found["user"], found["login"]) == (SID, "alice", "ubuntu")


def test_url_is_known_with_the_web_proxy() -> None:
    """The session's page exists only where there is a web proxy."""
    found = read_status({**INSIDE, "SSH_SESSION_WEBPROXY_ADDR": "gw:443"})
    assert found is not None
    assert found["session_url"] == f"https://gw:443/web/cluster/example/console/session/{SID}"


def test_outside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence on stderr and exit code 1."""
    for name in ("SSH_SESSION_ID", "TELEPORT_SESSION", "INTERLOCK_SESSION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(typer.Exit) as ended:
        status(Format.TEXT)
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "error: this shell does not run in an Interlock session\n"


@pytest.mark.usefixtures("_inside")
def test_hostile_value(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Variables are the person's to set: control characters do not reach the terminal (R24)."""
    monkeypatch.setenv("SSH_TELEPORT_USER", "a\x1b]0;owned\x07")
    status(Format.TEXT)
    assert "\x1b" not in capsys.readouterr().out
