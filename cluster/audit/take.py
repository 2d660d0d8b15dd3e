"""Takes an audit: reads a sample of what was written, and where it was also sent to a DICOM service, what that gives
back. The first, middle and last instance of each series are read, each by a range request."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TypeVar

from actors.copying import landed
from actors.destination_options import DestinationOptions
from actors.destinations import open_destination
from cluster.audit.document import Audited
from cluster.audit.roundtrip import RoundTrip
from cluster.audit.tally import Tally
from imaging.errors import Refused
from imaging.header import read_header
from imaging.octets import Octets
from imaging.part10 import split_part10
from imaging.uid import Uid
from storage.errors import IntegrityError
from storage.ledger.audits import ChosenStudy
from storage.ledger.ledger import Ledger
from storage.packs.model import Container, Member, PackId
from storage.packs.reader import PackReader
from storage.packs.volumes import pack_reader
from storage.sinks.service import ServiceReader
from storage.spool import LandingPlace

T = TypeVar("T")


class Auditor:
    """One audit of one job."""

    def __init__(self, ledger: Ledger, destinations: Sequence[DestinationOptions], place: LandingPlace) -> None:
        self._ledger = ledger
        self._options = {options.name: options for options in destinations}
        self._place = place

    def take(
        self,
        *,
        job: str,
        at: datetime,
        destination: str,
        per_stratum: int,
        seed: str,
        report: Callable[[int, int], None] = lambda studies, of: None,
    ) -> Audited:
        """The sample is read and counted.

        Raises
        ------
        StorageError
            A destination cannot be reached.
        """
        chosen = self._ledger.audits.chosen(per_stratum=per_stratum, seed=seed)
        tally = Tally()
        trip: RoundTrip | None = None
        keeps_bytes = True
        for number, one in enumerate(chosen):
            report(number, len(chosen))
            original = self._fetch(one, None)
            if original is None:
                continue
            there = self._fetch(one, destination)
            if there is not None and there.is_service:
                keeps_bytes = False
                trip = trip or RoundTrip(destination)
            else:
                there = None
            for member in original.three_of_each_series():
                self._look(one, original, there, member, tally, trip)
        return Audited(
            job=job,
            at=at,
            seed=seed,
            destination=destination,
            read_from="written",
            keeps_bytes=keeps_bytes,
            chosen=chosen,
            tally=tally,
            round_trip=trip,
            decisions=self._ledger.audits.decisions(destination),
        )

    def _look(
        self,
        study: ChosenStudy,
        original: "_Reader",
        there: "_Reader | None",
        member: Member,
        tally: Tally,
        trip: RoundTrip | None,
    ) -> None:
        with ExitStack() as stack:
            try:
                sent = stack.enter_context(original.opened(member, self._place))
                envelope = split_part10(sent)
                header = read_header(sent, envelope.dataset_offset, envelope.transfer_syntax)
                tally.add(study.study_uid, header, study.year)
            except (Refused, IntegrityError, FileNotFoundError):
                tally.unreadable += 1
                return
            if there is None or trip is None:
                return
            try:
                trip.add(sent, stack.enter_context(there.opened(member, self._place)))
            except FileNotFoundError:
                trip.absent += 1
            except (Refused, IntegrityError):
                trip.unreadable += 1

    def _fetch(self, study: ChosenStudy, destination: str | None) -> "_Reader | None":
        """None where the study does not lie there; without a name, anywhere but at a service."""
        for name in [destination] if destination else [*self._options]:
            held = self._ledger.facts.held(study.study_uid, destination=name)
            if held is None or name not in self._options:
                continue
            service = held.receipt.container is Container.SERVICE
            if service and destination is None:
                continue
            receipt, pack = held.receipt, PackId(study_uid=study.study_uid, revision=held.revision)
            objects = open_destination(self._options[name])
            if service:
                facts = self._ledger.facts.instances(held.study_key, held.revision)
                return _Reader(ServiceReader(objects, pack, receipt.key, facts), service)
            return _Reader(pack_reader(objects, pack, receipt), service)
        return None


def three_of(series: Sequence[T]) -> list[T]:
    """The first, the middle and the last, each once."""
    return [series[place] for place in sorted({0, len(series) // 2, len(series) - 1})]


class _Reader:
    """One study at one place."""

    def __init__(self, reader: PackReader, is_service: bool) -> None:
        self._reader = reader
        self.is_service = is_service

    def three_of_each_series(self) -> list[Member]:
        """In the order they lie there."""
        series: dict[Uid, list[Member]] = {}
        for member in self._reader.index().members:
            series.setdefault(member.facts.series_uid, []).append(member)
        return [member for members in series.values() for member in three_of(members)]

    @contextmanager
    def opened(self, member: Member, place: LandingPlace) -> Iterator[Octets]:
        """Raises `FileNotFoundError` where the place does not have it."""
        with landed(place, self._reader.open(member)) as octets:
            yield octets
