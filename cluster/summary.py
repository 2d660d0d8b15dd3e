"""What a run came to, from the rows: the numbers a person signs and a script branches on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.cli.exits import Exit
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState, StudyState
from storage.ledger.records import OpenProblem

INTEGRITY_KINDS = frozenset({"DIGEST_MISMATCH", "DESTINATION_INTEGRITY", "PACK_CONFLICT"})
"""Exceptions that mean bytes are not what they were: a run that has one ends with exit code 3."""

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
    duplicated: int
    unfinished: int
    """Deliveries that are neither validated nor an exception."""


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
        return exit_of([problem.kind for problem in self.exceptions], self.digest_mismatches, self.exception_count)

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
            "unfinished": self.unfinished,
            "exceptions": self.exception_count,
            "exceptions_by_kind": count_kinds(self.exceptions),
            "destinations": list(self.destinations),
            "seconds": round(seconds, 3),
        }


def exit_of(kinds: Sequence[str], mismatches: int, exceptions: int) -> Exit:
    """The exit code of a run with these open exceptions."""
    if mismatches or INTEGRITY_KINDS & set(kinds):
        return Exit.INTEGRITY
    return Exit.EXCEPTIONS if exceptions else Exit.DONE


def count_kinds(problems: Sequence[OpenProblem]) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for problem in problems:
        kinds[problem.kind] = kinds.get(problem.kind, 0) + 1
    return kinds


def summarise(ledger: Ledger) -> Summary:
    """The job as the ledger has it now."""
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
                duplicated=proof.duplicated,
                unfinished=unfinished.get(proof.destination, 0),
            )
            for proof in proofs
        ),
        exceptions=ledger.exceptions.list_open(limit=EXCEPTIONS_LISTED),
        exception_count=sum(ledger.exceptions.counts().values()),
        unplanned=ledger.status.to_plan(),
    )
