"""ilsh against the real gateway: sign-in on a terminal, listings, stock ssh by its configuration, playback."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock.testing.gateway import BIN, PASSWORD, Cluster
from interlock.testing.openssh import clean_env
from interlock.testing.procs import Completed, Daemon, poll_until, run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("proxy-mode")]

USER = "ilsh-user"


class Person:
    """A user of ilsh."""

    def __init__(self, cluster: Cluster, home: Path, name: str) -> None:
        self.cluster = cluster
        self.home = home
        self.name = name
        self.env = {**clean_env(), "ILSH_HOME": str(home), "HOME": str(home)}

    def ilsh(self, *arguments: str, stdin: bytes = b"") -> Completed:
        return run([BIN / "ilsh", *arguments], env=self.env, stdin=stdin)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ilsh(*arguments, "--format", "json").check().stdout)

    def login_argv(self, *options: str) -> list[str]:
        gateway = f"{self.cluster.host}:{self.cluster.port}"
        return ["login", "--proxy", gateway, "--user", self.name, "--no-agent", *options]

    def login(self, *lines: str, options: tuple[str, ...] = ()) -> Completed:
        trust = ("--host-ca", str(self.cluster.host_ca))
        stdin = "".join(f"{line}\n" for line in lines or (PASSWORD,)).encode()
        return self.ilsh(*self.login_argv("--password-stdin", *trust, *options), stdin=stdin)

    def terminal(self, *arguments: str) -> Terminal:
        return Terminal([str(BIN / "ilsh"), *arguments], env=self.env)

    @property
    def destination(self) -> str:
        return f"{self.cluster.login_name}@{self.cluster.agentless_name}"


@pytest.fixture(scope="module")
def account(proxy_cluster: Cluster) -> str:
    """A user of this module."""
    proxy_cluster.add_user(USER, "access")
    return USER


@pytest.fixture
def person(proxy_cluster: Cluster, account: str, tmp_path: Path) -> Person:
    """The user, not logged in."""
    return Person(proxy_cluster, tmp_path / "home", account)


@pytest.fixture
def logged_in(person: Person) -> Person:
    """The user, logged in."""
    person.login().check()
    return person


def test_the_nodes_are_listed_with_the_logins(logged_in: Person) -> None:
    """What the role reaches, as table and as JSON."""
    nodes = {node["hostname"]: node["logins"] for node in logged_in.json("ls")}
    assert nodes[logged_in.cluster.agentless_name] == [logged_in.cluster.login_name]
    assert logged_in.cluster.agentless_name in logged_in.ilsh("ls").check().stdout


def test_a_session_is_listed_while_it_lives_and_its_recording_plays(logged_in: Person) -> None:
    """The same ID in both; the recording shows what the session showed."""
    with logged_in.terminal("ssh", "-tt", logged_in.destination, "echo was-$((40+2)); read x; exit 3") as terminal:
        terminal.expect("was-42")
        (session,) = logged_in.json("sessions", "ls")
        assert (session["state"], session["user"]) == ("running", USER)
        assert session["sid"] in logged_in.ilsh("sessions", "ls").stdout
        terminal.send("go\r")
        assert terminal.wait() == 3
    sid = session["sid"]
    poll_until(
        lambda: [item for item in logged_in.json("recordings", "ls") if item["sid"] == sid], "the recording"
    )
    assert sid in logged_in.ilsh("recordings", "ls").stdout
    for form in ("pty", "text", "json"):
        assert "was-42" in logged_in.ilsh("play", sid, "--format", form, "--speed", "100").check().stdout
    accesses = [event for event in logged_in.cluster.events(sid) if event["event"] == "session.recording.access"]
    assert [(event["code"], event["user"]) for event in accesses] == [("T2012I", USER)] * 3


def test_recordings_are_for_their_owner(logged_in: Person, tmp_path: Path) -> None:
    """Another user is denied (exit code 4); an ID that nobody had is not found (3)."""
    logged_in.ilsh("ssh", logged_in.destination, "true").check()
    sid = poll_until(
        lambda: next((item["sid"] for item in logged_in.json("recordings", "ls")), None), "a recording"
    )
    logged_in.cluster.add_user("ilsh-other", "access")
    other = Person(logged_in.cluster, tmp_path / "other", "ilsh-other")
    other.login().check()
    denied = other.ilsh("play", sid)
    assert (denied.rc, denied.stdout) == (4, "")
    assert other.ilsh("play", "00000000-0000-4000-8000-000000000000").rc == 3
    assert other.json("recordings", "ls") == []


@pytest.mark.parametrize("host", ["{login}@{node}.demo", "{login}.{node}.demo"], ids=["jump", "route"])
def test_stock_ssh_works_by_the_printed_configuration(logged_in: Person, tmp_path: Path, host: str) -> None:
    """Both roads; the command's exit code arrives."""
    config = tmp_path / "config"
    config.write_text(logged_in.ilsh("config").check().stdout)
    cluster = logged_in.cluster
    to = host.format(login=cluster.login_name, node=cluster.agentless_name)
    done = run(["ssh", "-F", str(config), to, "echo here; exit 6"], env=logged_in.env)
    assert (done.stdout, done.rc) == ("here\n", 6)


