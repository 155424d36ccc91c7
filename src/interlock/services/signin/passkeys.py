"""Passkeys (WebAuthn level 3): registered by who is signed in, and used to sign in or to confirm.

A passkey verifies its person itself (fingerprint, PIN), which is required: so it is two factors in one, and signs
in without a password. Each challenge is good once, for the browser that was given it, at our own address. What is
wrong with an answer is in the audit log; the person reads one text.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from interlock.core.address import source_of
from interlock.core.errors import Denied, NotFound
from interlock.core.ids import DeviceId
from interlock.domain.factor import Device, Passkey
from interlock.ports import Clock, DeviceSource, Entropy
from interlock.services.signin.admitting import WRONG_PASSKEY, Admitting, Attempt, Way
from interlock.services.signin.brake import BRAKED, Brake
from interlock.services.signin.browsing import Errands
from interlock.services.signin.factors import Factors, Proven, check_label

if TYPE_CHECKING:
    from webauthn.helpers.structs import AuthenticationCredential, PublicKeyCredentialDescriptor

PUBLIC = WRONG_PASSKEY
"""The one text of every failure."""

CHALLENGE = 32
"""Bytes."""

TIMEOUT_MS = 120_000
"""How long a browser waits for the person's finger."""

MAX_TRANSPORTS = 8

_NEW, _GET = "passkey-new", "passkey-get"


