"""Configuration: one TOML file, or none at all. Parsed once, strictly, into frozen values.

An unknown setting or a value of the wrong kind is an error that names it (R6); what is left out has the default
written beside it here.
"""

import os
import socket
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from interlock.core.address import parse_address, parse_listen
from interlock.core.errors import ConfigError
from interlock.core.ids import parse_name
from interlock.daemons.config_words import in_words
from interlock.daemons.database import check_database
from interlock.daemons.keys import KeysConfig
from interlock.domain.duties import RecordingMode
from interlock.domain.hold import Retention

DEFAULT_CLUSTER = "interlock"

MAX_WORKERS = 64
"""Workers of one gateway: what is shared (database, locks) is the limit long before."""

_MAX_DAYS = 365_000  # more would be before any calendar

PROXY_PORT = 3023
"""The proxy's one port, unless something else is said."""


class AuthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table ``[auth]``."""

    listen: str = "127.0.0.1:3025"  # gRPC for daemons that have joined, mTLS
    join_listen: str = "127.0.0.1:3026"  # gRPC for daemons that join; what --auth names
    advertise: str = ""  # host:port for other machines; default: the same; several auths: IP:port,… of all
    locking: Literal["best_effort", "strict"] = "best_effort"  # strict: who cannot see the locks admits nobody
    presence: Literal["required", "when_offered"] = "required"  # when_offered: while proxies apart are upgraded
    keys: KeysConfig = KeysConfig()


class ProxyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table ``[proxy]``."""

    listen: str = "0.0.0.0:3023"
    names: tuple[str, ...] = ()  # what clients call the proxy, beside this machine's name and its loopback names
    ciphers: tuple[str, ...] = ()  # default: AES-GCM only, the fastest
    proxy_protocol: tuple[str, ...] = ()  # networks of load balancers, which say whose connection each is
    share_port: bool = False  # apart from auth: several proxies on this machine, of one user, have this port
    peer_listen: str = ""  # apart from auth: TLS for the other proxies; default: they cannot reach this one
    peer_advertise: str = ""  # host:port at which they do; default: the same

    @property
    def fronts(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """``proxy_protocol``, parsed; ConfigError if one is no network."""
        try:
            return tuple(map(ip_network, self.proxy_protocol))
        except ValueError as error:
            raise ConfigError(f"proxy.proxy_protocol: {error}") from None


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table ``[node]``."""

    hostname: str = ""  # default: this machine's name
    listen: str = "127.0.0.1:3022"
    advertise: str = ""  # host at which the proxy reaches it
    proxy: str = ""  # host:port of a proxy to dial out to; then it does not listen, and reaches auth this way too
    labels: dict[str, str] = {}
    names: tuple[str, ...] = ()


class MonitorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table ``[monitor]``."""

    listen: str = ""  # HTTP without authentication: /healthz, /readyz, /metrics; default: nowhere


class WebConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table ``[web]``: where people sign in with a browser."""

    listen: str = ""  # default: nowhere
    public_url: str = ""  # https://HOST[:PORT], as browsers call it; passkeys are bound to its host for good
    tls_cert: str = ""  # PEM files; without them it listens on this machine alone, or behind a reverse proxy
    tls_key: str = ""
    behind_proxy: tuple[str, ...] = ()  # networks of reverse proxies, whose X-Forwarded-For is believed
    provider_ca: str = ""  # PEM file of the authorities of identity providers; default: the system's


class RecordingsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table ``[recordings]``. Another store counts from the next start on; what files hold stays readable."""

    store: str = ""  # s3://BUCKET/PREFIX of an S3-compatible storage; default: files in the data directory
    endpoint: str = ""  # its URL; default: Amazon's for the region
    region: str = "us-east-1"
    credentials: str = ""  # file in the format of Amazon's tools, mode 0600; default: environment, or as those do
    spill_below_mib: int = 0  # free room of the recordings' disk; default: a tenth of it, 2048 at most
    refuse_below_mib: int = 0  # no new recordings below; default: a 25th of it, 512 at most
    reserve_mib: int = 0  # set aside for when it is full; default: a 50th of it, 32 at most
    recipients: tuple[str, ...] = ()  # who may read contents: age1… or SSH public keys; default: not encrypted
    identity: str = ""  # file with the identity of one of them, for people who play their own sessions
    path_style: bool = True  # the bucket's name in the path; false: in the host's name


class ExportConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table ``[exports.NAME]``: where the audit log goes as it grows. Another name begins at the beginning."""

    to: str  # file:///PATH, syslog+tcp:// or +tls or +udp, https:// (webhook), otlp+https://
    secret_file: str = ""  # of a webhook: what its signature is made with, mode 0600
    headers: dict[str, str] = {}  # of HTTP requests, for example Authorization
    ca: str = ""  # PEM file of the authorities that the receiver is verified by; default: the system's
    cert: str = ""  # PEM files of a certificate to show to the receiver
    key: str = ""


class RetentionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table ``[retention]``; what is left out has no limit. What is held (``ilctl holds``) is kept beyond them."""

    events_days: Annotated[float, msgspec.Meta(gt=0)] | None = None
    events_max_gb: Annotated[float, msgspec.Meta(gt=0)] | None = None  # 10**9 bytes of their JSON
    recordings_days: Annotated[float, msgspec.Meta(gt=0)] | None = None
    recordings_max_gb: Annotated[float, msgspec.Meta(gt=0)] | None = None

    @property
    def policy(self) -> Retention:
        """The same, in our units."""
        return Retention(
            events_for=_days(self.events_days),
            events_bytes=_gigabytes(self.events_max_gb),
            recordings_for=_days(self.recordings_days),
            recordings_bytes=_gigabytes(self.recordings_max_gb),
        )


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    data_dir: str = ""
    database: str = ""  # postgresql://USER@HOST/NAME; "sqlite"; default: as before, at first a file in data_dir
    cluster: str = ""  # "interlock" at first; a later start must name the same or none
    recording_mode: str = ""  # default: what ilctl mode set last said; "node" at first
    log_level: str = "info"
    workers: int = 0  # processes that serve the proxy's port; 0: one for each core that this process may use
    auth: AuthConfig = AuthConfig()
    proxy: ProxyConfig = ProxyConfig()
    node: NodeConfig = NodeConfig()
    monitor: MonitorConfig = MonitorConfig()
    web: WebConfig = WebConfig()
    recordings: RecordingsConfig = RecordingsConfig()
    retention: RetentionConfig = RetentionConfig()
    exports: dict[str, ExportConfig] = {}

    @property
    def mode(self) -> RecordingMode | None:
        """The recording mode to set at start, if any; ConfigError for an unknown one."""
        if not self.recording_mode:
            return None
        try:
            return RecordingMode(self.recording_mode)
        except ValueError:
            known = ", ".join(mode.value for mode in RecordingMode)
            raise ConfigError(f"recording_mode must be one of {known}, not {self.recording_mode!r}") from None

    @property
    def worker_count(self) -> int:
        """How many processes serve the proxy's port."""
        return min(self.workers or len(os.sched_getaffinity(0)), MAX_WORKERS)

    @property
    def node_name(self) -> str:
        """The name under which people reach this machine's node; ConfigError if it is none."""
        name = self.node.hostname or socket.gethostname()
        try:
            return parse_name(name).lower()
        except ValueError as error:
            raise ConfigError(f"node.hostname: {error}") from None

    def check(self) -> None:
        """ConfigError if a value cannot be used: better now than when half of the daemon runs."""
        try:
            parse_name(self.cluster or DEFAULT_CLUSTER)
        except ValueError as error:
            raise ConfigError(f"cluster: {error}") from None
        check_database(self.database)
        self.auth.keys.check()
        _ = self.mode, self.node_name
        room = self.recordings
        if min(room.spill_below_mib, room.refuse_below_mib, room.reserve_mib) < 0:
            raise ConfigError("recordings: room cannot be negative")
        if room.spill_below_mib and room.spill_below_mib < room.refuse_below_mib:
            raise ConfigError("recordings.spill_below_mib must not be less than recordings.refuse_below_mib")
        if not 0 <= self.workers <= MAX_WORKERS:
            raise ConfigError(f"workers must be 0 to {MAX_WORKERS}, not {self.workers}")
        for setting, text in (
            ("auth.listen", self.auth.listen),
            ("auth.join_listen", self.auth.join_listen),
            ("proxy.listen", self.proxy.listen),
            ("node.listen", self.node.listen),
            *((("proxy.peer_listen", self.proxy.peer_listen),) if self.proxy.peer_listen else ()),
            *((("monitor.listen", self.monitor.listen),) if self.monitor.listen else ()),
            *((("web.listen", self.web.listen),) if self.web.listen else ()),
        ):
            Address.parse(setting, text)
        _ = self.proxy.fronts
        for name in self.exports:
            try:
                parse_name(name)
            except ValueError as error:
                raise ConfigError(f"exports: {error}") from None
        if self.node.proxy:
            proxy_address("node.proxy", self.node.proxy)


def _days(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(days=min(number, _MAX_DAYS))


def _gigabytes(number: float | None) -> int | None:
    return None if number is None else int(number * 1e9)


def load_config(path: Path | None) -> Config:
    """Read the file; the defaults if there is none. ConfigError names what is wrong."""
    if path is None:
        return Config()
    try:
        config = msgspec.convert(tomllib.loads(path.read_text()), Config)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", reason=str(error)) from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {in_words(error, Config)}") from None
    try:
        config.check()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.public}") from None
    return config


def proxy_address(setting: str, text: str) -> tuple[str, int]:
    """Host and port of a proxy to dial, whose port may be left out; ConfigError naming the setting."""
    try:
        return parse_address(text, default_port=PROXY_PORT)
    except ValueError:
        raise ConfigError(f"{setting} must be HOST[:PORT], not {text[:100]!r}") from None


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @classmethod
    def parse(cls, setting: str, text: str) -> "Address":
        """Read host:port; ConfigError naming the setting."""
        try:
            return cls(*parse_listen(text))
        except ValueError:
            raise ConfigError(f"{setting} must be HOST:PORT, not {text!r}") from None