def test_scp_copies_both_ways(logged_in: Person, tmp_path: Path) -> None:
    """With spaces in the name."""
    (tmp_path / "a b").write_text("contents")
    remote = f"{logged_in.destination}:{tmp_path}/copied"
    logged_in.ilsh("scp", str(tmp_path / "a b"), remote).check()
    logged_in.ilsh("scp", "-q", remote, str(tmp_path / "back")).check()
    assert (tmp_path / "back").read_text() == "contents"


def test_a_person_signs_in_on_a_terminal_and_trusts_by_fingerprint(person: Person) -> None:
    """First contact shows the host CA's fingerprint; no password is echoed; later nothing but it is asked."""
    key = run(["ssh-keygen", "-l", "-f", person.cluster.host_ca], env=clean_env()).stdout.split()[1]
    with person.terminal(*person.login_argv()) as terminal:
        terminal.expect(re.escape(key))
        terminal.expect(r"\(yes/no\)")
        terminal.send("yes\r")
        terminal.expect("Password:")
        terminal.send("wrong\r")
        terminal.expect("try again")
        terminal.expect("Password:")
        terminal.send(f"{PASSWORD}\r")
        terminal.expect("Valid until")
        assert terminal.wait() == 0
        assert PASSWORD not in terminal.text
    with person.terminal(*person.login_argv()) as terminal:
        terminal.expect("Password:")
        assert "fingerprint" not in terminal.text
        terminal.send(f"{PASSWORD}\r")
        assert terminal.wait() == 0
    known = run(
        [BIN / "ilsh", *person.login_argv("--password-stdin")], env=person.env, stdin=f"{PASSWORD}\n".encode()
    )
    assert known.rc == 0


def test_a_person_who_does_not_trust_the_gateway_gives_it_no_password(person: Person) -> None:
    """Exit code 4, and nothing is stored."""
    with person.terminal(*person.login_argv()) as terminal:
        terminal.expect(r"\(yes/no\)")
        terminal.send("no\r")
        assert terminal.wait() == 4
        assert "Password" not in terminal.text
    assert not person.home.exists() or not list(person.home.rglob("id*"))


@pytest.mark.parametrize("question", [r"\(yes/no\)", "Password:"])
def test_ctrl_c_ends_a_question_at_once(person: Person, question: str) -> None:
    """Exit code 130, as shells have it for SIGINT, and no traceback."""
    trust = ("--host-ca", str(person.cluster.host_ca)) if question == "Password:" else ()
    with person.terminal(*person.login_argv(*trust)) as terminal:
        terminal.expect(question)
        terminal.send("\x03")
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.text


def test_logging_in_again_needs_no_names(logged_in: Person) -> None:
    """Gateway, user and trust are those of the last time."""
    done = logged_in.ilsh("login", "--password-stdin", "--no-agent", stdin=f"{PASSWORD}\n".encode())
    assert (done.rc, USER in done.stdout) == (0, True)


