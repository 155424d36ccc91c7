"""What is measured, compared and demanded: tables, so that nothing of it is spread over the code."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Road(StrEnum):
    """A way to a target, whoever is on it. Its value is what the way's name has behind the gateway's."""

    DIRECT = "direct"  # to sshd, nothing between
    JUMP = "jump"  # `ssh -J` by another sshd
    ROUTE = ""  # login%target@gateway to sshd: what "interlock" alone means
    JUMPED = "jumped"  # `ssh -J gateway` to sshd: a recorded jump
    UNRECORDED = "unrecorded"  # as ROUTE, for a user whose role says recording=off
    NODE = "node"  # as ROUTE, to our own node

    @property
    def ours(self) -> bool:
        """Whether it leads through the gateway that is measured."""
        return self not in {Road.DIRECT, Road.JUMP}

    def of(self, subject: str) -> str:
        """The name of this way by a gateway (or by another relay)."""
        if not self.ours:
            return self.value
        return f"{subject}_{self.value}" if self.value else subject


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured; its values are plain numbers in ``unit``."""

    name: str
    title: str
    unit: str
    higher_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """What a value must keep to."""

    value: float
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        """Whether it does."""
        return value >= self.value if self.at_least else value <= self.value

    def __str__(self) -> str:
        """For tables."""
        return f"{'≥' if self.at_least else '≤'} {self.value:g}"


def at_most(value: float) -> Bound:
    """An upper bound."""
    return Bound(value)


def at_least(value: float) -> Bound:
    """A lower bound."""
    return Bound(value, at_least=True)


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of a figure by one road over that by another; None for a bound: shown, not demanded."""

    name: str
    figure: str
    base: Road
    bound: Bound | None = None
    road: Road = Road.ROUTE


@dataclass(frozen=True, slots=True)
class Demand:
    """A bound on the median of a figure itself, by the route through the gateway."""

    figure: str
    bound: Bound
    road: Road = Road.ROUTE


def _mb_s(name: str, title: str) -> Figure:
    return Figure(name, title, "MB/s", higher_is_better=True)


FIGURES: Sequence[Figure] = (
    Figure("setup_ms", "set-up", "ms"),
    Figure("setup_tty_ms", "set-up with -tt", "ms"),
    _mb_s("bulk_down_mb_s", "download, aes128-gcm"),
    _mb_s("bulk_up_mb_s", "upload, aes128-gcm"),
    Figure("cpu_down_s_gb", "gateway CPU, download", "s/GB"),
    Figure("cpu_up_s_gb", "gateway CPU, upload", "s/GB"),
    _mb_s("chacha_down_mb_s", "download, chacha20"),
    _mb_s("chacha_up_mb_s", "upload, chacha20"),
    Figure("cpu_chacha_down_s_gb", "gateway CPU, download, chacha20", "s/GB"),
    Figure("cpu_chacha_up_s_gb", "gateway CPU, upload, chacha20", "s/GB"),
    _mb_s("sftp_get_mb_s", "sftp get"),
    _mb_s("sftp_put_mb_s", "sftp put"),
    Figure("cpu_sftp_get_s_gb", "gateway CPU, sftp get", "s/GB"),
    Figure("cpu_sftp_put_s_gb", "gateway CPU, sftp put", "s/GB"),
    _mb_s("pty_mb_s", "terminal output"),
    Figure("cpu_pty_s_gb", "gateway CPU, terminal output", "s/GB"),
    Figure("echo_p50_us", "key echo p50", "µs"),
    Figure("echo_p99_us", "key echo p99", "µs"),
    Figure("cpu_ms_per_session", "gateway CPU of one `true`", "ms"),
)

RATIOS: Sequence[Ratio] = (
    Ratio("setup_vs_direct", "setup_ms", Road.DIRECT, at_most(0.90)),
    Ratio("setup_vs_jump", "setup_ms", Road.JUMP, at_most(0.60)),
    Ratio("setup_tty_vs_direct", "setup_tty_ms", Road.DIRECT, at_most(0.90)),
    Ratio("setup_tty_vs_jump", "setup_tty_ms", Road.JUMP, at_most(0.60)),
    Ratio("jump_setup_vs_jump", "setup_ms", Road.JUMP, at_most(1.0), road=Road.JUMPED),
    Ratio("bulk_down_vs_direct", "bulk_down_mb_s", Road.DIRECT, at_least(0.90)),
    Ratio("bulk_down_vs_jump", "bulk_down_mb_s", Road.JUMP, at_least(1.3)),
    Ratio("bulk_up_vs_direct", "bulk_up_mb_s", Road.DIRECT, at_least(0.80)),
    Ratio("bulk_up_vs_jump", "bulk_up_mb_s", Road.JUMP, at_least(1.7)),
    Ratio("chacha_down_vs_jump", "chacha_down_mb_s", Road.JUMP, at_least(1.0)),
    Ratio("chacha_up_vs_jump", "chacha_up_mb_s", Road.JUMP, at_least(1.0)),
    Ratio("sftp_get_vs_direct", "sftp_get_mb_s", Road.DIRECT, at_least(0.85)),
    Ratio("sftp_put_vs_direct", "sftp_put_mb_s", Road.DIRECT, at_least(0.85)),
    Ratio("pty_vs_direct", "pty_mb_s", Road.DIRECT, at_least(0.97)),
    Ratio("pty_recorder_cost", "cpu_pty_s_gb", Road.UNRECORDED, at_most(1.15)),
    Ratio("echo_p50_vs_jump", "echo_p50_us", Road.JUMP, at_most(0.9)),
    Ratio("echo_p99_vs_jump", "echo_p99_us", Road.JUMP, at_most(1.0)),
)

DEMANDS: Sequence[Demand] = (
    Demand("cpu_down_s_gb", at_most(0.9)),
    Demand("cpu_up_s_gb", at_most(0.9)),
    Demand("cpu_ms_per_session", at_most(8.0)),
)
