"""Verifies the audit log: the chain of each writer, what signs it, and what claims to have been dropped by policy.

Each fault is named by writer and number. It reads everything once, some of it twice if there is a fault, and keeps
nothing in memory that grows with the log but the faults, of which there is a limit.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from interlock.core.errors import StoreError
from interlock.domain.audit import SYNTHESIZED, Kind, derived_uid
from interlock.domain.chain import Checkpoint, Cut, Gap, digest, genesis, link
from interlock.domain.evidence import Fault, Finding, decode_body
from interlock.domain.signing import Purpose, is_signed
from interlock.ports import Evidence, StoredCheckpoint, StoredEvent, StoredHead

MAX_FINDINGS = 1000
"""Faults that are told of; a log with more of them is not mended by a longer list."""

CLOSER = 64
"""Events that do not fit of which it is found out where they belong, with a second look at their chain."""


_SUCCESSOR = '"successor":'
"""In what names one, as it is encoded."""

_MILLISECONDS = len("2026-01-10T22:23:57.642")


@dataclass(slots=True)
class WriterReport:
    """What was found of one writer."""

    writer: str
    first: int = 0  # of what is there; 0: nothing
    last: int = 0
    events: int = 0
    signed: int = 0  # up to here, by the last checkpoint that names it
    dropped: int = 0  # by policy
    missing: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """All that was found."""

    writers: dict[str, WriterReport] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    checkpoints: int = 0
    last_signed: str = ""  # the time of the last good checkpoint

    def add(self, fault: Fault, writer: str, first: int, last: int = 0, detail: str = "") -> None:
        """One more fault, unless there are enough."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(fault, writer, first, last or first, detail))


def verify(evidence: Evidence, keys: Iterable[bytes], *, known: Iterable[tuple[str, bytes]] = ()) -> Report:
    """Read the whole log.

    ``keys``: the cluster's, raw and public; of several the first signs now, and the others did before it.
    ``known``: checkpoints that had left, encoded, and their signatures.
    """
    report, trusted = Report(), tuple(keys)
    cuts = _Cuts(evidence, _last_key(evidence, trusted), report)
    heads = evidence.heads()
    for head in heads:
        _Walk(evidence, head, cuts, report).run()
    for writer, number in evidence.of_nobody():
        report.add(Fault.INSERTED, f"#{writer}", number, detail="there is no such writer")
    _replayed(evidence, heads, report)
    _Signed(evidence, heads, cuts, trusted, report).run(known)
    return report


def _last_key(evidence: Evidence, keys: tuple[bytes, ...]) -> bytes:
    """The key that signs at the end of the checkpoints: cuts are signed anew when it changes."""
    now = keys
    for stored in evidence.checkpoints():
        if _SUCCESSOR not in stored.body:
            continue
        try:
            successor = Checkpoint.decode(stored.body).successor_key
        except StoreError:
            continue  # it is told by who goes along them
        if successor is not None and _is_signed(stored, now):
            now = (successor,)
    return now[0] if now else b""  # which has signed nothing


def _is_signed(stored: StoredCheckpoint, keys: Iterable[bytes]) -> bool:
    body = stored.body.encode()
    return any(is_signed(key, Purpose.CHECKPOINT, body, stored.signature) for key in keys)


class _Cuts:
    """What may be missing."""

    def __init__(self, evidence: Evidence, key: bytes, report: Report) -> None:
        self._gaps: dict[str, dict[int, Gap]] = {}
        self.last: dict[str, tuple[int, str]] = {}  # of a writer: up to where, and the hash there
        for stored in evidence.cuts():
            try:
                cut = Cut.decode(stored.body)
            except StoreError as error:
                report.add(Fault.BAD_CUT, stored.writer, 0, detail=error.reason)
                continue
            good = is_signed(key, Purpose.CUT, stored.body.encode(), stored.signature)
            if not good or cut.writer != stored.writer:
                report.add(Fault.BAD_CUT, stored.writer, cut.last, detail="its signature is not the cluster's")
                continue
            self._gaps[cut.writer] = {gap.first: gap for gap in cut.gaps}
            self.last[cut.writer] = cut.last, cut.hash

    def over(self, writer: str, number: int, previous: bytes | None) -> Gap | None:
        """The gap that begins with this number, behind this hash."""
        gap = self._gaps.get(writer, {}).get(number)
        fits = gap is not None and (previous is None or gap.before == previous.hex())
        return gap if fits else None

    def next(self, writer: str, after: int, before: int) -> int:
        """Where the next gap begins between these numbers; the last of them if there is none."""
        return min((each for each in self._gaps.get(writer, {}) if after < each < before), default=before)


