"""A sign-in service on what is in memory, for tests."""

from dataclasses import replace

from interlock.core.errors import NotFound, SignInFailed
from interlock.domain.audit import AuditEvent
from interlock.ports import User
from interlock.services.signin.admitting import Admitting
from interlock.services.signin.factors import Factors
from interlock.services.signin.signin import Passwords, SignIn
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.factors import MemoryFactors
from interlock.testing.limits import MemoryLocks

PASSWORD, NEW = "correct horse battery", "staple correct horse"
HERE, ELSEWHERE = "10.0.0.1:5000", "192.0.2.9:5000"


class Users:
    """`ports.UserStore` in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, User] = {}

    async def user(self, name: str) -> User:
        """`ports.UserStore`."""
        if name not in self.kept:
            raise NotFound("no such user")
        return self.kept[name]

    async def users(self) -> list[User]:
        """`ports.UserStore`."""
        return list(self.kept.values())

    async def add_user(self, user: User) -> bool:
        """`ports.UserStore`."""
        return self.kept.setdefault(user.name, user) is user

    async def set_password(self, name: str, password_hash: str, *, must_change: bool) -> None:
        """`ports.UserStore`."""
        self.kept[name] = replace(await self.user(name), password_hash=password_hash, must_change=must_change)

    async def remove_user(self, name: str) -> None:
        """`ports.UserStore`."""
        del self.kept[name]


class Sink:
    """`ports.EventSink` in memory."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def emit(self, event: AuditEvent) -> None:
        """`ports.EventSink`."""
        self.events.append(event)


class SignInDesk:
    """A sign-in service with everything it works on."""

    def __init__(self) -> None:
        self.users, self.sink, self.clock, self.locks = Users(), Sink(), FakeClock(), MemoryLocks()
        self.passwords = Passwords(time_cost=1, memory_kib=64, parallelism=1)
        self.store = MemoryFactors()
        self.factors = Factors(
            devices=self.store,
            recovery=self.store,
            sink=self.sink,
            cluster="demo",
            clock=self.clock,
            entropy=FakeEntropy(),
        )
        self.signin = SignIn(
            users=self.users,
            passwords=self.passwords,
            factors=self.factors,
            admitting=Admitting(
                users=self.users,
                locks=self.locks,
                vouched=None,
                sink=self.sink,
                cluster="demo",
                clock=self.clock,
                entropy=FakeEntropy(),
            ),
            clock=self.clock,
        )

    async def add(self, name: str, *, must_change: bool = False) -> None:
        """Create an account with the usual password."""
        hashed = await self.passwords.hash(PASSWORD)
        await self.users.add_user(User(name, (), hashed, must_change, START))

    async def refusal(self, user: str, password: str, source: str = HERE, code: str = "") -> SignInFailed:
        """A sign-in that has to fail."""
        try:
            judged = await self.signin.check(user, password, source=source, code=code)
        except SignInFailed as error:
            return error
        raise AssertionError(judged)
