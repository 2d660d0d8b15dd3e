"""One reconciliation: every open exception whose cause can be asked for, and those that an earlier one closed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from actors.destination_options import DestinationOptions
from actors.destinations import open_destination
from actors.source import FindEnd, Source, SourceUnending, SourceUnreachable, StudyWindow
from cluster.reconcile.causes import (
    DESTINATION_ITSELF,
    FROM_LEDGER,
    FROM_SOURCE,
    KEY_TAKEN,
    SOURCE_ITSELF,
    Facts,
    Judgement,
    SourceCount,
    Today,
    judge,
)
from imaging.uid import Uid
from storage.errors import StorageError
from storage.ledger.exceptions import Cause
from storage.ledger.ledger import Ledger
from storage.packs.model import Container, PackId
from storage.packs.naming import pack_key
from storage.sinks.protocol import Sink

PAGE = 1_000
"""Exceptions read at a time."""

BY = "reconcile"
"""Who closes and reopens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """One exception, what the three say of its study, and what became of it."""

    exception_id: int
    kind: str
    study_uid: str | None
    destination: str | None
    source: int | None
    """Instances that the source lists; None where it was not asked or gave no whole list."""
    ledger: int | None
    """Instances of the study's current revision, if that is written."""
    today: Today
    why: str
    change: str
    """`closed`, `reopened`, or nothing."""


class Recount:
    """Asks, judges and records; with `dry` nothing is recorded."""

    def __init__(
        self, source: Source, ledger: Ledger, destinations: Iterable[DestinationOptions], *, dry: bool = False
    ) -> None:
        self._source = source
        self._ledger = ledger
        self._options = {options.name: options for options in destinations}
        self._dry = dry
        self._sinks: dict[str, Sink | None] = {}
        self._answers: dict[str, bool] = {}
        self._counts: dict[Uid, SourceCount | None] = {}

    def run(self) -> Iterator[Reconciled]:
        """Every exception that is open, and every one that an earlier reconciliation closed lately."""
        after = 0
        while causes := self._ledger.exceptions.causes(BY, after=after, limit=PAGE):
            for cause in causes:
                yield self._reconciled(cause)
            after = causes[-1].exception_id

    def _reconciled(self, cause: Cause) -> Reconciled:
        held = None
        if cause.study_uid is not None and cause.study_key is not None:
            written = self._ledger.facts.instances(cause.study_key, cause.revision)
            held = frozenset(str(facts.sop_uid) for facts in written) if written else None
        counted = self._counted(cause.study_uid) if cause.kind in FROM_SOURCE and cause.study_uid else None
        facts = Facts(
            source=counted,
            source_answers=self._source_answers() if cause.kind in SOURCE_ITSELF else None,
            destination_answers=self._answering(cause.destination) if cause.kind in DESTINATION_ITSELF else None,
            key_taken=self._key_taken(cause) if cause.kind in KEY_TAKEN else None,
            held=held if cause.kind in FROM_LEDGER else None,
        )
        found = judge(cause, facts)
        return Reconciled(
            exception_id=cause.exception_id,
            kind=cause.kind,
            study_uid=cause.study_uid,
            destination=cause.destination,
            source=None if counted is None else len(counted.listed),
            ledger=None if held is None else len(held),
            today=found.today,
            why=found.why,
            change=self._change(cause, found),
        )

    def _change(self, cause: Cause, found: Judgement) -> str:
        if found.today is Today.GONE and not cause.closed:
            if not self._dry and not self._ledger.exceptions.settle(cause.exception_id, by=BY):
                return ""
            return "closed"
        if found.today is Today.STANDS and cause.closed:
            if not self._dry and not self._ledger.exceptions.reopen(cause.exception_id, by=BY):
                return ""
            return "reopened"
        return ""

    def _source_answers(self) -> bool:
        if "" not in self._answers:
            try:
                self._source.echo()
                self._answers[""] = True
            except SourceUnreachable:
                self._answers[""] = False
        return self._answers[""]

    def _counted(self, study_uid: Uid) -> SourceCount | None:
        if study_uid not in self._counts:
            self._counts = {study_uid: _asked(self._source, study_uid)}
        return self._counts[study_uid]

    def _answering(self, destination: str | None) -> bool | None:
        sink = self._sink(destination)
        if sink is None or destination is None:
            return None if destination not in self._options else False
        if destination not in self._answers:
            try:
                self._answers[destination] = all(probe.ok for probe in sink.probe())
            except StorageError:
                self._answers[destination] = False
        return self._answers[destination]

    def _key_taken(self, cause: Cause) -> bool | None:
        """Of devices nobody says on which of them it was."""
        sink = self._sink(cause.destination)
        if sink is None or sink.traits.local or cause.study_uid is None:
            return None
        pack = PackId(study_uid=cause.study_uid, revision=cause.revision)
        try:
            if not sink.traits.listed:
                return any(True for _ in sink.loose(pack, pack_key(pack, Container.P10)))
            return any(_is_there(sink, pack_key(pack, container)) for container in (Container.TAR, Container.TAR_ZST))
        except StorageError:
            return None

    def _sink(self, destination: str | None) -> Sink | None:
        """None where it is no destination of the job any more, or cannot be opened."""
        if destination is None or destination not in self._options:
            return None
        if destination not in self._sinks:
            try:
                self._sinks[destination] = open_destination(self._options[destination])
            except StorageError:
                self._sinks[destination] = None
        return self._sinks[destination]


def _is_there(sink: Sink, key: str) -> bool:
    try:
        sink.size(key)
    except FileNotFoundError:
        return False
    return True


def _asked(source: Source, study_uid: Uid) -> SourceCount | None:
    answer = source.find_studies(StudyWindow(study_uids=(study_uid,)))
    if answer.end is not FindEnd.SUCCESS:
        return None
    found = [study for study in answer.studies if study.study_uid == study_uid]
    if not found:
        return SourceCount(found=False, claimed=None, listed=frozenset())
    try:
        listed = source.list_instances(study_uid)
    except (SourceUnreachable, SourceUnending):
        return None
    if not listed.complete or listed.undecodable:
        return None
    return SourceCount(
        found=True,
        claimed=found[0].instance_count,
        listed=frozenset(str(ref.sop_uid) for ref in listed.instances),
    )
