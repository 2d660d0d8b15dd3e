"""What a run came to, from the rows: the numbers a person signs and a script branches on."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from actors.destination_options import DestinationOptions
from actors.destinations import open_destination
from cluster.exit import Exit
from storage.durable import sync_folder
from storage.errors import StorageError
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState, StudyState
from storage.ledger.records import DestinationState, OpenProblem
from storage.ledger.status import SourceRow
from storage.sinks.protocol import Sink

T = TypeVar("T")

INTEGRITY_KINDS = frozenset(
    {
        "DIGEST_MISMATCH",
        "NOT_AS_PLANNED",
        "DESTINATION_INTEGRITY",
        "PACK_CONFLICT",
        "DEVICE_LOST",
        "SHIPMENT_MISSING",
        "SHIPMENT_ALTERED",
    }
)
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
    unfinished_states: Mapping[str, int]
    """The same by their state."""
    packs: int | None
    """Finished packs the destination itself lists; None where it was not asked."""
    duplicated: int
    """Of those, packs of a study and revision whose receipt names another."""
    unknown: int
    """Of those, packs of a study and revision without any receipt."""
    gone: int
    """Packs with a receipt of a current revision that the destination does not list."""
    state: DestinationState
    reason: str | None
    """Why it takes no more."""
    unlisted: str
    """Why it did not list its packs; empty where it did or was not asked."""

    @property
    def closed(self) -> str:
        """The state and reason of a destination that takes no more; empty for an open one."""
        return "" if self.state is DestinationState.OPEN else f"{self.state.value} ({self.reason})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Source, ledger and destinations side by side."""

    studies: int
    """Studies the ledger knows, confirmed empty ones included."""
    empty: int
    written: int
    """Studies whose current revision came whole; the instances and bytes are theirs."""
    instances: int
    bytes: int
    destinations: tuple[DestinationSummary, ...]
    exceptions: tuple[OpenProblem, ...]
    """The first of them."""
    exceptions_by_kind: Mapping[str, int]
    """All that are open."""
    unplanned: int
    stopped_sources: tuple[SourceRow, ...] = ()
    """Sources that nothing more is pulled from before the next run."""

    @property
    def exception_count(self) -> int:
        return sum(self.exceptions_by_kind.values())

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
    def gone(self) -> int:
        """Packs that were written and are no longer there."""
        return sum(each.gone for each in self.destinations)

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
        """Of a run that was asked for everything: what is unfinished needs a person, or another run."""
        return self._exit(self.unfinished)

    @property
    def exit_of_part(self) -> Exit:
        """Of a run that was asked for less: what it left, source and destination being open, is left on purpose."""
        held_up = sum(each.unfinished for each in self.destinations if each.closed)
        return self._exit(held_up + sum(each.waiting for each in self.stopped_sources))

    def _exit(self, waiting: int) -> Exit:
        damage = self.digest_mismatches + self.duplicated + self.lost + self.gone
        unlisted = sum(bool(each.unlisted) for each in self.destinations)
        return exit_of(self.exceptions_by_kind, damage, self.exception_count + self.unknown + waiting + unlisted)

    def document(self, seconds: float) -> dict[str, Any]:
        """The summary for scripts; fields are only ever added."""
        return {
            "studies": self.studies,
            "empty": self.empty,
            "written_studies": self.written,
            "instances": self.instances,
            "bytes": self.bytes,
            "digests_compared": self.digests_compared,
            "digest_mismatches": self.digest_mismatches,
            "lost": self.lost,
            "duplicated": self.duplicated,
            "unknown_packs": self.unknown,
            "gone_packs": self.gone,
            "unfinished": self.unfinished,
            "exceptions": self.exception_count,
            "exceptions_by_kind": dict(self.exceptions_by_kind),
            "destinations": [asdict(each) for each in self.destinations],
            "stopped_sources": [asdict(each) for each in self.stopped_sources],
            "seconds": round(seconds, 3),
        }


