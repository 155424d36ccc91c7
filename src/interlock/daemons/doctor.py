"""``ilctl doctor``: looks at a gateway's set-up from outside, whether the gateway runs or not."""

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from interlock.adapters.db.check import damage
from interlock.adapters.ssh.probe import host_key, version
from interlock.core.errors import ConfigError, InterlockError, TargetError
from interlock.daemons.config import Address, Config
from interlock.daemons.database import DATABASE, database_place, has_database
from interlock.daemons.local import RECORDINGS, Local, open_local, prepare_data_dir
from interlock.daemons.supervise import holder_of_directory
from interlock.domain.recording import RecordingState
from interlock.domain.target import SubKind, Target
from interlock.ports import EventFilter, MemberProxy
from interlock.services.operation.doctor import Examination, Finding, Verdict, examine

LITTLE_ROOM = 1024**3
"""Bytes of free disk below which somebody should look; a day of terminals of 100 people is less."""

CLOCK_SLACK = timedelta(minutes=1)
"""How far the newest event may be in the future: nodes' clocks differ."""

AT_ONCE = 16
"""Hosts that are asked at the same time."""

ANSWERS_S = 10.0

CHECK_S = 20.0
"""Seconds for a look at the whole database: a few gigabytes. Less than one part may take (`PATIENCE_S`)."""

_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where to reach what listens there


async def examine_gateway(config: Config, data_dir: Path) -> list[Finding]:
    """All findings about the gateway of this directory, and of what it reaches."""
    found = _directory(data_dir)
    if any(finding.verdict is Verdict.PROBLEM for finding in found):
        return found
    try:
        async with open_local(data_dir) as local:
            return found + await examine(_parts(config, local))
    except InterlockError as error:
        advice = "restore a backup into an empty directory: ilctl restore"
        if not isinstance(database_place(data_dir), Path):
            advice = "see whether its server answers and lets this user in: psql, with the URL in database-url"
        return [*found, Finding("database", Verdict.PROBLEM, error.public, advice)]


def _parts(config: Config, local: Local) -> dict[str, Examination]:
    async def database() -> Sequence[Finding]:
        return await _database(local)

    async def gateway() -> Sequence[Finding]:
        return await _gateway(config, local)

    async def monitor() -> Sequence[Finding]:
        return await asyncio.to_thread(_monitor, config.monitor.listen)

    async def people() -> Sequence[Finding]:
        return await _people(local)

    async def nodes() -> Sequence[Finding]:
        return await _nodes(local)

    async def recordings() -> Sequence[Finding]:
        return await _recordings(local)

    async def clock() -> Sequence[Finding]:
        return await _clock(local)

    return {
        "database": database,
        "gateway": gateway,
        "monitor": monitor,
        "people": people,
        "nodes": nodes,
        "recordings": recordings,
        "clock": clock,
    }


def _directory(data_dir: Path) -> list[Finding]:
    part = "directory"
    if not has_database(data_dir):
        advice = "name the gateway's directory with --data-dir, or start the gateway once"
        return [Finding(part, Verdict.PROBLEM, f"there is no gateway in {data_dir}", advice)]
    try:
        prepare_data_dir(data_dir)
    except ConfigError as error:
        return [Finding(part, Verdict.PROBLEM, error.public)]
    disk = os.statvfs(data_dir)
    free = disk.f_bavail * disk.f_frsize
    text = f"{data_dir}: {free / 1024**3:.1f} GiB free"
    if free < LITTLE_ROOM:
        return [Finding(part, Verdict.WARNING, text, "make room: recordings of new sessions need it")]
    return [Finding(part, Verdict.OK, text)]


async def _database(local: Local) -> list[Finding]:
    bad = await damage(local.database, within=CHECK_S)
    if bad is None:
        text = f"it answers, but is too large to be checked in {CHECK_S:g} s; cluster {local.cluster.name}"
        advice = f"sqlite3 {local.data_dir / DATABASE} 'PRAGMA integrity_check', at a quiet time"
        return [Finding("database", Verdict.WARNING, text, advice)]
    if bad:
        advice = "stop the gateway, keep a copy of the directory, and restore a backup: ilctl restore"
        return [Finding("database", Verdict.PROBLEM, f"the database is damaged: {text}", advice) for text in bad]
    place = database_place(local.data_dir)
    state = "sound" if isinstance(place, Path) else f"{place} answers"
    return [Finding("database", Verdict.OK, f"{state}; cluster {local.cluster.name}")]


async def _gateway(config: Config, local: Local) -> list[Finding]:
    where = Address.parse("proxy.listen", config.proxy.listen)
    process = holder_of_directory(local.data_dir)
    if process is None:
        return [Finding("gateway", Verdict.WARNING, "it does not run", "start it: interlock start")]
    try:
        said = await version(_WILDCARDS.get(where.host, where.host), where.port)
    except TargetError as error:
        if there := await local.proxies.proxies():
            return [_auth_alone(process, there, now=local.clock.now())]
        advice = "name its file with --config if it listens elsewhere; else look at its log"
        text = f"process {process} runs, but at {config.proxy.listen} {error.public}"
        return [Finding("gateway", Verdict.PROBLEM, text, advice)]
    well = Finding("gateway", Verdict.OK, f"process {process} answers at {config.proxy.listen}: {said}")
    return [well, *await _apart(local)]


def _auth_alone(process: int, proxies: Sequence[MemberProxy], *, now: datetime) -> Finding:
    """Auth does not listen for people where there are proxies apart (ADR-0018)."""
    text = f"process {process} is auth alone; of {len(proxies)} proxies apart "
    if alive := sum(proxy.lives(now=now) for proxy in proxies):
        return Finding("gateway", Verdict.OK, f"{text}{alive} were heard of in the last moments")
    advice = "look at their logs, and whether they reach auth; ilctl proxies ls has their names"
    return Finding("gateway", Verdict.PROBLEM, f"{text}none is heard of: nobody can connect", advice)


