"""What the workers add to a study's custody chain."""

from collections import Counter
from collections.abc import Sequence

from actors.intake import Counts
from actors.verdict import Verdict
from actors.verify import ReadBack
from imaging.coercion.rules import RuleSet
from imaging.facts import InstanceFacts
from storage.ledger.commitments import Commitment
from storage.ledger.commits import ObjectDigests
from storage.ledger.records import CustodyNote, JsonValue
from storage.packs.model import Receipt

TRANSACTIONS = 100
"""Named in a note: a study of 50,000 instances has as many."""


def written_note(verdict: Verdict, receiver_ae: str, rules: RuleSet) -> CustodyNote:
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
            **_coercion(verdict.facts, rules),
            **_place(verdict.receipt),
        },
    )


def fed_note(receipt: Receipt, instances: int) -> CustodyNote:
    """The study was copied from the inline destination to another."""
    return CustodyNote(event="fed", payload={"instances": instances, **_place(receipt)})


def validated_note(read_back: ReadBack, whole: ObjectDigests | None) -> CustodyNote:
    """The study was read back and every digest compared; `whole` is of its object, where it is one."""
    digests = {} if whole is None else {"object_sha256": whole.sha256.hex(), "object_blake3": whole.blake3.hex()}
    return CustodyNote(
        event="validated",
        payload={
            "instances": read_back.instances,
            "digests_compared": read_back.digests_compared,
            "bytes": read_back.bytes,
            "byte_exact": read_back.exact,
            **digests,
        },
    )


def committed_note(instances: int, known: Sequence[Commitment]) -> CustodyNote:
    """The destination lists every instance and has committed itself to each; nothing was read back."""
    return CustodyNote(
        event="validated",
        payload={
            "proof": "commitment",
            "instances": instances,
            "transactions": [each.transaction_uid for each in known if each.committed][:TRANSACTIONS],
        },
    )


def _coercion(facts: Sequence[InstanceFacts], rules: RuleSet) -> dict[str, JsonValue]:
    """Under which rules the instances were written, and how many each of them changed."""
    if not rules.rules:
        return {}
    changed = Counter(rule for one in facts for rule in {value.rule for value in one.coerced})
    return {
        "coercion": {
            "rules": rules.fingerprint,
            "originals": rules.originals.value,
            "changed": sum(bool(one.coerced) for one in facts),
            "instances_by_rule": dict(sorted(changed.items())),
        }
    }


def _place(receipt: Receipt | None) -> dict[str, JsonValue]:
    if receipt is None:
        return {}
    place: dict[str, JsonValue] = {
        "key": receipt.key,
        "container": receipt.container.value,
        "size": receipt.size,
        "device": receipt.device,
    }
    if receipt.volumes:
        place["volumes"] = [{"key": each.key, "size": each.size, "device": each.device} for each in receipt.volumes]
    return place