def exit_of(kinds: Iterable[str], damage: int, exceptions: int) -> Exit:
    """The exit code of a run with these open exceptions."""
    if damage or INTEGRITY_KINDS & set(kinds):
        return Exit.INTEGRITY
    return Exit.EXCEPTIONS if exceptions else Exit.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a destination lists, held against the ledger."""

    packs: int | None
    """None when it could not be asked to the end."""
    duplicated: int
    unknown: int
    gone: int
    trouble: str = ""
    """Why it, or a part of it, could not be asked."""


def list_destinations(ledger: Ledger, destinations: Iterable[DestinationOptions]) -> dict[str, Listing]:
    """As `list_destination`, of each; a destination that cannot be asked says so in its listing.

    A device that was taken away, or an endpoint that is down, must not hide what the others hold.
    """
    found: dict[str, Listing] = {}
    for options in destinations:
        try:
            sink = open_destination(options)
            if sink.traits.listed:
                found[options.name] = list_destination(ledger, sink)
        except StorageError as error:
            found[options.name] = Listing(packs=None, duplicated=0, unknown=0, gone=0, trouble=str(error))
    return found


def list_destination(ledger: Ledger, sink: Sink) -> Listing:
    """The destination's own count of packs, page by page against the receipts; memory stays at one page.

    Another run may write or plan meanwhile, so the lower of the counts before and after is what must be there.
    """
    devices = sink.devices
    packs = duplicated = unknown = found = 0
    before = ledger.facts.awaited(sink.name, devices)
    for page in batched(sink.packs(), LISTING_PAGE):
        receipted = ledger.facts.receipted(sink.name, [held.pack for held in page])
        delivered = {held.pack for held in receipted}
        found += sum(receipted.get(held, False) for held in page)
        stray = [held for held in page if held not in receipted]
        packs += len(page)
        duplicated += sum(held.pack in delivered for held in stray)
        unknown += sum(held.pack not in delivered for held in stray)
    awaited = min(before, ledger.facts.awaited(sink.name, devices))
    gone = max(0, awaited - found)
    return Listing(packs=packs, duplicated=duplicated, unknown=unknown, gone=gone, trouble=_unmounted(ledger, sink))


def _unmounted(ledger: Ledger, sink: Sink) -> str:
    """Devices that hold packs, have not left, and are not there to be counted."""
    absent = [
        f"device {row.path_label} is not mounted and holds {row.packs} packs"
        for row in ledger.seeds.devices()
        if row.destination == sink.name
        and row.state in ("loading", "full")
        and row.packs
        and row.device_id not in sink.devices
    ]
    return "; ".join(absent)


def keep_summary(state_dir: Path, document: Mapping[str, Any]) -> None:
    """The document is `summary.json` below the state folder: whole and durable, or the earlier one still is."""
    path = state_dir / "summary.json"
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(state_dir)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items, in order."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def summarise(ledger: Ledger, listings: Mapping[str, Listing]) -> Summary:
    """The job as the ledger has it now, beside what destinations list."""
    studies = ledger.status.studies()
    unfinished: dict[str, Counter[str]] = defaultdict(Counter)
    for row in ledger.status.deliveries():
        if row.state not in (DeliveryState.VALIDATED, DeliveryState.EXCEPTION, DeliveryState.VOID):
            unfinished[row.destination][row.state.value] += row.deliveries
    kinds: dict[str, int] = {}
    for (kind, _), count in ledger.exceptions.counts().items():
        kinds[kind] = kinds.get(kind, 0) + count
    places = {row.name: row for row in ledger.status.destinations()}
    written = ledger.facts.written()
    proofs = ledger.facts.read_backs()
    return Summary(
        studies=sum(studies.values()),
        empty=studies.get(StudyState.EMPTY_CONFIRMED, 0),
        written=written.studies,
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
                unfinished=unfinished[proof.destination].total(),
                unfinished_states=dict(unfinished[proof.destination]),
                packs=listing.packs if (listing := listings.get(proof.destination)) else None,
                duplicated=listing.duplicated if listing else 0,
                unknown=listing.unknown if listing else 0,
                gone=listing.gone if listing else 0,
                state=places[proof.destination].state,
                reason=places[proof.destination].reason,
                unlisted=listing.trouble if listing else "",
            )
            for proof in proofs
        ),
        exceptions=ledger.exceptions.list_open(limit=EXCEPTIONS_LISTED),
        exceptions_by_kind=kinds,
        unplanned=ledger.status.to_plan(),
        stopped_sources=ledger.status.stopped_sources(),
    )
