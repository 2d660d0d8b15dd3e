"""What a read-back proves: the comparison of what the ledger holds with what a destination gives.

Pure: the validator reads and describes, this module compares.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imaging.digests import raw1
from imaging.facts import InstanceFacts
from imaging.flags import Flag
from imaging.identity.delivered import departures
from imaging.instance import Instance

EVIDENCE_UIDS = 50
"""UIDs listed per kind of difference; the counts beside them are complete."""

COMPARED = ("sto1", "pd1", "can1", "series_uid", "sop_class", "transfer_syntax", "sto_size")
"""What must be equal, in the order it is reported. RAW1 is what the source sent; where nothing was coerced STO1
covers the same bytes, and where something was, RAW1 cannot be recomputed from the destination."""

DIGESTS = ("sto1", "pd1", "can1")


class Planned:
    """What a study's plan wants of each of its instances."""

    def __init__(self, decided: Mapping[str, Any], recorded: frozenset[str], *, exact: bool) -> None:
        """`decided` is the decision of the revision's plan. `recorded`: instances whose previous values the ledger
        keeps. `exact`: the destination gives back the bytes that were written, so that other bytes than the source's
        mean that they were changed by us."""
        self._decided = decided
        self._recorded = recorded
        self._exact = exact

    def departures(self, found: Instance, claimed: InstanceFacts) -> tuple[str, ...]:
        """Keywords of what is not as planned."""
        changed = (
            raw1(found.part10, found.dataset_offset, found.transfer_syntax) != claimed.raw1
            if self._exact
            else Flag.COERCED in claimed.flags
        )
        return departures(found.reading.header, self._decided, kept=changed and found.sop_uid not in self._recorded)


@dataclass(slots=True)
class ReadBack:
    """One delivery as its destination gives it back; filled instance by instance."""

    ledger: Mapping[str, InstanceFacts]
    compared: Sequence[str] = COMPARED
    instances: int = 0
    digests_compared: int = 0
    bytes: int = 0
    exact: int = 0
    """Instances that came back byte for byte, whatever was compared."""
    differing: dict[str, list[str]] = field(default_factory=dict)
    """SOP Instance UID -> names of what differs."""
    unplanned: dict[str, list[str]] = field(default_factory=dict)
    """SOP Instance UID -> keywords of what the study's plan wants otherwise, whatever the ledger holds."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """SOP Instance UID -> class of the error."""
    seen: set[str] = field(default_factory=set)
    repeated: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    """What lies among the study's loose instances and nobody delivered, by its name there."""

    def compare(self, found: InstanceFacts) -> None:
        """One instance was read and described."""
        self.instances += 1
        self.bytes += found.sto_size
        if found.sop_uid in self.seen:
            self.repeated.add(found.sop_uid)
            return
        self.seen.add(found.sop_uid)
        known = self.ledger.get(found.sop_uid)
        if known is None:
            return
        self.digests_compared += sum(name in self.compared and getattr(known, name) is not None for name in DIGESTS)
        self.exact += known.sto1 == found.sto1
        differs = [name for name in self.compared if getattr(known, name) != getattr(found, name)]
        if differs:
            self.differing[found.sop_uid] = differs

    def cannot_read(self, sop_uid: str, error: Exception) -> None:
        """The instance is listed at the destination but its bytes are not what the index says."""
        self.seen.add(sop_uid)
        self.unreadable[sop_uid] = type(error).__name__

    @property
    def missing(self) -> set[str]:
        return self.ledger.keys() - self.seen

    @property
    def surplus(self) -> set[str]:
        return self.seen - self.ledger.keys()

    @property
    def mismatches(self) -> int:
        return len(self.differing) + len(self.unreadable)

    @property
    def proven(self) -> bool:
        """Exactly the ledger's instances, each once, each byte and digest as recorded; whether they are as planned is
        another question."""
        return bool(self.seen) and not (
            self.missing or self.surplus or self.strangers or self.repeated or self.differing or self.unreadable
        )

    def unplanned_evidence(self) -> dict[str, Any]:
        """For the exception of a study that is not as planned; no value of it."""
        return {
            "instances": self.instances,
            "not_as_planned": len(self.unplanned),
            "attributes": sorted({name for names in self.unplanned.values() for name in names}),
            "departing": dict(sorted(self.unplanned.items())[:EVIDENCE_UIDS]),
        }

    def evidence(self) -> dict[str, Any]:
        """For the exception: counts in full, UIDs up to a bound."""
        return {
            "instances": self.instances,
            "missing": _some(self.missing),
            "surplus": _some(self.surplus),
            "strangers": _some(self.strangers),
            "repeated": _some(self.repeated),
            "differing": dict(sorted(self.differing.items())[:EVIDENCE_UIDS]),
            "unreadable": dict(sorted(self.unreadable.items())[:EVIDENCE_UIDS]),
            "counts": {
                "missing": len(self.missing),
                "surplus": len(self.surplus),
                "strangers": len(self.strangers),
                "repeated": len(self.repeated),
                "differing": len(self.differing),
                "unreadable": len(self.unreadable),
            },
        }


def _some(uids: Iterable[str]) -> list[str]:
    return sorted(uids)[:EVIDENCE_UIDS]
