"""The kit's own OpenSSH: it must be trustworthy before anything is measured with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.testing.openssh import Key, SshClient, Sshd, current_login, make_key, sign_host, sign_user
from interlock.testing.procs import KitError
from interlock.testing.terminal import Terminal

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Key:
    """A certificate authority that the server trusts."""
    return make_key(tmp_path_factory.mktemp("ca") / "ca")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory, ca: Key) -> Iterator[Sshd]:
    """One server for all tests here."""
    with Sshd(tmp_path_factory.mktemp("sshd"), trusted_cas=[ca.public]) as server:
        yield server


@pytest.fixture
def client(tmp_path: Path, ca: Key, sshd: Sshd) -> SshClient:
    """A client with a certificate for the server's login."""
    key = make_key(tmp_path / "id")
    sign_user(ca, key, principals=[sshd.login])
    return SshClient(tmp_path / "client", keys=[key], known_hosts=[sshd.known_hosts_line()])


def at(sshd: Sshd) -> list[str]:
    """Arguments that lead to the server."""
    return ["-p", str(sshd.port), f"{sshd.login}@{sshd.host}"]


def test_certificate_logs_in_and_outputs_and_exit_code_come_back(client: SshClient, sshd: Sshd) -> None:
    """A CA-signed key is enough to log in; stdin, stdout, stderr and the exit code are those of the command."""
    done = client.run(*at(sshd), "cat; echo err >&2; exit 7", stdin=b"in")
    assert (done.rc, done.stdout, done.stderr) == (7, "in", "err\n")


def test_key_without_certificate_is_refused(tmp_path: Path, sshd: Sshd) -> None:
    """The server trusts its CA only, so that a test cannot pass by accident with the person's own key."""
    stranger = SshClient(tmp_path / "c", keys=[make_key(tmp_path / "k")], known_hosts=[sshd.known_hosts_line()])
    done = stranger.run(*at(sshd), "true")
    assert done.rc == 255
    assert "Permission denied" in done.stderr


def test_unknown_host_key_is_refused(tmp_path: Path, ca: Key, sshd: Sshd) -> None:
    """The client never learns a host key by itself."""
    key = make_key(tmp_path / "k")
    sign_user(ca, key, principals=[sshd.login])
    done = SshClient(tmp_path / "c", keys=[key]).run(*at(sshd), "true")
    assert done.rc == 255
    assert "Host key verification failed" in done.stderr


def test_host_certificate_is_verified_by_its_ca(tmp_path: Path, client: SshClient, ca: Key) -> None:
    """A host certificate and one @cert-authority line replace the pinned key."""
    with Sshd(tmp_path / "d", trusted_cas=[ca.public]) as plain:
        certificate = sign_host(ca, plain.host_key, principals=[plain.host])
        with Sshd(
            tmp_path / "d", trusted_cas=[ca.public], options=[f"HostCertificate {certificate}"]
        ) as certified:
            client.known_hosts = [f"@cert-authority * {ca.public}"]
            client.write()
            assert client.run(*at(certified), "true").rc == 0
            assert client.run(*at(plain), "true").rc == 255


def test_terminal_carries_prompt_size_and_exit_code(client: SshClient, sshd: Sshd) -> None:
    """A shell in a PTY sees the terminal's size and its change, and its exit code comes back."""
    with Terminal(client.argv("-tt", *at(sshd)), cols=101, rows=33) as terminal:
        terminal.send("PS1='$ '; stty size\r")
        terminal.expect(r"33 101")
        terminal.resize(90, 20)
        terminal.send("trap : WINCH; stty size\r")
        terminal.expect(r"20 90")
        terminal.send("exit 5\r")
        assert terminal.wait() == 5


def test_failed_expectation_shows_the_terminal() -> None:
    """What was there instead is in the error, also when the program has ended."""
    with Terminal(["echo", "hello"]) as terminal, pytest.raises(KitError, match="hello"):
        terminal.expect("goodbye", timeout=10)


def test_replaced_host_key_stops_the_client(tmp_path: Path, client: SshClient, ca: Key) -> None:
    """The kit can play a re-installed or impostor host."""
    with Sshd(tmp_path / "d", trusted_cas=[ca.public]) as server:
        client.known_hosts = [server.known_hosts_line()]
        client.write()
        assert client.run(*at(server), "true").rc == 0
        server.replace_host_key()
        assert client.run(*at(server), "true").rc == 255


def test_login_is_the_account_that_runs_the_tests(client: SshClient, sshd: Sshd) -> None:
    """No privileges are needed or used."""
    assert client.run(*at(sshd), "id -un").stdout.strip() == current_login()
