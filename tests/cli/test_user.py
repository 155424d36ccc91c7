"""The program ilsh without a gateway: exit codes, messages, and what it hands to stock ssh."""

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

import pyrage
import pytest
import structlog

from interlock.adapters.age import AgeKeys
from interlock.adapters.system import SystemClock
from interlock.cli.user import main
from interlock.cli.user_profile import Home, Login, Profile
from interlock.domain.container import SALT_SIZE, BlockBuilder, preamble
from interlock.domain.recording import FrameKind, Header, to_payload
from interlock.testing.entropy import FakeEntropy
from interlock.testing.openssh import clean_env
from interlock.testing.ports import free_port
from interlock.testing.procs import Completed, run
from interlock.testing.recordings import made

ILSH = Path(sys.executable).with_name("ilsh")
FAKE_SSH = '#!/bin/sh\nfor word in "$0" "$@"; do printf "%s\\n" "$word"; done\nexit 7\n'


HEADER = Header(
    sid="d46d710b-24b9-4f86-af68-d7755636b94b",
    user="alice",
    login="root",
    hostname="web1",
    target_id="23bc35d7-10f5-421f-9ef4-890af45e3166",
    sub_kind="interlock",
    recorded_by="31486a8f-ed19-45e7-9610-ddb916493e52",
    mode="node",
    kind="exec",
    command="greet",
    start="2026-01-10T22:23:57.642Z",
    cluster="test",
)


