"""Everything that people do with ``ilsh`` leaves its events: exactly these, of who did it, from where.

`DEEDS`, `ELSEWHERE` and `READS` name every command that there is (tests/docs/test_names.py). Each deed is done for
real, at a gateway, by somebody of its own.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.adapters.system import SystemClock
from interlock.domain.audit import Kind
from interlock.testing.factors import Authenticator
from interlock.testing.gateway import BIN, PASSWORD, Cluster
from interlock.testing.openssh import clean_env
from interlock.testing.procs import Completed, poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("proxy-mode"), pytest.mark.timeout(120)]

HERE = "127.0.0.1:"
SEES = "allow=events:list"


@dataclass
class Person:
    """Somebody who is logged in, and what they have found out so far."""

    cluster: Cluster
    name: str
    home: Path
    known: dict[str, str] = field(default_factory=dict)  # what a line may name: {sid}, {request}, {file}

    def do(self, line: str, *lines: str) -> Completed:
        """One command of ``ilsh``; ``lines``: what it reads."""
        stdin = "".join(f"{each}\n" for each in lines).encode()
        return self.cluster.ilsh(self.home, *(word.format_map(self.known) for word in line.split()), stdin=stdin)

    def events(self, after: int) -> list[dict[str, Any]]:
        """What the log has of this person, behind a cursor."""
        found = self.cluster.json("events", "ls", "--user", self.name, "--after", str(after))
        return [each for each in found if int(each["cursor"]) > after]

    def last(self) -> int:
        """The cursor of the last event that there is."""
        rows = self.cluster.json("events", "ls", "--limit", "1")
        return int(rows[-1]["cursor"])

    def settled(self) -> int:
        """The cursor behind which there is nothing of what was done before: a gateway tells it in order."""
        before = self.last()
        assert self.do("request create no-such-role --reason mark").rc == 4

        def mark() -> list[int]:
            return [int(each["cursor"]) for each in self.events(before) if each["event"] == "auth"]

        return poll_until(mark, "refusal in the log")[-1]


World = Callable[[Person], object]


def login_line(person: Person) -> str:
    """Signing in, as `Cluster.login` does."""
    where = f"--proxy {person.cluster.host}:{person.cluster.port} --host-ca {person.cluster.host_ca}"
    return f"login --user {person.name} --password-stdin --no-agent {where}"


def ran(person: Person) -> None:
    """A session is recorded."""
    person.do("ssh {login}@{node} true").check()

    def stored() -> list[str]:
        return [each["sid"] for each in person.events(0) if each["event"] == "session.upload"]

    person.known["sid"] = poll_until(stored, "recording")[0]


def a_second_factor(person: Person) -> None:
    """A phone, and recovery codes; the first of them is used by each command that signs in."""
    with Terminal([BIN / "ilsh", "mfa", "add", "--name", "phone"], env=env(person), cols=100) as terminal:
        terminal.expect("Password:")
        terminal.send(f"{PASSWORD}\r")
        secret = terminal.expect(r"secret=(\w+)&")[1].decode()
        terminal.expect("Code that the app shows:")
        terminal.send(f"{Authenticator(secret).code(SystemClock().now())}\r")
        assert terminal.wait() == 0
        person.known["code"] = re.findall(r"^ {2}((?:\w{4}-){3}\w{4})\r$", terminal.text, re.MULTILINE)[0]


def a_key(person: Person) -> None:
    """Enrolled."""
    person.do("keys add {file} --password-stdin", PASSWORD).check()


def a_request(person: Person) -> None:
    """That waits."""
    made = person.do("request create deeds-extra --reason why --format json").check()
    person.known["request"] = json.loads(made.stdout)["id"]


def an_approved_request(person: Person) -> None:
    """By an administrator."""
    a_request(person)
    person.cluster.admin("requests", "approve", person.known["request"])


def somebodys_request(person: Person) -> None:
    """Another's, on whom this person may decide."""
    person.cluster.admin("users", "set", person.name, "--roles", "access,deeds-review")
    person.do(login_line(person), PASSWORD).check()
    other = Person(person.cluster, f"{person.name}-other", person.home.with_name("other"), dict(person.known))
    person.cluster.add_user_once(other.name, "access", "deeds-ask")
    other.do(login_line(other), PASSWORD).check()
    a_request(other)
    person.known["request"] = other.known["request"]


def env(person: Person) -> dict[str, str]:
    """Of a program of this person's."""
    return {**clean_env(), "ILSH_HOME": str(person.home), "HOME": str(person.home)}


@dataclass(frozen=True)
class Deed:
    """One command, or what does it; and what the log has of it, in any order."""

    line: str | Callable[[Person], object]
    leaves: tuple[Kind, ...]
    says: Mapping[str, object] = field(default_factory=dict)  # the last one of the events that it leaves
    lines: tuple[str, ...] = ()  # read from stdin
    world: World | None = None
    code: int = 0


