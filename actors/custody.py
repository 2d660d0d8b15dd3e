"""What the workers add to a study's custody chain."""

from actors.intake import Counts
from actors.verdict import Verdict
from actors.verify import ReadBack
from storage.ledger.records import CustodyNote
from storage.packs.model import Receipt


def written_note(verdict: Verdict, receiver_ae: str) -> CustodyNote:
    """The study came from the source and is durable at the inline destination."""
    counts: Counts = verdict.counts
    return CustodyNote(
        event="written",
        payload={
            "receiver": receiver_ae,
            "expected_by": verdict.grade,
            "instances": len(verdict.facts),
            "received_now": counts.received,
            "bytes": sum(facts.raw_size for facts in verdict.facts),
            "repeated": counts.repeated,
            "differing": counts.differing,
            "transfer_syntaxes": sorted({facts.transfer_syntax for facts in verdict.facts}),
            **_place(verdict.receipt),
        },
    )


def fed_note(receipt: Receipt, instances: int) -> CustodyNote:
    """The study was copied from the inline destination to another."""
    return CustodyNote(event="fed", payload={"instances": instances, **_place(receipt)})


def validated_note(read_back: ReadBack) -> CustodyNote:
    """The study was read back and every digest compared."""
    return CustodyNote(
        event="validated",
        payload={
            "instances": read_back.instances,
            "digests_compared": read_back.digests_compared,
            "bytes": read_back.bytes,
        },
    )


def _place(receipt: Receipt | None) -> dict[str, str | int]:
    if receipt is None:
        return {}
    return {"key": receipt.key, "container": receipt.container.value, "size": receipt.size, "device": receipt.device}
