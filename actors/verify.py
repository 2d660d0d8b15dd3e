"""What a read-back proves: the comparison of what the ledger holds with what a destination gives.

Pure: the validator reads and describes, this module compares.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imaging.facts import InstanceFacts

EVIDENCE_UIDS = 50
"""UIDs listed per kind of difference; the counts beside them are complete."""

COMPARED = ("sto1", "pd1", "can1", "series_uid", "sop_class", "transfer_syntax", "sto_size")
"""What must be equal, in the order it is reported. RAW1 is what the source sent; where nothing was coerced STO1
covers the same bytes, and where something was, RAW1 cannot be recomputed from the destination."""

DIGESTS = ("sto1", "pd1", "can1")


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
        """Exactly the ledger's instances, each once, each byte and digest as recorded."""
        return bool(self.seen) and not (
            self.missing or self.surplus or self.strangers or self.repeated or self.differing or self.unreadable
        )

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