class Passkeys:
    """See the module's docstring. ``browser`` is always the secret of the browser's own cookie."""

    def __init__(
        self,
        *,
        devices: DeviceSource,
        factors: Factors,
        admitting: Admitting,
        errands: Errands,
        cluster: str,
        cluster_id: str,
        host: str,
        origin: str,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """``host``: the relying party's ID, to which passkeys are bound; ``origin``: where our pages are."""
        self._devices = devices
        self._factors = factors
        self._admitting = admitting
        self._errands = errands
        self._cluster = cluster
        self._cluster_id = cluster_id
        self._host = host
        self._origin = origin
        self._clock = clock
        self._entropy = entropy
        self._brake = Brake()

    async def of(self, user: str) -> list[Device]:
        """A user's passkeys."""
        return [each for each in await self._factors.of(user) if isinstance(each.proof, Passkey)]

    async def begin_new(self, user: str, browser: str, *, source: str) -> str:
        """What the browser makes a passkey of (PublicKeyCredentialCreationOptionsJSON)."""
        from webauthn import generate_registration_options, options_to_json
        from webauthn.helpers.structs import (
            AuthenticatorSelectionCriteria,
            ResidentKeyRequirement,
            UserVerificationRequirement,
        )

        challenge = self._entropy.token(CHALLENGE)
        await self._errands.begin(_NEW, browser, {"user": user, "challenge": challenge.hex()}, source=source)
        options = generate_registration_options(
            rp_id=self._host,
            rp_name=f"Interlock {self._cluster}",
            user_name=user,
            user_id=self._handle(user),
            challenge=challenge,
            timeout=TIMEOUT_MS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=_descriptors(await self.of(user)),
        )
        return options_to_json(options)

    async def add(self, user: str, browser: str, answer: str, name: str, *, source: str) -> Device:
        """Register what the browser made; Denied if it is not an answer to what this browser was asked."""
        from webauthn import verify_registration_response
        from webauthn.helpers.exceptions import WebAuthnException

        name = check_label(name)
        facts = await self._errands.finish(_NEW, browser)
        if facts is None or facts["user"] != user:
            raise _unusable(f"{user} registered a passkey without having begun")
        try:
            made = verify_registration_response(
                credential=answer,
                expected_challenge=bytes.fromhex(facts["challenge"]),
                expected_rp_id=self._host,
                expected_origin=self._origin,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, TypeError, KeyError) as error:
            raise _unusable(f"a passkey of {user}: {error}") from None
        passkey = Passkey(made.credential_id, made.credential_public_key, made.sign_count, _transports(answer))
        device = Device(DeviceId(self._entropy.uuid()), user, name, self._clock.now(), passkey)
        await self._factors.add(device, source=source)
        return device

    async def begin(self, browser: str, *, source: str, user: str = "") -> str:
        """What the browser signs (PublicKeyCredentialRequestOptionsJSON). ``user``: whose passkey is to."""
        from webauthn import generate_authentication_options, options_to_json
        from webauthn.helpers.structs import UserVerificationRequirement

        challenge = self._entropy.token(CHALLENGE)
        await self._errands.begin(_GET, browser, {"user": user, "challenge": challenge.hex()}, source=source)
        options = generate_authentication_options(
            rp_id=self._host,
            challenge=challenge,
            timeout=TIMEOUT_MS,
            allow_credentials=_descriptors(await self.of(user)) if user else None,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json(options)

    async def sign_in(self, browser: str, answer: str, *, source: str) -> Device:
        """Who has this passkey; SignInFailed if nobody, Locked. ``user.login`` is emitted in any case."""
        return await self._admitted(browser, answer, Attempt(Way.PASSKEY, "", source))

    async def confirm(self, user: str, browser: str, answer: str, *, source: str) -> Device:
        """A second factor of somebody who is known already; the same errors."""
        return await self._admitted(browser, answer, Attempt(Way.CONFIRM_PASSKEY, user, source))

    async def _admitted(self, browser: str, answer: str, attempt: Attempt) -> Device:
        key = ("passkey", source_of(attempt.source))
        if not self._brake.begin(key, self._clock.monotonic()):
            raise self._admitting.failed(attempt, BRAKED)
        device, counter = await self._answered(browser, answer, attempt)
        attempt = replace(attempt, user=device.user, proven=_proven(device))
        if not await self._devices.use_device(device.id, counter, self._clock.now()):
            cause = f"the counter of {device.name!r} went back to {counter}: there may be a copy of it"
            raise self._admitting.failed(attempt, cause)
        await self._admitting.admit(attempt, await self._admitting.account(device.user))
        self._brake.succeeded(key)
        self._admitting.done(attempt)
        return device

    async def _answered(self, browser: str, answer: str, attempt: Attempt) -> tuple[Device, int]:
        """The device that has answered what this browser was asked, and its counter; SignInFailed."""
        user, facts = attempt.user, await self._errands.finish(_GET, browser)
        if facts is None or facts["user"] != user:
            raise self._admitting.failed(attempt, "an answer to a challenge that this browser was not given")
        try:
            device, counter = await self._verified(answer, bytes.fromhex(facts["challenge"]))
        except Denied as error:
            raise self._admitting.failed(attempt, error.reason) from None
        if user and device.user != user:
            raise self._admitting.failed(attempt, f"a passkey of {device.user}")
        return device, counter

    async def _verified(self, answer: str, challenge: bytes) -> tuple[Device, int]:
        """The device that has signed this, and its counter; Denied, whose reason says what is wrong."""
        from webauthn import verify_authentication_response
        from webauthn.helpers import parse_authentication_credential_json
        from webauthn.helpers.exceptions import WebAuthnException

        try:
            credential = parse_authentication_credential_json(answer)
            device = await self._device(credential)
            proof = device.proof
            if not isinstance(proof, Passkey):
                raise Denied("not a passkey")
            signed = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._host,
                expected_origin=self._origin,
                credential_public_key=proof.public_key,
                credential_current_sign_count=0,  # the store compares, so that of two at once only one counts
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, TypeError, KeyError) as error:
            raise Denied("not verified", reason=f"{type(error).__name__}: {error}"[:256]) from None
        return device, signed.new_sign_count

    async def _device(self, credential: "AuthenticationCredential") -> Device:
        try:
            device = await self._devices.device_of_credential(credential.raw_id)
        except NotFound:
            raise Denied("unknown", reason="nobody has this passkey (any more)") from None
        handle = credential.response.user_handle
        if handle is not None and handle != self._handle(device.user):
            raise Denied("another's", reason=f"the passkey {device.name!r} says that it is of another account")
        return device

    def _handle(self, user: str) -> bytes:
        """What a passkey keeps of its account: nothing that anybody could read (WebAuthn §5.4.3)."""
        return hashlib.sha256(f"interlock passkey\0{self._cluster_id}\0{user}".encode()).digest()


def _proven(device: Device) -> Proven:
    return Proven(device.id, device.name, device.kind.value)


def _unusable(reason: str) -> Denied:
    return Denied("this passkey could not be added: try again", reason=reason)


def _descriptors(devices: Sequence[Device]) -> "list[PublicKeyCredentialDescriptor]":
    from webauthn.helpers.structs import AuthenticatorTransport, PublicKeyCredentialDescriptor

    known = {each.value: each for each in AuthenticatorTransport}
    found = []
    for device in devices:
        if isinstance(device.proof, Passkey):
            ways = [known[each] for each in device.proof.transports if each in known]
            found.append(PublicKeyCredentialDescriptor(id=device.proof.credential, transports=ways or None))
    return found


def _transports(answer: str) -> tuple[str, ...]:
    """How a browser says that it reaches the passkey; only names that WebAuthn knows count."""
    from webauthn.helpers.structs import AuthenticatorTransport

    known = {each.value for each in AuthenticatorTransport}
    told = json.loads(answer).get("response", {}).get("transports", [])
    names = told[:MAX_TRANSPORTS] if isinstance(told, list) else []
    return tuple(each for each in names if isinstance(each, str) and each in known)
