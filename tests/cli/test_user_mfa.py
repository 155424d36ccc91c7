"""ilsh mfa and ilctl users mfa against the real gateway, as a person at a terminal uses them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from interlock.adapters.system import SystemClock
from interlock.testing.factors import Authenticator
from interlock.testing.gateway import BIN, PASSWORD, Cluster
from interlock.testing.openssh import clean_env
from interlock.testing.procs import Completed, run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("proxy-mode")]

USER = "careful"


class Person:
    """A user of ilsh."""

    def __init__(self, cluster: Cluster, home: Path) -> None:
        self.cluster = cluster
        self.env = {**clean_env(), "ILSH_HOME": str(home), "HOME": str(home)}

    def ilsh(self, *arguments: str, lines: tuple[str, ...] = ()) -> Completed:
        stdin = "".join(f"{line}\n" for line in lines).encode()
        return run([BIN / "ilsh", *arguments], env=self.env, stdin=stdin)

    def login(self, *lines: str) -> Completed:
        where = ["--proxy", f"{self.cluster.host}:{self.cluster.port}", "--host-ca", str(self.cluster.host_ca)]
        return self.ilsh(
            "login", "--user", USER, "--no-agent", "--password-stdin", *where, lines=(PASSWORD, *lines)
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.json("events", "ls", "--type", name)
        return [event for event in found if event["user"] == USER]


def test_a_second_factor_from_its_beginning_to_its_end(proxy_cluster: Cluster, tmp_path: Path) -> None:
    """Added at the terminal by what the app shows; asked for from then on; recovery codes; lost, and reset."""
    proxy_cluster.add_user(USER, "access")
    person = Person(proxy_cluster, tmp_path / "home")
    person.login().check()
    with Terminal([str(BIN / "ilsh"), "mfa", "add", "--name", "phone"], env=person.env, cols=100) as terminal:
        terminal.expect("Password:")
        terminal.send(f"{PASSWORD}\r")
        found = terminal.expect(r"(otpauth://totp/demo:careful\?secret=(\w+)&issuer=demo)")
        phone = Authenticator(found[2].decode())
        terminal.expect("Code that the app shows:")
        terminal.send("000000\r")  # mistyped: the same secret counts on
        terminal.expect("Try again.*Code that the app shows:")
        code = phone.code(SystemClock().now())
        terminal.send(f"{code}\r")
        terminal.expect("phone was added")
        assert terminal.wait() == 0
        codes = re.findall(r"^ {2}((?:\w{4}-){3}\w{4})\r$", terminal.text, re.MULTILINE)
        assert "\N{FULL BLOCK}" in terminal.text  # of the QR code
    assert len(codes) == 10

    for lines, why in (((), "no line for"), (("000000",), "that code is not right"), ((code,), "used already")):
        refused = person.login(*lines)
        assert refused.rc == 4
        assert why in refused.stderr
    assert "9 are left" in person.login(codes[0]).check().stderr
    assert person.login(codes[0]).rc == 4
    listed = json.loads(person.ilsh("mfa", "ls", "--format", "json").check().stdout)
    assert [(each["name"], each["kind"]) for each in listed["devices"]] == [("phone", "totp")]
    assert listed["recovery_codes"] == 9
    login = person.events("user.login")[-1]
    assert person.events("recovery_code.used")[-1]["success"] is False
    assert login["success"] is False

    made = person.ilsh("mfa", "recovery-codes", "--password-stdin", lines=(PASSWORD, codes[1])).check()
    fresh = re.findall(r"(?:\w{4}-){3}\w{4}", made.stdout)
    assert person.login(codes[2]).rc == 4
    person.login(fresh[0]).check()
    told = [event for event in person.events("user.login") if event["success"]]
    assert told[-1]["mfa_device"]["mfa_device_type"] == "recovery-code"

    rows = proxy_cluster.json("users", "mfa", "ls", USER)
    assert [row["name"] for row in rows] == ["phone"]
    proxy_cluster.admin("users", "mfa", "reset", USER)
    person.login().check()
    assert json.loads(person.ilsh("mfa", "ls", "--format", "json").check().stdout) == {
        "devices": [], "recovery_codes": 0
    }  # fmt: skip
