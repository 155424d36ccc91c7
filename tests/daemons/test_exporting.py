"""Exports out of the gateway's file: what is wrong is named, and a running gateway delivers."""

import asyncio
import json
from pathlib import Path

import pytest

from interlock.core.errors import ConfigError
from interlock.daemons.config import AuthConfig, Config, ExportConfig, ProxyConfig
from interlock.daemons.exporting import receiver
from interlock.daemons.gateway import run_gateway
from interlock.daemons.local import open_local
from interlock.domain.audit import AuditEvent, Kind
from interlock.services.audit.verifying import verify
from interlock.testing.clock import FakeClock
from interlock.testing.receivers import http_receiver

SECRET = "a secret of some length"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Private, as it must be."""
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text(f"{SECRET}\n")
    return path


@pytest.mark.parametrize(
    "to",
    [
        "file:///tmp/x",
        "syslog+tcp://h",
        "syslog+udp://h:1514",
        "syslog+tls://h",
        "otlp+https://h/v1/logs",
        "https://h",
    ],
)
def test_each_kind_of_receiver_is_made(to: str, secret: Path) -> None:
    """By its URL."""
    config = ExportConfig(to, secret_file=str(secret) if to.startswith("https") else "")
    assert receiver("siem", config, FakeClock()) is not None


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer …"}, {"Bad name": "x"}, {"A": "b\r\nC: d"}, {"host": "x"}]
)
def test_headers_that_cannot_be_sent(headers: dict[str, str], secret: Path) -> None:
    """Are told at the start."""
    config = ExportConfig("https://h", secret_file=str(secret), headers=headers)
    with pytest.raises(ConfigError, match=r"exports\.siem: headers"):
        receiver("siem", config, FakeClock())


@pytest.mark.parametrize(
    ("to", "named"),
    [
        ("h:514", "nowhere"),
        ("file://relative", "nowhere"),
        ("syslog+tcp://", "HOST"),
        ("syslog+udp://h:x", "HOST"),
        ("https://", "secret_file"),
        ("otlp+https://", "URL"),
        ("otlp+https://h/ü", "URL"),
    ],
)
def test_an_error_names_the_export_and_what_is_wrong(to: str, named: str) -> None:
    """At the start."""
    with pytest.raises(ConfigError, match=r"exports\.siem: ") as caught:
        receiver("siem", ExportConfig(to), FakeClock())
    assert named in caught.value.public or to == "https://"


def test_a_secret_is_private_and_long_enough(secret: Path) -> None:
    """Or it is none."""
    config = ExportConfig("https://h/", secret_file=str(secret))
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        receiver("siem", config, FakeClock())
    secret.chmod(0o600)
    secret.write_text("short")
    with pytest.raises(ConfigError, match="at least"):
        receiver("siem", config, FakeClock())
    secret.unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        receiver("siem", config, FakeClock())


@pytest.mark.slow
async def test_a_running_gateway_delivers(tmp_path: Path, secret: Path) -> None:
    """What is stored, ``ilctl``'s deeds too, to a file and a webhook; and goes on there after a restart."""
    out = tmp_path / "events.jsonl"
    nowhere = "127.0.0.1:0"
    async with http_receiver() as hook:
        exports = {
            "archive": ExportConfig(f"file://{out}"),
            "hook": ExportConfig(hook.url, secret_file=str(secret)),
        }
        config = Config(
            auth=AuthConfig(listen=nowhere, join_listen=nowhere),
            proxy=ProxyConfig(listen=nowhere),
            exports=exports,
        )
        for number in range(2):
            stopping, ready = asyncio.Event(), asyncio.Event()

            async def deliver(stopping: asyncio.Event, ready: asyncio.Event, number: int) -> None:
                await ready.wait()
                async with open_local(tmp_path / "data", writer="ilctl") as local:
                    told = AuditEvent(Kind.USER_CREATE, local.clock.now(), f"u{number}", "interlock")
                    await local.audit.append([told])
                await hook.until(f"u{number}")
                while f"u{number}" not in await asyncio.to_thread(lines, out):  # noqa: ASYNC110 - a file tells nobody
                    await asyncio.sleep(0.02)
                stopping.set()

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(deliver(stopping, ready, number))
                await run_gateway(
                    config,
                    tmp_path / "data",
                    with_node=False,
                    stopping=stopping,
                    on_ready=lambda _listening, ready=ready: ready.set(),  # type: ignore[misc]
                )
        told = [uid for uid in lines(out) if uid in ("u0", "u1")]
        assert told == ["u0", "u1"]
    async with open_local(tmp_path / "data") as local:
        key = local.authority.audit_key.public
        report = await local.evidence.inspect(lambda evidence: verify(evidence, [key]))
        states = await local.exports.states()
    assert report.findings == []
    assert report.writers
    assert all(each.signed == each.last for each in report.writers.values())  # the last events too, at the stop
    assert [state.cursor.checkpoint for state in states] == [report.checkpoints] * 2  # and that has left


def lines(path: Path) -> list[str]:
    """What a file got."""
    return [json.loads(line)["uid"] for line in path.read_text().splitlines()] if path.exists() else []
