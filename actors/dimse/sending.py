"""A pool of associations for C-STORE, and what an archive's answers mean to a destination.

An association proposes one context per pair of class and syntax as stored, so nothing is ever transcoded. Which pairs
a study has is known as it comes: where no association has one, another is opened that proposes every pair seen so far
and, as far as there is room, every class seen in every syntax seen. So an archive sees about one association for each
class and each syntax, and not for each pair.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain, islice

from actors.dimse.negotiation import IMPLICIT_LE, VERIFICATION
from actors.dimse.store import MOST_CONTEXTS, StoreConversation, StoredAs, StoreEnd, StoreOutcome
from actors.source import SourceUnreachable
from imaging.octets import Octets
from storage.errors import AlreadyThere, NotTaken, Rejected, Retryable, StorageError
from storage.sinks.service import Outgoing

REST = 5.0
"""Seconds after which an idle association is released: archives count them, and new ones cost milliseconds."""
ROUNDS = 4
"""Attempts at an instance that the archive neither takes nor refuses for good."""
PAUSE = 1.0
"""Seconds before the second of them; doubles."""
PROCESSING_FAILURE = 0x0110
ECHO = StoredAs(VERIFICATION, IMPLICIT_LE)
"""Proposed beside all pairs: an archive that takes none of them still opens, and says so for each."""


@dataclass(slots=True)
class _Open:
    conversation: StoreConversation
    pairs: frozenset[StoredAs]


def proposal(seen: Sequence[StoredAs]) -> tuple[StoredAs, ...]:
    """What an association proposes when these pairs were met, the latest first: they themselves, then those that may
    come; as many as it takes."""
    classes = dict.fromkeys(each.sop_class for each in seen)
    syntaxes = dict.fromkeys(each.transfer_syntax for each in seen)
    likely = (StoredAs(sop_class, syntax) for sop_class in classes for syntax in syntaxes)
    met = frozenset(seen)
    return (*islice(chain(seen, (each for each in likely if each not in met)), MOST_CONTEXTS - 1), ECHO)


@dataclass(slots=True)
class StorePool:
    """Associations of one process with one archive, at most `most` at once; thread-safe."""

    open_one: Callable[[Sequence[StoredAs]], StoreConversation]
    most: int
    _seen: list[StoredAs] = field(default_factory=list)
    _idle: list[_Open] = field(default_factory=list)
    _busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _timer: threading.Timer | None = None
    _places: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self._places = threading.BoundedSemaphore(self.most)

    def send(self, pair: StoredAs, part10: Octets, patience: timedelta) -> StoreOutcome:
        """How one C-STORE ended. Raises `SourceUnreachable` where no association can be had."""
        with self._lent(pair) as lent:
            return lent.conversation.send(part10, patience)

    @contextmanager
    def _lent(self, pair: StoredAs) -> Iterator[_Open]:
        with self._places:
            lent = self._take(pair)
            try:
                if lent is None:
                    lent = self._open(pair)
                yield lent
            except BaseException:
                with self._lock:
                    self._busy -= 1
                if lent is not None:
                    lent.conversation.close()
                raise
            with self._lock:
                self._busy -= 1
                self._idle.append(lent)
                if self._timer is None:
                    self._arm()

    def _arm(self) -> None:
        """Under the lock: what is idle by then is released."""
        self._timer = threading.Timer(REST, self._release_resting)
        self._timer.daemon = True
        self._timer.start()

    def _release_resting(self) -> None:
        now = time.monotonic()
        with self._lock:
            resting = [each for each in self._idle if now - each.conversation.touched >= REST]
            self._idle = [each for each in self._idle if each not in resting]
            self._timer = None
            if self._idle:
                self._arm()
        for each in resting:
            each.conversation.close()

    def _take(self, pair: StoredAs) -> _Open | None:
        """An idle association that proposes the pair. Where none does, the longest idle are closed as far as they would
        stand in the way of another."""
        with self._lock:
            self._busy += 1
            usable = [each for each in self._idle if each.conversation.usable]
            chosen = next((each for each in reversed(usable) if pair in each.pairs), None)
            kept = [each for each in usable if each is not chosen]
            kept = kept[max(0, len(kept) - (self.most - self._busy)) :]
            dropped = [each for each in self._idle if each is not chosen and each not in kept]
            self._idle = kept
        for each in dropped:
            each.conversation.close()
        return chosen

    def _open(self, pair: StoredAs) -> _Open:
        with self._lock:
            if pair in self._seen:
                self._seen.remove(pair)
            self._seen.insert(0, pair)
            del self._seen[MOST_CONTEXTS - 1 :]
            pairs = proposal(self._seen)
        return _Open(self.open_one(pairs), frozenset(pairs))


def unreachable(error: SourceUnreachable, place: str) -> StorageError:
    """The archive as a destination: it refuses us for good, or is away."""
    if error.permanent:
        return Rejected(str(error), operation="associate", place=place, code="ASSOCIATION_REFUSED")
    return Retryable(str(error), operation="associate", place=place, code="ASSOCIATION")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRule:
    """What a destination does with an archive's answers."""

    place: str
    listed: Callable[[Outgoing], bool]
    """Whether the archive lists the instance: asked where an answer was lost."""
    same: Callable[[Outgoing], bool | None]
    first: bool
    """No earlier revision can be what the archive has under the instance's UID."""
    coerced_is_stored: bool
    """Whether a read-back will tell what a warning left open."""
    wait: Callable[[float], None]

    def settle(self, send: Callable[[], StoreOutcome], outgoing: Outgoing) -> None:
        """The instance is at the archive.

        Raises
        ------
        Retryable
            The archive stays busy, or associations are lost one after the other.
        Rejected
            It refuses the instance for good, takes no such class and syntax, or changed it.
        NotTaken
            It fails at it again and again.
        AlreadyThere
            It has another of that UID.
        """
        outcome = StoreOutcome(end=StoreEnd.UNKNOWN)
        for number in range(ROUNDS):
            if number:
                self.wait(PAUSE * (1 << (number - 1)))
            outcome = send()
            if self._is_there(outcome, outgoing):
                return
        raise self._error(outcome, outgoing)

    def _is_there(self, outcome: StoreOutcome, outgoing: Outgoing) -> bool:
        """False: worth another try."""
        match outcome.end:
            case StoreEnd.STORED:
                return True
            case StoreEnd.COERCED if self.coerced_is_stored or outcome.status == NO_MATCH:
                return True
            case StoreEnd.DUPLICATE:
                if not self._is_ours(outgoing):
                    raise AlreadyThere("it holds another instance of that UID", operation="store", place=self.place)
                return True
            case StoreEnd.UNKNOWN:
                return self.listed(outgoing) and self._is_ours(outgoing)
            case StoreEnd.BUSY:
                return False
            case StoreEnd.REFUSED if outcome.status == PROCESSING_FAILURE:
                return False
            case _:
                raise self._error(outcome, outgoing)

    def _is_ours(self, outgoing: Outgoing) -> bool:
        """The archive's instance of that UID is what we sent, as far as anybody can tell."""
        same = self.same(outgoing)
        return self.first if same is None else same

    def _error(self, outcome: StoreOutcome, outgoing: Outgoing) -> StorageError:
        code = outcome.end.name if outcome.status is None else f"{outcome.status:04X}"
        about = {"operation": "store", "place": self.place, "code": code}
        if outcome.end in (StoreEnd.BUSY, StoreEnd.UNKNOWN):
            return Retryable("is busy" if outcome.end is StoreEnd.BUSY else "loses associations", **about)
        named = (outgoing.facts.sop_uid,)
        if outcome.status == PROCESSING_FAILURE:
            return NotTaken("fails at an instance", sop_uids=named, **about)
        why = {
            StoreEnd.NO_CONTEXT: "takes no instance of that class and transfer syntax",
            StoreEnd.COERCED: "says that it changed an instance",
        }.get(outcome.end, "refuses an instance")
        return Rejected(why, sop_uids=named, **about)


NO_MATCH = 0xB007
"""Dataset does not match the SOP class: a remark, nothing is changed."""