class _Walk:
    """Along one chain."""

    def __init__(self, evidence: Evidence, head: StoredHead, cuts: _Cuts, report: Report) -> None:
        self._evidence = evidence
        self._head = head
        self._cuts = cuts
        self._report = report
        self._mine = report.writers.setdefault(head.writer, WriterReport(head.writer))
        self._bad: list[StoredEvent] = []
        self._next, self._place = 1, 0  # the next number; the place of the last one in the order of arrival
        self._hash: bytes | None = genesis(head.writer)  # before the next; None: not known

    def run(self) -> None:
        """From the first to the last."""
        for event in self._evidence.events(self._head.id):
            if event.number < self._next:
                self._report.add(Fault.INSERTED, self._head.writer, event.number, detail="the number is taken")
                continue
            self._skip(event.number, Fault.MISSING)
            if self._hash is not None and link(self._hash, event.body.encode()) != event.hash:
                self._does_not_fit(event)
            self._hash, self._next = event.hash, event.number + 1
            self._mine.first = self._mine.first or event.number
            self._mine.last, self._mine.events = event.number, self._mine.events + 1
            self._compare(event)
            if event.seq <= self._place and not self._bad:  # which would explain it
                detail = "in the order of arrival it stands before the one before it"
                self._report.add(Fault.MISLABELLED, self._head.writer, event.number, detail=detail)
            self._place = event.seq
        self._end()
        self._name_the_bad()

    def _does_not_fit(self, event: StoredEvent) -> None:
        if len(self._bad) < CLOSER:
            self._bad.append(event)
        else:
            self._report.add(Fault.CHANGED, self._head.writer, event.number)

    def _skip(self, number: int, fault: Fault) -> None:
        """Over what is not there, up to this number."""
        writer = self._head.writer
        while self._next < number:
            gap = self._cuts.over(writer, self._next, self._hash)
            if gap is None or gap.last >= number:
                behind = self._cuts.next(writer, self._next, number)
                self._report.add(fault, writer, self._next, behind - 1)
                if len(self._mine.missing) < MAX_FINDINGS:
                    self._mine.missing.append((self._next, behind - 1))
                self._next, self._hash = behind, None
            else:
                self._mine.dropped += gap.last - gap.first + 1
                self._next, self._hash = gap.last + 1, bytes.fromhex(gap.after)

    def _end(self) -> None:
        head = self._head
        self._skip(head.number + 1, Fault.TRUNCATED)
        if self._mine.last > head.number:
            detail = "the writer's own count does not have it"
            self._report.add(Fault.INSERTED, head.writer, head.number + 1, self._mine.last, detail)
        elif self._hash is not None and self._hash != head.hash:
            self._report.add(Fault.CHANGED, head.writer, head.number, detail="the writer kept another hash")

    def _compare(self, event: StoredEvent) -> None:
        """What the columns say is what readers look for; it is in no chain, but must be what the body says."""
        body = decode_body(event.body)
        told = [body.get(name) for name in ("uid", "sid", "event", "user", "ei", SYNTHESIZED, "time")]
        columns = [event.uid, event.sid, event.event, event.user, event.ei, event.synthesized]
        said = [_comparable(value) for value in told]
        if said != [*map(_without_nul, columns), f"{event.time[:_MILLISECONDS]}Z"]:
            original = self._evidence.named(str(said[0])) if said[0] != event.uid else []
            if original:
                detail = f"it is number {original[0].number} of writer #{original[0].writer} again"
                self._report.add(Fault.REPLAYED, self._head.writer, event.number, detail=detail)
            else:
                self._report.add(Fault.MISLABELLED, self._head.writer, event.number)
        if event.event == Kind.SUPERSEDED.event:
            hidden = self._evidence.named(str(body.get("superseded_uid")))
            shown = [each.number for each in hidden if not each.hidden] + ([] if event.hidden else [event.number])
            for number in shown:
                self._report.add(Fault.SHOWN, self._head.writer, number, detail="it was superseded")
        elif event.hidden and not self._evidence.named(derived_uid(event.uid, "superseded")):
            self._report.add(Fault.HIDDEN, self._head.writer, event.number, detail="nothing superseded it")

    def _name_the_bad(self) -> None:
        """Where what does not fit belongs, which tells what was done."""
        writer, fits = self._head.writer, self._places()
        put_in: set[int] = set()
        for event in self._bad:
            place = fits.get(event.number)
            if place is None or place == event.number:
                continue
            between = range(place, event.number)
            if place > event.number or any(fits.get(each) not in (None, each) for each in between):
                detail = f"what is here belongs at {place}"
                self._report.add(Fault.REORDERED, writer, event.number, detail=detail)
            else:
                self._report.add(Fault.INSERTED, writer, place, event.number - 1)
                put_in.update(between)
        for event in self._bad:
            if event.number not in fits and event.number not in put_in:
                self._report.add(Fault.CHANGED, writer, event.number)

    def _places(self) -> dict[int, int]:
        """Behind which hash of this chain each of the first bad ones fits: number and place."""
        found: dict[int, int] = {}
        if not self._bad:
            return found
        for number, hash_ in self._hashes():
            for event in self._bad:
                if event.number not in found and link(hash_, event.body.encode()) == event.hash:
                    found[event.number] = number + 1
        return found

    def _hashes(self) -> Iterator[tuple[int, bytes]]:
        yield 0, genesis(self._head.writer)
        yield from self._evidence.hashes(self._head.id)


