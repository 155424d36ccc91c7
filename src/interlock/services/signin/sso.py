"""Sign-in by an identity provider: authorization code with PKCE, for whom it vouches, with the roles that fit.

Whoever comes back is the browser that left (state and cookie), with an answer to this question (nonce), of the
provider that was asked (issuer), for us (audience). Who that is here follows from issuer and subject alone.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote_plus, urlencode

from interlock.core.errors import Denied, InterlockError, NotFound
from interlock.core.ids import parse_name
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.sso import Claims, Connector
from interlock.ports import Clock, Entropy, User, UserSource
from interlock.ports.access import UserAccess
from interlock.ports.sso import ConnectorStore, ProviderHttp, VouchedStore
from interlock.services.signin.admitting import NO_PROVIDER, OIDC, Admitting, Attempt, Way
from interlock.services.signin.browsing import Errands
from interlock.services.signin.digests import new_secret
from interlock.services.signin.providers import Provider, Providers

PUBLIC = NO_PROVIDER
"""The one text of every failure."""

KIND = OIDC
"""Of the errand, and the method of the sign-in."""

MAX_PARAMETER = 4096
"""Characters of a parameter that somebody comes back with."""


@dataclass(frozen=True, slots=True)
class CameBack:
    """Who signed in, and for the sake of which code of a sign-in elsewhere."""

    user: str
    code: str


class Sso:
    """See the module's docstring. ``browser`` is always the secret of the browser's own cookie."""

    def __init__(
        self,
        *,
        connectors: ConnectorStore,
        vouched: VouchedStore,
        users: UserSource,
        access: UserAccess,
        admitting: Admitting,
        errands: Errands,
        http: ProviderHttp,
        redirect_uri: str,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """``redirect_uri``: where browsers come back, to the letter."""
        self._connectors = connectors
        self._vouched = vouched
        self._users = users
        self._access = access
        self._admitting = admitting
        self._errands = errands
        self._http = http
        self._providers = Providers(http, clock)
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._entropy = entropy

    async def names(self) -> list[str]:
        """The connectors by which somebody can sign in."""
        return [each.name for each in await self._connectors.connectors()]

    async def leave(self, name: str, browser: str, *, source: str, code: str = "") -> str:
        """Where the browser goes; NotFound for no connector, Away."""
        try:
            connector, _ = await self._connectors.connector(parse_name(name))
        except ValueError:
            raise NotFound("there is no such identity provider") from None
        provider = await self._providers.provider(connector)
        state, nonce, verifier = (new_secret(self._entropy) for _ in range(3))
        facts = {"connector": name, "nonce": nonce, "verifier": verifier, "code": code}
        await self._errands.begin(KIND, _key(browser, state), facts, source=source)
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": connector.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(connector.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        separator = "&" if "?" in provider.authorization else "?"
        return f"{provider.authorization}{separator}{urlencode(asked)}"

    async def come_back(self, browser: str, said: Mapping[str, str], *, source: str) -> CameBack:
        """What the provider made of it; SignInFailed, Locked. ``user.login`` is emitted in any case."""
        state, attempt = said.get("state", "")[:MAX_PARAMETER], Attempt(Way.PROVIDER, "", source)
        facts = await self._errands.finish(KIND, _key(browser, state))
        if facts is None:
            raise self._admitting.failed(_of(attempt, ""), "somebody came back who had not left")
        attempt = _of(attempt, facts["connector"])
        try:
            connector, secret = await self._connectors.connector(facts["connector"])
            claims = await self._claims(connector, secret, said, facts)
            account = await self._account(connector, claims)
        except InterlockError as error:
            raise self._admitting.failed(attempt, error.reason) from None
        attempt = replace(attempt, user=account.name)
        await self._admitting.admit(attempt, account)
        about: dict[str, JsonValue] = {
            "issuer": connector.issuer,
            "subject": str(claims["sub"]),
            "roles": list(account.roles),
        }
        self._admitting.done(replace(attempt, facts={**attempt.facts, **about}))
        return CameBack(account.name, facts["code"])

    async def check(self, name: str) -> tuple[Connector, Provider]:
        """Whether a provider can be asked and describes itself as it must; for administrators."""
        connector, _ = await self._connectors.connector(name)
        return connector, await self._providers.provider(connector)

    async def _claims(
        self, connector: Connector, secret: str, said: Mapping[str, str], facts: Mapping[str, str]
    ) -> dict[str, object]:
        provider = await self._providers.provider(connector)
        issuer = said.get("iss")
        if issuer != connector.issuer and (issuer is not None or provider.names_itself):
            raise Denied(PUBLIC, reason=f"the answer is of {str(issuer)[:200]!r}")
        if "error" in said:
            raise Denied(PUBLIC, reason=f"the provider said {said['error'][:200]!r}")
        code = said.get("code", "")
        if not 0 < len(code) <= MAX_PARAMETER:
            raise Denied(PUBLIC, reason="the answer has no code")
        tokens = await self._redeem(connector, provider, secret, code, facts["verifier"])
        claims = await self._providers.claims(connector, _text(tokens, "id_token"), nonce=facts["nonce"])
        if not provider.userinfo:
            return claims
        more = await self._http.get(provider.userinfo, bearer=_text(tokens, "access_token"))
        if more.get("sub") != claims["sub"]:
            raise Denied(PUBLIC, reason="userinfo is of somebody else")
        return {**more, **claims}

    async def _redeem(
        self, connector: Connector, provider: Provider, secret: str, code: str, verifier: str
    ) -> Mapping[str, object]:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        if provider.basic:
            basic = (_quoted(connector.client_id), _quoted(secret))
            return await self._http.post(provider.token, fields, basic=basic)
        fields |= {"client_id": connector.client_id, "client_secret": secret}
        return await self._http.post(provider.token, fields, basic=None)

    async def _account(self, connector: Connector, claims: Claims) -> User:
        """The account, with the roles of this moment; Denied if there is none for somebody like this."""
        subject, roles, traits = str(claims["sub"]), connector.roles_of(claims), connector.traits_of(claims)
        known = await self._vouched.vouched_for(connector.issuer, subject)
        if known is not None:
            account = await self._admitting.account(known.user)
            if account is None or account.created != known.created:
                raise Denied(PUBLIC, reason=f"{known.user} ({subject[:64]!r}) was removed: see ilctl oidc forget")
            if (account.roles, dict(account.traits)) != (roles, dict(traits)):
                await self._access.set_access(account.name, roles, traits)
            if not roles:
                raise Denied(PUBLIC, reason=f"no rule gives {account.name} a role any more")
            return await self._users.user(account.name)
        if not roles:
            raise Denied(PUBLIC, reason=f"no rule gives {subject[:64]!r} a role")
        try:
            name = connector.name_of(claims)
        except ValueError as error:
            raise Denied(PUBLIC, reason=f"{subject[:64]!r} cannot have a name here: {error}") from None
        account = User(name, roles, None, must_change=False, created=self._clock.now(), traits=traits)
        if not await self._vouched.adopt(connector.issuer, subject, account):
            raise Denied(PUBLIC, reason=f"the name {name} of {subject[:64]!r} is somebody else's here")
        fields: dict[str, JsonValue] = {"name": name, "roles": list(roles), "connector": connector.name}
        self._admitting.tell(Kind.USER_CREATE, {"user": name, "method": KIND} | fields)
        return account


def _of(attempt: Attempt, connector: str) -> Attempt:
    return replace(attempt, facts={"connector": connector})


def _key(browser: str, state: str) -> str:
    """Of the errand: only this browser, with this state, comes back for it."""
    return f"{browser}\0{state}"


def _text(said: Mapping[str, object], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value:
        raise Denied(PUBLIC, reason=f"the provider's answer has no {name}")
    return value


def _quoted(text: str) -> str:
    """As RFC 6749 §2.3.1 wants name and secret in the header."""
    return quote_plus(text)
