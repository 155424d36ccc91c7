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


def case(way: str, at: int) -> str:
    """The name of a way among so many live sessions, or stored events."""
    return f"{way}@{at}"


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
    at: int | None = None  # of a figure that is measured in several cases: which one
    base_at: int | None = None

    def names(self, subject: str) -> tuple[str, str]:
        """The two ways that are compared."""
        ours, theirs = self.road.of(subject), self.base.of(subject)
        return (
            ours if self.at is None else case(ours, self.at),
            theirs if self.base_at is None else case(theirs, self.base_at),
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """A bound on the median of a figure itself, by the route through the gateway."""

    figure: str
    bound: Bound
    at: int | None = None

    def name(self, subject: str) -> str:
        """The way that is meant."""
        return subject if self.at is None else case(subject, self.at)


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
    Figure("sessions_per_s", "short sessions, 20 openers", "1/s", higher_is_better=True),
    Figure("target_setup_ms", "set-up, our node and sshd as targets", "ms"),
    _mb_s("target_down_mb_s", "download from them"),
    _mb_s("target_up_mb_s", "upload to them"),
    Figure("target_kb_per_session", "what they hold for an idle session", "kB"),
    Figure("rss_growth_down_mb", "gateway after 4 GB down", "MB more"),
    Figure("rss_growth_up_mb", "gateway after 4 GB up", "MB more"),
    Figure("stalled_client_mb", "gateway while a client with a window of 1 GiB does not read", "MB more"),
    Figure("stalled_target_mb", "gateway while a target with a window of 1 GiB does not read", "MB more"),
    Figure("idle_kb_per_session", "gateway, per idle recorded terminal", "kB"),
    Figure("idle_cpu_percent", "gateway while all are idle", "% of a core"),
    Figure("idle_wakeups_per_s", "gateway while all are idle", "wake-ups/s"),
    Figure("setup_live_ms", "set-up beside so many live sessions", "ms"),
    Figure("cpu_live_ms_per_session", "gateway CPU of one `true` beside them", "ms"),
    Figure("setup_stored_ms", "set-up after so many stored events", "ms"),
    Figure("cpu_stored_ms_per_session", "gateway CPU of one `true` after them", "ms"),
    Figure("events_ls_ms", "ilctl events ls --limit 100", "ms"),
    Figure("sessions_ls_ms", "ilctl sessions ls", "ms"),
    Figure("recordings_ls_ms", "ilctl recordings ls", "ms"),
)

FEW, SOME, MANY = 10, 500, 2000
"""Live sessions."""

STOCK = 1_000_000
"""Stored events."""


def _growth(name: str, figure: str, at: int, base_at: int, road: Road = Road.ROUTE) -> Ratio:
    """How a figure grows; that it is flat is demanded, and nothing more exact."""
    return Ratio(name, figure, road, road=road, at=at, base_at=base_at)


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
    Ratio("node_setup_vs_sshd", "target_setup_ms", Road.ROUTE, at_most(1.0), road=Road.NODE),
    Ratio("node_down_vs_sshd", "target_down_mb_s", Road.ROUTE, at_least(0.8), road=Road.NODE),
    Ratio("node_up_vs_sshd", "target_up_mb_s", Road.ROUTE, at_least(0.8), road=Road.NODE),
    Ratio("node_rss_vs_sshd_pss", "target_kb_per_session", Road.ROUTE, at_most(1.0), road=Road.NODE),
    Ratio("sessions_per_s_vs_direct", "sessions_per_s", Road.DIRECT, at_least(0.8)),
    Ratio("sessions_per_s_vs_jump", "sessions_per_s", Road.JUMP, at_least(1.6)),
    _growth("setup_500_live_vs_10", "setup_live_ms", SOME, FEW),
    _growth("setup_2000_live_vs_10", "setup_live_ms", MANY, FEW),
    _growth("direct_setup_2000_live_vs_10", "setup_live_ms", MANY, FEW, road=Road.DIRECT),
    _growth("cpu_500_live_vs_10", "cpu_live_ms_per_session", SOME, FEW),
    _growth("cpu_2000_live_vs_10", "cpu_live_ms_per_session", MANY, FEW),
    _growth("setup_1m_events_vs_0", "setup_stored_ms", STOCK, 0),
    _growth("cpu_1m_events_vs_0", "cpu_stored_ms_per_session", STOCK, 0),
    _growth("events_ls_1m_events_vs_0", "events_ls_ms", STOCK, 0),
    _growth("sessions_ls_1m_events_vs_0", "sessions_ls_ms", STOCK, 0),
    _growth("recordings_ls_1m_events_vs_0", "recordings_ls_ms", STOCK, 0),
)

DEMANDS: Sequence[Demand] = (
    Demand("cpu_down_s_gb", at_most(0.9)),
    Demand("cpu_up_s_gb", at_most(0.9)),
    Demand("cpu_ms_per_session", at_most(8.0)),
    Demand("rss_growth_down_mb", at_most(20.0)),
    Demand("rss_growth_up_mb", at_most(20.0)),
    Demand("stalled_client_mb", at_most(2.0)),
    Demand("stalled_target_mb", at_most(2.0)),
    Demand("idle_kb_per_session", at_most(80.0), at=MANY),
    Demand("idle_cpu_percent", at_most(1.0), at=MANY),
)
