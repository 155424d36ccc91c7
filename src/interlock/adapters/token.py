"""A PKCS#11 token: it wraps the cluster's data key, and holds authorities' keys that never leave it.

The library (python-pkcs11, the extra ``pkcs11``) is imported when a token is configured, and not before. Calls
block: a token in this machine answers in a fraction of a millisecond, one across a network in some.
"""

import importlib
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from interlock.core.errors import ConfigError, StoreError
from interlock.ports import Entropy, KeyWrapper

PKCS11 = "pkcs11"
"""The kind of a wrapper."""

_IV = 12
_TAG_BITS = 128
_ED25519 = "1.3.101.112"  # RFC 8410

T = TypeVar("T")


class Token:
    """`ports.KeyToken`: one token, logged in to."""

    def __init__(self, module: Path, label: str, pin: bytes) -> None:
        self._module = module
        self._label = label
        self._pin = pin
        self._session: Any = None
        self._turn = threading.Lock()  # sessions are not made for several threads at once

    def make_signing_key(self, name: str) -> bytes:
        """`ports.KeyToken`."""
        api = _api()

        def make(session: Any) -> bytes:
            from pkcs11.util.ec import encode_named_curve_parameters

            curve = {api.Attribute.EC_PARAMS: encode_named_curve_parameters(_ED25519)}
            parameters = session.create_domain_parameters(api.KeyType.EC_EDWARDS, curve, local=True)
            public, _private = parameters.generate_keypair(
                mechanism=api.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, label=name, store=True
            )
            return bytes(public[api.Attribute.EC_POINT])[-32:]

        return self._with(make)

    def sign(self, name: str, message: bytes) -> bytes:
        """`ports.KeyToken`."""
        api = _api()

        def work(session: Any) -> bytes:
            key = session.get_key(object_class=api.ObjectClass.PRIVATE_KEY, label=name)
            return bytes(key.sign(message, mechanism=api.Mechanism.EDDSA))

        return self._with(work)

    def make_wrapping_key(self, name: str) -> None:
        """An AES key that wraps others, and cannot be read."""
        api = _api()
        uses = api.MechanismFlag.ENCRYPT | api.MechanismFlag.DECRYPT

        def work(session: Any) -> None:
            session.generate_key(api.KeyType.AES, 256, label=name, store=True, capabilities=uses)

        self._with(work)

    def encrypt(self, name: str, iv: bytes, clear: bytes, about: bytes) -> bytes:
        """AES-GCM by that key."""
        return self._with(lambda session: bytes(_aes(session, name).encrypt(clear, **_gcm(iv, about))))

    def decrypt(self, name: str, iv: bytes, sealed: bytes, about: bytes) -> bytes:
        """The other way; ConfigError if it was not that key, or something has been changed."""
        return self._with(lambda session: bytes(_aes(session, name).decrypt(sealed, **_gcm(iv, about))))

    def _with(self, work: Callable[[Any], T]) -> T:
        api = _api()
        gone = (api.SessionHandleInvalid, api.SessionClosed, api.DeviceRemoved, api.TokenNotPresent)
        with self._turn:
            try:
                if self._session is not None:
                    try:
                        return work(self._session)
                    except (*gone, api.UserNotLoggedIn):
                        self._session = None  # it was restarted, or taken out and put back
                self._session = self._open(api)
                return work(self._session)
            except api.NoSuchKey as error:
                public = f"the token {self._label} does not have the key that it should have"
                raise ConfigError(public, reason=f"{public}: {error!r}") from error
            except api.PKCS11Error as error:
                public = f"the token {self._label} refused"
                raise StoreError(public, reason=f"{public}: {error!r}") from error

    def _open(self, api: Any) -> Any:
        try:
            library = api.lib(str(self._module))
        except (api.PKCS11Error, RuntimeError, OSError) as error:
            public = f"the PKCS#11 module {self._module} cannot be loaded"
            raise ConfigError(public, reason=f"{public}: {error}") from error
        try:
            token = library.get_token(token_label=self._label)
            try:
                return token.open(rw=True, user_pin=self._pin.decode())
            except api.UserAlreadyLoggedIn:  # all sessions of a process are, once one is
                return token.open(rw=True)
        except (api.NoSuchToken, api.MultipleTokensReturned) as error:
            raise ConfigError(f"there is no token {self._label}, or several", reason=repr(error)) from error
        except (api.PinIncorrect, api.PinLenRange, api.PinInvalid, api.PinLocked, UnicodeDecodeError) as error:
            raise ConfigError(f"the PIN is not that of the token {self._label}", reason=repr(error)) from error


class TokenWrapping:
    """`ports.Wrapping` by an AES key that a token holds."""

    kind = PKCS11

    def __init__(self, token: Token, entropy: Entropy) -> None:
        self._token = token
        self._entropy = entropy

    def wrap(self, name: str, data_key: bytes, *, now: datetime) -> KeyWrapper:
        """`ports.Wrapping`, by a new key."""
        key, iv = f"interlock-wrap-{self._entropy.token(8).hex()}", self._entropy.token(_IV)
        self._token.make_wrapping_key(key)
        return KeyWrapper(
            name, PKCS11, {"key": key}, iv + self._token.encrypt(key, iv, data_key, _about(name)), now
        )

    def unwrap(self, wrapper: KeyWrapper) -> bytes:
        """`ports.Wrapping`."""
        iv, rest = wrapper.wrapped[:_IV], wrapper.wrapped[_IV:]
        try:
            return self._token.decrypt(str(wrapper.parameters["key"]), iv, rest, _about(wrapper.name))
        except (KeyError, StoreError) as error:
            public = "this token does not open the cluster's keys"
            reason = error.reason if isinstance(error, StoreError) else f"no {error}"
            raise ConfigError(public, reason=f"{public}: {reason}") from error


def _api() -> Any:
    try:
        return importlib.import_module("pkcs11")
    except ImportError as error:
        raise ConfigError("a PKCS#11 token needs the package python-pkcs11", reason=str(error)) from error


def _aes(session: Any, name: str) -> Any:
    return session.get_key(object_class=_api().ObjectClass.SECRET_KEY, label=name)


def _gcm(iv: bytes, about: bytes) -> dict[str, Any]:
    api = _api()
    return {"mechanism": api.Mechanism.AES_GCM, "mechanism_param": api.GCMParams(iv, about, _TAG_BITS)}


def _about(name: str) -> bytes:
    return f"interlock data key: {name}".encode()