async def _apart(local: Local) -> list[Finding]:
    """What a gateway that is a proxy itself cannot share with proxies apart (ADR-0018)."""
    apart = len(await local.proxies.proxies())
    if not apart:
        return []
    text = (
        f"this gateway is a proxy itself, and {apart} proxies apart belong to it: sessions that it holds and "
        "nodes that dial it are not reached through those, nor theirs through it"
    )
    advice = "run auth alone here (--roles auth), and a proxy of its own beside it (--roles proxy)"
    return [Finding("proxies", Verdict.WARNING, text, advice)]


def _monitor(listen: str) -> list[Finding]:
    if not listen:
        return []
    where = Address.parse("monitor.listen", listen)
    host = _WILDCARDS.get(where.host, where.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{where.port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=ANSWERS_S) as answer:  # made here, of an address
            body = answer.read(65536)
    except urllib.error.HTTPError as error:
        body = error.read(65536)
    except OSError as error:
        advice = "if the gateway runs, look at its log"
        return [Finding("monitor", Verdict.WARNING, f"no answer at {listen}: {error}", advice)]
    try:
        checks = dict(json.loads(body)["checks"])
    except (ValueError, KeyError, TypeError):
        return [Finding("monitor", Verdict.PROBLEM, f"whoever listens at {listen} is not this gateway's monitor")]
    return [
        Finding("monitor", Verdict.OK if text == "ok" else Verdict.PROBLEM, f"{name}: {text}")
        for name, text in checks.items()
    ]


async def _people(local: Local) -> list[Finding]:
    users, roles = await local.users.users(), {role.name: role for role in await local.roles.all_roles()}
    if not users:
        return [Finding("people", Verdict.WARNING, "nobody can sign in", "ilctl users add NAME --roles ROLE")]
    found = [Finding("people", Verdict.OK, f"{len(users)} users, {len(roles)} roles")]
    for user in users:
        unknown = [name for name in user.roles if name not in roles]
        if unknown:
            text = f"{user.name} has roles that do not exist: {', '.join(unknown)}"
            found.append(Finding("people", Verdict.WARNING, text, "ilctl roles add, or give other roles"))
        elif not user.roles:
            text = f"{user.name} has no role, and so may go nowhere"
            found.append(Finding("people", Verdict.WARNING, text, "give one: ilctl users"))
    return found


async def _nodes(local: Local) -> list[Finding]:
    targets = await local.inventory.targets()
    if not targets:
        advice = "ilctl nodes add for a plain sshd; ilctl tokens add for a node of ours"
        return [Finding("nodes", Verdict.WARNING, "there is no host to go to", advice)]
    places = asyncio.Semaphore(AT_ONCE)
    authority = " ".join(local.authority.export("host").split()[:2])

    async def look(target: Target) -> Finding:
        async with places:
            return await _node(target, authority)

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(look(target)) for target in targets]
    return [task.result() for task in asked]


async def _node(target: Target, authority: str) -> Finding:
    part = "nodes"
    if target.tunnel:
        return Finding(part, Verdict.OK, f"{target.hostname}: listed, reached by its tunnel")
    try:
        shown = await host_key(target)
    except TargetError as error:
        advice = "is it up, and may this machine reach that port?"
        return Finding(part, Verdict.PROBLEM, f"{target.hostname} at {target.addr}: {error.public}", advice)
    expected = shown.key == authority if shown.certified else shown.key in target.host_keys
    if not expected:
        text = f"{target.hostname} at {target.addr} shows {shown.fingerprint}, which is not what is expected"
        advice = "find out why before you believe it; then ilctl nodes rm and add --host-key"
        return Finding(part, Verdict.PROBLEM, text, advice)
    by = "a certificate of our host CA" if shown.certified else "its pinned key"
    trust = "" if target.sub_kind is SubKind.NODE else "; whether it trusts our user CA, only a login shows"
    return Finding(part, Verdict.OK, f"{target.hostname} at {target.addr}: proves itself by {by}{trust}")


async def _recordings(local: Local) -> list[Finding]:
    left = await local.recordings.left_behind(await local.recordings.named())
    live = {tracker.sid for tracker in await local.trackers.live()}
    found = [Finding("recordings", Verdict.OK, f"in {local.data_dir / RECORDINGS}; {len(live)} sessions live")]
    for info in left:
        if info.state is RecordingState.QUARANTINED:
            text = f"{info.sid} is in quarantine: unreadable, or a second recording of its session"
            advice = f"look at it: {local.recordings.quarantined}"
            found.append(Finding("recordings", Verdict.WARNING, text, advice))
        elif info.sid not in live and holder_of_directory(local.data_dir) is None:
            text = f"{info.sid} was not finished"
            found.append(Finding("recordings", Verdict.WARNING, text, "the next start of the gateway finishes it"))
    return found


async def _clock(local: Local) -> list[Finding]:
    newest = await local.audit.events(EventFilter(limit=1, newest=True))
    now = local.clock.now().isoformat()
    if newest and str(newest[0]["time"]) > (local.clock.now() + CLOCK_SLACK).isoformat():
        text = f"the newest event is of {newest[0]['time']}, and this machine has {now}"
        return [Finding("clock", Verdict.WARNING, text, "set the clock: certificates are judged by it")]
    return [Finding("clock", Verdict.OK, f"{now}; no event is of the future")]
