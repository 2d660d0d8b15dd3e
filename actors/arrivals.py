"""What a mover does with each instance that arrives: describe it, find its study, hand it over.

This is the receiver's handler; it runs in the association's thread and answers with a C-STORE status.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never

import structlog

from actors.dimse.incoming import Incoming
from actors.faults import fault_site
from actors.intake import Arrival, Intake
from actors.problems import problem
from actors.renaming import renamed
from actors.routing import Peers, Router
from actors.siblings import is_rejection
from imaging.errors import Mismatch, Refused
from imaging.facts import InstanceFacts
from imaging.flags import Flag
from imaging.instance import Instance, identify
from imaging.likeness import Likenesses
from imaging.octets import Octets
from imaging.uid import InvalidUid, Uid, parse_uid
from storage.errors import StorageError
from storage.ledger.ledger import Ledger
from storage.spool import Evidence, Quarantine, Quarantined

HELD = 0x0000
OUT_OF_RESOURCES = 0xA700
"""The source may send it again later (PS3.4 table B.2-1)."""
CANNOT_UNDERSTAND = 0xC000

FINISH_PATIENCE = timedelta(seconds=20)
"""For the study's commit before an instance that came meanwhile is judged. A pack's last part takes seconds; archives
give up on a C-STORE answer after 30 seconds and more."""


@dataclass(frozen=True, slots=True)
class ParkedInstance:
    """A surplus instance in the quarantine, until the source has been asked again."""

    facts: InstanceFacts
    quarantine: Quarantine
    stored: Quarantined

    @property
    def name(self) -> str:
        return self.stored.name

    def discard(self) -> None:
        self.quarantine.discard(self.stored)

    @contextmanager
    def opened(self) -> Iterator[Instance]:
        """As it came; gone from the quarantine afterwards, since it belongs to the study after all."""
        facts = self.facts
        flags = frozenset(map(Flag, facts.flags))
        with self.quarantine.opened(self.stored) as octets:
            start = octets.size - facts.raw_size
            yield identify(octets, start, facts.transfer_syntax, facts.raw1, flags=flags)
        self.discard()


class Arrivals:
    """The handler of one process's receiver."""

    def __init__(
        self,
        *,
        router: Router,
        peers: Peers,
        ledger: Ledger,
        quarantine: Quarantine,
        finish_patience: timedelta = FINISH_PATIENCE,
        on_held: Callable[[int], None] = lambda size: None,
    ) -> None:
        """`on_held` is told the size of each instance that was missing and is held now."""
        self._router = router
        self._on_held = on_held
        self._finish_patience = finish_patience
        self._peers = peers
        self._ledger = ledger
        self._quarantine = quarantine
        self.likenesses = Likenesses()
        """Of what arrives, and of what coercion makes of it."""
        self._log = structlog.get_logger("limosa.arrivals")

    def __call__(self, incoming: Incoming) -> int:
        """The instance is held (0000), or the status says what the source may do."""
        return self._guarded(incoming, self._route)

    def handed_over(self, incoming: Incoming) -> int:
        """As a call, for an instance that another process of this node received; it is not passed on again. One that
        was rejected there is awaited no longer here."""
        if is_rejection(incoming):
            self._awaited_no_longer(incoming)
            return CANNOT_UNDERSTAND
        return self._guarded(incoming, self._keep)

    def _guarded(self, incoming: Incoming, handle: Callable[[Incoming, Instance], int]) -> int:
        try:
            return handle(incoming, self._identified(incoming))
        except Refused as error:
            return self._reject(incoming, type(error).__name__, str(error))
        except StorageError as error:
            self._log.warning("arrival_not_stored", error=type(error).__name__, code=error.code)
            return OUT_OF_RESOURCES
        except Exception as error:
            # Trust border: whatever a peer's bytes provoke must neither end the association nor be lost.
            self._log.error("arrival_failed", error=fault_site(error))
            return self._reject(incoming, "INTERNAL_FAULT", fault_site(error))

    def park(self, facts: InstanceFacts, part10: Octets) -> ParkedInstance:
        """A surplus instance is durable in the quarantine."""
        stored = self._quarantine.store(
            part10,
            Evidence(
                reason="SURPLUS_INSTANCES",
                calling_ae="",
                called_ae="",
                address="",
                sop_class=facts.sop_class,
                sop_uid=facts.sop_uid,
                transfer_syntax=facts.transfer_syntax,
                received=datetime.now(UTC),
            ),
        )
        return ParkedInstance(facts, self._quarantine, stored)

    def _route(self, incoming: Incoming, instance: Instance) -> int:
        if self._router.find(instance.study_uid) is None:
            status = self._peers.offer(instance.study_uid, incoming)
            if status is not None:
                return status
        return self._keep(incoming, instance)

    def _keep(self, incoming: Incoming, instance: Instance) -> int:
        intake = self._router.find(instance.study_uid)
        if (defect := misnamed(incoming, instance)) is not None:
            if intake is None or not intake.waits_for(instance.sop_uid):
                raise defect
            incoming = renamed(incoming, instance)
            instance = self._identified(incoming, flags=frozenset([Flag.COMMAND_NAMES]))
        status = None if intake is None else self._deliver(intake, incoming, instance)
        return self._unasked(incoming, instance) if status is None else status

    def _deliver(self, intake: Intake, incoming: Incoming, instance: Instance) -> int | None:
        arrival = intake.accept(instance)
        match arrival:
            case Arrival.WRITTEN:
                self._on_held(instance.part10.size)
                return HELD
            case Arrival.REPEATED | Arrival.SURPLUS:
                return HELD
            case Arrival.DIFFERS:
                return self._differs(incoming, instance)
            case Arrival.FAILED:
                return OUT_OF_RESOURCES
            case Arrival.CLOSED:
                return None
        assert_never(arrival)

    def _differs(self, incoming: Incoming, instance: Instance) -> int:
        """Told before it is answered, whatever becomes of the attempt: no retry needs to bring these bytes again. One
        row a study, since some archives change a byte of every image with every retrieve."""
        stored = self._store(incoming, "DUPLICATE_DIFFERS")
        self._ledger.exceptions.open(
            problem(
                "DUPLICATE_DIFFERS",
                {"sop_uid": instance.sop_uid, "quarantine": stored.name, "blake3": stored.blake3},
            ),
            study_key=self._ledger.facts.arrival(instance.study_uid, instance.sop_uid).study_key,
        )
        return HELD

    def _unasked(self, incoming: Incoming, instance: Instance) -> int:
        """Nobody is pulling the study now: a repeat of what is delivered, a straggler, or really unsolicited."""
        # Between the last look at the intake and the commit the ledger still says pending: what is refused then, with
        # A700, would never be asked for again.
        settled = self._router.wait_settled(instance.study_uid, self._finish_patience)
        known = self._ledger.facts.arrival(instance.study_uid, instance.sop_uid)
        if known.raw1 == instance.raw1:
            return HELD
        if known.pending and settled:
            # A straggler of an attempt that ended: the study will be pulled again, with this instance in it.
            return OUT_OF_RESOURCES
        kind = "UNSOLICITED" if known.study_key is None else "LATE_INSTANCE"
        stored = self._store(incoming, kind)
        told = problem(kind, {"quarantine": stored.name, "blake3": stored.blake3}, sop_uid=instance.sop_uid)
        if known.study_key is None:
            self._ledger.exceptions.open(told)
        else:
            self._ledger.exceptions.open_late(told, study_key=known.study_key)
        return HELD

    def _reject(self, incoming: Incoming, kind: str, detail: str) -> int:
        """The bytes are in quarantine and the exception list; the source is told that they make no sense."""
        try:
            stored = self._store(incoming, "MALFORMED_INSTANCE")
            self._ledger.exceptions.open(
                problem(
                    "MALFORMED_INSTANCE",
                    {"quarantine": stored.name, "blake3": stored.blake3, "class": kind, "detail": detail},
                    sop_uid=_checked(incoming.sop_uid),
                )
            )
        except StorageError as error:
            self._log.warning("arrival_not_stored", error=type(error).__name__, code=error.code)
            return OUT_OF_RESOURCES
        self._awaited_no_longer(incoming)
        # The study may be pulled by any process that shares the title: it would ask for the instance again and again.
        self._peers.rejected(incoming)
        return CANNOT_UNDERSTAND

    def _awaited_no_longer(self, incoming: Incoming) -> None:
        for intake in self._router.open_intakes():
            intake.reject(incoming.sop_uid)

    def _identified(self, incoming: Incoming, *, flags: frozenset[Flag] = frozenset()) -> Instance:
        """The instance by its dataset alone. Raises `Refused`."""
        return identify(
            incoming.part10,
            dataset_offset=incoming.dataset_offset,
            transfer_syntax=incoming.transfer_syntax,
            raw1=incoming.raw1,
            likenesses=self.likenesses,
            flags=flags,
        )

    def _store(self, incoming: Incoming, reason: str) -> Quarantined:
        return self._quarantine.store(
            incoming.part10,
            Evidence(
                reason=reason,
                calling_ae=incoming.peer.calling_ae,
                called_ae=incoming.peer.called_ae,
                address=incoming.peer.address,
                sop_class=incoming.sop_class,
                sop_uid=incoming.sop_uid,
                transfer_syntax=incoming.transfer_syntax,
                received=datetime.now(UTC),
            ),
        )


def misnamed(incoming: Incoming, instance: Instance) -> Mismatch | None:
    """What the command says otherwise than the dataset."""
    if incoming.sop_class.rstrip("\0 ") != instance.sop_class:
        return Mismatch("SOPClassUID")
    return Mismatch("SOPInstanceUID") if incoming.sop_uid.rstrip("\0 ") != instance.sop_uid else None


def _checked(value: str) -> Uid | None:
    try:
        return parse_uid(value)
    except InvalidUid:
        return None
