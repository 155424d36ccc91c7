"""What both doors check: a certificate against the clock, the locks and whoever is trusted."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import asyncssh

from interlock.adapters.ssh.portal import Challenge, PasswordCheck
from interlock.adapters.ssh.seams.certificates import CertificateHooks
from interlock.adapters.ssh.seams.relayed import ClientLegConnection
from interlock.adapters.ssh.second import BANNER, SecondQuestion
from interlock.core.certificate import wanted_flags
from interlock.core.errors import Denied, InterlockError, NotFound
from interlock.core.ids import DaemonId
from interlock.domain.access import HardwareKey
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.browser import CONFIRM_LIFE
from interlock.domain.identity import Claims, Forwarded
from interlock.domain.lock import Subject
from interlock.ports import ClaimsReader, Clock, EventSink, KeyReader
from interlock.services.access.locks import Locks
from interlock.services.audit.emitter import EventFactory

MAX_ATTEMPTS = 20
"""Certificates and questions that one connection may try; ssh offers each key of a full agent once."""

MAX_REASONS = 5
"""Different reasons that the audit event of a refused client names."""

NO_CERTIFICATE = (
    "This gateway admits by certificate or enrolled key, and yours is missing or not valid: run ilsh login."
)


@dataclass(frozen=True, slots=True)
class Gate:
    """What both servers need to judge a certificate and to report refusals."""

    claims: ClaimsReader
    clock: Clock
    events: EventSink
    factory: EventFactory
    locks: Locks
    door_id: DaemonId  # what certificates of a root cluster's forwarders call this proxy
    keys: KeyReader
    beacon: Callable[[], bytes] = lambda: b""  # what connections carry for auth; empty: it asks for no proof


class Guarded(CertificateHooks):
    """Certificate authentication, with refusals that are explained and audited once."""

    def __init__(self, gate: Gate, passwords: PasswordCheck) -> None:
        self.gate = gate
        self._passwords = passwords
        self._weighed = (b"", False)  # a certificate, and whether it takes a second factor here
        self._enrolled: tuple[bytes, Claims | None] = (b"", None)  # a key that was offered, and whose it is
        self._second: SecondQuestion | None = None  # set while that is to be answered
        self.connection: ClientLegConnection  # set by connection_made, the first callback
        self.claims: Claims | None = None  # set when the client has proven its certificate
        self.user_name = ""  # the SSH user name of the running attempt
        self._admitted = False
        self._attempts = 0
        self._explained = False
        self._refusals: list[str] = []  # audit reasons of what was refused; a client tries its plain key too

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep the connection."""
        if isinstance(conn, ClientLegConnection):
            self.connection = conn
            conn.beacon = self.gate.beacon()

    def client_addr(self) -> str:
        """host:port of the person's client."""
        return address(self.connection.get_extra_info("peername"))

    def begin_auth(self, username: str) -> bool:
        """Authentication is always needed, and of another user name all of it."""
        self.user_name = username
        self.claims = self._second = None
        return True

    def public_key_auth_supported(self) -> bool:
        """Certificates are public keys to SSH. After one that was proven only the second question is left."""
        return self._second is None

    def kbdint_auth_supported(self) -> bool:
        """Asked last by stock clients, so it is where the lack of a certificate is explained."""
        return True

    def get_kbdint_challenge(
        self,
        username: str,  # noqa: ARG002
        lang: str,  # noqa: ARG002
        submethods: str,  # noqa: ARG002
    ) -> Challenge | Awaitable[Challenge]:
        """The second question; or one without questions, of which only the text matters."""
        if self._second is not None:
            return self._second.challenge()
        if self._explained:
            return False
        self._explained = True
        return "", NO_CERTIFICATE, "", []

    def validate_kbdint_response(
        self,
        username: str,  # noqa: ARG002
        responses: Sequence[str],
    ) -> Challenge | Awaitable[Challenge]:
        """Nobody gets in by it alone."""
        return False if self._second is None else self._confirm(self._second, responses)

    async def _confirm(self, second: SecondQuestion, responses: Sequence[str]) -> Challenge:
        verdict = await second.respond(responses)
        if verdict is not True:
            return verdict
        if await self._still_enrolled() and second is self._second:
            self.claims = second.confirmed
        return self.claims is not None

    async def _still_enrolled(self) -> bool:
        """Whether the key counts that the person has signed with: an answer may take minutes."""
        shown, _ = self._weighed
        if shown != self._enrolled[0]:
            return True  # a certificate, which nobody removes
        try:
            await self.gate.keys.claims(shown)
        except InterlockError as error:
            self._note(error.reason)
            return False
        return True

    def judge(self, user: str, certificate: bytes) -> int | None:
        """See `CertificateHooks.judge`."""
        self._count_attempt()
        try:
            claims = self.gate.claims.read(certificate, now=self.gate.clock.now())
            self._check(user, claims)
        except Denied as error:
            self.explain(error)
            return None
        return wanted_flags(verified=claims.verified, untouched=claims.untouched)

    async def judge_key(self, user: str, key: bytes) -> int | None:
        """See `CertificateHooks.judge_key`."""
        self._count_attempt()
        try:
            claims = await self.gate.keys.claims(key)
            self._check(user, claims)
        except NotFound:  # no reason for a banner: the certificate may come next, or the last question explains
            self._note("a key without a certificate was offered")
            return None
        except Denied as error:
            self.explain(error)
            return None
        except InterlockError as error:
            self._note(error.reason)
            return None
        self._enrolled = key, claims
        return wanted_flags(verified=claims.verified, untouched=claims.untouched)

    def _count_attempt(self) -> None:
        self._attempts += 1
        if self._attempts > MAX_ATTEMPTS:
            raise asyncssh.PermissionDenied("too many authentication attempts")

    def proven(self, user: str, certificate: bytes) -> None:
        """See `CertificateHooks.proven`."""
        claims = replace(self._read(certificate), presence=self.connection.take_presence())
        claims = claims.signed_with(HardwareKey.shown_by(self.connection.signed_flags))
        self._check(user, claims)
        weighed, asks = self._weighed
        if weighed != certificate:
            raise asyncssh.PermissionDenied("another certificate was being looked at")
        if asks:
            self.connection.send_auth_banner(BANNER)
            self._second = SecondQuestion(self._passwords, claims, self.client_addr(), patience=self._be_patient)
        else:
            self.claims = claims

    async def weigh(self, user: str, certificate: bytes) -> None:  # noqa: ARG002
        """See `CertificateHooks.weigh`. Nobody is let in while it cannot be said, and they are told why."""
        try:
            self._weighed = certificate, await self._asks(self._read(certificate))
        except InterlockError as error:
            self._note(error.reason)
            raise asyncssh.PermissionDenied(error.public) from error

    def _read(self, shown: bytes) -> Claims:
        """Of the certificate, or the enrolled key, that was shown and has signed."""
        key, claims = self._enrolled
        if key == shown and claims is not None:
            return claims
        return self.gate.claims.read(shown, now=self.gate.clock.now())

    def unfinished(self) -> bool:
        """See `CertificateHooks.unfinished`."""
        return self._second is not None and self.claims is None

    def _be_patient(self) -> None:
        """Somebody needs a browser, and time for it."""
        self.connection.wait_longer(CONFIRM_LIFE.total_seconds())

    @abstractmethod
    async def _asks(self, claims: Claims) -> bool:
        """Whether a second factor has to confirm this connection."""

    def auth_completed(self) -> None:
        """Note that nothing was refused in the end."""
        self._admitted = True
        self.connection.forget_exchange()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """A client that was refused a certificate and never got in is worth an audit event."""
        if not self._admitted and self._attempts:
            self.report("; ".join(self._refusals) or "no acceptable certificate")

    def explain(self, error: Denied) -> None:
        """Tell the person, once, while ssh still shows banners."""
        self._note(error.reason)
        if not self._explained:
            self._explained = True
            self.connection.send_auth_banner(f"{error.public}\r\n")

    def _note(self, reason: str) -> None:
        if reason not in self._refusals and len(self._refusals) < MAX_REASONS:
            self._refusals.append(reason)

    def report(self, reason: str) -> None:
        """Event ``auth``."""
        fields: dict[str, JsonValue] = {
            "user": self.user_name[:128],
            "success": False,
            "error": reason,
            "addr.remote": self.client_addr(),
            "proto": "ssh",
        }
        self.gate.events.emit(self.gate.factory.make(Kind.AUTH_FAILURE, fields))

    def _check(self, user: str, claims: Claims) -> None:
        """What else a certificate must satisfy here; Denied otherwise."""
        del user
        self.gate.locks.check(_subject(claims))
        if claims.forwarded is not None and not self._expects(claims.forwarded):
            reason = f"{claims.identity.user} showed a certificate that was made for a forwarding node"
            raise Denied("your certificate was not accepted: run ilsh login", reason=reason)
        host = self.client_addr().rpartition(":")[0].strip("[]")
        if not claims.allows_source(host):
            public = "your certificate or key is not for this network address: run ilsh login here"
            raise Denied(public, reason=f"{claims.named} is not valid from {host}")

    def _expects(self, forwarded: Forwarded) -> bool:
        """Whether this forwarder's certificate is for this very server."""
        del forwarded
        return False


def _subject(claims: Claims) -> Subject:
    """Whom a lock may concern; another cluster's roles are not what ours are, whatever they are called."""
    identity = claims.identity
    return Subject.of(identity if claims.forwarded is None else replace(identity, roles=()))


def address(name: object) -> str:
    """A socket's address as host:port; empty if it has none."""
    if not isinstance(name, tuple) or len(name) < 2:
        return ""
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