SESSION = (Kind.SESSION_START, Kind.SESSION_END, Kind.SESSION_LEAVE, Kind.SESSION_DATA, Kind.SESSION_UPLOAD)
SIGNED_IN = Kind.USER_LOGIN
DEEDS: dict[str, Deed] = {
    "login": Deed(lambda person: person.do(login_line(person), PASSWORD), (SIGNED_IN, Kind.CERT_CREATE)),
    "login, wrongly": Deed(
        lambda person: person.do(login_line(person), "not the password"),
        (Kind.USER_LOGIN_FAILURE,),
        {"success": False},
        code=4,
    ),
    "ssh": Deed("ssh {login}@{node} true", (*SESSION, Kind.EXEC)),
    "scp": Deed(
        "scp {file} {login}@{node}:{target}",
        (*SESSION, Kind.SUBSYSTEM, Kind.SFTP_OPEN, Kind.SFTP_SETSTAT, Kind.SFTP_SUMMARY),
    ),
    "play": Deed("play {sid} --format text", (Kind.RECORDING_ACCESS,), {"format": "ilr"}, world=ran),
    "mfa add": Deed(a_second_factor, (SIGNED_IN, Kind.RECOVERY_CODES, Kind.MFA_ADD), {"mfa_device_name": "phone"}),
    "mfa rm": Deed(
        "mfa rm phone --password-stdin",
        (SIGNED_IN, Kind.RECOVERY_CODE_USED, Kind.MFA_DELETE),
        {"mfa_device_name": "phone"},
        (PASSWORD, "{code}"),
        a_second_factor,
    ),
    "mfa recovery-codes": Deed(
        "mfa recovery-codes --password-stdin",
        (SIGNED_IN, Kind.RECOVERY_CODE_USED, Kind.RECOVERY_CODES),
        {},
        (PASSWORD, "{code}"),
        a_second_factor,
    ),
    "keys add": Deed(
        "keys add {file} --password-stdin", (SIGNED_IN, Kind.KEY_ENROL), {"name": "laptop"}, (PASSWORD,)
    ),
    "keys rm": Deed(
        "keys rm laptop --password-stdin", (SIGNED_IN, Kind.KEY_REMOVE), {"name": "laptop"}, (PASSWORD,), a_key
    ),
    "request create": Deed(
        "request create deeds-extra --reason why",
        (Kind.ACCESS_REQUEST_CREATE,),
        {"roles": ["deeds-extra"], "reason": "why", "state": "PENDING"},
    ),
    "request cancel": Deed("request cancel {request}", (Kind.ACCESS_REQUEST_UPDATE,), world=a_request),
    "request review": Deed(
        "request review {request} --approve",
        (Kind.ACCESS_REQUEST_REVIEW,),
        {"proposed_state": "APPROVED"},
        world=somebodys_request,
    ),
    "request use": Deed("request use {request}", (Kind.CERT_CREATE,), world=an_approved_request),
}

ELSEWHERE = {
    "join": ("tests/interop/test_joining.py", "session.join"),  # takes a live session
    "sessions end": ("tests/interop/test_watching_others.py", "lock.created"),  # the same
    "bot start": ("tests/interop/test_bots.py", "bot.join"),  # takes a bot, and goes on
    "bot renew": ("tests/interop/test_bots.py", "cert.create"),
}
"""Commands whose event another test looks for, and where."""

READS = {
    "logout",  # forgets the key here; the gateway has no part in it
    "status",  # looks at what is here
    "ls",
    "config",
    "sessions ls",
    "recordings ls",
    "events ls",
    "mfa ls",
    "keys ls",
    "request ls",
    "request show",
}
"""Commands that change nothing at the gateway and show nobody's session: they leave no event."""


@pytest.fixture
def person(proxy_cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Person:
    """Of this test alone."""
    name = "deeds-" + re.sub(r"\W+", "-", request.node.callspec.id)
    if "deeds-ask" not in {role["name"] for role in proxy_cluster.json("roles", "ls")}:
        proxy_cluster.admin("roles", "add", "deeds-extra", "--logins", "root", "--labels", "env=test")
        proxy_cluster.admin("roles", "add", "deeds-ask", "--option", "request_roles=deeds-extra", "--option", SEES)
        proxy_cluster.admin("roles", "add", "deeds-review", "--option", "review_roles=deeds-extra")
    proxy_cluster.add_user_once(name, "access", "deeds-ask")
    own = tmp_path / "own.pub"
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    own.write_text(f"{key.decode()} laptop\n")
    known = {
        "login": proxy_cluster.login_name,
        "node": proxy_cluster.node_name,
        "file": str(own),
        "target": str(tmp_path / "copy"),
    }
    somebody = Person(proxy_cluster, name, tmp_path / "home", known)
    somebody.do(login_line(somebody), PASSWORD).check()
    return somebody


@pytest.mark.parametrize("name", DEEDS)
def test_a_deed_leaves_its_events(person: Person, name: str) -> None:
    """By name and code; each says who did it, and from where."""
    deed = DEEDS[name]
    if deed.world is not None:
        deed.world(person)
    before = person.settled()
    lines = [line.format_map(person.known) for line in deed.lines]
    done = person.do(deed.line, *lines) if isinstance(deed.line, str) else deed.line(person)
    if isinstance(done, Completed):
        assert done.rc == deed.code, done.stderr
    wanted = sorted((kind.event, kind.code) for kind in deed.leaves)
    poll_until(lambda: len(person.events(before)) >= len(wanted), f"events of {name}")
    told = person.events(before)
    assert sorted((each["event"], each["code"]) for each in told) == wanted
    assert all(each["user"] == person.name for each in told)
    assert {each.get("addr.remote", HERE)[: len(HERE)] for each in told} == {HERE}
    if deed.says:
        last = next(each for each in told if each["event"] == deed.leaves[-1].event)
        assert {**last, **deed.says} == last


@pytest.mark.parametrize("name", ["reads"])
def test_what_only_reads_leaves_nothing(person: Person, name: str) -> None:
    """Every command of `READS`, one after the other, the one that logs out last."""
    assert name
    a_request(person)
    before = person.settled()
    for command in sorted(READS, key=lambda each: each == "logout"):
        person.do(f"{command} {{request}}" if command == "request show" else command).check()
    assert person.events(before) == []


def test_deeds_that_are_tested_elsewhere_are() -> None:
    """By name."""
    root = Path(__file__).parents[2]
    for path, event in ELSEWHERE.values():
        assert f'"{event}"' in (root / path).read_text(), (path, event)
