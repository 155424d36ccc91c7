"""A bot's identity in its directory: joined, renewed, and written so that what counts changes as one."""

import os
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from secrets import token_hex

import msgspec

from interlock.adapters.ssh.portal_client import (
    Gateway,
    KeyPair,
    PortalClient,
    check_certificate,
    connect,
    key_pair_of,
    new_key_pair,
    validity,
    wrong_answer,
)
from interlock.cli.user_login import LoginTrust
from interlock.cli.user_profile import (
    Login,
    Profile,
    ProxyAddress,
    known_hosts,
    trusted_lines,
    write_key,
    write_private,
)
from interlock.cli.user_ssh import route_names, ssh_config
from interlock.core import portal as wire
from interlock.core.errors import ConfigError, SignInFailed
from interlock.services.bots.bot_renewal import Validity
from interlock.services.bots.bots import BotToken

CURRENT = "current"
"""In the directory: a link to what counts, so that key and certificate change as one."""

_NEXT = "next"  # the key that is to be certified: it is kept until that has happened
_KEPT = 2  # identities: the one before may be in use at this moment
_NEVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class BotHome:
    """The directory."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def exists(self) -> bool:
        """Whether there is an identity."""
        return (self.path / CURRENT).exists()

    def login(self) -> Login:
        """What counts now; SignInFailed if there is nothing, ConfigError if it cannot be read."""
        directory = self.path / CURRENT
        try:
            profile = msgspec.json.decode((directory / "profile.json").read_bytes(), type=Profile)
        except FileNotFoundError:
            raise SignInFailed(f"there is no identity in {self.path}: start with --token and --proxy") from None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"the identity in {directory} cannot be read", reason=str(error)) from None
        return Login(profile.checked(), directory)

    def validity(self) -> Validity:
        """Of the certificate that counts now."""
        return _validity(self.login().identity()[1])

    def next_key(self, comment: str) -> KeyPair:
        """The key to be certified next: the same until it is, since an answer may be lost."""
        kept = self.path / _NEXT
        with suppress(FileNotFoundError, ValueError):
            return key_pair_of(kept.read_text())
        made = new_key_pair(comment)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(kept, made.private)
        return made

    def save(self, profile: Profile, key: KeyPair, signed: wire.Signed, nodes: wire.NodeList) -> None:
        """Let this count from now on."""
        fresh = self.path / f"identity-{token_hex(8)}"
        fresh.mkdir(0o700)
        write_key(fresh / "id", private=key.private, public=key.public, certificate=signed.certificate)
        write_private(fresh / "known_hosts", known_hosts([" ".join(line.split()[:2]) for line in signed.host_ca]))
        write_private(fresh / "profile.json", msgspec.json.encode(profile).decode() + "\n")
        link = self.path / f".{CURRENT}.{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(fresh.name)
        link.replace(self.path / CURRENT)
        login = Login(profile, self.path / CURRENT)
        names = zip(route_names(nodes.nodes), (node.logins for node in nodes.nodes), strict=True)
        reached = [(name, [each for each in logins if each in profile.logins]) for name, logins in names]
        write_private(self.path / "ssh_config", ssh_config(login, reached))
        (self.path / _NEXT).unlink(missing_ok=True)
        for old in sorted(self.path.glob("identity-*"), key=lambda each: each.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)


async def join(home: BotHome, text: str | None, proxy: ProxyAddress | None) -> Validity:
    """Sign in by the token and write the first identity; InterlockError if that is refused or does not fit."""
    if text is None or proxy is None:
        raise SignInFailed(f"there is no identity in {home.path} yet: give --token and --proxy")
    try:
        token = BotToken.parse(text)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    trust = LoginTrust(str(proxy), [], token.pin)
    gateway = Gateway(proxy.host, proxy.port, token.user)
    try:
        async with connect(gateway, trust, answers=_TokenAnswer(token)) as portal:
            return await _certify(home, portal, Profile(proxy.host, proxy.port, token.user, "", [], [], _NEVER))
    except SignInFailed as error:
        if not error.public.endswith(wrong_answer("")):
            raise
        public = "the token does not count (any more): ilctl bots token NAME prints another one"
        raise SignInFailed(public, reason=error.reason) from None


async def renew(home: BotHome) -> Validity:
    """Write the next identity, by the key of the one that counts; InterlockError if that is refused."""
    login = home.login()
    profile = login.profile
    private, certificate = login.identity()
    try:
        trusted = trusted_lines(login.known_hosts.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the identity in {home.path} cannot be read", reason=str(error)) from None
    trust = LoginTrust(str(profile.address), trusted)
    gateway = Gateway(profile.host, profile.port, profile.user)
    async with connect(gateway, trust, identity=(private, certificate)) as portal:
        return await _certify(home, portal, profile)


async def _certify(home: BotHome, portal: PortalClient, profile: Profile) -> Validity:
    key = home.next_key(f"{profile.user}@{profile.address}")
    signed = await portal.ask(wire.Sign(key.public), wire.Signed)
    try:
        until = check_certificate(signed.certificate, key)
    except ValueError as error:
        raise SignInFailed("the gateway sent a certificate that cannot be used", reason=str(error)) from None
    nodes = await portal.ask(wire.Nodes(), wire.NodeList)
    told = msgspec.structs.replace(
        profile, cluster=signed.cluster, roles=signed.roles, logins=signed.logins, valid_until=until
    )
    home.save(told.checked(), key, signed, nodes)
    return _validity(signed.certificate)


class _TokenAnswer:
    """`portal_client.Answers`: the token, once."""

    def __init__(self, token: BotToken) -> None:
        self._token = token
        self._tried = False

    def attempt(self) -> bool:
        """Once: it does not count twice."""
        tried, self._tried = self._tried, True
        return not tried

    def answer(self, instruction: str, prompt: str, *, echo: bool) -> str:
        """Whatever is asked."""
        del instruction, prompt, echo
        return self._token.text


def _validity(certificate: str) -> Validity:

    try:
        return validity(certificate)
    except ValueError as error:
        raise ConfigError("the stored certificate cannot be read", reason=str(error)) from None
