"""``ilctl certs``: people's certificates, and their revocation."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local, name
from interlock.cli.admin_locks import MessageOption, add_lock_now
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.core.errors import ConfigError, NotFound
from interlock.domain.audit import Kind
from interlock.domain.lock import Lock, LockKind

if TYPE_CHECKING:
    from interlock.daemons.local import Local

app = typer.Typer(help="People's certificates: which there are, and which count no more.")

REVOCATIONS = (LockKind.CERTIFICATE, LockKind.KEY)

_UNKNOWN = "no certificate is known that counts and has this serial; see ilctl certs ls whether you meant another"

_MOST = 10_000  # certificates that are looked through: those of 30 hours


@dataclass(frozen=True, slots=True)
class _Issued:
    serial: str
    user: str
    created: datetime
    expires: datetime


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{text[:32]!r} is not a time: write 2026-11-27T10:00:00"
        raise typer.BadParameter(msg) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _serial(text: str) -> str:
    if not text.isdecimal() or not 0 < int(text) < 1 << 64:
        msg = "a serial is a number, as ilctl certs ls and ssh-keygen -L show it"
        raise typer.BadParameter(msg)
    return str(int(text))


@app.command("ls")
def list_certificates(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(help="Of this user only.", parser=name, metavar="NAME")] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """List people's certificates that have not expired, the newest first."""

    async def work(local: "Local") -> list[dict[str, object]]:
        revoked = {lock.name for lock in await _revocations(local)}
        return [
            {
                "serial": each.serial,
                "user": each.user,
                "created": each.created,
                "expires": each.expires,
                "revoked": each.serial in revoked,
            }
            for each in await _issued(local, user)
        ]

    columns = {
        "serial": "Serial",
        "user": "User",
        "created": "Created",
        "expires": "Expires",
        "revoked": "Revoked",
    }
    print_rows(in_local(context, work), columns, form)


@app.command("revoke")
def revoke(
    context: typer.Context,
    serial: Annotated[str | None, typer.Argument(metavar="[SERIAL]", parser=_serial)] = None,
    user: Annotated[
        str | None, typer.Option(help="All of this user's until now.", parser=name, metavar="NAME")
    ] = None,
    before: Annotated[
        datetime | None,
        typer.Option(parser=_moment, metavar="TIME", help="With --user: only those made before this moment, UTC."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="File with a public key or certificate: every certificate for this key, or by it."),
    ] = None,
    message: MessageOption = "",
) -> None:
    """Revoke certificates: new connections are refused, and live ones end, within two seconds.

    An entry goes when the certificate would have expired, a key's stays; ilctl locks rm takes one back.
    """
    if [serial, user, key].count(None) != 2 or (before is not None and user is None):
        msg = "name a serial, or --user, or --key"
        raise typer.BadParameter(msg)
    digest = _fingerprint(key) if key is not None else ""

    async def work(local: "Local") -> list[Lock]:
        if digest:
            return [await add_lock_now(local, LockKind.KEY, digest, message, None)]
        now = local.clock.now()
        until = before if before is not None else now
        done = []
        for each in await _wanted(local, serial, user):
            if not each.user:
                print(f"warning: {_UNKNOWN}", file=sys.stderr)
            if serial is not None or each.created <= until:
                left = each.expires - now
                done.append(await add_lock_now(local, LockKind.CERTIFICATE, each.serial, message, left))
        if not done:
            raise NotFound(f"{user} has no certificate that counts: see ilctl certs ls")
        return done

    for lock in in_local(context, work):
        print(f"Revoked: {lock.kind.value} {lock.name} (ilctl locks rm {lock.id} takes it back).")


@app.command("revoked")
def list_revoked(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List what is revoked."""

    async def work(local: "Local") -> list[dict[str, object]]:
        return [
            {
                "kind": lock.kind.value,
                "name": lock.name,
                "created": lock.created,
                "expires": lock.expires,
                "created_by": lock.created_by,
                "message": lock.message,
                "id": lock.id,
            }
            for lock in await _revocations(local)
        ]

    columns = {"kind": "Kind", "name": "Serial or key", "created": "Created", "expires": "Expires", "id": "ID"}
    print_rows(in_local(context, work), columns, form)


async def revocation_list_of(local: "Local") -> bytes:
    """The same as a file for plain sshd's ``RevokedKeys``."""
    from base64 import b64decode

    from interlock.core.certificate import PublicKey
    from interlock.core.krl import revocation_list

    locks, now = await _revocations(local), int(local.clock.now().timestamp())
    keys = [lock.name.removeprefix("SHA256:") for lock in locks if lock.kind is LockKind.KEY]
    return revocation_list(
        [PublicKey.parse(line) for kind in ("user", "openssh") for line in local.authority.trusted(kind)],
        {int(lock.name) for lock in locks if lock.kind is LockKind.CERTIFICATE},
        [b64decode(f"{each}=") for each in keys],
        version=now,
        made=now,
        comment=f"interlock {local.cluster.name}",
    )


async def _revocations(local: "Local") -> list[Lock]:
    now = local.clock.now()
    return [lock for lock in await local.locks.locks() if lock.kind in REVOCATIONS and lock.in_force(now)]


async def _wanted(local: "Local", serial: str | None, user: str | None) -> list[_Issued]:
    from interlock.services.keys.authority import MAX_USER_TTL

    found = await _issued(local, user)
    if serial is None:
        return found
    now = local.clock.now()
    unknown = _Issued(serial, "", now, now + MAX_USER_TTL)  # made by a version that did not note serials
    return [each for each in found if each.serial == serial] or [unknown]


async def _issued(local: "Local", user: str | None) -> list[_Issued]:
    """What the audit log tells of certificates that have not expired."""
    from interlock.ports import EventFilter

    wanted = EventFilter(event=Kind.CERT_CREATE.event, limit=_MOST, newest=True)
    found = []
    for event in await local.audit.events(wanted):
        facts = event.get("identity")
        if not isinstance(facts, dict) or "serial" not in facts or user not in (None, facts.get("user")):
            continue
        made = _Issued(
            str(facts["serial"]),
            str(facts["user"]),
            datetime.fromisoformat(str(event["time"])),
            datetime.fromisoformat(str(facts["expires"])),
        )
        if local.clock.now() < made.expires:
            found.append(made)
    return sorted(found, key=lambda each: each.created, reverse=True)


def _fingerprint(path: Path) -> str:
    from base64 import b64decode

    from interlock.core.certificate import PublicKey, SignedCertificate

    try:
        line = path.read_text()
        if "-cert-v01@openssh.com" in line.split(maxsplit=1)[0]:
            return SignedCertificate.parse(b64decode(line.split()[1])).certificate.key.fingerprint
        return PublicKey.parse(line).fingerprint
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", reason=str(error)) from error
    except (ValueError, IndexError) as error:
        public = f"{path} has no public key or certificate: name one like id_ed25519.pub"
        raise ConfigError(public, reason=str(error)) from error
