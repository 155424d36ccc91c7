"""Tools that people use over ssh behave as they do without a gateway, through every mode, target and road."""

import hashlib
import os
from pathlib import Path

import pytest

from interlock.testing.gateway import Cluster, Person, Road
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.procs import Completed, run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

TARGETS = Cluster.targets
ROADS: list[Road] = ["route", "jump"]
MEGABYTE = 1_000_000


@pytest.fixture
def client(cluster: Cluster, person: Person) -> SshClient:
    """The stock client with the user's certificate."""
    return cluster.client("tools", person)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A file of random bytes, larger than every window and buffer on the way."""
    path = tmp_path / "original file"
    path.write_bytes(os.urandom(5 * MEGABYTE + 17))
    return path


def messages(done: Completed) -> list[str]:
    """The words on stderr; sshd starts shells under their short name, our node under their path."""
    return done.stderr.replace("/usr/bin/", "").replace("/bin/", "").split()


@pytest.fixture(params=[(target, road) for target in TARGETS for road in ROADS], ids="-".join)
def place(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """Each target by each road, as one word for tools that take a host."""
    target, road = request.param
    return cluster.place(target, road)


@pytest.mark.parametrize("protocol", ["-O", "-s"])
def test_scp_both_ways(client: SshClient, place: str, protocol: str, original: Path, tmp_path: Path) -> None:
    """scp copies there and back, with its old protocol and over sftp."""
    there, back = tmp_path / "there", tmp_path / "back"
    client.run("-p", protocol, str(original), f"{place}:{there}", program="scp").check()
    client.run("-p", protocol, f"{place}:{there}", str(back), program="scp").check()
    assert there.read_bytes() == back.read_bytes() == original.read_bytes()


def test_sftp_batch(client: SshClient, place: str, original: Path, tmp_path: Path) -> None:
    """sftp puts, lists, renames and gets."""
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    batch = f'put "{original}" {a}\nrename {a} {b}\nls {tmp_path}\nget {b} {c}\n'
    done = client.run("-b", "-", place, stdin=batch.encode(), program="sftp").check()
    assert str(b) in done.stdout
    assert c.read_bytes() == original.read_bytes()


def test_rsync_both_ways(client: SshClient, place: str, original: Path, tmp_path: Path) -> None:
    """rsync runs its server half through the gateway."""
    there, back = tmp_path / "there", tmp_path / "back"
    run(["rsync", "-a", original, f"{place}:{there}"], env=client.env()).check()
    run(["rsync", "-a", f"{place}:{there}", back], env=client.env()).check()
    assert back.read_bytes() == original.read_bytes()


def test_git_push_and_clone(client: SshClient, place: str, tmp_path: Path) -> None:
    """git pushes and clones over ssh."""
    env = {**client.env(), "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    work, bare = tmp_path / "work", tmp_path / "bare.git"
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    run(["git", "init", "-q", "--bare", bare], env=env).check()
    run(["git", "init", "-q", work], env=env).check()
    (work / "file").write_text("content\n")
    run(["git", "-C", work, "add", "file"], env=env).check()
    run(["git", "-C", work, *who, "commit", "-q", "-m", "one"], env=env).check()
    url = f"{place}:{bare}"
    run(["git", "-C", work, "push", "-q", url, "HEAD:refs/heads/main"], env=env).check()
    run(["git", "clone", "-q", "-b", "main", url, tmp_path / "clone"], env=env).check()
    assert (tmp_path / "clone" / "file").read_text() == "content\n"


def test_rekeying_during_bulk_transfer(client: SshClient, place: str) -> None:
    """New keys every megabyte in both directions at once lose and change nothing."""
    data = os.urandom(24 * MEGABYTE)
    done = client.run("-o", "RekeyLimit=1M", place, "cat", stdin=data, timeout=120).check()
    assert hashlib.sha256(done.out).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"])
def test_every_cipher_family(cluster: Cluster, client: SshClient, cipher: str) -> None:
    """The client chooses the cipher; the bytes are the same."""
    data = os.urandom(3 * MEGABYTE)
    done = client.run("-o", f"Ciphers={cipher}", *cluster.route(cluster.agentless_name), "cat", stdin=data).check()
    assert done.out == data


COMMANDS = {
    "success": ("true", b""),
    "code": ("exit 42", b""),
    "highest code": ("exit 255", b""),
    "both outputs": ("echo out; echo err >&2; exit 3", b""),
    "end of input": ("wc -c", b"x" * 100_000),
    "output closed early": ("exec >&- 2>&-; cat >/dev/null; exit 4", b"x" * 100_000),
    "every byte": ("cat", bytes(range(256)) * 100),
    "much stderr": ("head -c 3000000 /dev/zero >&2; exit 9", b""),
    "input unread": ("head -c 10 >/dev/null; exit 5", b"x" * 100_000),
    "killed by a signal": ("kill -KILL $$", b""),
    "terminated by a signal": ("kill -TERM $$", b""),
    "unknown command": ("nosuchcommand-interlock", b""),
    "quoting": ("printf '%s|' \"a b\" 'c$d' e\\\\f", b""),
    "non-ascii": ("printf 'grüße €'", b""),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", COMMANDS)
def test_results_are_those_of_a_direct_connection(
    cluster: Cluster, client: SshClient, target: str, name: str
) -> None:
    """Exit code, stdout and stderr do not depend on what is between: compared with OpenSSH alone."""
    command, stdin = COMMANDS[name]
    direct = cluster.direct_client().run(*cluster.direct(), command, stdin=stdin)
    through = client.run(*cluster.route(target), command, stdin=stdin)
    assert (through.rc, through.out) == (direct.rc, direct.out)
    assert messages(through) == messages(direct)


@pytest.mark.parametrize("target", TARGETS)
def test_terminal_resize_interrupt_and_exit_code(cluster: Cluster, client: SshClient, target: str) -> None:
    """The terminal's size, its changes, Ctrl-C and the exit code pass in an interactive session."""
    with Terminal(client.argv("-tt", *cluster.route(target)), env=clean_env(), cols=99, rows=31) as terminal:
        terminal.send("stty size; echo TERM=$TERM.\r")
        terminal.expect("31 99")
        terminal.expect(r"TERM=xterm-256color\.")
        terminal.resize(120, 40)
        terminal.send("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo resized-$((1+1))\r")
        terminal.expect("resized-2")
        terminal.send("PS1='[''ready] '\r")
        terminal.expect(r"\[ready\] ")
        terminal.send("sh -c 'echo begun-$((1+1)); exec sleep 600'\r")
        terminal.expect("begun-2")
        terminal.send("\x03")
        terminal.expect(r"\[ready\] ")  # the kernel drops what is typed before the interrupt has been handled
        terminal.send("echo code-$?\r")
        terminal.expect("code-130")
        terminal.send("exit 8\r")
        assert terminal.wait() == 8


@pytest.mark.parametrize("target", TARGETS)
def test_forced_terminal_for_a_command(cluster: Cluster, client: SshClient, target: str) -> None:
    """`ssh -tt host command` gives the command a terminal."""
    with Terminal(client.argv("-tt", *cluster.route(target), "tty && exit 12"), env=clean_env()) as terminal:
        terminal.expect("/dev/pts/")
        assert terminal.wait() == 12


@pytest.mark.parametrize("target", TARGETS)
def test_stdio_forward_through_the_gateway(cluster: Cluster, client: SshClient, target: str) -> None:
    """`ssh -W` as a ProxyCommand is the older way to write a jump."""
    command = f"ProxyCommand=ssh -F {client.config} -W %h:%p gateway"
    done = client.run("-o", command, f"{cluster.login_name}@{target}", "echo through").check()
    assert done.stdout == "through\n"
