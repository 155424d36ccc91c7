"""The parts of a run. What is one command by each way in each round is a row of the table and a function."""

from collections.abc import Mapping, Sequence

from bench import measure
from bench.figures import FEW, MANY, SOME, Road
from bench.growth import Growth, Held
from bench.limits import Memory
from bench.rate import session_rate
from bench.rig import Interleaved, Part, Rig
from bench.screenfuls import write_screenfuls
from bench.stock import Stock
from bench.ways import CHACHA, Way

PLAIN = (Road.DIRECT, Road.JUMP, Road.ROUTE)

Values = Mapping[str, float | None]


def set_up(rig: Rig, way: Way) -> Values:
    """``ssh host true`` and ``ssh -tt host true``."""
    del rig
    return {"setup_ms": measure.set_up_ms(way), "setup_tty_ms": measure.set_up_ms(way, tty=True)}


def bulk(rig: Rig, way: Way) -> Values:
    """Both directions with AES-GCM."""
    set_up_s, size = rig.set_ups.seconds(way), rig.scale.bulk
    down = measure.download(way, size, set_up_s)
    up = measure.upload(way, size, set_up_s, rig.zeros())
    return {
        "bulk_down_mb_s": down.mb_per_s,
        "bulk_up_mb_s": up.mb_per_s,
        "cpu_down_s_gb": down.cpu_s_per_gb,
        "cpu_up_s_gb": up.cpu_s_per_gb,
    }


def chacha(rig: Rig, way: Way) -> Values:
    """Both directions with ChaCha20-Poly1305 on every connection."""
    set_up_s, size = rig.set_ups.seconds(way), rig.scale.bulk
    down = measure.download(way, size, set_up_s, CHACHA)
    up = measure.upload(way, size, set_up_s, rig.zeros(), CHACHA)
    return {
        "chacha_down_mb_s": down.mb_per_s,
        "chacha_up_mb_s": up.mb_per_s,
        "cpu_chacha_down_s_gb": down.cpu_s_per_gb,
        "cpu_chacha_up_s_gb": up.cpu_s_per_gb,
    }


def sftp(rig: Rig, way: Way) -> Values:
    """One file each way; the gateway follows the protocol and tells of both."""
    set_up_s, size = rig.set_ups.seconds(way), rig.scale.bulk
    here, there = rig.zeros(), rig.memory / "copy"
    before = way.gateway.stored.last() if way.gateway else 0
    got = measure.transfer(way, way.sftp(), size, set_up_s, stdin=f"get {here} {there}\n".encode())
    there.unlink()
    put = measure.transfer(way, way.sftp(), size, set_up_s, stdin=f"put {here} {there}\n".encode())
    there.unlink()
    if way.gateway and way.gateway.stored.since(before, "sftp") < 2:
        raise way.gateway.cluster.gateway.failure("no events of the files that sftp moved")
    return {
        "sftp_get_mb_s": got.mb_per_s,
        "sftp_put_mb_s": put.mb_per_s,
        "cpu_sftp_get_s_gb": got.cpu_s_per_gb,
        "cpu_sftp_put_s_gb": put.cpu_s_per_gb,
    }


def terminal(rig: Rig, way: Way) -> Values:
    """Screenfuls of text to a terminal, which are recorded."""
    set_up_s, size = rig.set_ups.seconds(way, tty=True), rig.scale.terminal
    source = rig.memory / "screenfuls"
    if not source.exists():
        write_screenfuls(source, size)
    shown = measure.transfer(way, way.argv(f"stty raw -echo; cat {source}", tty=True), size, set_up_s)
    return {"pty_mb_s": shown.mb_per_s, "cpu_pty_s_gb": shown.cpu_s_per_gb}


def echo(rig: Rig, way: Way) -> Values:
    """Single keys through a terminal."""
    p50, p99 = measure.echo_us(way, rig.scale.strokes)
    return {"echo_p50_us": p50, "echo_p99_us": p99}


def session_cpu(rig: Rig, way: Way) -> Values:
    """What the gateway spends on a short session, everything included."""
    if way.gateway is None:
        return {}
    return {"cpu_ms_per_session": measure.session_cpu_ms(way.gateway, way, rig.scale.sessions)}


def node(rig: Rig, way: Way) -> Values:
    """Transfers with our node as the target, and with sshd, both through the gateway."""
    set_up_s, size = rig.set_ups.seconds(way), rig.scale.bulk
    return {
        "target_down_mb_s": measure.download(way, size, set_up_s).mb_per_s,
        "target_up_mb_s": measure.upload(way, size, set_up_s, rig.zeros()).mb_per_s,
    }


def node_set_up(rig: Rig, way: Way) -> Values:
    """The set-up of both."""
    del rig
    return {"target_setup_ms": measure.set_up_ms(way)}


PARTS: Sequence[Part] = (
    Interleaved("setup", 25, 8, (*PLAIN, Road.JUMPED), set_up),
    Interleaved("bulk", 9, 3, PLAIN, bulk),
    Interleaved("chacha", 9, 0, PLAIN, chacha),
    Interleaved("sftp", 9, 0, PLAIN, sftp),
    Interleaved("pty", 9, 0, (*PLAIN, Road.UNRECORDED), terminal),
    Interleaved("echo", 9, 3, PLAIN, echo),
    Interleaved("sessioncpu", 9, 0, (Road.ROUTE,), session_cpu),
    Interleaved("rate", 9, 0, PLAIN, session_rate),
    Interleaved("nodesetup", 15, 0, (Road.NODE, Road.ROUTE), node_set_up),
    Interleaved("node", 9, 0, (Road.NODE, Road.ROUTE), node),
    Held(),
    Memory(),
    Growth("idle", 0, (200,), watched=200),
    Growth("growth", 1, (FEW, SOME, MANY), watched=MANY),
    Stock(),
)
"""In the order in which they run."""