def test_a_pinned_host_ca_is_trusted_and_another_is_not(person: Person) -> None:
    """For machines, which can compare but not judge."""
    pin = run(["ssh-keygen", "-l", "-f", person.cluster.host_ca], env=clean_env()).stdout.split()[1]
    password = f"{PASSWORD}\n".encode()
    wrong = person.ilsh(*person.login_argv("--password-stdin", "--ca-pin", "SHA256:wrong"), stdin=password)
    assert (wrong.rc, "not the pinned one" in wrong.stderr) == (4, True)
    unknown = person.ilsh(*person.login_argv("--password-stdin"), stdin=password)
    assert (unknown.rc, "--ca-pin or --host-ca" in unknown.stderr) == (4, True)
    person.ilsh(*person.login_argv("--password-stdin", "--ca-pin", pin), stdin=password).check()


def test_a_wrong_password_is_exit_code_4(person: Person) -> None:
    """One sentence that does not say what was wrong."""
    done = person.login("wrong")
    assert (done.rc, done.stderr) == (4, "error: sign-in failed: wrong user name or password\n")


def test_a_one_time_password_is_changed_while_signing_in(proxy_cluster: Cluster, tmp_path: Path) -> None:
    """It works once; the new one works from then on."""
    name = "ilsh-otp"
    printed = proxy_cluster.ilctl("users", "add", name, "--roles", "access").stdout
    once = printed.split("One-time password: ")[1].split()[0]
    person = Person(proxy_cluster, tmp_path / "home", name)
    person.login(once, "a new and long password").check()
    assert person.login(once, "another long password").rc == 4
    person.login("a new and long password").check()


def test_the_life_of_the_certificate_is_the_persons_choice_within_bounds(person: Person) -> None:
    """Beyond the bound the gateway says what it allows; nobody is logged in by it."""
    done = person.login(options=("--ttl", "100d"))
    assert (done.rc, "30 hours" in done.stderr) == (4, True)
    assert person.ilsh("status").rc == 1
    person.login(options=("--ttl", "5m")).check()


def test_keys_for_machines_are_written_where_they_are_wanted(person: Person, tmp_path: Path) -> None:
    """Key, certificate and known_hosts beside each other, and no profile."""
    out = tmp_path / "robot"
    person.login(options=("--out", str(out))).check()
    cluster = person.cluster
    options = [
        "-F",
        "none",
        "-i",
        str(out),
        "-o",
        f"UserKnownHostsFile={out}-known_hosts",
        "-p",
        str(cluster.port),
    ]
    to = f"{cluster.login_name}%{cluster.agentless_name}@{cluster.host}"
    assert run(["ssh", *options, to, "echo here"], env=person.env).check().stdout == "here\n"
    assert person.ilsh("status").rc == 1


@pytest.fixture
def agent(person: Person, tmp_path: Path) -> Iterator[str]:
    """A key agent of the person's own."""
    socket = tmp_path / "agent.sock"
    argv: list[str | Path] = [shutil.which("ssh-agent") or "ssh-agent", "-D", "-a", socket]
    with Daemon(argv, log=tmp_path / "agent.log", env=dict(os.environ), name="agent"):
        poll_until(socket.exists, "the agent's socket")
        person.env["SSH_AUTH_SOCK"] = str(socket)
        yield str(socket)


@pytest.mark.usefixtures("agent")
def test_login_and_logout_keep_the_agent_up_to_date(person: Person) -> None:
    """One certificate after any number of logins, none after logout."""
    argv = [word for word in person.login_argv("--host-ca", str(person.cluster.host_ca)) if word != "--no-agent"]
    for _ in range(2):
        person.ilsh(*argv, "--password-stdin", stdin=f"{PASSWORD}\n".encode()).check()
        listed = run(["ssh-add", "-l"], env=person.env).stdout
        assert listed.count("ED25519-CERT") == 1
    person.ilsh("logout").check()
    assert "no identities" in run(["ssh-add", "-l"], env=person.env).stdout