class _Signed:
    """Along the checkpoints."""

    def __init__(
        self, evidence: Evidence, heads: list[StoredHead], cuts: _Cuts, keys: tuple[bytes, ...], report: Report
    ) -> None:
        self._evidence = evidence
        self._ids = {head.writer: head.id for head in heads}
        self._cuts = cuts
        self._keys = keys
        self._now = keys  # those that may sign the next checkpoint
        self._ever = set(keys)  # and those that may have signed one that had left
        self._report = report
        self._wrong: set[str] = set()  # writers whose hash some checkpoint does not have
        self._proven: set[str] = set()  # writers whose cut ends where some checkpoint has signed
        self._beyond: dict[
            str, tuple[int, int]
        ] = {}  # of writers that lack their end: what was signed, and by which

    def run(self, known: Iterable[tuple[str, bytes]]) -> None:
        """All that are stored, and those that had left."""
        last = self._stored()
        for number, (text, signature) in enumerate(known, 1):
            self._compare_known(StoredCheckpoint(number, text, signature), last)
        for writer, (number, _) in self._cuts.last.items():
            if writer and writer not in self._proven:
                self._report.add(Fault.BAD_CUT, writer, number, detail="no checkpoint has signed where it ends")
        for writer, (number, checkpoint) in self._beyond.items():
            mine = self._report.writers.get(writer)
            first = mine.last + 1 if mine is not None else 1
            self._report.add(Fault.TRUNCATED, writer, first, number, f"checkpoint {checkpoint} has signed it")

    def _stored(self) -> int:
        dropped, previous = self._cuts.last.get("", (0, ""))
        number = dropped + 1
        for stored in self._evidence.checkpoints():
            checkpoint = self._read(stored)
            if stored.number != number:
                self._fault(stored.number, f"checkpoints {number} to {stored.number - 1} are missing")
            elif checkpoint is not None and checkpoint.previous != previous:
                self._fault(stored.number, "it does not follow the one before it")
            number, previous = stored.number + 1, digest(stored.body)
            if checkpoint is not None:
                self._follow(checkpoint, stored)
                self._report.checkpoints += 1
                self._report.last_signed = checkpoint.time
                self._heads(checkpoint)
        if len(self._keys) > 1 and number - 1 > dropped and self._keys[0] not in self._now:
            self._fault(number - 1, "the key that signs now has not signed it, nor does it name it")
        return number - 1

    def _follow(self, checkpoint: Checkpoint, stored: StoredCheckpoint) -> None:
        """From a key to its successor, and nobody back."""
        successor = checkpoint.successor_key
        if successor is not None:
            self._now = (successor,)
            self._ever.add(successor)
        elif len(self._now) > 1:
            self._now = tuple(key for key in self._now if _is_signed(stored, (key,)))

    def _read(self, stored: StoredCheckpoint) -> Checkpoint | None:
        try:
            checkpoint = Checkpoint.decode(stored.body)
        except StoreError as error:
            self._fault(stored.number, error.reason)
            return None
        if not _is_signed(stored, self._now):
            self._fault(stored.number, "its signature is not the cluster's")
            return None
        if checkpoint.number != stored.number:
            self._fault(stored.number, f"it is number {checkpoint.number}")
            return None
        return checkpoint

    def _compare_known(self, kept: StoredCheckpoint, last: int) -> None:
        """A checkpoint that was kept elsewhere: whatever it signed must still be here."""
        try:
            checkpoint = Checkpoint.decode(kept.body)
        except StoreError:
            checkpoint = None
        if checkpoint is None or not _is_signed(kept, self._ever):
            self._fault(kept.number, "what had left under this place of the file is not signed by the cluster")
            return
        if checkpoint.number > last:
            self._fault(last + 1, f"checkpoint {checkpoint.number}, which had left, is missing here")
        self._heads(checkpoint)

    def _heads(self, checkpoint: Checkpoint) -> None:
        for head in checkpoint.heads:
            mine = self._report.writers.setdefault(head.writer, WriterReport(head.writer))
            place, signed = self._ids.get(head.writer), mine.signed
            stored = self._evidence.hash_at(place, head.number) if place is not None else None
            cut, cut_hash = self._cuts.last.get(head.writer, (0, ""))
            mine.signed = max(mine.signed, head.number)
            if (head.number, head.hash) == (cut, cut_hash):
                self._proven.add(head.writer)
            if stored is None:
                if head.number > mine.last and head.number > cut and not _within(head.number, mine.missing):
                    self._beyond[head.writer] = head.number, checkpoint.number
            elif stored.hex() != head.hash and head.writer not in self._wrong:
                self._wrong.add(head.writer)
                detail = f"checkpoint {checkpoint.number} has signed another hash of number {head.number}"
                self._report.add(Fault.CHANGED, head.writer, min(signed + 1, head.number), head.number, detail)

    def _fault(self, number: int, detail: str) -> None:
        self._report.add(Fault.CHECKPOINT, "", number, detail=detail)


def _replayed(evidence: Evidence, heads: list[StoredHead], report: Report) -> None:
    names = {head.id: head.writer for head in heads}
    for uid in evidence.repeated():
        original, *again = evidence.named(uid)
        for event in again:
            detail = f"it is number {original.number} of {names.get(original.writer, original.writer)} again"
            report.add(Fault.REPLAYED, names.get(event.writer, f"#{event.writer}"), event.number, detail=detail)


def _within(number: int, ranges: list[tuple[int, int]]) -> bool:
    return any(first <= number <= last for first, last in ranges)


def _comparable(value: object) -> object:
    """What is in the column of a member of the body: a name that is no text is in none."""
    return _without_nul(value) if isinstance(value, str | int) else None


def _without_nul(value: object) -> object:
    """Not every database holds one."""
    return value.replace("\0", "\\x00") if isinstance(value, str) else value
