"""What a client wants for its session before something runs in it, and the process that is started by that.

Requests that come in time are noted here; whether they do, the session knows.
"""

from collections.abc import Mapping
from dataclasses import replace

from interlock.adapters.ssh.node import terminal as tty
from interlock.adapters.ssh.node.accounts import Account
from interlock.adapters.ssh.node.environment import RequestedEnvironment, SessionFacts, session_environment
from interlock.adapters.ssh.node.plan import Plan
from interlock.adapters.ssh.node.spawn import Launch, Spawned, spawn, spawn_on
from interlock.core.extensions import SESSION_INVITED, SESSION_REASON
from interlock.domain.session import SessionKind, Start, Window

_DEFAULT_WINDOW = Window(80, 24)
"""For a PTY whose client does not know its size, such as ssh -tt in a script."""


class Wanted:
    """One channel's."""

    def __init__(self, account: Account, facts: SessionFacts) -> None:
        self.terminal: tty.TerminalRequest | None = None
        self.window: Window | None = None  # its size; set when something is started on it
        self._account = account
        self._facts = facts
        self._environment = RequestedEnvironment()
        self._words = facts.words

    def note_terminal(self, term_type: str, size: tty.Size, modes: Mapping[int, int]) -> None:
        """It is opened when something is started on it."""
        self.terminal = tty.TerminalRequest(term_type, size, dict(modes))

    def note_variable(self, name: bytes, value: bytes) -> bool:
        """Take a variable if it is on the list, or is for us."""
        if name in (SESSION_REASON, SESSION_INVITED):
            self._words = self._words.heard(name, value)
            return True
        return self._environment.add(name, value)

    def describe(self, kind: SessionKind, argument: bytes) -> Start:
        """What is about to run."""
        command = argument.decode("utf-8", "backslashreplace")
        term = ""
        if self.terminal is not None:
            cols, rows, _, _ = self.terminal.size
            self.window = Window(cols, rows) if cols and rows else _DEFAULT_WINDOW
            term = self.terminal.term
        return Start(kind, command, self.window, term, self._words.reason, self._words.invited)

    def spawn(self, plan: Plan, variables: Mapping[str, str]) -> Spawned:
        """Start it; call it in a thread, as that blocks for milliseconds. ``variables``: what forwards add."""
        program, facts = plan.program, replace(self._facts, variables={**variables, **plan.variables})
        if self.terminal is None:
            return spawn(Launch(self._account, program, self._variables(facts, "", "")))
        terminal = tty.open_terminal(self.terminal, self._account)
        made = self._variables(facts, terminal.name, self.terminal.term)
        return spawn_on(Launch(self._account, program, made), terminal)

    def _variables(self, facts: SessionFacts, name: str, term: str) -> dict[bytes, bytes]:
        return session_environment(self._account, facts, self._environment.variables, tty=name, term=term)
