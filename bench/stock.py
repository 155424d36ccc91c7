"""What a session and a listing cost when nothing has been stored yet, and when a year has."""

import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench import measure
from bench.figures import STOCK, Road, case
from bench.rig import Rig, progress
from bench.ways import Gateway
from interlock.testing.procs import KitError, run

RECORDINGS = 20_000
"""Of the newest sessions; older ones were cleaned away."""

APART = timedelta(seconds=180)
"""Between two sessions of the stock: a year's worth of them."""

COUNTED = 20
"""Sessions in each round whose CPU time is taken."""

PATIENCE_S = 20.0
"""A listing that takes longer counts as this, and is not asked for again."""

LISTINGS = {
    "events_ls_ms": ("events", "ls", "--limit", "100"),
    "sessions_ls_ms": ("sessions", "ls"),
    "recordings_ls_ms": ("recordings", "ls"),
}


@dataclass(frozen=True, slots=True)
class Stock:
    """Two gateways beside each other, of which one has a stock; interleaved."""

    name: str = "stored"
    rounds: int = 9
    quick: int = 0

    def run(self, rig: Rig, rounds: int) -> None:
        """Each gateway and its double."""
        for gateway in rig.site.wanted_gateways():
            with ExitStack() as stack:
                empty = stack.enter_context(rig.site.fresh(gateway))
                full = stack.enter_context(rig.site.fresh(gateway))
                progress(f"{self.name}: filling")
                fill(full)
                for number in range(rounds):
                    progress(f"{self.name}: round {number + 1} of {rounds}")
                    for each, size in ((empty, 0), (full, STOCK)):
                        self._once(rig, each, case(each.name, size))
        progress("")

    @staticmethod
    def _once(rig: Rig, gateway: Gateway, name: str) -> None:
        way = gateway.way(Road.ROUTE)
        measure.set_up_ms(way)
        for _ in range(3):
            rig.results.add("setup_stored_ms", name, measure.set_up_ms(way))
        rig.results.add("cpu_stored_ms_per_session", name, measure.session_cpu_ms(gateway, way, COUNTED))
        for figure, words in LISTINGS.items():
            if (rig.results.median(figure, name) or 0) < PATIENCE_S * 1000:
                rig.results.add(figure, name, _listing_ms(gateway, words))


def _listing_ms(gateway: Gateway, words: Sequence[str]) -> float:
    """Milliseconds of a whole ``ilctl``; `PATIENCE_S` if it does not end in this time."""
    cluster = gateway.cluster
    began = time.perf_counter()
    try:
        listed = run([cluster.programs / "ilctl", *words], env=cluster.env(), timeout=PATIENCE_S)
    except KitError:
        return PATIENCE_S * 1000
    listed.check()
    return (time.perf_counter() - began) * 1000


def fill(gateway: Gateway) -> None:
    """Store copies of a real session, each with its own IDs and times, while the gateway is down."""
    cluster = gateway.cluster
    with gateway.storing(1):
        measure.run_client(gateway.way(Road.ROUTE).argv("true"))
    cluster.gateway.stop()
    database = sqlite3.connect(cluster.data / "interlock.db")
    with database:
        columns, rows = _newest_session(database)
        session = [dict(zip(columns, row, strict=True)) for row in rows]
        database.executemany(
            f"insert into events ({', '.join(columns)}) values ({', '.join('?' * len(columns))})",
            _copies(session, int(database.execute("select max(seq) from events").fetchone()[0])),
        )
    sids = [
        row[0]
        for row in database.execute(
            "select sid from events where event = 'session.upload' order by seq desc limit ?", (RECORDINGS,)
        )
    ]
    database.close()
    kept = cluster.data / "recordings" / f"{session[0]['sid']}.ilr"
    content = kept.read_bytes()
    for sid in sids:
        kept.with_name(f"{sid}.ilr").write_bytes(content)
    cluster.gateway = cluster.start_gateway()


def _newest_session(database: sqlite3.Connection) -> tuple[list[str], list[tuple[object, ...]]]:
    found = database.execute(
        "select * from events where sid = (select sid from events where event = 'session.upload') order by seq"
    )
    return [column[0] for column in found.description], found.fetchall()


WRITER = 1_000_000
"""Whose chain the copies are said to be in: no real one's, which goes on behind its own events."""


def _copies(session: list[dict[str, object]], last: int) -> Iterator[tuple[object, ...]]:
    """Rows of as many sessions as make the stock, the newest last and just before now."""
    sessions = STOCK // len(session)
    old = str(session[0]["sid"])
    latest = datetime.now(UTC)
    seq = last
    for number in range(sessions):
        sid = str(uuid.uuid4())
        moment = latest - APART * (sessions - number)
        for event in session:
            seq += 1
            uid = str(uuid.uuid4())
            when = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
            body = str(event["body"]).replace(old, sid).replace(str(event["uid"]), uid)
            body = body.replace(str(event["time"])[:23], when[:23])
            fresh = {
                "seq": seq,
                "uid": uid,
                "sid": sid,
                "time": when,
                "body": body,
                "writer": WRITER,
                "number": seq,
            }
            yield tuple((event | fresh).values())