class World:
    """A home, a PATH whose ssh and scp only print their arguments, and the program."""

    def __init__(self, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.home = tmp_path / "home"
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in ("ssh", "scp"):
            (programs / name).write_text(FAKE_SSH)
            (programs / name).chmod(0o755)
        self._env = {
            **clean_env(),
            "ILSH_HOME": str(self.home),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        }

    def ilsh(self, *arguments: str, stdin: bytes = b"") -> Completed:
        """Run the installed program in a process of its own."""
        return run([ILSH, *arguments], stdin=stdin, env=self._env)

    def call(self, *arguments: str) -> Completed:
        """Run the same program here: starting Python for each of many tests would take most of their time."""
        out, err = io.StringIO(), io.StringIO()
        self._patch.setattr(sys, "argv", ["ilsh", *arguments])
        self._patch.setenv("ILSH_HOME", str(self.home))
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        structlog.reset_defaults()
        assert isinstance(ended.value.code, int)
        return Completed(arguments, ended.value.code, out.getvalue().encode(), err.getvalue().encode())

    def log_in(self, *, hours: int = 1, port: int = 3023) -> Login:
        until = SystemClock().now() + timedelta(hours=hours)
        profile = Profile("127.0.0.1", port, "alice", "test", ["access"], ["root"], until)
        return Home(self.home).save(
            profile, private="x", public="x", certificate="x", host_ca=["ssh-ed25519 AAAA"]
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Nobody is logged in yet."""
    return World(tmp_path, monkeypatch)


def test_status_follows_the_login(world: World) -> None:
    """0 with a valid certificate, 1 without or with an expired one; text and JSON say the same."""
    out = world.call("status")
    assert (out.rc, out.stdout) == (1, "you are not logged in: run ilsh login\n")
    world.log_in()
    out = world.call("status")
    assert out.rc == 0
    assert "127.0.0.1:3023" in out.stdout
    assert "alice" in out.stdout
    found = json.loads(world.call("status", "--format", "json").stdout)
    assert (found["logged_in"], found["user"], found["logins"]) == (True, "alice", ["root"])
    world.log_in(hours=-1)
    assert world.call("status").rc == 1
    out = world.call("status", "--format", "json")
    assert (out.rc, json.loads(out.stdout)["logged_in"]) == (1, False)


def test_logout_forgets_and_may_be_repeated(world: World) -> None:
    """The second time there is nothing to do."""
    login = world.log_in()
    assert world.call("logout").stdout == "Logged out of 127.0.0.1:3023.\n"
    assert not login.key.exists()
    assert not login.certificate.exists()
    out = world.call("logout")
    assert (out.rc, out.stdout) == (0, "You were not logged in.\n")


def test_ssh_becomes_the_systems_ssh(world: World) -> None:
    """Its exit code is ours; its options and the command arrive word by word."""
    login = world.log_in()
    out = world.ilsh("ssh", "-tt", "-o", "SendEnv=A B", "root@web1", "echo", "a b", "-v", "--", "$HOME;id")
    words = out.stdout.splitlines()
    assert out.rc == 7
    assert words[0].endswith("/ssh")
    at = words.index("--")
    assert words[at - 3 : at] == ["-tt", "-o", "SendEnv=A B"]
    assert words[at + 1 :] == ["root%web1@127.0.0.1", "echo", "a b", "-v", "--", "$HOME;id"]
    assert f'CertificateFile="{login.certificate}"' in words


def test_scp_becomes_the_systems_scp(world: World) -> None:
    """With the route in place of the node."""
    world.log_in()
    out = world.ilsh("scp", "-r", "dir with space", "root@web1:/tmp")
    assert out.rc == 7
    assert out.stdout.splitlines()[-4:] == ["-r", "--", "dir with space", "root%web1@127.0.0.1:/tmp"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["ssh", "root@-oProxyCommand=id"],
        ["ssh", "--", "-oProxyCommand=id@web1"],
        ["ssh", "-v"],
        ["scp", "x", "root@web;1:y"],
        ["login", "--proxy", "-oX"],
        ["login", "--proxy", "gw", "--ttl", "soon"],
        ["login", "--proxy", "gw", "--user", "a,b"],
        ["play", "x", "--format", "gif"],
        ["play", "x", "--speed", "0"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_exit_code_2(world: World, arguments: list[str]) -> None:
    """Said on stderr; nothing was started."""
    world.log_in()
    out = world.call(*arguments)
    assert (out.rc, out.stdout) == (2, "")
    assert out.stderr


@pytest.mark.parametrize(
    "arguments",
    [["ls"], ["sessions", "ls"], ["recordings", "ls"], ["config"], ["ssh", "root@web1"], ["scp", "a", "root@b:c"]],
)
def test_without_a_login_everything_says_how_to_get_one(world: World, arguments: list[str]) -> None:
    """One sentence on stderr and exit code 4, also after the certificate expired."""
    out = world.call(*arguments)
    assert (out.rc, out.stdout, out.stderr) == (4, "", "error: you are not logged in: run ilsh login\n")
    world.log_in(hours=-1)
    out = world.call(*arguments)
    assert (out.rc, out.stderr) == (4, "error: your certificate has expired: run ilsh login\n")


def test_the_first_login_must_say_where(world: World) -> None:
    """Later ones go where the last one went."""
    out = world.call("login", "--password-stdin")
    assert (out.rc, "--proxy" in out.stderr) == (2, True)


def test_a_damaged_host_ca_is_told(world: World) -> None:
    """One sentence; nothing is trusted instead."""
    world.log_in()
    out = world.call("login", "--password-stdin")
    assert (out.rc, out.stderr) == (1, "error: the stored host CA of the gateway cannot be read\n")


@pytest.mark.slow
def test_a_gateway_that_is_away_is_one_sentence(world: World) -> None:
    """Exit code 1, with the address, and the password goes nowhere."""
    port = free_port()
    out = world.ilsh(
        "login", "--proxy", f"127.0.0.1:{port}", "--user", "alice", "--password-stdin", stdin=b"secret\n"
    )
    assert out.rc == 1
    assert f"127.0.0.1:{port}" in out.stderr
    assert len(out.stderr.splitlines()) == 1
    assert "secret" not in out.stdout + out.stderr
    assert not world.home.exists()


@pytest.mark.parametrize("contents", [b"", b"ssh-ed25519\n", b"# nothing\n", b"\xff\xfe"])
def test_a_host_ca_file_without_a_key_is_told(world: World, tmp_path: Path, contents: bytes) -> None:
    """Before any connection."""
    (tmp_path / "ca").write_bytes(contents)
    out = world.call("login", "--proxy", "gw", "--host-ca", str(tmp_path / "ca"), "--password-stdin")
    assert out.rc == 1
    assert "no public key of a host CA" in out.stderr


def test_a_recording_that_is_not_there_is_exit_code_3(world: World) -> None:
    """Neither a session's ID nor a file."""
    out = world.call("play", "nowhere.ilr")
    assert out.rc == 3
    assert "nowhere.ilr" in out.stderr


def test_a_file_that_is_no_recording_is_exit_code_1(world: World, tmp_path: Path) -> None:
    """One sentence."""
    (tmp_path / "x.ilr").write_bytes(b"not a recording at all, not even nearly one")
    out = world.call("play", str(tmp_path / "x.ilr"), "--format", "text")
    assert out.rc == 1
    assert len(out.stderr.splitlines()) == 1


def test_an_encrypted_recording_plays_with_an_identity(world: World, tmp_path: Path) -> None:
    """Of one of its recipients; everybody else is told so in a sentence."""
    own, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    (tmp_path / "own").write_text(f"{own}\n")
    (tmp_path / "other").write_text(f"{other}\n")
    content = AgeKeys([str(own.to_public())], FakeEntropy()).fresh()
    file = tmp_path / "x.ilr"
    file.write_bytes(made([b"hello\r\n"], content=content).data)
    played = world.call("play", str(file), "--format", "text", "--identity", str(tmp_path / "own"))
    assert (played.rc, played.stdout) == (0, "hello\n")
    for options, words in (
        ([], "is encrypted: give the identity"),
        (["--identity", str(tmp_path / "other")], "others"),
    ):
        refused = world.call("play", str(file), "--format", "text", *options)
        assert (refused.rc, refused.stdout) == (1, "")
        assert words in refused.stderr


def test_a_downloaded_recording_plays_without_a_login(world: World, tmp_path: Path) -> None:
    """The file is all that is needed."""
    salt = bytes(SALT_SIZE)
    builder = BlockBuilder(salt)
    builder.add(FrameKind.HEADER, 0, to_payload(HEADER))
    builder.add(FrameKind.STDOUT, 10, b"hello\x1b]0;title\x07 there\r\n")
    (tmp_path / "x.ilr").write_bytes(preamble(salt) + builder.take())
    assert world.call("play", str(tmp_path / "x.ilr"), "--format", "text").stdout == "hello there\n"
    out = world.call("play", str(tmp_path / "x.ilr"), "--speed", "2", "--skip-idle-time")
    assert (out.rc, out.stdout) == (0, "hello there\r\n")
    out = world.call("play", str(tmp_path / "x.ilr"), "--at", "1h5m")
    assert (out.rc, out.stdout) == (0, "hello there\r\n"), "all of it was before that"
    for form, lines in (("text", 0), ("json", 1)):  # a command without a terminal leaves no screen
        out = world.call("play", str(tmp_path / "x.ilr"), "--at", "1h5m", "--format", form)
        assert (out.rc, len(out.stdout.splitlines())) == (0, lines)
    assert world.call("play", str(tmp_path / "x.ilr"), "--at", "late").rc == 2
    first = json.loads(world.call("play", str(tmp_path / "x.ilr"), "--format", "json").stdout.splitlines()[0])
    assert (first["type"], first["user"]) == ("header", "alice")
