"""What a run came to, from the rows: the numbers a person signs and a script branches on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, TypeVar

from cluster.cli.exits import Exit
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState, StudyState
from storage.ledger.records import OpenProblem
from storage.sinks.protocol import Sink

T = TypeVar("T")

INTEGRITY_KINDS = frozenset({"DIGEST_MISMATCH", "DESTINATION_INTEGRITY", "PACK_CONFLICT"})
"""Exceptions that mean bytes are not what they were: a run that has one ends with exit code 3."""

LISTING_PAGE = 1000
"""Packs held against the ledger at a time: what S3 lists in one answer."""

EXCEPTIONS_LISTED = 50
"""Open exceptions in a summary; `limosa exceptions list` has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationSummary:
    """What is proven at one destination, of the current revisions."""

    destination: str
    studies: int
    instances: int
    bytes: int
    digests_compared: int
    digest_mismatches: int
    missing: int
    surplus: int
    unfinished: int
    """Deliveries that are neither validated nor an exception."""
    packs: int | None
    """Finished packs the destination itself lists; None where it was not asked."""
    duplicated: int
    """Of those, packs of a study and revision whose receipt names another."""
    unknown: int
    """Of those, packs of a study and revision without any receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Source, ledger and destinations side by side."""

    studies: int
    """Studies the ledger knows, confirmed empty ones included."""
    empty: int
    instances: int
    """Of the current written revisions."""
    bytes: int
    destinations: tuple[DestinationSummary, ...]
    exceptions: tuple[OpenProblem, ...]
    exception_count: int
    unplanned: int

    @property
    def lost(self) -> int:
        """Instances that a destination should hold and does not, by read-back."""
        return sum(each.missing for each in self.destinations)

    @property
    def duplicated(self) -> int:
        return sum(each.duplicated for each in self.destinations)

    @property
    def unknown(self) -> int:
        """Packs at destinations that the ledger knows nothing of."""
        return sum(each.unknown for each in self.destinations)

    @property
    def digests_compared(self) -> int:
        return sum(each.digests_compared for each in self.destinations)

    @property
    def digest_mismatches(self) -> int:
        return sum(each.digest_mismatches for each in self.destinations)

    @property
    def unfinished(self) -> int:
        return self.unplanned + sum(each.unfinished for each in self.destinations)

    @property
    def exit(self) -> Exit:
        damage = self.digest_mismatches + self.duplicated + self.lost
        return exit_of([problem.kind for problem in self.exceptions], damage, self.exception_count + self.unknown)

    def document(self, seconds: float) -> dict[str, Any]:
        """The summary for scripts; fields are only ever added."""
        return {
            "studies": self.studies,
            "empty": self.empty,
            "instances": self.instances,
            "bytes": self.bytes,
            "digests_compared": self.digests_compared,
            "digest_mismatches": self.digest_mismatches,
            "lost": self.lost,
            "duplicated": self.duplicated,
            "unknown_packs": self.unknown,
            "unfinished": self.unfinished,
            "exceptions": self.exception_count,
            "exceptions_by_kind": count_kinds(self.exceptions),
            "destinations": [asdict(each) for each in self.destinations],
            "seconds": round(seconds, 3),
        }


def exit_of(kinds: Sequence[str], damage: int, exceptions: int) -> Exit:
    """The exit code of a run with these open exceptions."""
    if damage or INTEGRITY_KINDS & set(kinds):
        return Exit.INTEGRITY
    return Exit.EXCEPTIONS if exceptions else Exit.DONE


def count_kinds(problems: Sequence[OpenProblem]) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for problem in problems:
        kinds[problem.kind] = kinds.get(problem.kind, 0) + 1
    return kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a destination lists, held against the ledger."""

    packs: int
    duplicated: int
    unknown: int


def list_destination(ledger: Ledger, sink: Sink) -> Listing:
    """The destination's own count of packs, page by page against the receipts; memory stays at one page."""
    packs = duplicated = unknown = 0
    for page in batched(sink.packs(), LISTING_PAGE):
        receipted = ledger.facts.receipted(sink.name, [held.pack for held in page])
        delivered = {held.pack for held in receipted}
        stray = [held for held in page if held not in receipted]
        packs += len(page)
        duplicated += sum(held.pack in delivered for held in stray)
        unknown += sum(held.pack not in delivered for held in stray)
    return Listing(packs=packs, duplicated=duplicated, unknown=unknown)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items, in order."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def summarise(ledger: Ledger, listings: Mapping[str, Listing]) -> Summary:
    """The job as the ledger has it now, beside what destinations list."""
    studies = ledger.status.studies()
    unfinished: dict[str, int] = {}
    for row in ledger.status.deliveries():
        if row.state not in (DeliveryState.VALIDATED, DeliveryState.EXCEPTION, DeliveryState.VOID):
            unfinished[row.destination] = unfinished.get(row.destination, 0) + row.deliveries
    written = ledger.facts.written()
    proofs = ledger.facts.read_backs()
    return Summary(
        studies=sum(studies.values()),
        empty=studies.get(StudyState.EMPTY_CONFIRMED, 0),
        instances=written.instances,
        bytes=written.bytes,
        destinations=tuple(
            DestinationSummary(
                destination=proof.destination,
                studies=proof.studies,
                instances=proof.instances,
                bytes=proof.bytes,
                digests_compared=proof.digests_compared,
                digest_mismatches=proof.mismatches,
                missing=proof.missing,
                surplus=proof.surplus,
                unfinished=unfinished.get(proof.destination, 0),
                packs=listing.packs if (listing := listings.get(proof.destination)) else None,
                duplicated=listing.duplicated if listing else 0,
                unknown=listing.unknown if listing else 0,
            )
            for proof in proofs
        ),
        exceptions=ledger.exceptions.list_open(limit=EXCEPTIONS_LISTED),
        exception_count=sum(ledger.exceptions.counts().values()),
        unplanned=ledger.status.to_plan(),
    )
