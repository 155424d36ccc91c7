"""``ilctl locks``: who and what is kept out, live sessions included; and the end of one session."""

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import account, in_local, login, name, report
from interlock.cli.options import FormatOption, duration, session_id
from interlock.cli.output import Format, print_json, print_rows
from interlock.core.errors import ConfigError, NotFound
from interlock.core.ids import parse_session_id
from interlock.domain.audit import JsonValue, Kind, rfc3339
from interlock.domain.identity import RECOVERY
from interlock.domain.lock import Lock, LockKind, check_message

if TYPE_CHECKING:
    from interlock.core.ids import SessionId
    from interlock.daemons.local import Local

app = typer.Typer(help="Locks: who and what is kept out at once, live sessions included.")

TERMINATION = timedelta(minutes=10)
"""How long the lock stays that ends one session: so long may the daemon that has it be cut off from auth."""

TERMINATION_WAIT_S = 10.0
"""Seconds that the command waits to see the session end."""

_LOOK_S = 0.2


def _message(text: str) -> str:
    try:
        return check_message(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _device(text: str) -> str:
    """By its ID: a lock on the name of somebody's phone would keep nobody out, and nobody would notice."""
    if text != RECOVERY:
        try:
            parse_session_id(text)
        except ValueError:
            msg = f"not the ID of a device: {text!r}; ilctl users mfa ls NAME shows it"
            raise typer.BadParameter(msg) from None
    return text


MessageOption = Annotated[
    str, typer.Option("--message", parser=_message, metavar="TEXT", help="What the people read whom it concerns.")
]


@app.command("add")
def add_lock(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(help="A user.", parser=name, metavar="NAME")] = None,
    role: Annotated[
        str | None, typer.Option(help="Everybody with this role.", parser=name, metavar="NAME")
    ] = None,
    os_login: Annotated[
        str | None, typer.Option("--login", help="An OS account, on every node.", parser=login, metavar="NAME")
    ] = None,
    node: Annotated[str | None, typer.Option(help="A node, by name or ID.", parser=name, metavar="NAME")] = None,
    session: Annotated[str | None, typer.Option(help="One session.", parser=session_id, metavar="SID")] = None,
    mfa_device: Annotated[
        str | None,
        typer.Option(
            help="A second-factor device, by the ID that ilctl users mfa ls shows.", parser=_device, metavar="ID"
        ),
    ] = None,
    access_request: Annotated[
        str | None,
        typer.Option(
            help="A request for access, by the ID that ilctl requests ls shows.", parser=session_id, metavar="ID"
        ),
    ] = None,
    message: MessageOption = "",
    ttl: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="TIME", help="How long it stays; default: until it is removed."),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Lock one of these: live sessions that it concerns end within two seconds, new ones are refused."""
    given = {
        LockKind.USER: user,
        LockKind.ROLE: role,
        LockKind.LOGIN: os_login,
        LockKind.NODE: node,
        LockKind.SESSION: session,
        LockKind.MFA_DEVICE: mfa_device,
        LockKind.ACCESS_REQUEST: access_request,
    }
    chosen = [(kind, value) for kind, value in given.items() if value is not None]
    if len(chosen) != 1:
        msg = "name one of --user, --role, --login, --node, --session, --mfa-device and --access-request"
        raise typer.BadParameter(msg)
    kind, value = chosen[0]

    async def work(local: "Local") -> tuple[Lock, bool]:
        known = await _known(local, kind, value)
        return await add_lock_now(local, kind, value, message, ttl), known

    lock, known = in_local(context, work)
    if not known:
        print(f"Note: no {kind.value} of this cluster is called {value} now.", file=sys.stderr)
    if form is Format.JSON:
        print_json(_row(lock))
        return
    until = f" until {rfc3339(lock.expires)}" if lock.expires else ""
    print(f"The {_what(lock)} is locked{until}: lock {lock.id}.")


@app.command("ls")
def list_locks(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the locks that are in force."""

    async def work(local: "Local") -> list[dict[str, object]]:
        now = local.clock.now()
        return [_row(lock) for lock in await local.locks.locks() if lock.in_force(now)]

    columns = {
        "id": "ID",
        "kind": "Kind",
        "name": "Name",
        "created": "Created",
        "expires": "Expires",
        "created_by": "By",
        "message": "Message",
    }
    print_rows(in_local(context, work), columns, form)


@app.command("rm")
def remove_lock(
    context: typer.Context,
    lock_id: Annotated[str, typer.Argument(metavar="ID", help="As ilctl locks ls shows it.")],
) -> None:
    """Remove a lock: new sessions are admitted again."""

    async def work(local: "Local") -> Lock:
        lock = await local.locks.remove_lock(lock_id)
        await report(local, Kind.LOCK_DELETE, _facts(lock))
        return lock

    lock = in_local(context, work)
    print(f"The {_what(lock)} is not locked any more.")


def terminate_session(
    context: typer.Context,
    sid: Annotated[str, typer.Argument(metavar="SID", help="The session ID.", parser=session_id)],
    message: MessageOption = "an administrator has ended this session",
) -> None:
    """End a live session, wherever it is recorded, and wait until it has ended."""
    from asyncio import sleep

    async def work(local: "Local") -> bool:
        if not await _lives(local, sid):
            raise NotFound(f"there is no live session {sid}")
        await add_lock_now(local, LockKind.SESSION, sid, message, TERMINATION)
        for _ in range(int(TERMINATION_WAIT_S / _LOOK_S)):
            if not await _lives(local, sid):
                return True
            await sleep(_LOOK_S)
        return False

    if not in_local(context, work):
        raise ConfigError(f"session {sid} has not ended yet: is the gateway running, and can its node be reached?")
    print(f"Session {sid} has ended.")


async def _lives(local: "Local", sid: "SessionId | str") -> bool:
    from interlock.core.ids import SessionId

    tracker = await local.trackers.find(SessionId(sid))
    return tracker is not None and not tracker.expired(now=local.clock.now())


async def _known(local: "Local", kind: LockKind, value: str) -> bool:
    """False: nobody has this name now. It may be locked all the same, before there is somebody."""
    match kind:
        case LockKind.USER:
            return any(each.name == value for each in await local.users.users())
        case LockKind.ROLE:
            return bool(await local.roles.roles([value]))
        case _:
            return True


async def add_lock_now(local: "Local", kind: LockKind, value: str, message: str, ttl: timedelta | None) -> Lock:
    """Add one, and tell the audit log."""
    now = local.clock.now()
    lock = Lock(
        id=local.entropy.uuid(),
        kind=kind,
        name=value,
        created=now,
        message=message,
        expires=None if ttl is None else now + ttl,
        created_by=account(),
    )
    await local.locks.add_lock(lock)
    await report(local, Kind.LOCK_CREATE, _facts(lock))
    return lock


def _what(lock: Lock) -> str:
    return f"{lock.kind.value.replace('_', ' ')} {lock.name}"


def _facts(lock: Lock) -> dict[str, JsonValue]:
    """Event fields; ``target`` is the field's."""
    facts: dict[str, JsonValue] = {
        "name": lock.id,
        "target": {lock.kind.value: lock.name},
        "message": lock.message,
    }
    return facts | ({"expires": rfc3339(lock.expires)} if lock.expires is not None else {})


def _row(lock: Lock) -> dict[str, object]:
    return {
        "id": lock.id,
        "kind": lock.kind.value,
        "name": lock.name,
        "created": lock.created,
        "expires": lock.expires,
        "created_by": lock.created_by,
        "message": lock.message,
    }
